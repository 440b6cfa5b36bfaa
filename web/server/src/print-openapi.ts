// Prints openapi.json: npm run openapi -w server
import { build } from './app.ts'
import { configOf } from './config.ts'
import { openapi } from './openapi.ts'

const app = await build({ ...configOf({}), logLevel: 'silent' })
await app.ready()
process.stdout.write(`${JSON.stringify(openapi(app as never), null, 1)}\n`)
await app.close()

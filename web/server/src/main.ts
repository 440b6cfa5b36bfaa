// Starts the server, and stops it gracefully: requests that have begun are answered.
import { build } from './app.ts'
import { configOf } from './config.ts'

const config = configOf(process.env)
const app = await build(config)
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => {
    // Whoever does not end by then is cut off.
    setTimeout(() => app.server.closeAllConnections(), 20_000).unref()
    void app.close().then(() => process.exit(0))
  })
}
await app.listen({ host: config.host, port: config.port })

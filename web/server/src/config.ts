// Settings, from the environment alone.  Where the database is, PostgreSQL's own PG* variables say, or DATABASE_URL.
import { readFileSync } from 'node:fs'

export interface Config {
  host: string
  port: number
  /** Of the database; undefined: PG* variables. */
  url: string | undefined
  /** Connections for requests. */
  connections: number
  /** A PEM file with the Ed25519 key that signs sessions; undefined: one made at the start, so that a restart logs out. */
  sessionKey: string | undefined
  /** The directory of the built front; undefined: none is served. */
  ui: string | undefined
  logLevel: string
}

export function configOf(env: NodeJS.ProcessEnv): Config {
  const number = (name: string, otherwise: number) => {
    const value = env[name]
    if (value === undefined || value === '') return otherwise
    if (!/^[0-9]+$/.test(value)) throw new Error(`${name} must be a whole number, not "${value}"`)
    return Number(value)
  }
  const file = (name: string) => (env[name] ? readFileSync(env[name], 'utf8').trim() : undefined)
  return {
    host: env['CHS_WEB_HOST'] || '127.0.0.1',
    port: number('CHS_WEB_PORT', 8080),
    url: env['DATABASE_URL'] || undefined,
    connections: number('CHS_WEB_CONNECTIONS', 10),
    sessionKey: file('CHS_WEB_SESSION_KEY_FILE'),
    ui: env['CHS_WEB_UI'] || undefined,
    logLevel: env['CHS_WEB_LOG_LEVEL'] || 'info',
  }
}

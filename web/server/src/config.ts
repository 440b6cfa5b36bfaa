// Settings, from the environment alone.  Where the database is, PostgreSQL's own PG* variables say, or DATABASE_URL.
import { readFileSync } from 'node:fs'

export interface Config {
  host: string
  port: number
  /** Of the database; undefined: PG* variables. */
  url: string | undefined
  /** Of chs_web; undefined: PGPASSWORD, a pgpass file, or none is needed. */
  password: string | undefined
  /** Connections for requests, and for exports and bulk loads. */
  connections: number
  streamConnections: number
  /** Addresses of proxies whose X-Forwarded-For is believed, comma-separated. */
  trustProxy: string | undefined
  /** A PEM file with the Ed25519 key that signs sessions; undefined: one made at the start, so that a restart logs out. */
  sessionKey: string | undefined
  /** Whether people may log in with a login of PostgreSQL. */
  passwords: boolean
  provider: Provider | undefined
  /** Requests a minute of one person, of which so many may write; attempts to log in a minute from one address. */
  rate: number
  writeRate: number
  loginRate: number
  /** Streams of events that one person may have open, and all together. */
  streamsPerPerson: number
  streams: number
  /** Bytes of a bulk load, after decompression. */
  bulkLimit: number
  /** The directory of the built front; undefined: none is served. */
  ui: string | undefined
  logLevel: string
}

/** The company's identity provider, by OpenID Connect. */
export interface Provider {
  issuer: string
  audience: string
  algorithms: string[]
  /** Where in a token the role is, such as "chs_role" or "realm_access.role", and the name of the person. */
  roleClaim: string
  actorClaim: string
  /** A file with its keys; undefined: fetched from where its discovery document says. */
  jwks: string | undefined
  /** For browsers: the client that this server is to the provider. */
  client: { id: string; secret: string | undefined; redirect: string } | undefined
}

export function configOf(env: NodeJS.ProcessEnv): Config {
  const text = (name: string) => env[`CHS_WEB_${name}`] || undefined
  const number = (name: string, otherwise: number) => {
    const value = text(name)
    if (value !== undefined && !/^[0-9]{1,15}$/.test(value)) throw new Error(`CHS_WEB_${name} must be a whole number, not "${value}"`)
    return value === undefined ? otherwise : Number(value)
  }
  const file = (name: string) => {
    const path = text(name)
    return path === undefined ? undefined : readFileSync(path, 'utf8').trim()
  }
  const demanded = (name: string, why: string) => {
    const value = text(name)
    if (value === undefined) throw new Error(`CHS_WEB_${name} must be set, because ${why} is`)
    return value
  }
  const issuer = text('ISSUER')
  const clientId = text('CLIENT_ID')
  const algorithms = (text('ALGORITHMS') ?? 'RS256,ES256,EdDSA').split(',')
  const odd = algorithms.find(algorithm => !/^(RS|PS|ES)(256|384|512)$|^EdDSA$|^Ed25519$/.test(algorithm))
  if (odd !== undefined) throw new Error(`CHS_WEB_ALGORITHMS must name algorithms with public keys, such as RS256, not "${odd}"`)
  return {
    host: text('HOST') ?? '127.0.0.1',
    port: number('PORT', 8080),
    url: env['DATABASE_URL'] || undefined,
    password: file('PASSWORD_FILE'),
    connections: number('CONNECTIONS', 10),
    streamConnections: number('STREAM_CONNECTIONS', 4),
    trustProxy: text('TRUST_PROXY'),
    sessionKey: file('SESSION_KEY_FILE'),
    passwords: text('PASSWORDS') !== 'off',
    provider: issuer === undefined ? undefined : {
      issuer,
      audience: demanded('AUDIENCE', 'CHS_WEB_ISSUER'),
      algorithms,
      roleClaim: text('ROLE_CLAIM') ?? 'role',
      actorClaim: text('ACTOR_CLAIM') ?? 'sub',
      jwks: file('JWKS_FILE'),
      client: clientId === undefined ? undefined : {
        id: clientId, secret: file('CLIENT_SECRET_FILE'), redirect: demanded('REDIRECT', 'CHS_WEB_CLIENT_ID'),
      },
    },
    rate: number('RATE', 600),
    writeRate: number('WRITE_RATE', 60),
    loginRate: number('LOGIN_RATE', 5),
    streamsPerPerson: number('STREAMS_PER_PERSON', 8),
    streams: number('STREAMS', 1000),
    bulkLimit: number('BULK_LIMIT', 1 << 30),
    ui: text('UI'),
    logLevel: text('LOG_LEVEL') ?? 'info',
  }
}

// What the tests have in common: servers on a port of their own, tokens, and SQL.
import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { type AddressInfo } from 'node:net'
import { after } from 'node:test'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { exportJWK, SignJWT, type JWTPayload } from 'jose'
import pg from 'pg'
import { build } from '../src/app.ts'
import { type Config, configOf } from '../src/config.ts'

export const keys = generateKeyPairSync('rsa', { modulusLength: 2048 })
export const otherKeys = generateKeyPairSync('rsa', { modulusLength: 2048 })
export const issuer = 'https://provider.example'
export const audience = 'chs'
const jwk = { ...(await exportJWK(keys.publicKey)), kid: 'one', alg: 'RS256', use: 'sig' }

/** A token of the company's provider. */
export const token = (role: string, actor = role, more: { claims?: JWTPayload; expires?: number | string; key?: typeof keys.privateKey; alg?: string } = {}) =>
  new SignJWT({ role, ...more.claims }).setProtectedHeader({ alg: more.alg ?? 'RS256', kid: 'one' }).setSubject(actor)
    .setIssuer(issuer).setAudience(audience).setIssuedAt().setExpirationTime(more.expires ?? '5m').sign(more.key ?? keys.privateKey)

export interface Server { url: string; close(): Promise<void>; app: Awaited<ReturnType<typeof build>> }

const servers: (() => Promise<void>)[] = []
after(async () => { for (const close of servers) await close() })

/** Starts a server; it is closed after the tests of the file.  Without limits unless they are given. */
export async function serve(more: Partial<Config> = {}): Promise<Server> {
  const app = await build({
    ...configOf({}), url: at(process.env['PGDATABASE']!), logLevel: process.env['CHS_WEB_LOG_LEVEL'] ?? 'silent', rate: 1e6, writeRate: 1e6, loginRate: 1e6,
    provider: { issuer, audience, algorithms: ['RS256'], roleClaim: 'role', actorClaim: 'sub', jwks: JSON.stringify({ keys: [jwk] }), client: undefined },
    ...more,
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
  let closed = false
  const close = async () => {
    if (closed) return
    closed = true
    await app.close()
  }
  servers.push(close)
  return { url: `http://127.0.0.1:${(app.server.address() as AddressInfo).port}/api/v1`, close, app }
}

const tokens = new Map<string, Promise<string>>()
/** A header for requests as a role. */
export async function as(role: string, actor = role): Promise<{ authorization: string }> {
  const key = JSON.stringify([role, actor])
  if (!tokens.has(key)) tokens.set(key, token(role, actor))
  return { authorization: `Bearer ${await tokens.get(key)}` }
}

export interface Answer { status: number; headers: Headers; text: string; json: any }

/** Asks once.  A body that is no text is sent as JSON. */
export async function ask(server: { url: string }, who: string | Record<string, string> | null, method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
  const text = typeof body === 'string' || body instanceof Uint8Array || body === undefined
  const response = await fetch(server.url + path, {
    method, redirect: 'manual',
    headers: { ...(who === null ? {} : typeof who === 'string' ? await as(who) : who), ...(body !== undefined && !text && { 'content-type': 'application/json' }), ...headers },
    ...(body !== undefined && { body: (text ? body : JSON.stringify(body)) as never }),
  })
  const answer = await response.text()
  let json: unknown
  try { json = JSON.parse(answer) } catch { /* not every answer is JSON */ }
  return { status: response.status, headers: response.headers, text: answer, json }
}

const clients = new Set<pg.Client>()
after(async () => { for (const client of clients) await client.end().catch(() => {}) })

/** A connection of a superuser; to the database of the tests unless another one is named. */
export async function superuser(database?: string): Promise<pg.Client> {
  const client = new pg.Client(database === undefined ? {} : { database })
  client.on('error', () => {})
  await client.connect()
  clients.add(client)
  return client
}

/** All rows of a query, as a role if one is named, whose rights then hold. */
export async function rowsOf<T = any>(client: pg.Client, query: string, values: unknown[] = [], role?: string): Promise<T[]> {
  await client.query('BEGIN')
  try {
    if (role !== undefined) await client.query(`SELECT set_config('role', $1, true)`, [role])
    return (await client.query(query, values)).rows as T[]
  } finally {
    await client.query('ROLLBACK')
  }
}

/** A database of its own with chs and the tables of the API, made anew; a name of its own for each file. */
export async function database(name: string, sql: string): Promise<void> {
  const client = await superuser()
  await client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`)
  await client.query(`CREATE DATABASE ${name}`)
  const there = await superuser(name)
  await there.query('CREATE EXTENSION chs')
  const { execFileSync } = await import('node:child_process')
  execFileSync('psql', ['-Xq', '-v', 'ON_ERROR_STOP=1', '-d', name, '-f', new URL('../../sql/setup.sql', import.meta.url).pathname], { stdio: ['ignore', 'ignore', 'inherit'] })
  await there.query(sql)
}

/** Where a server finds another database than that of PGDATABASE. */
export const at = (name: string): string =>
  `postgres://chs_web@/${name}?host=${encodeURIComponent(process.env['PGHOST']!)}&port=${process.env['PGPORT'] ?? 5432}`

export const openapi = JSON.parse(readFileSync(new URL('../../openapi.json', import.meta.url), 'utf8')) as any
const ajv = new Ajv2020({ strict: false, allErrors: true })
ajv.addSchema(openapi, 'openapi')
const validators = new Map<string, ReturnType<typeof ajv.compile>>()

/** What is wrong with a value by a schema of openapi.json, which a JSON pointer names; null: nothing. */
export function wrongWith(pointer: string, value: unknown): string | null {
  let validate = validators.get(pointer)
  if (!validate) {
    validate = ajv.compile({ $ref: `openapi#${pointer}` })
    validators.set(pointer, validate)
  }
  return validate(value) ? null : ajv.errorsText(validate.errors)
}
export const wrongWithProblem = (value: unknown) => wrongWith('/components/schemas/Problem', value)

/** Waits until something holds; the test's own timeout ends it. */
export async function until<T>(what: () => Promise<T | undefined | null | false>): Promise<T> {
  for (;;) {
    const value = await what()
    if (value) return value
    await new Promise(resolve => setTimeout(resolve, 10))
  }
}
export { randomUUID }

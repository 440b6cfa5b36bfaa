// What the tests of the pages have in common: the server with the built front, people who are logged in, a browser, and SQL.
//
// PG* name a database with the made-up company and its people (demo/company.sql, web/sql/setup.sql, web/sql/demo.sql).
import { generateKeyPairSync } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { type AddressInfo } from 'node:net'
import { after, before } from 'node:test'
import assert from 'node:assert/strict'
import pg from 'pg'
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core'
import { build } from '../../server/src/app.ts'
import { configOf } from '../../server/src/config.ts'

export const dist = new URL('../dist/', import.meta.url).pathname
const shots = process.env['CHS_TEST_OUTPUT'] ?? new URL('../../../test/output/web/', import.meta.url).pathname
const axe = readFileSync(new URL(import.meta.resolve('axe-core/axe.min.js')), 'utf8')
const sessionKey = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()

// The server is to connect as its own role; PGUSER is who looks at the database beside it.
const superuser = process.env['PGUSER']
delete process.env['PGUSER']

let app: Awaited<ReturnType<typeof build>> | undefined
let port = 0
/** Where the pages are; the same when the server comes back. */
export const origin = () => `http://localhost:${port}`

export async function startServer(): Promise<void> {
  app = await build({
    ...configOf({}), ui: dist, sessionKey, logLevel: process.env['CHS_WEB_LOG_LEVEL'] ?? 'silent', rate: 1e6, writeRate: 1e6, loginRate: 1e6,
    host: '127.0.0.1', port,
  })
  await app.listen({ host: '127.0.0.1', port })
  port = (app.server.address() as AddressInfo).port
}
export async function stopServer(): Promise<void> {
  await app?.close()
  app = undefined
}

export let sql: pg.Client
/** The rows of a query, as a superuser, or with the rights of a role. */
export async function rows<T = any>(query: string, values: unknown[] = [], role?: string): Promise<T[]> {
  if (role === undefined) return (await sql.query(query, values)).rows as T[]
  await sql.query('BEGIN')
  try {
    await sql.query(`SELECT set_config('role', $1, true)`, [role])
    return (await sql.query(query, values)).rows as T[]
  } finally {
    await sql.query('ROLLBACK')
  }
}
export const value = async <T = any>(query: string, values: unknown[] = []): Promise<T> => Object.values((await rows(query, values))[0] ?? {})[0] as T

// Only to end a test that has failed: nothing is waited for that has already happened.
const patience = Number(process.env['CHS_TEST_PATIENCE'] ?? 30_000)
let browser: Browser
/** Call once in a file of tests. */
export function setUp(): void {
  before(async () => {
    assert.ok(existsSync(dist + 'index.html'), 'the front is not built: npm run build -w ui')
    mkdirSync(shots, { recursive: true })
    pg.types.setTypeParser(pg.types.builtins.INT8, Number)
    sql = new pg.Client({ user: superuser })
    await sql.connect()
    await startServer()
    browser = await chromium.launch({
      executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
      args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
    })
  })
  after(async () => {
    await browser?.close()
    await stopServer()
    await sql?.end()
  })
}

const states = new Map<string, Awaited<ReturnType<BrowserContext['storageState']>>>()
async function stateOf(person: string) {
  let state = states.get(person)
  if (!state) {
    const context = await browser.newContext()
    const answer = await context.request.post(`${origin()}/api/v1/session`, { data: { user: person, password: 'demo' } })
    assert.equal(answer.status(), 204, `${person} cannot log in: ${await answer.text()}`)
    state = await context.storageState()
    states.set(person, state)
    await context.close()
  }
  return state
}

export interface Look { width?: number; height?: number; scheme?: 'light' | 'dark'; reduced?: boolean }
/** A page of somebody, or of nobody yet; messages of its console are kept. */
export interface Opened { page: Page; context: BrowserContext; messages: string[]; close(): Promise<void> }

/** Opens an address as a person. What it logs, or what the content security policy forbids, fails the test, unless it is expected. */
export async function open(person: string | null, path: string, look: Look = {}, prepare?: (page: Page) => Promise<unknown>): Promise<Opened> {
  const context = await browser.newContext({
    viewport: { width: look.width ?? 1440, height: look.height ?? 900 }, colorScheme: look.scheme ?? 'light', reducedMotion: 'reduce',
    locale: 'en-GB', timezoneId: 'UTC', ...(person !== null && { storageState: await stateOf(person) }),
  })
  const page = await context.newPage()
  page.setDefaultTimeout(patience)
  const messages: string[] = []
  page.on('console', (message) => { if (message.type() === 'error' || message.type() === 'warning') messages.push(`${message.type()}: ${message.text()}`) })
  page.on('pageerror', (error) => messages.push(`uncaught: ${error.message}`))
  await prepare?.(page)
  await page.goto(origin() + path)
  return { page, context, messages, close: () => context.close() }
}

/** Opens, does something, and demands that the console stayed empty; `expected` are messages that the test provokes. */
export async function visit(person: string | null, path: string, what: (page: Page, opened: Opened) => Promise<unknown>, { look, prepare, expected }: { look?: Look; prepare?: (page: Page) => Promise<unknown>; expected?: RegExp } = {}): Promise<void> {
  const opened = await open(person, path, look, prepare)
  try {
    await what(opened.page, opened)
    assert.deepEqual(opened.messages.filter((m) => !expected?.test(m)), [], `the console of ${path}`)
  } catch (error) {
    // What the page showed tells most.
    const shown = await opened.page.evaluate(() => document.body.innerText).catch(() => '')
    console.error(`${opened.page.url()} showed:\n${shown.slice(0, 1500)}\n${opened.messages.join('\n')}`)
    throw error
  } finally {
    await opened.close()
  }
}

/** Waits until something holds. */
export async function until<T>(what: () => Promise<T | null | undefined | false>, why: string): Promise<T> {
  const end = Date.now() + patience
  for (;;) {
    const result = await what()
    if (result) return result
    if (Date.now() > end) assert.fail(`waited in vain: ${why}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** What axe-core finds by WCAG 2.2 AA and best practice; nothing is the promise. */
export async function findings(page: Page): Promise<string[]> {
  // By the protocol, since the policy of the page lets no script in.
  await page.evaluate(axe)
  return page.evaluate(async () => {
    const result = await (window as any).axe.run(document, { resultTypes: ['violations'] })
    return result.violations.flatMap((v: any) => v.nodes.map((n: any) => `${v.id}: ${n.target.join(' ')}: ${n.failureSummary.split('\n').slice(1).join(' ').trim()}`))
  })
}

export async function shoot(page: Page, name: string, fullPage = false): Promise<void> {
  await page.screenshot({ path: `${shots}/${name}.png`, fullPage, animations: 'disabled' })
}

/** Whether something has to be scrolled sideways to be read. */
export const sideways = (page: Page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)

// The database: every request is one transaction, as the role of its token, and one fixed statement that returns JSON.
import pg from 'pg'
import { parseIntoClientConfig } from 'pg-connection-string'
import type { Config } from './config.ts'
import { Problem } from './problem.ts'

/** Whom a request is for: role is a role of PostgreSQL, actor the person, for chs.actor and the audit. */
export interface Identity { role: string; actor: string }

/** What the audit says about a write besides who made it. */
export interface Call { method: string; route: string; requestId: string }

/**
 * A prepared statement, whose text never depends on a request: it returns at most one row, whose column json is text.
 * milliseconds: it may take so long.  planned: anew each time, for statements with filters that may be NULL.
 */
export interface Statement { name: string; text: string; milliseconds?: number; planned?: boolean }

export const statement = (name: string, text: string, more: Pick<Statement, 'milliseconds' | 'planned'> = {}): Statement => ({ name, text, ...more })

const become = {
  name: 'become',
  text: `SELECT set_config('role', $1, true), set_config('chs.actor', $2, true),
                set_config('statement_timeout', $3, true), set_config('plan_cache_mode', $4, true)`,
}
const audit = {
  name: 'audit',
  text: `INSERT INTO chs_web.audit (role_name, actor, method, route, target, request_id) VALUES ($1, $2, $3, $4, $5, $6)`,
}
const asWho = (who: Identity, what: Pick<Statement, 'milliseconds' | 'planned'>) => ({
  ...become, values: [who.role, who.actor, String(what.milliseconds ?? 5000), what.planned ? 'force_custom_plan' : 'auto'],
})
const asServer = `SELECT set_config('role', 'none', true)`

/** How to connect: to the database that DATABASE_URL or the PG* variables name, as chs_web unless they name a role. */
export function connection(config: Config): pg.ClientConfig {
  const where: pg.ClientConfig = config.url === undefined ? {} : parseIntoClientConfig(config.url)
  return {
    ...where, user: where.user ?? process.env['PGUSER'] ?? 'chs_web', ...(config.password !== undefined && { password: config.password }), application_name: 'chs_web',
    connectionTimeoutMillis: 5000, keepAlive: true, idle_in_transaction_session_timeout: 60_000,
  }
}

// A role that has rights of its own would lend them to everybody, however little a request's role may do: nothing is done as one.
const powers = {
  name: 'powers',
  text: `SELECT current_user AS role FROM pg_roles WHERE rolname = current_user AND (rolsuper OR rolinherit OR rolbypassrls)`,
}
function verify(client: pg.PoolClient, done: (error?: Error) => void): void {
  client.query<{ role: string }>(powers).then(
    ({ rows: [row] }) => done(row && new Problem(503, 'The server is not set up as it should be.', { hint: `It connects as "${row.role}", a superuser, or a role that inherits rights or is not held by row-level security. It should be chs_web; see web/sql/setup.sql.` })),
    done)
}

type Answer = pg.QueryResult<{ json: string | null }>
const jsonOf = (answer: Answer) => answer.rows[0]?.json ?? null

export class Database {
  /** Connections for one statement each; what is sent together travels together. */
  readonly requests: pg.Pool
  /** A few for what lasts longer: exports and bulk loads, which cannot be pipelined. */
  readonly streams: pg.Pool

  constructor(config: Config, onError: (error: Error) => void) {
    this.requests = new pg.Pool({ ...connection(config), max: config.connections, pipeline: true, verify } as pg.PoolConfig)
    this.streams = new pg.Pool({ ...connection(config), max: config.streamConnections, connectionTimeoutMillis: 2000, verify } as pg.PoolConfig)
    this.requests.on('error', onError)
    this.streams.on('error', onError)
  }

  /** Runs one statement as somebody, in a transaction that cannot write, in one round trip.  Returns the JSON; null: no row. */
  async read(who: Identity, what: Statement, values: unknown[] = []): Promise<string | null> {
    const [, , answer] = await this.#together('BEGIN READ ONLY', asWho(who, what), { name: what.name, text: what.text, values }, 'COMMIT')
    return jsonOf(answer!)
  }

  /**
   * Runs one statement that writes, and adds it to the audit in the same transaction; target tells, from the JSON, what
   * was written.  If there is no JSON, nothing is written, and null is returned.
   */
  async write(who: Identity, call: Call, what: Statement, values: unknown[], target: (json: string) => string | number | null): Promise<string | null> {
    return this.#use(this.requests, async client => {
      const [, , answer] = await all(client, 'BEGIN', asWho(who, what), { name: what.name, text: what.text, values })
      const json = jsonOf(answer!)
      if (json === null) {
        await client.query('ROLLBACK')
        return null
      }
      await all(client, asServer, auditOf(who, call, target(json)), asWho(who, what), 'COMMIT')
      return json
    })
  }

  /** Runs one statement that writes, in a transaction that is rolled back: what would be, if. */
  async tryOut(who: Identity, what: Statement, before: Statement, values: unknown[]): Promise<string | null> {
    return this.#use(this.requests, async client => {
      const [, , , answer] = await all(client, 'BEGIN', asWho(who, what), { name: before.name, text: before.text, values }, { name: what.name, text: what.text, values: [] }, 'ROLLBACK')
      return jsonOf(answer!)
    })
  }

  /**
   * Lends a connection that is in a transaction as somebody, for what needs many statements; what the function throws rolls
   * it back.  audited: as write() does, of what the function returns.
   */
  async stream<T>(who: Identity, begin: string, limits: Pick<Statement, 'milliseconds' | 'planned'>, work: (client: pg.PoolClient) => Promise<T>,
    audited?: { call: Call; target: (result: T) => string | number | null }): Promise<T> {
    return this.#use(this.streams, async client => {
      await client.query(begin)
      await client.query(asWho(who, limits))
      const result = await work(client)
      if (audited) {
        await client.query(asServer)
        await client.query(auditOf(who, audited.call, audited.target(result)))
        await client.query(asWho(who, limits))
      }
      await client.query('COMMIT')
      return result
    })
  }

  /** Whether the database answers and is set up: null, or what is wrong. */
  async trouble(): Promise<string | null> {
    const [answer] = await this.#together({
      text: `SELECT CASE WHEN to_regclass('chs.customers') IS NULL THEN 'the database has no extension chs'
                         WHEN to_regclass('chs_web.audit') IS NULL THEN 'the database is not set up: run web/sql/setup.sql' END AS json`,
    })
    return jsonOf(answer!)
  }

  async close(): Promise<void> {
    await Promise.all([this.requests.end(), this.streams.end()])
  }

  async #together(...queries: (string | pg.QueryConfig)[]): Promise<Answer[]> {
    return this.#use(this.requests, client => all(client, ...queries))
  }

  async #use<T>(pool: pg.Pool, work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    const client = await pool.connect()
    const onError = () => { /* the query that is running tells */ }
    client.on('error', onError)
    let whole = false
    try {
      const result = await work(client)
      whole = true
      return result
    } finally {
      client.off('error', onError)
      if (!whole) {
        // What failed may have left the transaction open, or the connection dead.
        whole = await client.query('ROLLBACK').then(() => true, () => false)
      }
      client.release(!whole)
    }
  }
}

const auditOf = (who: Identity, call: Call, target: string | number | null) =>
  ({ ...audit, values: [who.role, who.actor, call.method, call.route, target === null ? null : String(target), call.requestId] })

/** Sends all queries at once.  If one fails, so do those after it, since they are of one transaction; the first error is thrown. */
async function all(client: pg.PoolClient, ...queries: (string | pg.QueryConfig)[]): Promise<Answer[]> {
  const results = await Promise.allSettled(queries.map(query => client.query(query as pg.QueryConfig)))
  for (const result of results) if (result.status === 'rejected') throw result.reason
  return results.map(result => (result as PromiseFulfilledResult<Answer>).value)
}

// The database: every request is one transaction, as the role of its token, and one fixed statement that returns JSON.
import pg from 'pg'
import type { Config } from './config.ts'

/** Whom a request is for: role is a role of PostgreSQL, actor the person, for chs.actor and the audit. */
export interface Identity { role: string; actor: string }

/** A prepared statement.  Its text never depends on a request. */
export interface Statement { name: string; text: string }

/** Names a statement; the text is to return at most one row, whose column json is text. */
export const statement = (name: string, text: string): Statement => ({ name, text })

const become = {
  name: 'become',
  text: `SELECT set_config('role', $1, true), set_config('chs.actor', $2, true)`,
}

/** How to connect: to the database that DATABASE_URL or the PG* variables name, as chs_web unless they name a role. */
export function connection(config: Config): pg.ClientConfig {
  const user = config.url ? {} : { user: process.env['PGUSER'] ?? 'chs_web' }
  return { ...(config.url && { connectionString: config.url }), ...user, application_name: 'chs_web', connectionTimeoutMillis: 5000, keepAlive: true }
}

export class Database {
  readonly #pool: pg.Pool

  constructor(config: Config, onError: (error: Error) => void) {
    this.#pool = new pg.Pool({ ...connection(config), max: config.connections, pipeline: true } as pg.PoolConfig)
    this.#pool.on('error', onError)
  }

  /** Runs one statement as somebody, in a transaction that cannot write, in one round trip.  Returns the JSON, or null without a row. */
  read(who: Identity, what: Statement, values: unknown[] = []): Promise<string | null> {
    return this.#run('BEGIN READ ONLY', who, what, values)
  }

  async #run(begin: string, who: Identity, what: Statement, values: unknown[]): Promise<string | null> {
    const client = await this.#pool.connect()
    let broken = true
    try {
      // All four are sent at once.  If one fails, those after it do, too, and COMMIT rolls back.
      const all = await Promise.allSettled([
        client.query(begin),
        client.query({ ...become, values: [who.role, who.actor] }),
        client.query({ ...what, values }),
        client.query('COMMIT'),
      ])
      broken = all[3].status === 'rejected'
      for (const one of all) if (one.status === 'rejected') throw one.reason
      const row = (all[2] as PromiseFulfilledResult<pg.QueryResult<{ json: string | null }>>).value.rows[0]
      return row?.json ?? null
    } finally {
      client.release(broken)
    }
  }

  async close(): Promise<void> {
    await this.#pool.end()
  }
}

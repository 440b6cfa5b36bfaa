// Changes of status as they happen, by server-sent events.
//
// One connection listens.  An announcement only wakes: what has changed, each subscriber's own role reads by
// chs_status_changes(), so row-level security decides, and nothing rests on announcements that may be lost.  The id of an
// event is the snapshot that it was read with; a browser that comes back sends it, and gets what that snapshot did not see,
// in whatever order transactions have committed.
import type { FastifyBaseLogger } from 'fastify'
import type { ServerResponse } from 'node:http'
import pg from 'pg'
import type { Config } from './config.ts'
import { connection, type Database, type Identity, statement } from './db.ts'
import { problemOf } from './problem.ts'

const most = 200
const changes = statement('status_changes', `
  WITH c AS MATERIALIZED (
    SELECT s.customer_id, s.previous_status, s.status, s.score, s.changed_at FROM chs_status_changes($1::text::pg_snapshot) s LIMIT ${most + 1})
  SELECT json_build_object('snapshot', pg_current_snapshot()::text, 'resync', (SELECT count(*) FROM c) > ${most},
    'changes', (SELECT COALESCE(json_agg(json_build_object('customer_id', c.customer_id, 'name', k.name, 'previous_status', c.previous_status,
                  'status', c.status, 'score', c.score, 'changed_at', c.changed_at)), '[]')
                FROM c JOIN chs.customers k USING (customer_id)))::text AS json`)
const present = statement('snapshot', `SELECT json_build_object('snapshot', pg_current_snapshot()::text)::text AS json`)

/** What the id of an event looks like: a snapshot, "xmin:xmax:xip,xip". */
export const snapshotPattern = '^[0-9]{1,20}:[0-9]{1,20}:([0-9]{1,20}(,[0-9]{1,20}){0,5000})?$'

interface Subscriber {
  who: Identity
  since: string
  response: ServerResponse
  expires: number
}

export class Streams {
  readonly #config: Config
  readonly #db: Database
  readonly #log: FastifyBaseLogger
  readonly #subscribers = new Set<Subscriber>()
  #client: pg.Client | undefined
  #timer: NodeJS.Timeout | undefined
  #reading = false
  #again = false
  #closed = false
  readonly #heartbeat: NodeJS.Timeout

  constructor(config: Config, db: Database, log: FastifyBaseLogger) {
    this.#config = config
    this.#db = db
    this.#log = log
    this.#heartbeat = setInterval(() => this.#beat(), 15_000)
    this.#heartbeat.unref()
  }

  get size(): number { return this.#subscribers.size }

  /** How many a person has open. */
  countOf(who: Identity): number {
    let n = 0
    for (const one of this.#subscribers) if (one.who.role === who.role && one.who.actor === who.actor) n++
    return n
  }

  /**
   * Where a stream begins: at the snapshot that was seen last, else now.  Rejects if that is none, or if the role may not
   * follow changes.
   */
  async begin(who: Identity, last: string | undefined): Promise<string> {
    const since = last ?? (JSON.parse((await this.#db.read(who, present))!) as { snapshot: string }).snapshot
    await this.#db.read(who, changes, [since])
    return since
  }

  /** Sends to a response what a snapshot did not see, and from then on what happens, until one of both ends or the time, in seconds, has come. */
  add(who: Identity, since: string, response: ServerResponse, expires: number): void {
    const subscriber: Subscriber = { who, since, response, expires }
    this.#subscribers.add(subscriber)
    response.once('close', () => {
      this.#subscribers.delete(subscriber)
      if (this.#subscribers.size === 0) this.#stopListening()
    })
    response.write(`retry: 2000\nid: ${since}\nevent: open\ndata: {}\n\n`)
    this.#listen()
    this.wake(0)
  }

  /** Has everybody's changes read soon; many announcements in a moment are one. */
  wake(milliseconds = 50): void {
    if (this.#closed) return
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      void this.#deliver()
    }, milliseconds)
  }

  close(): void {
    this.#closed = true
    clearInterval(this.#heartbeat)
    clearTimeout(this.#timer)
    this.#stopListening()
    for (const { response } of this.#subscribers) response.end()
  }

  async #deliver(): Promise<void> {
    if (this.#reading) {
      this.#again = true
      return
    }
    this.#reading = true
    try {
      // Those of one person who have seen the same are told the same.
      const groups = new Map<string, Subscriber[]>()
      for (const one of this.#subscribers) {
        const key = JSON.stringify([one.who.role, one.who.actor, one.since])
        groups.get(key)?.push(one) ?? groups.set(key, [one])
      }
      await Promise.all([...groups.values()].map(group => this.#tell(group)))
    } finally {
      this.#reading = false
      if (this.#again) {
        this.#again = false
        this.wake()
      }
    }
  }

  async #tell(group: Subscriber[]): Promise<void> {
    const { who, since } = group[0]!
    try {
      const json = (await this.#db.read(who, changes, [since]))!
      const { snapshot, resync, changes: news } = JSON.parse(json) as { snapshot: string; resync: boolean; changes: unknown[] }
      const event = resync ? `event: resync\ndata: {}\n\n` : news.length > 0 ? `event: changes\ndata: ${JSON.stringify({ changes: news })}\n\n` : null
      for (const one of group) {
        one.since = snapshot
        if (event !== null) this.#send(one, `id: ${snapshot}\n${event}`)
      }
    } catch (error) {
      const problem = problemOf(error)
      if (problem?.status === 503 || problem?.status === 504) {
        // Nothing is lost: the next attempt begins where this one did.
        this.wake(1000)
        return
      }
      this.#log.warn({ err: error }, 'a stream has ended')
      for (const one of group) one.response.end()
    }
  }

  #send(subscriber: Subscriber, text: string): void {
    subscriber.response.write(text)
    // Who does not read is let go, and may come back.
    if (subscriber.response.writableLength > 1 << 20) subscriber.response.destroy()
  }

  #beat(): void {
    const now = Date.now() / 1000
    for (const one of this.#subscribers) {
      if (now >= one.expires) {
        one.response.end('event: expired\ndata: {}\n\n')
      } else {
        // The position moves on even if nothing happens to those whom the role may see.
        this.#send(one, `id: ${one.since}\nevent: alive\ndata: {}\n\n`)
      }
    }
    // An announcement that was lost, however that could be, is made up for.
    if (this.#subscribers.size > 0) this.wake()
  }

  #listen(): void {
    if (this.#client || this.#closed) return
    const client = new pg.Client({ ...connection(this.#config), application_name: 'chs_web stream' })
    this.#client = client
    const again = (error?: unknown) => {
      if (this.#client !== client) return
      if (error) this.#log.warn({ err: error }, 'the connection that listens has ended')
      this.#client = undefined
      client.end().catch(() => {})
      if (this.#subscribers.size > 0) setTimeout(() => this.#listen(), 500).unref()
    }
    client.on('error', again)
    client.on('end', () => again())
    client.on('notification', () => this.wake())
    // What happened before it listened, or while it did not, is read then.
    client.connect().then(() => client.query('LISTEN chs_status')).then(() => this.wake(0), again)
  }

  #stopListening(): void {
    const client = this.#client
    this.#client = undefined
    client?.end().catch(() => {})
  }
}

// Server-sent events: nothing is missed across reconnects, in whatever order transactions commit, and nobody is told of others.
import assert from 'node:assert/strict'
import { get, type IncomingMessage } from 'node:http'
import { after, before, test } from 'node:test'
import type pg from 'pg'
import { as, ask, at, database, serve, superuser, until, type Server } from './harness.ts'

const name = 'web_stream'
let server: Server
let admin: pg.Client

const script = `
  INSERT INTO chs.customers (customer_id, name, owner, created_at) SELECT n, 'customer ' || n, CASE WHEN n % 2 = 0 THEN 'mia' ELSE 'leo' END, now() - interval '300 days' FROM generate_series(1, 400) n;
  SELECT chs_process_queue();
  DO $$ DECLARE r text; BEGIN
    FOREACH r IN ARRAY '{mia,leo,web_nobody}'::text[] LOOP
      IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r) THEN EXECUTE format('CREATE ROLE %I', r); END IF;
    END LOOP; END $$;
  SELECT chs_grant('mia', 'read'), chs_grant('leo', 'read'), chs_web.admit('mia'), chs_web.admit('leo'), chs_web.admit('web_nobody');
  SELECT chs_pause('the tests process the queue themselves');
`

before(async () => {
  await database(name, script)
  admin = await superuser(name)
  server = await serve({ url: at(name) })
})

interface Event { id: string; event: string; data: any }
const open: Stream[] = []
after(() => { for (const stream of open) stream.close() })

class Stream {
  readonly events: Event[] = []
  status = 0
  headers: IncomingMessage['headers'] = {}
  ended = false
  #response: IncomingMessage | undefined
  #rest = ''
  body = ''

  static async open(where: { url: string }, who: string | Record<string, string>, last?: string): Promise<Stream> {
    const stream = new Stream()
    open.push(stream)
    const headers = { ...(typeof who === 'string' ? await as(who) : who), ...(last !== undefined && { 'last-event-id': last }) }
    await new Promise<void>((resolve, reject) => {
      get(`${where.url}/stream`, { headers, agent: false }, response => {
        stream.status = response.statusCode!
        stream.headers = response.headers
        stream.#response = response
        response.setEncoding('utf8')
        response.on('data', chunk => stream.#take(chunk as string)).on('close', () => { stream.ended = true }).on('error', () => {})
        resolve()
      }).on('error', reject)
    })
    if (stream.status === 200) await until(async () => stream.events.length > 0)
    return stream
  }

  #take(chunk: string) {
    this.body += chunk
    const parts = (this.#rest + chunk).split('\n\n')
    this.#rest = parts.pop()!
    for (const part of parts) {
      const lines = Object.fromEntries(part.split('\n').map(line => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]))
      this.events.push({ id: lines['id'] ?? '', event: lines['event'] ?? 'message', data: lines['data'] === undefined ? null : JSON.parse(lines['data']) })
    }
  }

  get last(): string { return this.events.findLast(e => e.id !== '')!.id }
  get told(): { customer_id: number; status: string; previous_status: string }[] { return this.events.filter(e => e.event === 'changes').flatMap(e => e.data.changes) }
  close() { this.#response?.destroy() }
}

/** Makes the status of customers another one. */
async function change(client: pg.Client, customers: number[]): Promise<void> {
  // An event of each kind makes it known and healthy; without any it is not.
  for (const customer of customers) {
    const [{ status }] = (await client.query('SELECT chs_status($1) AS status', [customer])).rows
    if (status === 'healthy') {
      await client.query('DELETE FROM chs.customer_events WHERE customer_id = $1', [customer])
    } else {
      await client.query(`INSERT INTO chs.customer_events (customer_id, event_type, event_data)
        SELECT $1, t, d::jsonb FROM (VALUES ('api_call', '{"endpoint":"/a"}'), ('login', '{"ip_address":"x"}'), ('payment', '{"amount":5}'), ('feature_use', '{"feature_name":"f"}')) v(t, d), generate_series(1, 400)`, [customer])
    }
  }
  await client.query('SELECT chs_process_queue()')
}

test('changes come as they happen, once each', async () => {
  const stream = await Stream.open(server, 'mia')
  assert.equal(stream.headers['content-type'], 'text/event-stream; charset=utf-8')
  assert.equal(stream.headers['x-accel-buffering'], 'no')
  assert.equal(stream.headers['content-security-policy'] !== undefined, true)
  await change(admin, [1, 2])
  await until(async () => stream.told.length === 2)
  assert.deepEqual(stream.told.map(c => c.customer_id).sort(), [1, 2])
  const [row] = (await admin.query('SELECT status FROM chs.customer_health WHERE customer_id = 1')).rows
  assert.equal(stream.told.find(c => c.customer_id === 1)!.status, row.status)
  await change(admin, [3])
  await until(async () => stream.told.length === 3)
  assert.equal(stream.told[2]!.customer_id, 3)
  stream.close()
})

test('a browser that comes back is told what it missed, and nothing twice', async () => {
  const first = await Stream.open(server, 'mia')
  await change(admin, [4])
  await until(async () => first.told.length === 1)
  const last = first.last
  first.close()
  await change(admin, [5])
  await change(admin, [6])
  const second = await Stream.open(server, 'mia', last)
  await until(async () => second.told.length >= 2)
  await change(admin, [7])
  await until(async () => second.told.length >= 3)
  assert.deepEqual(second.told.map(c => c.customer_id), [5, 6, 7])
  second.close()
})

test('transactions that commit in another order than they began are all told of', async () => {
  const slow = await superuser(name)
  const stream = await Stream.open(server, 'mia')
  await slow.query('BEGIN')
  await change(slow, [11])
  await change(admin, [12])
  await until(async () => stream.told.length === 1)
  assert.equal(stream.told[0]!.customer_id, 12)
  const last = stream.last
  stream.close()
  await slow.query('COMMIT')
  // Its rows have lower numbers than what was seen.
  const again = await Stream.open(server, 'mia', last)
  await until(async () => again.told.length >= 1)
  await change(admin, [13])
  await until(async () => again.told.length >= 2)
  assert.deepEqual(again.told.map(c => c.customer_id), [11, 13])
  again.close()
})

test('also for many, at random, with streams that come and go', async () => {
  const others = await Promise.all([superuser(name), superuser(name), superuser(name)])
  const streams = [await Stream.open(server, 'mia'), await Stream.open(server, 'mia')]
  const seen: number[][] = [[], []]
  const expected: number[] = []
  let next = 20
  const harvest = (n: number) => { seen[n]!.push(...streams[n]!.told.map(c => c.customer_id)) }
  for (let round = 0; round < 6; round++) {
    // Three transactions begin, and commit in an order of chance.
    for (const client of others) {
      await client.query('BEGIN')
      await change(client, [next])
      expected.push(next++)
    }
    for (const client of others.map(c => [Math.random(), c] as const).sort(([a], [b]) => a - b).map(([, c]) => c)) {
      await client.query('COMMIT')
      const n = Math.floor(Math.random() * 2)
      const last = streams[n]!.last
      harvest(n)
      streams[n]!.close()
      streams[n] = await Stream.open(server, 'mia', last)
    }
  }
  for (const n of [0, 1]) {
    await until(async () => seen[n]!.length + streams[n]!.told.length >= expected.length)
    harvest(n)
    assert.deepEqual([...seen[n]!].sort((a, b) => a - b), expected, 'each once')
    streams[n]!.close()
  }
})

test('a listener that is killed is replaced, and nothing is lost', async () => {
  const stream = await Stream.open(server, 'mia')
  await until(async () => (await admin.query(`SELECT pid FROM pg_stat_activity WHERE application_name = 'chs_web stream' AND datname = $1 AND query LIKE 'LISTEN%'`, [name])).rows.length === 1)
  await admin.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'chs_web%' AND datname = $1`, [name])
  await change(admin, [50])
  await until(async () => stream.told.length === 1)
  assert.equal(stream.told[0]!.customer_id, 50)
  assert.equal(stream.ended, false)
  stream.close()
})

test('too much at once is told as such', async () => {
  const stream = await Stream.open(server, 'mia')
  await change(admin, Array.from({ length: 210 }, (_, n) => 100 + n))
  await until(async () => stream.events.some(e => e.event === 'resync'))
  assert.equal(stream.told.length, 0)
  await change(admin, [60])
  await until(async () => stream.told.length === 1)
  stream.close()
})

test('row-level security decides who is told', async () => {
  await admin.query('ALTER TABLE chs.customers ENABLE ROW LEVEL SECURITY')
  await admin.query('CREATE POLICY own ON chs.customers TO mia, leo USING (owner = current_user)')
  const mia = await Stream.open(server, 'mia')
  const leo = await Stream.open(server, 'leo')
  await change(admin, [70, 71, 72, 73])
  await until(async () => mia.told.length === 2 && leo.told.length === 2)
  assert.deepEqual(mia.told.map(c => c.customer_id).sort(), [70, 72])
  assert.deepEqual(leo.told.map(c => c.customer_id).sort(), [71, 73])
  assert.ok(!mia.body.includes('customer 71') && !leo.body.includes('customer 70'))
  mia.close()
  leo.close()
  await admin.query('ALTER TABLE chs.customers DISABLE ROW LEVEL SECURITY')
})

test('streams are limited, for one person and for all', async () => {
  const narrow = await serve({ url: at(name), streamsPerPerson: 2, streams: 3 })
  const streams = [await Stream.open(narrow, 'mia'), await Stream.open(narrow, 'mia')]
  assert.equal((await ask(narrow, 'mia', 'GET', '/stream')).status, 429)
  streams.push(await Stream.open(narrow, 'leo'))
  const answer = await ask(narrow, 'leo', 'GET', '/stream')
  assert.equal(answer.status, 503)
  assert.ok(answer.headers.get('retry-after'))
  streams[0]!.close()
  await until(async () => (await fetch(narrow.url.replace('/api/v1', '/metrics')).then(r => r.text())).includes('chs_web_streams 2'))
  streams.push(await Stream.open(narrow, 'mia'))
  for (const stream of streams) stream.close()
})

test('who may not read, and ids that are none, are refused', async () => {
  assert.equal((await ask(server, 'web_nobody', 'GET', '/stream')).status, 403)
  for (const id of ['x', '1', '1:2', "1:2:3'", '5:1:']) {
    const answer = await ask(server, 'mia', 'GET', '/stream', undefined, { 'last-event-id': id })
    assert.equal(answer.status, 422, `${id}: ${answer.text.slice(0, 100)}`)
  }
})

test('streams end when the server does, and it ends at once', async () => {
  const going = await serve({ url: at(name) })
  const stream = await Stream.open(going, 'mia')
  await going.close()
  await until(async () => stream.ended)
})

// Nothing that a role may not see in SQL is seen by HTTP: row-level security is on, and both are compared for each role.
import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import type pg from 'pg'
import { as, ask, at, database, openapi, rowsOf, serve, superuser, type Server } from './harness.ts'

const name = 'web_rights'
let server: Server
let admin: pg.Client

// 60 customers with names that stand nowhere else, looked after by three people; and events, so that scores differ.
const script = `
  SET timezone = 'UTC';
  INSERT INTO chs.customers (customer_id, external_id, name, email, segment, owner, value, created_at)
  SELECT n, 'ext' || md5(n::text), 'name' || md5('n' || n), 'mail' || md5('m' || n) || '@example.com', (ARRAY['smb','startup','enterprise'])[1 + n % 3],
         (ARRAY['mia','leo','somebody'])[1 + n % 3 * (n % 2)], n * 100, now() - interval '200 days'
  FROM generate_series(1, 60) n;
  INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
  SELECT c, t, CASE t WHEN 'api_call' THEN '{"endpoint":"/a"}' WHEN 'login' THEN '{"ip_address":"192.0.2.1"}' WHEN 'payment' THEN '{"amount":10}'
                     WHEN 'feature_use' THEN '{"feature_name":"f"}' ELSE '{}' END::jsonb, now() - interval '1 day' * d
  FROM generate_series(1, 60) c, generate_series(0, 59) d, unnest('{api_call,login,payment,feature_use}'::text[]) t
  WHERE (c * 7 + d * 3 + length(t)) % 60 < c;
  SELECT chs_process_queue();
  CALL chs_backfill_history((now() AT TIME ZONE 'UTC')::date - 100);
  UPDATE chs.customers SET churned_at = now() - interval '3 days' WHERE customer_id IN (9, 10);
  SELECT chs_process_queue();
  INSERT INTO chs_web.notes (customer_id, note, actor) SELECT n, 'note' || md5('note' || n), 'somebody' FROM generate_series(1, 60) n;
  DO $$ DECLARE r text; BEGIN
    FOREACH r IN ARRAY '{mia,leo,ada,otto,web_record}'::text[] LOOP
      IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r) THEN EXECUTE format('CREATE ROLE %I', r); END IF;
    END LOOP; END $$;
  SELECT chs_grant(p, m), chs_web.admit(p) FROM (VALUES ('mia'::name, 'read'), ('mia', 'record'), ('leo', 'read'), ('ada', 'read'), ('ada', 'administer'),
    ('otto', 'read'), ('otto', 'operate'), ('web_record', 'record')) v(p, m);
  ALTER TABLE chs.customers ENABLE ROW LEVEL SECURITY;
  CREATE POLICY own ON chs.customers TO mia, leo USING (owner = current_user);
  CREATE POLICY large ON chs.customers TO ada USING (segment = 'enterprise');
  CREATE POLICY every ON chs.customers TO otto USING (customer_id <= 50 OR current_setting('chs.actor', true) = 'the other otto');
`

interface Who { role: string; actor: string; sees: Set<number> }
const people: Who[] = []
let everyone: { customer_id: number; name: string; external_id: string; email: string; note: string; gone: boolean }[]

before(async () => {
  await database(name, script)
  admin = await superuser(name)
  server = await serve({ url: at(name) })
  everyone = await rowsOf(admin, `
    SELECT c.customer_id::integer, c.name, c.external_id, c.email, n.note, c.churned_at IS NOT NULL AS gone FROM chs.customers c JOIN chs_web.notes n USING (customer_id) ORDER BY 1`)
  for (const [role, actor] of [['mia', 'mia'], ['leo', 'leo'], ['ada', 'ada'], ['otto', 'otto'], ['otto', 'the other otto']] as const) {
    await admin.query('BEGIN')
    await admin.query(`SELECT set_config('role', $1, true), set_config('chs.actor', $2, true)`, [role, actor])
    const sees = new Set((await admin.query('SELECT customer_id::integer AS id FROM chs.customers')).rows.map(row => row.id as number))
    await admin.query('ROLLBACK')
    people.push({ role, actor, sees })
  }
})

const header = async (who: Who) => as(who.role, who.actor)

/** Every page of a list. */
async function all(who: Who, path: string): Promise<any[]> {
  const rows: any[] = []
  let after: string | null = null
  do {
    const answer = await ask(server, await header(who), 'GET', `${path}${path.includes('?') ? '&' : '?'}limit=7${after === null ? '' : `&after=${after}`}`)
    assert.equal(answer.status, 200, answer.text)
    rows.push(...answer.json.customers)
    after = answer.json.next
  } while (after !== null)
  return rows
}

/** That a text tells of nobody whom one may not see. */
function tellsNothing(who: Who, text: string, what: string) {
  for (const customer of everyone) {
    if (who.sees.has(customer.customer_id)) continue
    for (const word of [customer.name, customer.external_id, customer.email, customer.note]) {
      assert.ok(!text.includes(word), `${what} tells ${who.role} (${who.actor}) of customer ${customer.customer_id}`)
    }
  }
}

test('each of the people sees some customers, and not all', () => {
  assert.deepEqual(people.map(p => p.sees.size > 0), people.map(() => true))
  assert.deepEqual(people.filter(p => p.sees.size === everyone.length).map(p => p.actor), ['the other otto'])
  assert.equal(new Set(people.map(p => [...p.sees].join())).size, people.length)
})

describe('lists', () => {
  const sorts = openapi.paths['/api/v1/customers'].get.parameters.find((p: any) => p.name === 'sort').schema.enum as string[]
  for (const sort of sorts) {
    for (const filter of ['', 'status=at_risk&status=critical', 'status=healthy', 'churned=true', 'factor=api_usage', 'segment=enterprise', 'owner=mia', 'q=name']) {
      test(`${sort} ${filter}`, async () => {
        for (const who of people) {
          const rows = await all(who, `/customers?sort=${sort}&${filter}&count=exact&fields=sparkline`)
          for (const row of rows) assert.ok(who.sees.has(row.customer_id), `${who.actor} is shown ${row.customer_id}`)
          if (filter === '') {
            const expected = everyone.filter(c => who.sees.has(c.customer_id) && !c.gone).map(c => c.customer_id)
            assert.deepEqual(rows.map(row => row.customer_id).sort((a, b) => a - b), expected)
          }
          const first = await ask(server, await header(who), 'GET', `/customers?sort=${sort}&${filter}&count=exact`)
          assert.equal(first.json.total, rows.length, `total of ${who.actor}`)
          const csv = await ask(server, await header(who), 'GET', `/customers.csv?sort=${sort}&${filter}`)
          assert.deepEqual(csv.text.trim().split('\r\n').slice(1).map(line => Number(line.split(',')[0])), rows.map(row => row.customer_id), 'the same as CSV')
        }
      })
    }
  }
})

test('a customer, whole and in parts', async () => {
  for (const who of people) {
    for (const { customer_id } of everyone.filter(c => c.customer_id % 5 < 2)) {
      for (const part of ['', '/change', '/recommendations', '/history', '/activity', `?as_of=2026-01-01`]) {
        const answer = await ask(server, await header(who), 'GET', `/customers/${customer_id}${part}`)
        if (who.sees.has(customer_id)) {
          assert.ok(answer.status === 200 || (part.startsWith('?') && answer.status === 404), `${part}: ${answer.text}`)
        } else {
          assert.equal(answer.status, 404, `${who.actor}, customer ${customer_id}${part}: ${answer.text.slice(0, 200)}`)
          // As of one who does not exist: nobody learns which numbers are taken.
          const none = await ask(server, await header(who), 'GET', `/customers/999${part}`)
          assert.equal(answer.text.replace(`customer ${customer_id} `, 'customer N ').replace(/"instance":"[^"]*"/, ''), none.text.replace('customer 999 ', 'customer N ').replace(/"instance":"[^"]*"/, ''))
        }
      }
      const timeline = await ask(server, await header(who), 'GET', `/customers/${customer_id}/timeline`)
      assert.equal(timeline.status, 200)
      if (!who.sees.has(customer_id)) assert.deepEqual(timeline.json, { entries: [], next: null })
    }
  }
})

test('counts are of those whom one sees', async () => {
  for (const who of people) {
    await admin.query('BEGIN')
    await admin.query(`SELECT set_config('role', $1, true), set_config('chs.actor', $2, true)`, [who.role, who.actor])
    const own = async (query: string) => (await admin.query(query)).rows
    const get = async (path: string) => (await ask(server, await header(who), 'GET', path)).json
    const [stats] = await own('SELECT total::integer, healthy::integer, at_risk::integer, critical::integer, unknown::integer FROM chs.dashboard_stats')
    const seen = everyone.filter(c => who.sees.has(c.customer_id) && !c.gone)
    const answer = await get('/stats')
    for (const [key, value] of Object.entries(stats)) assert.equal(answer[key], value, `${key} of ${who.actor}`)
    assert.equal(answer.total, seen.length)
    assert.deepEqual(answer.owners, (await own('SELECT DISTINCT owner FROM chs.customers WHERE owner IS NOT NULL ORDER BY 1')).map(r => r.owner))
    const segments = (await get('/segments')).segments as { segment: string; total: number }[]
    assert.equal(segments.reduce((n, s) => n + s.total, 0), seen.length)
    const values = (await get('/portfolio/values')).values as { customers: number; value: number }[]
    assert.equal(values.reduce((n, v) => n + v.customers, 0), seen.length)
    assert.equal(values.reduce((n, v) => n + v.value, 0), seen.reduce((n, c) => n + c.customer_id * 100, 0))
    const buckets = (await get('/portfolio/distribution')).buckets as { customers: number }[]
    assert.equal(buckets.reduce((n, b) => n + b.customers, 0), Number((await own('SELECT count(*) FROM chs.customer_health h JOIN chs.customers c USING (customer_id) WHERE h.active AND h.score IS NOT NULL'))[0].count))
    const movements = (await get('/portfolio/movements')).movements as { customers: number }[]
    assert.equal(movements.reduce((n, m) => n + m.customers, 0) <= who.sees.size, true)
    const { down, up } = await get('/portfolio/movers?limit=100')
    for (const one of [...down, ...up]) assert.ok(who.sees.has(one.customer_id))
    const { days } = await get('/portfolio/trend?days=5')
    for (const day of days) assert.ok(day.healthy + day.at_risk + day.critical + day.unknown <= who.sees.size, `day ${day.day} of ${who.actor}`)
    await admin.query('ROLLBACK')
  }
})

test('no answer tells of anybody else', async () => {
  const paths = Object.entries<any>(openapi.paths).filter(([path, item]) => item.get && path !== '/api/v1/stream').map(([path]) => path.replace('/api/v1', ''))
  assert.ok(paths.length > 20)
  for (const who of people) {
    for (const path of paths) {
      for (const id of [1, 2, 3, 33, 59]) {
        const answer = await ask(server, await header(who), 'GET', path.replace('{customer_id}', String(id)).replace(/\{[a-z_]+\}/, '1'))
        tellsNothing(who, answer.text, path)
      }
    }
    for (const body of [{}, { sample: 50 }, { sample: 0.9, customer_id: 1 }, { customer_id: 2 }, { customer_id: 3 }]) {
      const answer = await ask(server, await header(who), 'POST', '/scorecard/simulations', body)
      tellsNothing(who, answer.text, 'a simulation')
      if (answer.status === 200) {
        assert.ok(answer.json.customers <= who.sees.size)
        if (body.customer_id !== undefined) assert.equal(answer.json.customer !== null, who.sees.has(body.customer_id))
      }
    }
  }
})

test('notes are written about those whom one sees', async () => {
  const [mia] = people as [Who]
  const hidden = everyone.find(c => !mia.sees.has(c.customer_id))!.customer_id
  const seen = [...mia.sees][0]!
  assert.equal((await ask(server, 'mia', 'POST', `/customers/${hidden}/notes`, { note: 'secret' })).status, 403)
  assert.equal((await ask(server, 'mia', 'POST', `/customers/${seen}/notes`, { note: 'mine' })).status, 201)
  // Nor can anybody delete what somebody else has written.
  const [other] = await rowsOf(admin, `SELECT note_id FROM chs_web.notes WHERE customer_id = $1 AND actor = 'somebody'`, [seen])
  assert.equal((await ask(server, 'mia', 'DELETE', `/customers/${seen}/notes/${other.note_id}`)).status, 404)
})

test('views are one\'s own', async () => {
  assert.equal((await ask(server, 'mia', 'PUT', '/views/secret', { page: '/', query: 'q=x' })).status, 204)
  assert.deepEqual((await ask(server, 'leo', 'GET', '/views')).json, { views: [] })
  assert.equal((await ask(server, 'leo', 'DELETE', '/views/secret')).status, 404)
  assert.deepEqual((await ask(server, await as('mia', 'another mia'), 'GET', '/views')).json, { views: [] })
  assert.equal((await ask(server, 'mia', 'GET', '/views')).json.views.length, 1)
})

test('who may only record sees nothing', async () => {
  for (const path of ['/stats', '/customers', '/customers/1', '/customers/1/history', '/segments', '/portfolio/trend', '/stream', '/customers/1/timeline', '/customers.csv']) {
    const answer = await ask(server, 'web_record', 'GET', path)
    assert.equal(answer.status, 403, `${path}: ${answer.text}`)
    assert.equal(answer.json.may, 'read')
  }
  const answer = await ask(server, 'web_record', 'POST', '/customers/1/events', { event_type: 'login', event_data: { ip_address: '192.0.2.1' } }, { 'idempotency-key': 'a' })
  assert.equal(answer.status, 201, answer.text)
})

test('a role does not outlive its request', async () => {
  // One connection for all, so that requests of different people follow each other on it.
  const narrow = await serve({ url: at(name), connections: 1 })
  const paths = ['/stats', '/customers/1', '/customers?limit=3', '/customers?sort=nonsense', '/segments', '/scorecard/draft']
  const alone = new Map<string, string>()
  for (const who of people) for (const path of paths) alone.set(`${who.actor} ${path}`, shown(await ask(narrow, await header(who), 'GET', path)))
  const together = await Promise.all(people.flatMap(who => paths.flatMap(path => Array.from({ length: 8 }, async () => [`${who.actor} ${path}`, shown(await ask(narrow, await header(who), 'GET', path))] as const))))
  for (const [key, text] of together) assert.equal(text, alone.get(key), key)
})
// Which of several missing rights an error names depends on the plan.
const shown = (answer: { status: number; text: string }) => `${answer.status} ${answer.status === 403 ? '' : answer.text.replace(/"(instance|calculated_at|last_updated|expires_at|[a-z_]*seconds)" ?: ?[^,}]*/g, '')}`

test('nobody but the server adds to the audit, and nobody changes it', async () => {
  for (const role of ['mia', 'ada', 'otto']) {
    for (const query of [`INSERT INTO chs_web.audit (role_name, actor, method, route, request_id) VALUES ('x', 'x', 'x', 'x', 'x')`, `UPDATE chs_web.audit SET actor = 'x'`, 'DELETE FROM chs_web.audit', 'SELECT * FROM chs_web.audit']) {
      await assert.rejects(rowsOf(admin, query, [], role), /permission denied/, `${role}: ${query}`)
    }
  }
  for (const query of [`UPDATE chs_web.audit SET actor = 'x'`, 'DELETE FROM chs_web.audit', 'SELECT * FROM chs_web.audit', 'TRUNCATE chs_web.audit', `SELECT chs_web.admit('postgres')`, 'SELECT * FROM chs.customers', `SELECT chs_score(1)`]) {
    await assert.rejects(rowsOf(admin, query, [], 'chs_web'), /permission denied|does not exist/, `chs_web: ${query}`)
  }
})

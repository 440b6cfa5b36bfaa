// Lists: every filter and order against plain SQL, and pages that stay right while scores move.
import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import type pg from 'pg'
import { ask, openapi, rowsOf, serve, superuser, type Server } from './harness.ts'

let server: Server
let admin: pg.Client
interface Row { customer_id: number; name: string | null; external_id: string; segment: string | null; owner: string | null; value: number | null; score: number | null; status: string; trend: string | null; factor: string | null; churned: boolean; status_since: Date; week_ago: number | null }
let everyone: Row[]

before(async () => {
  server = await serve()
  admin = await superuser()
  // Some without a name, a segment or a value; and a name that a pattern would take for something else.
  await admin.query(`INSERT INTO chs.customers (name, external_id, segment, owner) VALUES (NULL, 'L-1', 'smb', 'zoe'), (NULL, 'L-2', NULL, NULL), ('100 %_\\ right', 'L-3', NULL, 'mia') ON CONFLICT DO NOTHING`)
  await admin.query('SELECT chs_process_queue()')
  everyone = await rowsOf<Row>(admin, `
    SELECT c.customer_id::integer, c.name, c.external_id, c.segment, c.owner, c.value::double precision AS value, h.score, COALESCE(h.status, 'unknown') AS status, h.trend, h.status_since,
           COALESCE((c.churned_at AT TIME ZONE 'UTC')::date <= (now() AT TIME ZONE 'UTC')::date, false) AS churned,
           (SELECT b.factor_name FROM chs.factor_breakdown b WHERE b.customer_id = c.customer_id AND b.score IS NOT NULL ORDER BY (100 - b.score) * b.weight DESC, b.position LIMIT 1) AS factor,
           (SELECT d.score FROM chs.daily_scores d WHERE d.customer_id = c.customer_id AND d.day <= (now() AT TIME ZONE 'UTC')::date - 7 ORDER BY d.day DESC LIMIT 1) AS week_ago
    FROM chs.customers c LEFT JOIN chs.customer_health h USING (customer_id) ORDER BY 1`)
})

async function pages(path: string, limit: number): Promise<any[]> {
  const rows: any[] = []
  for (let after: string | null = ''; after !== null;) {
    const answer = await ask(server, 'leo', 'GET', `${path}&limit=${limit}${after && `&after=${after}`}`)
    assert.equal(answer.status, 200, answer.text)
    rows.push(...answer.json.customers)
    after = answer.json.next as string | null
    assert.ok(answer.json.customers.length === limit || after === null, 'only the last page is short')
    assert.equal(answer.headers.get('link')?.includes('rel="next"') ?? false, after !== null)
  }
  return rows
}

const round = (x: number) => Math.round(x * 100) / 100
const change = (r: Row) => (r.score === null || r.week_ago === null ? null : round(r.score - r.week_ago))
const keys: Record<string, (r: Row) => string | number | null> = {
  score: r => r.score, '-score': r => r.score, name: r => r.name, customer_id: r => r.customer_id, change, '-change': change, '-value': r => r.value,
  '-status_since': r => (r.status_since === null ? null : Number(r.status_since)),
}
const filters: [string, (r: Row) => boolean][] = [
  ['', r => !r.churned], ['status=critical', r => r.status === 'critical'], ['status=at_risk&status=critical', r => ['at_risk', 'critical'].includes(r.status)], ['status=healthy', r => r.status === 'healthy'],
  ['status=unknown', r => r.status === 'unknown'], ['status=healthy&trend=declining', r => r.status === 'healthy' && r.trend === 'declining'], ['trend=improving&trend=stable', r => ['improving', 'stable'].includes(r.trend ?? '')],
  ['segment=smb', r => r.segment === 'smb'], ['segment=', r => r.segment === null], ['segment=smb&segment=', r => r.segment === null || r.segment === 'smb'], ['factor=payment_timeliness', r => r.factor === 'payment_timeliness'],
  ['score_from=60&score_below=80', r => r.score !== null && r.score >= 60 && r.score < 80], ['owner=mia', r => r.owner === 'mia'], ['q=an', r => (r.name ?? '').toLowerCase().includes('an')], ['q=PB-10', r => r.external_id.startsWith('PB-10')],
  ['q=%25_%5C', r => (r.name ?? '').includes('%_\\')], ['churned=true', r => r.churned], ['status=critical&churned=true', r => r.churned && r.status === 'critical'], ['status=at_risk&owner=mia&segment=startup', r => r.status === 'at_risk' && r.owner === 'mia' && r.segment === 'startup'],
]

const sorts = openapi.paths['/api/v1/customers'].get.parameters.find((p: any) => p.name === 'sort').schema.enum as string[]
test('each order is tried here', () => assert.deepEqual(sorts.slice().sort(), Object.keys(keys).sort()))

for (const sort of sorts) {
  test(`by ${sort}`, async () => {
    for (const [query, passes] of filters) {
      const key = keys[sort]!
      const rows = await pages(`/customers?sort=${sort}&count=exact&${query}`, query === '' ? 37 : 10)
      const expected = everyone.filter(r => passes(r) && (query.includes('churned') || !r.churned))
      assert.deepEqual(rows.map(r => r.customer_id).sort((a, b) => a - b), expected.map(r => r.customer_id), `who passes ${query}`)
      // In order, those without a key last; equal ones by number.
      const byNumber = new Map(everyone.map(r => [r.customer_id, r]))
      for (let n = 1; n < rows.length; n++) {
        const [a, b] = [byNumber.get(rows[n - 1].customer_id)!, byNumber.get(rows[n].customer_id)!]
        const [x, y] = [key(a), key(b)]
        const sign = sort.startsWith('-') ? -1 : 1
        const rightly = x === null ? y === null && a.customer_id < b.customer_id
          : y === null || (x === y ? (a.customer_id - b.customer_id) * sign < 0 : (Buffer.compare(Buffer.from(String(x)), Buffer.from(String(y))) < 0 && sort === 'name') || (sort !== 'name' && ((x as number) - (y as number)) * sign < 0))
        assert.ok(rightly, `${query}: ${x} (${a.customer_id}) before ${y} (${b.customer_id})`)
      }
      const first = await ask(server, 'leo', 'GET', `/customers?sort=${sort}&count=exact&${query}&limit=1`)
      assert.equal(first.json.total, expected.length, `total of ${query}`)
    }
  })
}

test('a total that costs nothing is the one that is counted', async () => {
  for (const query of ['', 'status=healthy', 'status=critical&status=unknown', 'segment=smb', 'segment=smb&status=at_risk', 'segment=']) {
    const [free, exact] = [await ask(server, 'leo', 'GET', `/customers?${query}`), await ask(server, 'leo', 'GET', `/customers?${query}&count=exact`)]
    assert.notEqual(free.json.total, null)
    assert.equal(free.json.total, exact.json.total, query)
  }
  for (const query of ['q=a', 'owner=mia', 'trend=stable', 'churned=true', 'score_from=50']) assert.equal((await ask(server, 'leo', 'GET', `/customers?${query}`)).json.total, null, query)
})

test('what a row says', async () => {
  const rows = await pages('/customers?sort=customer_id&fields=sparkline', 100)
  const byNumber = new Map(everyone.map(r => [r.customer_id, r]))
  for (const row of rows) {
    const r = byNumber.get(row.customer_id)!
    assert.deepEqual([row.name, row.external_id, row.segment, row.owner, row.value, row.score, row.status, row.trend, row.weakest_factor, row.change], [r.name, r.external_id, r.segment, r.owner, r.value, r.score, r.status, r.trend, r.factor, change(r)])
    if (row.weakest_points !== null) {
      const [points] = await rowsOf(admin, `SELECT round((effective_weight * (100 - score))::numeric, 2)::double precision AS points FROM chs.factor_breakdown WHERE customer_id = $1 AND factor_name = $2`, [row.customer_id, row.weakest_factor])
      assert.equal(row.weakest_points, points.points)
    }
    assert.equal(row.sparkline.length, 7)
  }
  const [seven] = rows.filter(r => r.customer_id === 7)
  const past = await rowsOf(admin, `SELECT chs_score(7, now() - interval '7 days' * w) AS score FROM generate_series(7, 1, -1) w`)
  assert.deepEqual(seven.sparkline, past.map(p => p.score))
})

test('while scores move, whoever stays is on one page, and only one', async () => {
  const client = await superuser()
  for (const sort of ['score', '-score', 'change']) {
    const seen: number[] = []
    const moved = new Set<number>()
    const before = (await pages(`/customers?sort=${sort}`, 500)).map(r => r.customer_id as number)
    let n = 0
    for (let after: string | null = ''; after !== null;) {
      const answer = await ask(server, 'leo', 'GET', `/customers?sort=${sort}&limit=20${after && `&after=${after}`}`)
      seen.push(...answer.json.customers.map((r: any) => r.customer_id as number))
      after = answer.json.next as string | null
      // Between two pages, three move, one of them from a page that was seen.
      for (const customer of [before[(n * 31 + 5) % before.length]!, before[(n * 17 + 200) % before.length]!, seen[n % seen.length]!]) {
        await client.query(`INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES ($1, 'support_ticket', '{"priority":"urgent"}'), ($1, 'payment', '{"amount":3}')`, [customer])
        moved.add(customer)
      }
      await client.query('SELECT chs_process_queue()')
      n++
    }
    for (const customer of before) if (!moved.has(customer)) assert.equal(seen.filter(id => id === customer).length, 1, `${sort}: customer ${customer}`)
  }
})

test('a customer\'s page is what its parts say, and what SQL says', async () => {
  for (const id of [7, 71, 140, 187]) {
    const whole = (await ask(server, 'leo', 'GET', `/customers/${id}?since=14d&days=40&entries=3`)).json
    const part = async (path: string) => (await ask(server, 'leo', 'GET', `/customers/${id}${path}`)).json
    assert.deepEqual(whole.change, await part('/change?since=14d'))
    assert.deepEqual(whole.recommendations, (await part('/recommendations')).recommendations)
    assert.deepEqual(whole.activity, (await part('/activity?days=40')).days)
    assert.deepEqual(whole.timeline, await part('/timeline?limit=3'))
    const [sql] = await rowsOf(admin, `SELECT chs_health($1) AS health, chs_score($1) AS score`, [id])
    for (const key of Object.keys(sql.health)) if (!key.endsWith('_at')) assert.deepEqual(whole.health[key], sql.health[key], key)
    if (whole.change.score_until !== null && whole.health.churned_at === null) assert.equal(whole.change.score_until, sql.score)
    // As it was, by the same rules.
    const past = (await ask(server, 'leo', 'GET', `/customers/${id}?as_of=${new Date(Date.now() - 20 * 86400_000).toISOString().slice(0, 10)}`)).json
    if (past.health) {
      const [then] = await rowsOf(admin, `SELECT chs_score($1, now() - interval '20 days') AS score, chs_status($1, now() - interval '20 days') AS status`, [id])
      assert.deepEqual([past.health.score, past.health.status], [then.score, then.status])
      assert.equal(past.history.at(-1).day, past.health.as_of)
      assert.deepEqual(past.recommendations, [])
    }
    const now = (await ask(server, 'leo', 'GET', `/customers/${id}?as_of=${new Date().toISOString().slice(0, 10)}`)).json
    if (now.health) for (const key of ['score', 'status', 'coverage', 'trend', 'factors']) assert.deepEqual(now.health[key], whole.health[key], `${key} of today as a past day`)
  }
})

test('pages of a timeline have each entry once', async () => {
  for (let n = 0; n < 7; n++) await ask(server, 'mia', 'POST', '/customers/71/notes', { note: `note ${n}` })
  const whole = (await ask(server, 'leo', 'GET', '/customers/71/timeline?limit=500')).json.entries
  const entries: unknown[] = []
  for (let after: string | null = ''; after !== null;) {
    const { json } = await ask(server, 'leo', 'GET', `/customers/71/timeline?limit=3${after && `&after=${after}`}`)
    entries.push(...json.entries)
    after = json.next as string | null
  }
  assert.deepEqual(entries, whole)
  assert.ok(whole.length > 8)
  assert.deepEqual(whole.map((e: any) => e.at), whole.map((e: any) => e.at).sort().reverse())
})

test('CSV: every cell as it is, but no formula', async () => {
  await admin.query(`INSERT INTO chs.customers (external_id, name, segment, owner) VALUES ('F-1', '=HYPERLINK("http://x")', 'smb', '@sum'), ('F-2', E'a "quoted", name\\nof two lines', 'smb', '-1+1') ON CONFLICT DO NOTHING`)
  const { text, headers } = await ask(server, 'leo', 'GET', '/customers.csv?q=F-')
  assert.match(headers.get('content-type')!, /^text\/csv/)
  assert.match(headers.get('content-disposition')!, /attachment/)
  assert.ok(text.includes('"\'=HYPERLINK(""http://x"")"'))
  assert.ok(text.includes('"a ""quoted"", name\nof two lines"'))
  assert.ok(text.includes(",'@sum,") && text.includes(",'-1+1,"))
})

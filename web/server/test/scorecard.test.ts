// The scorecard, with two administrators at once.
import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import type pg from 'pg'
import { ask, rowsOf, serve, superuser, type Server } from './harness.ts'

let server: Server
let admin: pg.Client
const draft = async () => (await ask(server, 'ada', 'GET', '/scorecard/draft')).json
const put = (document: unknown, match?: string) => ask(server, 'ada', 'PUT', '/scorecard/draft', document, match === undefined ? {} : { 'if-match': match })

before(async () => {
  server = await serve()
  admin = await superuser()
})

/** The document with another weight of its first factor. */
function changed(document: any, weight: number) {
  const copy = structuredClone(document)
  copy.scorecards.default.factors[0].weight = weight
  return copy
}

test('the draft is replaced only by who has seen it', async () => {
  const { document, hash } = await draft()
  assert.equal((await put(document)).status, 428)
  assert.equal((await put(changed(document, 0.9), `"${'0'.repeat(64)}"`)).status, 412)
  assert.equal((await draft()).hash, hash)
  const saved = await put(changed(document, 0.31), `"${hash}"`)
  assert.equal(saved.status, 200, saved.text)
  assert.equal(saved.headers.get('etag'), `"${saved.json.hash}"`)
  const now = await draft()
  assert.equal(now.hash, saved.json.hash)
  assert.deepEqual(now.changes.map((c: any) => [c.what, c.old_value, c.new_value]), [['scorecards.default.factors.api_usage.weight', 0.3, 0.31]])
  assert.equal((await put(document, `"${hash}"`)).status, 412, 'the old hash is used up')
  assert.equal((await put(document, `"${saved.json.hash}"`)).status, 200)
  assert.equal((await draft()).hash, hash)
})

test('the tag of the draft is its hash, and it is not sent twice', async () => {
  const first = await ask(server, 'ada', 'GET', '/scorecard/draft')
  assert.equal(first.headers.get('etag'), `"${first.json.hash}"`)
  assert.equal((await ask(server, 'ada', 'GET', '/scorecard/draft', undefined, { 'if-none-match': first.headers.get('etag')! })).status, 304)
})

test('of many who save at once, one succeeds', async () => {
  const { document, hash } = await draft()
  const answers = await Promise.all(Array.from({ length: 6 }, (_, n) => put(changed(document, 0.4 + n / 100), `"${hash}"`)))
  assert.deepEqual(answers.map(a => a.status).sort(), [200, 412, 412, 412, 412, 412])
  const [winner] = answers.filter(a => a.status === 200)
  assert.equal((await draft()).hash, winner!.json.hash)
  await put(document, '*')
})

test('what is published is what was simulated', async () => {
  const { document, hash } = await draft()
  const other = await put(changed(document, 0.33), `"${hash}"`)
  const conflict = await ask(server, 'ada', 'POST', '/scorecard/versions', { note: 'mine', expected: hash })
  assert.equal(conflict.status, 409, conflict.text)
  assert.equal(conflict.json.code, '40001')
  const { rows: [{ versions }] } = await admin.query('SELECT count(*)::integer AS versions FROM chs.scorecard_versions')
  const publications = await Promise.all(Array.from({ length: 4 }, () => ask(server, 'ada', 'POST', '/scorecard/versions', { note: 'a little more', expected: other.json.hash })))
  assert.ok(publications.every(p => p.status === 201 || p.status === 409), publications.map(p => p.text).join())
  assert.ok(publications.some(p => p.status === 201))
  const list = (await ask(server, 'ada', 'GET', '/scorecard/versions')).json.versions
  assert.equal(list.length, versions + publications.filter(p => p.status === 201).length)
  assert.deepEqual([list[0].actor, list[0].published_by, list[0].note], ['ada', 'ada', 'a little more'])
  assert.equal(list.filter((v: any) => v.live).length, 1)
  assert.deepEqual((await ask(server, 'ada', 'GET', `/scorecard/versions/${list[0].version}`)).json.document, changed(document, 0.33))
  assert.deepEqual((await draft()).changes, [])
})

test('rolling back asks whether the draft may be lost', async () => {
  const { document, hash } = await draft()
  const saved = await put(changed(document, 0.5), `"${hash}"`)
  const back = (body: object, match?: string) => ask(server, 'ada', 'POST', '/scorecard/versions/1/rollback', body, match === undefined ? {} : { 'if-match': match })
  assert.equal((await back({})).status, 428)
  assert.equal((await back({}, `"${hash}"`)).status, 412)
  const unpublished = await back({}, `"${saved.json.hash}"`)
  assert.equal(unpublished.status, 409, unpublished.text)
  assert.equal(unpublished.json.code, '55000')
  const done = await back({ note: 'back', discard: true }, `"${saved.json.hash}"`)
  assert.equal(done.status, 201, done.text)
  assert.deepEqual((await draft()).document, (await ask(server, 'ada', 'GET', '/scorecard/versions/1')).json.document)
})

test('a check tells what would be, and leaves the draft alone', async () => {
  const { document, hash } = await draft()
  const bad = changed(document, 0.35)
  bad.scorecards.default.factors[0].metrics[0].curve = '0:100 1:0'
  const check = await ask(server, 'ada', 'POST', '/scorecard/draft/check', { document: bad })
  assert.equal(check.status, 200, check.text)
  assert.deepEqual(check.json.changes.map((c: any) => c.what).sort(), ['scorecards.default.factors.api_usage.metrics.api_calls.curve', 'scorecards.default.factors.api_usage.weight'])
  await admin.query('BEGIN')
  await admin.query('SELECT chs_scorecard_import($1)', [JSON.stringify(bad)])
  assert.deepEqual(check.json.lint, (await admin.query('SELECT severity, object, message, hint FROM chs_lint()')).rows)
  await admin.query('ROLLBACK')
  assert.equal((await draft()).hash, hash)
  for (const nonsense of [{}, { scorecards: {} }, { ...document, colour: 'red' }]) {
    const answer = await ask(server, 'ada', 'POST', '/scorecard/draft/check', { document: nonsense })
    assert.ok([409, 422].includes(answer.status), answer.text)
  }
  const wrong = structuredClone(document)
  wrong.scorecards.default.factors[0].metrics[0].curve = '5:5 1:1'
  assert.equal((await put(wrong, '*')).status, 422)
  assert.equal((await draft()).hash, hash)
})

test('a simulation is what chs_simulate() says', async () => {
  const { document } = await draft()
  const other = structuredClone(document)
  other.scorecards.default.healthy_from = 90
  other.scorecards.default.factors[3].weight = 0.01
  for (const sample of [undefined, 100, 0.4]) {
    const { json } = await ask(server, 'ada', 'POST', '/scorecard/simulations', { document: other, ...(sample !== undefined && { sample }), customer_id: 7 })
    const rows = (await rowsOf(admin, `SELECT * FROM chs_simulate($1, $2) WHERE active`, [JSON.stringify(other), sample ?? null])) as any[]
    assert.equal(json.customers, rows.length)
    assert.equal(json.changed_status, rows.filter(r => r.live_status !== r.draft_status).length)
    assert.ok(json.changed_status > 0)
    for (const m of json.movements) assert.equal(m.customers, rows.filter(r => r.live_status === m.from_status && r.draft_status === m.to_status).length)
    for (const b of json.histogram) {
      for (const which of ['live', 'draft'] as const) assert.equal(b[which], rows.filter(r => r[`${which}_score`] !== null && Math.min(Math.floor(r[`${which}_score`] / 5), 19) === b.score_from / 5).length, `${which} from ${b.score_from}`)
    }
    const top = rows.filter(r => r.score_change !== null && r.score_change !== 0).sort((a, b) => Math.abs(b.score_change) - Math.abs(a.score_change) || a.customer_id - b.customer_id).slice(0, 20)
    assert.deepEqual(json.top.map((t: any) => t.score_change), top.map(t => t.score_change))
    const [one] = await rowsOf(admin, `SELECT draft_score, live_score FROM chs_simulate($1) WHERE customer_id = 7`, [JSON.stringify(other)])
    assert.deepEqual([json.customer.draft_score, json.customer.live_score], [one.draft_score, one.live_score])
  }
})

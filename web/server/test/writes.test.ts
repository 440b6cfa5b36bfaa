// What is written: once, by whom it is, and in the audit.
import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import type pg from 'pg'
import { as, ask, rowsOf, serve, superuser, type Server } from './harness.ts'

let server: Server
let admin: pg.Client
const audited = async () => (await admin.query('SELECT role_name, actor, method, route, target, request_id FROM chs_web.audit ORDER BY audit_id')).rows

before(async () => {
  server = await serve()
  admin = await superuser()
})

const event = { event_type: 'payment', event_data: { amount: 5 } }

test('an event is recorded once, however often it is sent, also at once', async () => {
  const key = { 'idempotency-key': `e${Math.random()}` }
  const answers = await Promise.all(Array.from({ length: 8 }, () => ask(server, 'mia', 'POST', '/customers/7/events', event, key)))
  assert.deepEqual(answers.map(a => a.status).sort(), [200, 200, 200, 200, 200, 200, 200, 201])
  assert.equal(new Set(answers.map(a => a.json.event_id)).size, 1)
  assert.equal((await rowsOf(admin, 'SELECT 1 FROM chs.customer_events WHERE idempotency_key = $1', [key['idempotency-key']])).length, 1)
  // Another customer's key is another key; without any, each is an event of its own.
  assert.equal((await ask(server, 'mia', 'POST', '/customers/8/events', event, key)).status, 201)
  assert.notEqual((await ask(server, 'mia', 'POST', '/customers/7/events', event)).json.event_id, (await ask(server, 'mia', 'POST', '/customers/7/events', event)).json.event_id)
})

test('the score that is asked for next knows the event', async () => {
  const score = async () => (await ask(server, 'mia', 'GET', '/customers/7')).json.health
  const before = await score()
  await ask(server, 'mia', 'POST', '/customers/7/events', { event_type: 'support_ticket', event_data: { priority: 'urgent' } })
  const after = await score()
  assert.deepEqual([after.score, after.status], Object.values((await rowsOf(admin, 'SELECT chs_score(7) AS score, chs_status(7) AS status'))[0]))
  assert.ok(after.factors.find((f: any) => f.factor === 'support_tickets').metrics[0].value > before.factors.find((f: any) => f.factor === 'support_tickets').metrics[0].value)
})

test('each write is in the audit, by the transaction that made it, and nothing else is', async () => {
  const before = (await audited()).length
  const write = await ask(server, await as('mia', 'Mia M.'), 'POST', '/customers/7/events', event)
  const [row] = (await audited()).slice(before)
  assert.deepEqual(row, { role_name: 'mia', actor: 'Mia M.', method: 'POST', route: '/api/v1/customers/:customer_id/events', target: `customer 7, event ${write.json.event_id}`, request_id: write.headers.get('x-request-id') })
  assert.equal((await rowsOf(admin, `SELECT 1 FROM chs_web.audit a, chs.customer_events e WHERE a.audit_id = (SELECT max(audit_id) FROM chs_web.audit) AND e.event_id = $1 AND a.xmin = e.xmin`, [write.json.event_id])).length, 1)
  for (const [who, method, path, body] of [
    ['mia', 'GET', '/customers/7', undefined], ['mia', 'POST', '/customers/7/events', { event_type: 'login' }], ['leo', 'POST', '/customers/7/events', event],
    ['otto', 'DELETE', '/customers/7?name=wrong', undefined], ['mia', 'DELETE', '/customers/7/notes/999999', undefined], ['otto', 'POST', '/customers/999999/refresh', undefined],
    ['ada', 'POST', '/scorecard/simulations', { sample: 5 }], ['ada', 'POST', '/scorecard/versions', { note: 'x', expected: 'x' }],
  ] as const) await ask(server, who, method, path, body)
  assert.equal((await audited()).length, before + 1)
})

test('a customer is added, changed and forgotten', async () => {
  const added = await ask(server, 'ada', 'POST', '/customers', { name: 'Fjord & Søn', external_id: `w${Math.random()}`, segment: 'smb', value: 1000.5, owner: 'mia' })
  assert.equal(added.status, 201, added.text)
  const id = added.json.customer_id as number
  assert.equal(added.headers.get('location'), `/api/v1/customers/${id}`)
  assert.equal((await ask(server, 'ada', 'PATCH', `/customers/${id}`, { owner: null, name: 'Fjord' })).status, 200)
  const [row] = await rowsOf(admin, 'SELECT name, owner, value, segment FROM chs.customers WHERE customer_id = $1', [id])
  assert.deepEqual(row, { name: 'Fjord', owner: null, value: '1000.5', segment: 'smb' })
  assert.equal((await ask(server, 'ada', 'PATCH', `/customers/${id}`, { segment: 'no such segment' })).status, 422)
  assert.equal((await ask(server, 'ada', 'POST', '/customers', { external_id: 'PB-1007' })).status, 409)
  assert.equal((await ask(server, 'ada', 'POST', '/customers', { parent_id: 999999 })).status, 422)
  await ask(server, 'mia', 'POST', `/customers/${id}/notes`, { note: 'a first note' })
  await ask(server, 'mia', 'POST', `/customers/${id}/events`, event)
  assert.equal((await ask(server, 'otto', 'DELETE', `/customers/${id}?name=Fjord%20`)).status, 422)
  const forgotten = await ask(server, 'otto', 'DELETE', `/customers/${id}?name=Fjord`)
  assert.deepEqual([forgotten.status, forgotten.json], [200, { events: 1 }], forgotten.text)
  assert.equal((await ask(server, 'mia', 'GET', `/customers/${id}`)).status, 404)
  assert.equal((await rowsOf(admin, 'SELECT 1 FROM chs_web.notes WHERE customer_id = $1', [id])).length, 0, 'notes, too')
})

test('notes stand in the timeline, and only their author deletes them', async () => {
  const note = 'Spoke to "Ane" <ane@example.com>; \\ 100 % 😀'
  const { json: { note_id } } = await ask(server, await as('mia', 'Mia M.'), 'POST', '/customers/9/notes', { note })
  const entry = async (who: Record<string, string>) => (await ask(server, who, 'GET', '/customers/9/timeline')).json.entries.find((e: any) => e.note_id === note_id)
  assert.deepEqual((({ at, ...rest }) => { assert.ok(at); return rest })(await entry(await as('mia', 'Mia M.'))), { kind: 'note', note_id, actor: 'Mia M.', note, own: true })
  assert.equal((await entry(await as('leo'))).own, false)
  assert.equal((await ask(server, 'leo', 'DELETE', `/customers/9/notes/${note_id}`)).status, 404)
  assert.equal((await ask(server, await as('mia', 'another Mia'), 'DELETE', `/customers/9/notes/${note_id}`)).status, 404)
  assert.equal((await ask(server, await as('mia', 'Mia M.'), 'DELETE', `/customers/8/notes/${note_id}`)).status, 404, 'of another customer')
  assert.equal((await ask(server, await as('mia', 'Mia M.'), 'DELETE', `/customers/9/notes/${note_id}`)).status, 204)
  assert.equal(await entry(await as('leo')), undefined)
})

test('pausing and resuming', async () => {
  assert.equal((await ask(server, 'otto', 'POST', '/operations/pause', { reason: 'a look' })).status, 204)
  const { queue } = (await ask(server, 'otto', 'GET', '/operations')).json
  assert.deepEqual([queue.paused, queue.pause_reason], [true, 'a look'])
  assert.deepEqual((await ask(server, 'otto', 'DELETE', '/operations/pause')).json, { resumed: true })
  assert.deepEqual((await ask(server, 'otto', 'DELETE', '/operations/pause')).json, { resumed: false })
})

// Every operation of openapi.json, called right and wrong.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { before, describe, test } from 'node:test'
import { SignJWT } from 'jose'
import { build } from '../src/app.ts'
import { configOf } from '../src/config.ts'
import { openapi as made } from '../src/openapi.ts'
import { as, ask, audience, issuer, keys, openapi, otherKeys, rowsOf, serve, superuser, token, wrongWith, wrongWithProblem, type Server } from './harness.ts'

interface Operation { id: string; method: string; path: string; details: any }
const operations: Operation[] = Object.entries<any>(openapi.paths).flatMap(([path, item]) =>
  Object.entries<any>(item).map(([method, details]) => ({ id: details.operationId, method: method.toUpperCase(), path: path.replace('/api/v1', ''), details })))

let server: Server
let hash: string
let lost: number
let note: number
let view: string

/** Of each operation a right call: who, the path with its parameters, body and headers, and the status that it is to have. */
interface Right { who?: string | null; path?: string; body?: unknown; headers?: Record<string, string>; status?: number }
const rights: Record<string, () => Right | Promise<Right>> = {
  ways_to_log_in: () => ({ who: null }),
  log_in: () => ({ who: null, body: { user: 'mia', password: 'demo' }, status: 204 }),
  log_out: () => ({ who: null, headers: { 'sec-fetch-site': 'same-origin' }, status: 204 }),
  me: () => ({ who: 'mia' }),
  saved_views: () => ({ who: 'mia' }),
  save_view: () => ({ who: 'mia', path: '/views/mine', body: { page: '/', query: 'status=critical' }, status: 204 }),
  drop_view: () => ({ who: 'mia', path: `/views/${view}`, status: 204 }),
  stats: () => ({}), segments: () => ({}), values: () => ({}), distribution: () => ({}),
  movements: () => ({ path: '/portfolio/movements?from=2026-01-01' }), movers: () => ({ path: '/portfolio/movers?limit=3' }), portfolio_trend: () => ({ path: '/portfolio/trend?days=7' }),
  moved: () => ({ path: '/portfolio/movements/customers?from_status=healthy&to_status=at_risk' }),
  customers: () => ({ path: '/customers?status=at_risk&status=critical&fields=sparkline&limit=3' }),
  customers_csv: () => ({ path: '/customers.csv?status=critical' }),
  add_customer: () => ({ who: 'ada', body: { name: 'Contract', external_id: `C-${Math.random()}`, segment: 'smb', value: 12.5, created_at: '2026-01-01T00:00:00Z' }, status: 201 }),
  customer: () => ({ path: '/customers/7?since=7d&days=30&entries=5' }),
  change_customer: () => ({ who: 'ada', path: '/customers/7', body: { owner: 'zoe' } }),
  purge_customer: () => ({ who: 'otto', path: `/customers/${lost}?name=Lost` }),
  change: () => ({ path: '/customers/7/change?since=30d' }), recommendations: () => ({ path: '/customers/7/recommendations' }),
  history: () => ({ path: '/customers/7/history?factors=true' }), activity: () => ({ path: '/customers/7/activity' }), timeline: () => ({ path: '/customers/7/timeline?limit=3' }),
  record_event: () => ({ path: '/customers/7/events', body: { event_type: 'login', event_data: { ip_address: '192.0.2.1' } }, status: 201 }),
  refresh: () => ({ who: 'otto', path: '/customers/7/refresh', status: 202 }), rebuild: () => ({ who: 'otto', path: '/customers/7/rebuild' }),
  add_note: () => ({ path: '/customers/7/notes', body: { note: 'Called.' }, status: 201 }), drop_note: () => ({ path: `/customers/7/notes/${note}`, status: 204 }),
  event_types: () => ({}),
  record_events: () => ({ body: '{"customer_id":7,"event_type":"login","event_data":{"ip_address":"192.0.2.1"}}\n', headers: { 'content-type': 'application/x-ndjson' }, status: 201 }),
  rules: () => ({}),
  draft: () => ({ who: 'ada' }), draft_changes: () => ({ who: 'ada' }), draft_lint: () => ({ who: 'ada' }),
  save_draft: async () => ({ who: 'ada', body: (await ask(server, 'ada', 'GET', '/scorecard/draft')).json.document, headers: { 'if-match': '*' } }),
  check_draft: async () => ({ who: 'ada', body: { document: (await ask(server, 'ada', 'GET', '/scorecard/draft')).json.document } }),
  simulate: () => ({ who: 'ada', body: { sample: 20, customer_id: 7 } }),
  versions: () => ({ who: 'ada' }), version: () => ({ who: 'ada', path: '/scorecard/versions/1' }),
  publish: () => ({ who: 'ada', body: { note: 'as it was', expected: hash }, status: 201 }),
  rollback: () => ({ who: 'ada', path: '/scorecard/versions/1/rollback', body: { note: 'back' }, headers: { 'if-match': '*' }, status: 201 }),
  operations: () => ({ who: 'otto' }), pause: () => ({ who: 'otto', body: { reason: 'to try it' }, status: 204 }), resume: () => ({ who: 'otto' }), retry_rejected: () => ({ who: 'otto', body: {} }),
}
// These have tests of their own: the identity provider (login.test.ts), and what does not end (stream.test.ts).
const elsewhere = new Set(['log_in_at_provider', 'come_back_from_provider', 'stream'])

const called = (operation: Operation, right: Right) => right.path ?? operation.path.replace(/\{[a-z_]+\}/g, '7')

before(async () => {
  server = await serve()
  const admin = await superuser()
  await admin.query(`SELECT chs_grant('ada', 'read')`)
  await admin.query(`DO $$ BEGIN
      IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'web_nobody') THEN CREATE ROLE web_nobody; END IF;
      IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'web_stranger') THEN CREATE ROLE web_stranger; END IF;
    END $$`)
  await admin.query(`SELECT chs_web.admit('web_nobody')`)
  await admin.query('REVOKE web_stranger FROM chs_web')
  lost = (await admin.query(`INSERT INTO chs.customers (name) VALUES ('Lost') RETURNING customer_id`)).rows[0].customer_id
  hash = (await ask(server, 'ada', 'GET', '/scorecard/draft')).json.hash
  note = (await ask(server, 'mia', 'POST', '/customers/7/notes', { note: 'to be deleted' })).json.note_id
  view = 'of the contract'
  await ask(server, 'mia', 'PUT', `/views/${view}`, { page: '/', query: '' })
})

test('openapi.json is what the schemas say', async () => {
  const app = await build({ ...configOf({}), logLevel: 'silent' })
  await app.ready()
  assert.deepEqual(JSON.parse(readFileSync(new URL('../../openapi.json', import.meta.url), 'utf8')), made(app as never), 'run: npm run openapi -w server')
  await app.close()
  assert.equal((await ask(server, null, 'GET', '/openapi.json')).json.openapi, '3.1.0')
})

test('each operation has a right call here', () => {
  assert.deepEqual(operations.map(o => o.id).filter(id => !elsewhere.has(id)).sort(), Object.keys(rights).sort())
  assert.equal(new Set(operations.map(o => o.id)).size, operations.length)
})

describe('called right', () => {
  for (const operation of operations.filter(o => !elsewhere.has(o.id))) {
    test(operation.id, async () => {
      const right = await rights[operation.id]!()
      const answer = await ask(server, right.who === undefined ? 'mia' : right.who, operation.method, called(operation, right), right.body, right.headers)
      assert.equal(answer.status, right.status ?? 200, answer.text)
      assert.equal(answer.headers.get('cache-control'), 'private, no-cache')
      assert.match(answer.headers.get('x-request-id')!, /^[0-9a-f-]{36}$/)
      const documented = operation.details.responses[answer.status]
      assert.ok(documented, `status ${answer.status} is documented`)
      const [type] = Object.keys(documented.content ?? {})
      if (answer.status === 204 || answer.status === 202) {
        assert.equal(answer.text, '')
      } else if (type === 'application/json') {
        assert.match(answer.headers.get('content-type')!, /^application\/json/)
        const place = `/paths/${operation.path.replace(/^/, '/api/v1').replaceAll('/', '~1')}/${operation.method.toLowerCase()}/responses/${answer.status}/content/application~1json/schema`
        assert.equal(wrongWith(encodeURI(place), answer.json), null, answer.text.slice(0, 500))
      }
    })
  }
})

async function refused(answer: Awaited<ReturnType<typeof ask>>, status: number | number[], what: string) {
  assert.ok([status].flat().includes(answer.status), `${what}: ${answer.status} instead of ${status}: ${answer.text.slice(0, 300)}`)
  assert.match(answer.headers.get('content-type') ?? '', /^application\/problem\+json/, what)
  assert.equal(wrongWithProblem(answer.json), null, `${what}: ${answer.text}`)
  assert.equal(answer.json.status, answer.status)
  assert.equal(answer.json.instance, answer.headers.get('x-request-id'))
  // Nothing of how it is made.
  assert.doesNotMatch(answer.text, /\.ts|node_modules|SELECT |at [A-Za-z]+ \(/, what)
}

const resolved = (schema: any): any => (schema?.$ref ? openapi.components.schemas[schema.$ref.split('/').pop()] : schema)

/** Values that a schema must not admit; in a query all are text. */
function* bad(schema: any, text: boolean): Generator<unknown> {
  schema = resolved(schema)
  if (schema.anyOf) {
    const allBad = schema.anyOf.map((one: any) => [...bad(one, text)].map(value => JSON.stringify(value)))
    for (const value of allBad[0]) if (allBad.every((list: string[]) => list.includes(value))) yield JSON.parse(value)
    return
  }
  if (schema.enum) { yield 'no such word'; if (!text) yield 5; return }
  switch (schema.type) {
    case 'integer': yield text ? '1.5' : 1.5; yield 'many'; break
    case 'number': yield 'much'; break
    case 'boolean': yield 'perhaps'; break
    case 'array': if (schema.items && !(text && resolved(schema.items).type === 'string' && !resolved(schema.items).enum)) for (const item of bad(schema.items, text)) yield text ? item : [item]; if (!text) yield 'no array'; break
    case 'object': if (!text) { yield 'no object'; yield ['no object'] } break
    case 'string':
      if (!text) yield 5
      if (schema.maxLength !== undefined) yield 'x'.repeat(schema.maxLength + 1)
      if (schema.pattern !== undefined && !new RegExp(schema.pattern).test('!?')) yield '!?'
      else if (schema.pattern !== undefined && !text) yield 'a\u0000b'
      if (schema.minLength !== undefined && !text) yield ''
      break
  }
  if (schema.minimum !== undefined) yield text ? String(schema.minimum - 1) : schema.minimum - 1
  if (schema.maximum !== undefined && schema.maximum < 1e15) yield text ? String(schema.maximum + 1) : schema.maximum + 1
  if (schema.exclusiveMinimum !== undefined) yield text ? String(schema.exclusiveMinimum) : schema.exclusiveMinimum
}

describe('called wrong', () => {
  for (const operation of operations.filter(o => !elsewhere.has(o.id))) {
    test(operation.id, async () => {
      const right = await rights[operation.id]!()
      const who = right.who === undefined ? 'mia' : right.who
      const path = called(operation, right)
      const call = (changed: string, body = right.body, headers = right.headers) => ask(server, who, operation.method, changed, body, headers)
      const withQuery = (name: string, value: string) => {
        const url = new URL(`http://x${path}`)
        url.searchParams.set(name, value)
        return url.pathname + url.search
      }
      const takesQuery = operation.details.parameters?.some((p: any) => p.in === 'query')
      if (takesQuery) await refused(await call(withQuery('no_such_parameter', '1')), 422, 'an unknown parameter')
      for (const parameter of operation.details.parameters ?? []) {
        for (const value of bad(parameter.schema, true)) {
          const what = `${parameter.name} = ${JSON.stringify(value)}`.slice(0, 100)
          if (parameter.in === 'query') await refused(await call(withQuery(parameter.name, String(value))), 422, what)
          else if (parameter.in === 'header') await refused(await call(path, right.body, { ...right.headers, [parameter.name]: String(value) }), parameter.name === 'content-encoding' ? [415, 422] : 422, what)
          else if (parameter.in === 'path') {
            const wrong = operation.path.split('/').map(part => (part === `{${parameter.name}}` ? encodeURIComponent(String(value)) : part.startsWith('{') ? '7' : part)).join('/')
            await refused(await call(wrong + (/\?.*/.exec(path)?.[0] ?? '')), String(value) === '' ? [404, 422] : [404, 422], what)
          }
        }
        if (parameter.required && parameter.in === 'query') await refused(await call(path.replace(/\?.*/, '')), 422, `without ${parameter.name}`)
      }
      const content = operation.details.requestBody?.content
      if (content?.['application/json']) {
        const schema = resolved(content['application/json'].schema)
        await refused(await call(path, '', { ...right.headers, 'content-type': 'application/json' }), [400, 422], 'an empty body')
        await refused(await call(path, '{"a":', { ...right.headers, 'content-type': 'application/json' }), 400, 'half of a body')
        await refused(await call(path, '[]', { ...right.headers, 'content-type': 'application/json' }), 422, 'an array')
        await refused(await call(path, '"text"', { ...right.headers, 'content-type': 'application/json' }), 422, 'a string')
        await refused(await call(path, JSON.stringify(right.body), { ...right.headers, 'content-type': 'text/plain' }), 415, 'text')
        const polluted = `{"__proto__":{"admin":true},${JSON.stringify(right.body).slice(1)}`.replace(',}', '}')
        await refused(await call(path, polluted, { ...right.headers, 'content-type': 'application/json' }), [400, 422], '__proto__')
        if (schema.additionalProperties === false) await refused(await call(path, { ...(right.body as object), no_such_field: 1 }), 422, 'an unknown field')
        for (const name of schema.required ?? []) {
          const { [name]: _gone, ...rest } = right.body as Record<string, unknown>
          await refused(await call(path, rest), 422, `without ${name}`)
        }
        for (const [name, one] of Object.entries<any>(schema.properties ?? {})) {
          for (const value of bad(one, false)) await refused(await call(path, { ...(right.body as object), [name]: value }), 422, `${name} = ${JSON.stringify(value)}`.slice(0, 100))
        }
      }
    })
  }

  test('what is not there', async () => {
    await refused(await ask(server, 'mia', 'GET', '/no/such/thing'), 404, 'a path')
    await refused(await ask(server, 'mia', 'GET', '/customers/999999999'), 404, 'a customer')
    await refused(await ask(server, 'mia', 'POST', '/customers/999999999/events', { event_type: 'login', event_data: { ip_address: 'x' } }), 422, 'a customer of an event')
    await refused(await ask(server, 'mia', 'POST', '/customers/7/events', { event_type: 'dance' }), 422, 'a kind of event')
    await refused(await ask(server, 'otto', 'POST', '/customers/999999999/refresh'), 404, 'refresh')
    await refused(await ask(server, 'otto', 'POST', '/customers/999999999/rebuild'), 404, 'rebuild')
    await refused(await ask(server, 'ada', 'PATCH', '/customers/999999999', { name: 'x' }), 404, 'change')
    await refused(await ask(server, 'otto', 'DELETE', '/customers/999999999?name=x'), 404, 'purge')
    await refused(await ask(server, 'otto', 'DELETE', '/customers/7?name=x'), 422, 'purge another')
    await refused(await ask(server, 'ada', 'GET', '/scorecard/versions/4711'), [404, 422], 'a version')
    await refused(await ask(server, 'ada', 'POST', '/scorecard/versions/4711/rollback', {}, { 'if-match': '*' }), [404, 422], 'rollback')
    await refused(await ask(server, 'otto', 'POST', '/operations/rejected/retry', { source_id: 4711 }), 404, 'a source')
    for (const after of ['AAAA', 'bm90IGpzb24', Buffer.from('["name","a",1]').toString('base64url'), Buffer.from('["score",{"a":1},1]').toString('base64url')]) {
      await refused(await ask(server, 'mia', 'GET', `/customers?after=${after}`), 422, `after=${after}`)
    }
    for (const after of [['score', 'text', 1], ['score', 1, 'text'], ['score', 1, 1e30]]) {
      await refused(await ask(server, 'mia', 'GET', `/customers?after=${Buffer.from(JSON.stringify(after)).toString('base64url')}`), 422, `after=${after}`)
    }
  })

  test('no identifier or SQL comes through', async () => {
    for (const word of [`'; DROP TABLE chs.customers; --`, `" OR 1=1`, '%', '_', '\\', '$1', 'pg_catalog']) {
      const answer = await ask(server, 'mia', 'GET', `/customers?q=${encodeURIComponent(word)}&count=exact`)
      assert.equal(answer.status, 200, word)
      assert.equal(answer.json.total, 0, `nobody is called ${word}`)
      await refused(await ask(server, 'mia', 'GET', `/customers?sort=${encodeURIComponent(word)}`), 422, 'sort')
    }
    for (const sort of ['constructor', '__proto__', 'toString']) await refused(await ask(server, 'mia', 'GET', `/customers?sort=${sort}`), 422, sort)
    await refused(await ask(server, 'mia', 'GET', '/customers?q=%00'), [400, 422], 'NUL')
  })
})

describe('without the right to', () => {
  const closed = operations.filter(o => o.details.security?.length > 0)
  const encoded = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const now = () => Math.floor(Date.now() / 1000)
  const claims = () => ({ role: 'mia', sub: 'mia', iss: issuer, aud: audience, iat: now(), exp: now() + 300 })

  test('tokens that are none', async () => {
    const publicKey = keys.publicKey.export({ type: 'spki', format: 'pem' })
    const signed = (payload: object, header: object = { alg: 'RS256', kid: 'one' }) => new SignJWT(payload as never).setProtectedHeader(header as never).sign(keys.privateKey)
    const good = await token('mia')
    const [header, payload, signature] = good.split('.') as [string, string, string]
    const wrong: Record<string, string> = {
      'alg none': `${encoded({ alg: 'none' })}.${encoded(claims())}.`,
      'alg None': `${encoded({ alg: 'None' })}.${encoded(claims())}.`,
      'alg none with a signature': `${encoded({ alg: 'none' })}.${encoded(claims())}.${signature}`,
      'HS256 with the public key': await new SignJWT(claims()).setProtectedHeader({ alg: 'HS256', kid: 'one' }).sign(new TextEncoder().encode(publicKey as string)),
      'another algorithm of the key': await new SignJWT(claims()).setProtectedHeader({ alg: 'RS512', kid: 'one' }).sign(keys.privateKey),
      'another key': await token('mia', 'mia', { key: otherKeys.privateKey }),
      'another key id': await signed(claims(), { alg: 'RS256', kid: 'two' }),
      'a key in the header': await new SignJWT(claims()).setProtectedHeader({ alg: 'RS256', jwk: otherKeys.publicKey.export({ format: 'jwk' }) as never }).sign(otherKeys.privateKey),
      expired: await token('mia', 'mia', { expires: now() - 1 }),
      'without an end': await signed((({ exp: _, ...rest }) => rest)(claims())),
      'of another issuer': await signed({ ...claims(), iss: 'https://evil.example' }),
      'said to be of this server': await signed({ ...claims(), iss: 'chs_web', aud: 'chs_web' }),
      'for another audience': await signed({ ...claims(), aud: 'payroll' }),
      'not yet valid': await signed({ ...claims(), nbf: now() + 300 }),
      'with other claims': `${header}.${encoded({ ...claims(), role: 'ada' })}.${signature}`,
      'without signature': `${header}.${payload}.`,
      'cut off': good.slice(0, -5),
      garbage: 'garbage', 'two dots': '..', empty: '',
    }
    for (const [what, one] of Object.entries(wrong)) {
      const answer = await ask(server, { authorization: `Bearer ${one}` }, 'GET', '/me')
      await refused(answer, 401, what)
      assert.equal(answer.headers.get('www-authenticate'), 'Bearer')
    }
    for (const header of ['Basic bWlhOmRlbW8=', 'Bearer', 'bearer  x', `Token ${good}`]) await refused(await ask(server, { authorization: header }, 'GET', '/me'), 401, header)
    await refused(await ask(server, { cookie: `__Host-chs=${wrong['alg none']}` }, 'GET', '/me'), 401, 'in a cookie')
    assert.equal((await ask(server, { authorization: `Bearer ${good}` }, 'GET', '/me')).status, 200)
  })

  test('a token that names no role', async () => {
    for (const role of [undefined, 5, '', ['ada'], { a: 1 }]) await refused(await ask(server, { authorization: `Bearer ${await token('mia', 'mia', { claims: { role } })}` }, 'GET', '/me'), 403, `role ${JSON.stringify(role)}`)
  })

  for (const operation of closed) {
    test(operation.id, async () => {
      const right: Right = elsewhere.has(operation.id) ? {} : await rights[operation.id]!()
      const path = called(operation, right)
      const call = async (who: string | Record<string, string> | null, headers = {}) => ask(server, who, operation.method, path, right.body, { ...right.headers, ...headers })
      await refused(await call(null), 401, 'without a token')
      await refused(await call({ authorization: `Bearer ${await token('mia', 'mia', { expires: 1 })}` }), 401, 'with an old token')
      for (const role of ['postgres', 'pg_read_all_data', 'web_stranger', 'no_such_role', 'default']) {
        await refused(await call(await as(role)), role === 'no_such_role' || role === 'default' ? [403, 422] : 403, `as ${role}`)
      }
      // That is the server itself, which has no rights.
      for (const role of ['chs_web', 'none']) {
        const answer = await call(await as(role))
        if (operation.id === 'me') assert.deepEqual(answer.json.may, [])
        else await refused(answer, 403, `as ${role}`)
      }
      const may = operation.details['x-may']
      if (may !== undefined && operation.id !== 'rules') {
        const answer = await call('web_nobody')
        await refused(answer, 403, 'as a role without rights')
        assert.equal(answer.json.may, may)
        assert.equal(answer.json.code, '42501')
      }
    })
  }

  test('what one role may, another may not', async () => {
    const granted: Record<string, string[]> = {}
    for (const role of ['mia', 'leo', 'ada', 'otto']) granted[role] = (await ask(server, role, 'GET', '/me')).json.may
    const expected: Record<string, string[]> = { mia: ['read', 'record'], leo: ['read'], ada: ['administer', 'maintain', 'read', 'record'], otto: ['operate', 'read'] }
    assert.deepEqual(granted, expected)
    for (const operation of closed.filter(o => o.details['x-may'] !== undefined && !elsewhere.has(o.id) && o.id !== 'rules' && o.id !== 'purge_customer')) {
      for (const role of Object.keys(granted).filter(r => !granted[r]!.includes(operation.details['x-may']))) {
        const right = await rights[operation.id]!()
        const answer = await ask(server, role, operation.method, called(operation, right), right.body, right.headers)
        // Some functions are granted to both administrators and operators.
        if (answer.status < 300) {
          const admin = await superuser()
          assert.ok(['simulate', 'draft', 'draft_changes', 'draft_lint', 'versions', 'version', 'event_types'].includes(operation.id), `${operation.id} as ${role} succeeds`)
          assert.ok((await rowsOf(admin, 'SELECT 1')).length)
        } else {
          await refused(answer, 403, `${operation.id} as ${role}`)
        }
      }
    }
  })
})

describe('from another site', () => {
  let cookie: string
  before(async () => {
    const answer = await ask(server, null, 'POST', '/session', { user: 'ada', password: 'demo' })
    cookie = /__Host-chs=[^;]+/.exec(answer.headers.get('set-cookie')!)![0]
  })

  for (const operation of operations.filter(o => o.method !== 'GET' && o.id !== 'log_in')) {
    test(operation.id, async () => {
      const right = await rights[operation.id]!()
      for (const site of ['cross-site', 'same-site', 'none', undefined]) {
        const answer = await ask(server, { cookie, ...(site && { 'sec-fetch-site': site }) }, operation.method, called(operation, right), right.body, Object.fromEntries(Object.entries(right.headers ?? {}).filter(([name]) => name !== 'sec-fetch-site')))
        await refused(answer, 403, `sec-fetch-site: ${site}`)
      }
    })
  }

  test('but not from this one, and not reading', async () => {
    assert.equal((await ask(server, { cookie, 'sec-fetch-site': 'cross-site' }, 'GET', '/me')).status, 200)
    assert.equal((await ask(server, { cookie, 'sec-fetch-site': 'same-origin' }, 'POST', '/customers/7/notes', { note: 'from here' })).status, 201)
    await refused(await ask(server, { 'sec-fetch-site': 'cross-site' }, 'POST', '/session', { user: 'ada', password: 'demo' }), 403, 'logging somebody in')
  })

  test('a bearer beside a cookie is what counts', async () => {
    const answer = await ask(server, { cookie, ...(await as('mia')) }, 'GET', '/me')
    assert.equal(answer.json.role, 'mia')
    await refused(await ask(server, { cookie, authorization: 'Bearer x' }, 'GET', '/me'), 401, 'a wrong one')
  })
})

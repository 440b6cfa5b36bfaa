// Bulk loads: all or none, exactly as written, and the line of the first row that is wrong.
import assert from 'node:assert/strict'
import { request } from 'node:http'
import { before, describe, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import type pg from 'pg'
import { as, ask, serve, superuser, wrongWithProblem, type Answer, type Server } from './harness.ts'

let server: Server
let admin: pg.Client
const ndjson = { 'content-type': 'application/x-ndjson' }
const csv = { 'content-type': 'text/csv' }
const login = (more: object = {}) => JSON.stringify({ customer_id: 7, event_type: 'login', event_data: { ip_address: '192.0.2.1' }, ...more })
const load = (body: string | Uint8Array, headers: Record<string, string> = ndjson) => ask(server, 'mia', 'POST', '/events', body, headers)
const count = async () => Number((await admin.query('SELECT count(*) FROM chs.customer_events')).rows[0].count)

before(async () => {
  server = await serve()
  admin = await superuser()
})

function wrongLine(answer: Answer, line: number, what: string) {
  assert.equal(answer.status, 422, `${what}: ${answer.text}`)
  assert.equal(answer.json.line, line, `${what}: ${answer.text}`)
  assert.equal(wrongWithProblem(answer.json), null)
}

describe('NDJSON', () => {
  test('12,000 events are recorded by one transaction, and counted', async () => {
    const before = await count()
    const answer = await load(Array.from({ length: 12_000 }, (_, n) => login({ occurred_at: new Date(Date.now() - n * 1000).toISOString() })).join('\n'))
    assert.deepEqual([answer.status, answer.json], [201, { recorded: 12_000, duplicates: 0 }])
    assert.equal(await count(), before + 12_000)
    assert.equal((await admin.query('SELECT count(DISTINCT xmin::text) FROM (SELECT xmin FROM chs.customer_events ORDER BY event_id DESC LIMIT 12000) e')).rows[0].count, '3', 'as many subtransactions as batches')
    const [row] = (await admin.query(`SELECT target, actor FROM chs_web.audit ORDER BY audit_id DESC LIMIT 1`)).rows
    assert.deepEqual(row, { target: '12000 events', actor: 'mia' })
  })

  test('a wrong line, wherever it is, is named, and nothing is recorded', async () => {
    const wrong: Record<string, string> = {
      'no JSON': '{"customer_id":', 'no object': '[1]', 'no customer': login({ customer_id: undefined }), 'another customer': login({ customer_id: 999_999 }),
      'no ip_address': login({ event_data: {} }), 'no such type': login({ event_type: 'dance' }), 'a field too many': login({ note: 1 }), 'a customer of text': login({ customer_id: '7' }),
      'a type of number': login({ event_type: 5 }), 'data that are none': login({ event_data: [] }), 'a time that is none': login({ occurred_at: 'yesterday evening' }), 'a far future': login({ occurred_at: '2999-01-01T00:00:00Z' }),
      'an amount of nothing': login({ event_type: 'payment', event_data: { amount: 0 } }), NUL: login({ event_data: { ip_address: 'a\u0000b' } }), 'half a character': login({ event_data: { ip_address: '\ud800' } }),
    }
    let position = 1
    for (const [what, line] of Object.entries(wrong)) {
      const before = await count()
      // Elsewhere each time: in the first batch, at its end, at the beginning of the next.
      position = [1, 2, 4999, 5000, 5001, 9999, 6, 10_000][(position + 1) % 8]!
      const lines = Array.from({ length: position + 3 }, () => login())
      lines[position - 1] = line
      wrongLine(await load(lines.join('\n')), position, what)
      assert.equal(await count(), before, what)
    }
  })

  test('the first of several is the one that is named', async () => {
    const lines = Array.from({ length: 20 }, () => login())
    lines[16] = 'no JSON'
    lines[3] = login({ event_data: {} })
    lines[9] = login({ customer_id: 999_999 })
    wrongLine(await load(lines.join('\n')), 4, 'three')
  })

  test('what was recorded under a key is not recorded again', async () => {
    const key = `k${Math.random()}`
    const lines = Array.from({ length: 6000 }, (_, n) => login({ idempotency_key: `${key} ${n}` }))
    assert.deepEqual((await load(lines.slice(0, 5500).join('\n'))).json, { recorded: 5500, duplicates: 0 })
    assert.deepEqual((await load(lines.join('\n'))).json, { recorded: 500, duplicates: 5500 })
    assert.deepEqual((await load([lines[0], login({ idempotency_key: `${key} new` }), login({ idempotency_key: `${key} new` })].join('\n'))).json, { recorded: 1, duplicates: 2 })
    // With a known key among them, a wrong line is still found.
    wrongLine(await load([lines[0], login(), login({ event_data: {} })].join('\n')), 3, 'after a duplicate')
  })

  test('numbers and text arrive as they were written', async () => {
    const data = '{"ip_address":"\\u00e9\\"\\\\ \\t\\n \u2028 \ud83d\ude00","big":12345678901234567890123,"small":0.1234567890123456789,"e":1e3,"nested":{"a":[1,null,true]}}'
    assert.equal((await load(`{"customer_id":7,"event_type":"login","event_data":${data},"occurred_at":"2026-01-02T03:04:05.678901+02:00"}\r\n\r\n`)).status, 201)
    const [row] = (await admin.query(`SELECT event_data = $1::jsonb AS same, event_data ->> 'big' AS big, occurred_at = '2026-01-02 01:04:05.678901+00' AS time FROM chs.customer_events ORDER BY event_id DESC LIMIT 1`, [data])).rows
    assert.deepEqual(row, { same: true, big: '12345678901234567890123', time: true })
  })

  test('nothing is nothing', async () => {
    for (const body of ['', '\n\n']) assert.deepEqual((await load(body)).json, { recorded: 0, duplicates: 0 })
  })

  test('without an end of line, in small pieces, and cut within a character', async () => {
    const body = Buffer.from(`${login({ event_data: { ip_address: 'é😀' } })}\n${login()}`)
    const status = await new Promise<number>((resolve, reject) => {
      void as('mia').then(({ authorization }) => {
        const call = request(`${server.url}/events`, { method: 'POST', headers: { ...ndjson, authorization } }, response => { response.resume(); resolve(response.statusCode!) })
        call.on('error', reject)
        for (const byte of body) call.write(Buffer.from([byte]))
        call.end()
      })
    })
    assert.equal(status, 201)
    assert.deepEqual((await admin.query(`SELECT event_data ->> 'ip_address' AS ip FROM chs.customer_events ORDER BY event_id DESC LIMIT 2`)).rows.map(r => r.ip).sort(), ['192.0.2.1', 'é😀'])
  })

  test('bytes that are no UTF-8', async () => wrongLine(await load(Buffer.concat([Buffer.from(`${login()}\n{"customer_id":7,"x":"`), Buffer.from([0xff, 0xfe]), Buffer.from('"}\n')])), 2, 'bytes'))
  test('a line without an end', async () => wrongLine(await load(`${login()}\n${'x'.repeat((1 << 20) + 100_000)}`), 2, 'a long line'))
})

describe('CSV', () => {
  test('with a header, quotes, and fields that go on', async () => {
    const body = 'event_type,customer_id,event_data,occurred_at\r\nlogin,7,"{""ip_address"":""a,b"",\n""more"":""""}",2026-01-05T10:00:00Z\r\nlogin,7,"{""ip_address"":""x""}",\r\n'
    assert.deepEqual((await load(body, csv)).json, { recorded: 2, duplicates: 0 })
    const rows = (await admin.query(`SELECT event_data, occurred_at = '2026-01-05 10:00+00' AS time FROM chs.customer_events ORDER BY event_id DESC LIMIT 2`)).rows
    assert.ok(rows.some(r => r.event_data.ip_address === 'a,b' && r.event_data.more === '' && r.time))
    assert.ok(rows.some(r => r.event_data.ip_address === 'x' && !r.time))
  })

  test('wrong lines', async () => {
    const good = 'customer_id,event_type,event_data\n7,login,"{""ip_address"":""x""}"\n'
    wrongLine(await load('customer_id,event_type,colour\n', csv), 1, 'a column too many')
    wrongLine(await load('customer_id,customer_id,event_type\n', csv), 1, 'a column twice')
    wrongLine(await load('customer_id\n', csv), 1, 'a column too few')
    wrongLine(await load(`${good}7,login\n`, csv), 3, 'a field too few')
    wrongLine(await load(`${good}seven,login,{}\n`, csv), 3, 'a customer of text')
    wrongLine(await load(`${good}7,login,no JSON\n`, csv), 3, 'no JSON')
    wrongLine(await load(`${good}7,login,{}\n`, csv), 3, 'no ip_address')
    wrongLine(await load(`${good}7,login,"{}\nand on\n`, csv), 3, 'an open quote')
    wrongLine(await load(`${good}7,lo"gin,{}"\n`, csv), 3, 'a quote within')
    wrongLine(await load(`${good}7,login,"{""ip_address"":\n\n""x""}"\n7,login,{}\n`, csv), 6, 'after a field of three lines')
  })
})

describe('bodies', () => {
  test('with gzip', async () => {
    const headers = { ...ndjson, 'content-encoding': 'gzip' }
    assert.deepEqual((await load(gzipSync(`${login()}\n`.repeat(3)), headers)).json, { recorded: 3, duplicates: 0 })
    const broken = gzipSync(`${login()}\n`.repeat(1000))
    for (const body of [Buffer.from('no gzip'), broken.subarray(0, broken.length - 20)]) assert.equal((await load(body, headers)).status, 422)
  })

  test('that are too large, also once they are unpacked', async () => {
    const small = await serve({ bulkLimit: 100_000 })
    const before = await count()
    const body = `${login()}\n`.repeat(5000)
    for (const [what, headers, bytes] of [['plain', ndjson, body], ['gzip', { ...ndjson, 'content-encoding': 'gzip' }, gzipSync(body)]] as const) {
      const answer = await ask(small, 'mia', 'POST', '/events', bytes, headers).catch((error: Error) => error)
      // The server may close before all is sent, which a client sees as an error.
      if (!(answer instanceof Error)) assert.equal(answer.status, 413, what)
    }
    assert.equal(await count(), before)
  })

  test('of another type, encoding, or none', async () => {
    assert.equal((await load('x', { 'content-type': 'application/xml' })).status, 415)
    assert.equal((await load('{}', { 'content-type': 'application/json' })).status, 415)
    assert.equal((await load(`${login()}\n`, { ...ndjson, 'content-encoding': 'br' })).status, 422)
    assert.equal((await ask(server, 'mia', 'POST', '/events', undefined, {})).status, 415)
  })

  test('that break off leave nothing behind', async () => {
    const before = await count()
    const { authorization } = await as('mia')
    await new Promise<void>(resolve => {
      const call = request(`${server.url}/events`, { method: 'POST', headers: { ...ndjson, authorization } })
      call.on('error', () => {}).on('close', resolve)
      call.write(`${login()}\n`.repeat(6000), () => call.destroy())
    })
    // The connection is given back: others can load as many as before.
    for (let n = 0; n < 6; n++) assert.equal((await load(`${login()}\n`)).status, 201)
    assert.equal(await count(), before + 6)
  })

  test('who may not record cannot, whatever is in it', async () => {
    assert.equal((await ask(server, 'leo', 'POST', '/events', `${login()}\n`, ndjson)).status, 403)
    assert.equal((await ask(server, 'leo', 'POST', '/customers/7/events', { event_type: 'login' })).status, 403)
  })
})

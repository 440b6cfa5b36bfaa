// The server itself: limits, slow clients, a database that goes and comes back, its end, and what it tells about itself.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Server as Proxy, type Socket } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { configOf } from '../src/config.ts'
import { as, ask, at, serve, superuser, until, wrongWithProblem, type Server } from './harness.ts'

let server: Server
const port = () => Number(new URL(server.url).port)
before(async () => { server = await serve() })

/** Sends text as it is and returns all that comes back until the server closes. */
const raw = (...texts: (string | number)[]): Promise<{ answer: string; seconds: number }> => new Promise((resolve, reject) => {
  const began = Date.now()
  let answer = ''
  const socket = connect(port(), '127.0.0.1', async () => {
    for (const text of texts) {
      if (typeof text === 'number') await new Promise(done => setTimeout(done, text))
      else if (!socket.destroyed) socket.write(text)
    }
  })
  socket.setEncoding('utf8').on('data', chunk => { answer += chunk }).on('close', () => resolve({ answer, seconds: (Date.now() - began) / 1000 }))
  socket.on('error', error => ((error as { code?: string }).code === 'EPIPE' || (error as { code?: string }).code === 'ECONNRESET' ? undefined : reject(error)))
})

test('headers that keep browsers from being misled', async () => {
  for (const path of ['/me', '/login', '/nothing']) {
    const { headers } = await ask(server, 'mia', 'GET', path)
    const policy = headers.get('content-security-policy')!
    for (const part of ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"]) assert.ok(policy.split(';').includes(part), part)
    assert.doesNotMatch(policy, /unsafe|\*|http:/)
    assert.equal(headers.get('x-content-type-options'), 'nosniff')
    assert.equal(headers.get('x-frame-options'), 'DENY')
    assert.equal(headers.get('referrer-policy'), 'no-referrer')
    assert.equal(headers.get('cross-origin-opener-policy'), 'same-origin')
    assert.ok(headers.get('strict-transport-security'))
    assert.equal(headers.get('access-control-allow-origin'), null)
    assert.equal(headers.get('server'), null)
    assert.equal(headers.get('x-powered-by'), null)
  }
})

test('what has not changed is not sent again', async () => {
  for (const path of ['/stats', '/customers?limit=5', '/scorecard/rules']) {
    const first = await ask(server, 'mia', 'GET', path)
    const tag = first.headers.get('etag')!
    assert.match(tag, /^W\/"/)
    const again = await ask(server, 'mia', 'GET', path, undefined, { 'if-none-match': tag })
    assert.deepEqual([again.status, again.text], [304, ''])
  }
})

test('HEAD and OPTIONS tell nothing that GET would not', async () => {
  assert.equal((await ask(server, 'mia', 'HEAD', '/stats')).text, '')
  assert.equal((await ask(server, null, 'HEAD', '/stats')).status, 401)
  assert.equal((await ask(server, null, 'OPTIONS', '/stats')).status, 401)
  assert.equal((await ask(server, 'mia', 'TRACE' as never, '/stats').catch(() => ({ status: 405 }))).status >= 400, true)
})

describe('limits', () => {
  test('on requests of a person, on those that write, and on logging in', async () => {
    const narrow = await serve({ rate: 5, writeRate: 2, loginRate: 3 })
    const statuses = async (n: number, one: () => Promise<{ status: number; headers: Headers; json: any; text: string }>) => {
      const answers = []
      for (let i = 0; i < n; i++) answers.push(await one())
      const last = answers.at(-1)!
      assert.equal(last.status, 429)
      assert.ok(Number(last.headers.get('retry-after')) > 0)
      assert.equal(last.headers.get('ratelimit-remaining'), '0')
      assert.equal(wrongWithProblem(last.json), null, last.text)
      return answers.map(a => a.status)
    }
    assert.deepEqual(await statuses(6, () => ask(narrow, 'mia', 'GET', '/me')), [200, 200, 200, 200, 200, 429])
    assert.deepEqual(await statuses(3, () => ask(narrow, 'mia', 'POST', '/customers/7/notes', { note: 'x' })), [201, 201, 429])
    assert.equal((await ask(narrow, 'leo', 'GET', '/me')).status, 200, 'others go on')
    assert.deepEqual(await statuses(4, () => ask(narrow, null, 'POST', '/session', { user: 'mia', password: 'wrong' })), [401, 401, 401, 429])
  })

  test('on bodies', async () => {
    const answer = await ask(server, 'mia', 'POST', '/customers/7/notes', { note: 'x'.repeat(2 << 20) }).catch((error: Error) => error)
    if (!(answer instanceof Error)) {
      assert.equal(answer.status, 413)
      assert.equal(wrongWithProblem(answer.json), null)
    }
    assert.equal((await ask(server, 'ada', 'POST', '/scorecard/simulations', { document: { deep: JSON.parse('['.repeat(2000) + ']'.repeat(2000)) } })).status, 422)
  })

  test('on addresses and headers', async () => {
    assert.equal((await ask(server, 'mia', 'GET', `/customers/7?since=${'9'.repeat(5000)}d`)).status, 422)
    assert.ok((await ask(server, 'mia', 'GET', `/views/${'x'.repeat(5000)}`)).status >= 400)
    const { answer } = await raw(`GET /api/v1/me HTTP/1.1\r\nHost: x\r\nX-Long: ${'x'.repeat(200_000)}\r\n\r\n`)
    assert.match(answer, /^HTTP\/1\.1 431 /)
  })

  test('on what is no HTTP', async () => {
    const { answer } = await raw('\u0000\u0001 nonsense\r\n\r\n')
    assert.match(answer, /^HTTP\/1\.1 400 /)
    const { authorization } = await as('mia')
    const smuggled = await raw(`POST /api/v1/customers/7/notes HTTP/1.1\r\nHost: x\r\nAuthorization: ${authorization}\r\nContent-Type: application/json\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /api/v1/me HTTP/1.1\r\nHost: x\r\n\r\n`)
    assert.match(smuggled.answer, /^HTTP\/1\.1 400 /)
    assert.equal(smuggled.answer.split('HTTP/1.1 ').length, 2, 'one answer')
  })

  test('on time: a client that sends headers or a body too slowly is let go', { timeout: 60_000 }, async () => {
    const { authorization } = await as('mia')
    const [headers, body] = await Promise.all([
      raw('GET /api/v1/me HTTP/1.1\r\nHost: x\r\n', ...Array.from({ length: 40 }, () => [500, 'X-More: x\r\n']).flat()),
      raw(`POST /api/v1/customers/7/notes HTTP/1.1\r\nHost: x\r\nAuthorization: ${authorization}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"note":"`, ...Array.from({ length: 50 }, () => [500, 'x']).flat()),
    ])
    assert.match(headers.answer, /^HTTP\/1\.1 408 /)
    assert.ok(headers.seconds < 18, `headers: ${headers.seconds} s`)
    assert.ok(body.seconds < 20, `body: ${body.seconds} s`)
    assert.equal((await ask(server, 'mia', 'GET', '/me')).status, 200)
  })
})

describe('the database', () => {
  // A proxy, so that it can be taken away.
  const directory = mkdtempSync('/tmp/chs_web.')
  after(() => rmSync(directory, { recursive: true }))
  let proxy: Proxy | undefined
  const sockets = new Set<Socket>()
  const come = () => new Promise<void>(resolve => {
    proxy = createServer(near => {
      const far = connect(`${process.env['PGHOST']}/.s.PGSQL.${process.env['PGPORT'] ?? 5432}`)
      for (const [a, b] of [[near, far], [far, near]] as const) {
        sockets.add(a)
        a.pipe(b)
        a.on('error', () => {}).on('close', () => { sockets.delete(a); b.destroy() })
      }
    }).listen(`${directory}/.s.PGSQL.5432`, resolve)
  })
  const go = () => new Promise<void>(resolve => {
    proxy!.close(() => resolve())
    for (const socket of sockets) socket.destroy()
  })

  test('goes and comes back, and the server stays', async () => {
    await come()
    const through = await serve({ url: `postgres://chs_web@/${process.env['PGDATABASE']}?host=${encodeURIComponent(directory)}&port=5432` })
    const ready = async () => (await fetch(through.url.replace('/api/v1', '/readyz'))).status
    assert.equal(await ready(), 200)
    assert.equal((await ask(through, 'mia', 'GET', '/stats')).status, 200)
    await go()
    for (const path of ['/stats', '/customers', '/customers/7', '/customers.csv', '/stream']) {
      const answer = await ask(through, 'mia', 'GET', path)
      assert.equal(answer.status, 503, `${path}: ${answer.text}`)
      assert.equal(answer.headers.get('retry-after'), '2')
      assert.equal(wrongWithProblem(answer.json), null, answer.text)
    }
    assert.equal((await ask(through, null, 'POST', '/session', { user: 'mia', password: 'demo' })).status, 503)
    assert.equal(await ready(), 503)
    assert.equal((await fetch(through.url.replace('/api/v1', '/healthz'))).status, 200)
    await come()
    assert.equal((await ask(through, 'mia', 'GET', '/stats')).status, 200, 'at once')
    assert.equal(await ready(), 200)
    // In the middle of a request, too: one that waits for a lock.
    const admin = await superuser()
    await admin.query('BEGIN; LOCK TABLE chs.segments')
    const going = ask(through, 'mia', 'GET', '/segments')
    const other = await superuser()
    await until(async () => (await other.query(`SELECT FROM pg_stat_activity WHERE application_name = 'chs_web' AND wait_event_type = 'Lock'`)).rowCount)
    await go()
    assert.equal((await going).status, 503)
    await admin.query('ROLLBACK')
    await come()
    assert.equal((await ask(through, 'mia', 'GET', '/customers?limit=1')).status, 200)
    await go()
  })

  test('that is not set up, or is reached as a superuser, serves nobody', async () => {
    const mighty = await serve({ url: `postgres://postgres@/${process.env['PGDATABASE']}?host=${encodeURIComponent(process.env['PGHOST']!)}` })
    const answer = await ask(mighty, 'mia', 'GET', '/stats')
    assert.equal(answer.status, 503, answer.text)
    assert.match((await (await fetch(mighty.url.replace('/api/v1', '/readyz'))).text()), /not set up/)
    const empty = await serve({ url: at('template1') })
    assert.match(await (await fetch(empty.url.replace('/api/v1', '/readyz'))).text(), /no extension chs/)
  })

  test('a statement that takes too long is ended', async () => {
    const { Database } = await import('../src/db.ts')
    const db = new Database({ ...configOf({}), url: at(process.env['PGDATABASE']!) }, () => {})
    await assert.rejects(db.read({ role: 'mia', actor: 'mia' }, { name: 'slow', text: `SELECT 'x' AS json FROM pg_sleep(60)`, milliseconds: 50 }), /statement timeout/)
    assert.equal(await db.read({ role: 'mia', actor: 'mia' }, { name: 'quick', text: `SELECT current_user AS json` }), 'mia')
    // Reading cannot write, and what has failed has not changed who one is.
    await assert.rejects(db.read({ role: 'mia', actor: 'mia' }, { name: 'write', text: `INSERT INTO chs_web.notes (customer_id, note) VALUES (7, 'x') RETURNING 'x' AS json` }), /read-only transaction/)
    await assert.rejects(db.read({ role: 'postgres', actor: 'mia' }, { name: 'who', text: `SELECT current_user AS json` }), /permission denied/)
    assert.equal(await db.read({ role: 'leo', actor: 'leo' }, { name: 'quick', text: `SELECT current_user AS json` }), 'leo')
    await db.close()
  })
})

test('metrics tell how long answers take, by route', async () => {
  await ask(server, 'mia', 'GET', '/customers/7')
  await ask(server, 'mia', 'GET', '/customers/999999')
  const text = await (await fetch(server.url.replace('/api/v1', '/metrics'))).text()
  for (const status of ['200', '404']) assert.match(text, new RegExp(`chs_web_request_seconds_count\\{method="GET",route="/api/v1/customers/:customer_id",status="${status}"\\} [1-9]`))
  assert.match(text, /chs_web_connections\{pool="requests",state="idle"\} [1-9]/)
  assert.match(text, /chs_web_streams 0/)
  assert.doesNotMatch(text, /customers\/7"/, 'no route of one customer alone')
})

test('a program: logs by line, with the request id; requests that have begun are answered when it is stopped', { timeout: 30_000 }, async () => {
  const directory = mkdtempSync('/tmp/chs_web.')
  const { generateKeyPairSync } = await import('node:crypto')
  writeFileSync(`${directory}/key.pem`, generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }))
  const free = await new Promise<number>(resolve => { const s = createServer().listen(0, '127.0.0.1', () => { const { port } = s.address() as { port: number }; s.close(() => resolve(port)) }) })
  const start = async () => {
    const program = spawn(process.execPath, [new URL('../src/main.ts', import.meta.url).pathname], {
      env: { ...process.env, PGUSER: 'chs_web', CHS_WEB_LOG_LEVEL: 'info', CHS_WEB_PORT: String(free), CHS_WEB_SESSION_KEY_FILE: `${directory}/key.pem` }, stdio: ['ignore', 'pipe', 'inherit'],
    })
    let log = ''
    program.stdout.setEncoding('utf8').on('data', chunk => { log += chunk })
    const ended = new Promise<number | null>(resolve => program.on('exit', resolve))
    await until(async () => (await fetch(`http://127.0.0.1:${free}/readyz`).catch(() => null))?.ok)
    return { program, ended, log: () => log.trim().split('\n').map(line => JSON.parse(line)) }
  }
  const one = await start()
  const url = `http://127.0.0.1:${free}/api/v1`
  const session = await ask({ url }, null, 'POST', '/session', { user: 'ada', password: 'demo' })
  const cookie = /__Host-chs=[^;]+/.exec(session.headers.get('set-cookie')!)![0]
  const admin = await superuser()
  await admin.query('BEGIN; LOCK TABLE chs.segments')
  const call = ask({ url }, { cookie, 'x-request-id': 'from-the-proxy-1' }, 'GET', '/segments')
  const other = await superuser()
  await until(async () => (await other.query(`SELECT FROM pg_stat_activity WHERE application_name = 'chs_web' AND wait_event_type = 'Lock'`)).rowCount)
  one.program.kill('SIGTERM')
  // Nobody new is let in, and then the one who waits goes on.
  await until(async () => ((await fetch(`${url}/login`).catch(() => null))?.status ?? 503) === 503)
  await admin.query('ROLLBACK')
  assert.equal((await call).status, 200, 'what has begun is answered')
  assert.equal(await one.ended, 0)
  const done = one.log().filter(line => line.reqId === 'from-the-proxy-1')
  assert.deepEqual(done.map(line => line.msg), ['incoming request', 'request completed'])
  assert.doesNotMatch(JSON.stringify(one.log()), /demo|__Host-chs|eyJ/, 'neither password nor token is in the log')
  // The key is kept, so sessions outlive a restart.
  const two = await start()
  assert.equal((await ask({ url }, { cookie }, 'GET', '/me')).json.role, 'ada')
  two.program.kill('SIGTERM')
  assert.equal(await two.ended, 0)
  rmSync(directory, { recursive: true })
})

test('settings that cannot be are refused', () => {
  for (const [settings, message] of [
    [{ CHS_WEB_PORT: 'eighty' }, /CHS_WEB_PORT must be a whole number/], [{ CHS_WEB_ISSUER: 'https://x' }, /CHS_WEB_AUDIENCE must be set/],
    [{ CHS_WEB_ISSUER: 'https://x', CHS_WEB_AUDIENCE: 'x', CHS_WEB_CLIENT_ID: 'x' }, /CHS_WEB_REDIRECT must be set/],
    [{ CHS_WEB_ALGORITHMS: 'HS256' }, /public keys/], [{ CHS_WEB_ALGORITHMS: 'RS256,none' }, /public keys/],
  ] as const) assert.throws(() => configOf(settings as never), message)
})

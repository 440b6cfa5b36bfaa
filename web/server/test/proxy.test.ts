// nginx/ as it is, with addresses of this machine: TLS, limits, compression, streams, files of the front, and what is
// answered when the server is away.
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import http2 from 'node:http2'
import https from 'node:https'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, before, test } from 'node:test'
import tls from 'node:tls'
import { as, at, database, type Server, serve, superuser, until } from './harness.ts'

const there = new URL('../../nginx/', import.meta.url).pathname
const directory = mkdtempSync(path.join(tmpdir(), 'chs-proxy-'))
let server: Server, port: number, plainPort: number, certificate: Buffer, nginx: ReturnType<typeof spawn>

const freePort = () => new Promise<number>(resolve => {
  const probe = createServer().listen(0, '127.0.0.1', () => {
    const address = probe.address() as { port: number }
    probe.close(() => resolve(address.port))
  })
})

interface Reply { status: number; headers: Record<string, string | string[] | undefined>; body: Buffer }
const target = () => ({ host: '127.0.0.1', port, ca: certificate, servername: 'localhost', agent: false })
function request(method: string, url: string, headers: Record<string, string> = {}, body?: string | Buffer): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const ask = https.request({ ...target(), path: url, method, headers: { host: 'localhost', ...headers } }, reply => {
      const parts: Buffer[] = []
      reply.on('data', part => parts.push(part)).on('error', reject)
        .on('end', () => resolve({ status: reply.statusCode!, headers: reply.headers, body: Buffer.concat(parts) }))
    })
    ask.on('error', reject)
    ask.end(body)
  })
}

before(async () => {
  await database('chs_proxy', `
    CREATE ROLE proxy_reader; CREATE ROLE proxy_recorder;
    SELECT chs_grant('proxy_reader', 'read'), chs_grant('proxy_recorder', 'record'), chs_grant('proxy_recorder', 'read'),
           chs_web.admit('proxy_reader'), chs_web.admit('proxy_recorder');
    INSERT INTO chs.customers (customer_id, name, created_at) SELECT i, 'Company ' || i, '2020-01-01' FROM generate_series(1, 500) i`)
  server = await serve({ url: at('chs_proxy'), trustProxy: '127.0.0.1' })
  port = await freePort()
  plainPort = await freePort()
  const ui = path.join(directory, 'ui')
  mkdirSync(path.join(ui, 'assets'), { recursive: true })
  writeFileSync(path.join(ui, 'index.html'), '<!doctype html><title>front</title>')
  writeFileSync(path.join(ui, 'assets', 'app-1a2b.js'), `export const long = "${'long '.repeat(1000)}"\n`)
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=localhost',
    '-addext', 'subjectAltName=DNS:localhost', '-keyout', path.join(directory, 'key.pem'), '-out', path.join(directory, 'cert.pem')], { stdio: 'ignore' })
  certificate = readFileSync(path.join(directory, 'cert.pem'))
  const write = (name: string, pairs: [string, string][]) => {
    const text = pairs.reduce((all, [from, to]) => {
      assert.ok(all.includes(from), `${name} has "${from}"`)
      return all.replaceAll(from, to)
    }, readFileSync(path.join(there, name), 'utf8'))
    writeFileSync(path.join(directory, name), text)
  }
  write('chs.conf', [
    ['server web:8080;', `server ${new URL(server.url).host};`], ['listen 80;', `listen 127.0.0.1:${plainPort};`], ['listen 443 ssl', `listen 127.0.0.1:${port} ssl`],
    ['/run/secrets/certificate;', `${directory}/cert.pem;`], ['/run/secrets/certificate_key;', `${directory}/key.pem;`],
    ['root /srv/chs;', `root ${ui};`], ['access_log /dev/stdout', `access_log ${directory}/access.log`],
  ])
  write('security.conf', [])
  write('nginx.conf', [['/tmp/', `${directory}/`], ['/etc/nginx/chs.conf', `${directory}/chs.conf`], ['error_log /dev/stderr', `error_log ${directory}/error.log`]])
  // where Debian's list of modules finds them
  symlinkSync('/usr/share/nginx/modules', path.join(directory, 'modules'))
  const program = ['-p', directory, '-c', path.join(directory, 'nginx.conf'), '-e', path.join(directory, 'error.log')]
  execFileSync('nginx', [...program, '-t', '-q'], { stdio: ['ignore', 'inherit', 'inherit'] })
  nginx = spawn('nginx', [...program, '-g', 'daemon off;'], { stdio: 'inherit' })
  await until(() => request('GET', '/').then(() => true, () => false))
})
after(async () => {
  if (nginx && nginx.exitCode === null) await new Promise(resolve => { nginx.once('exit', resolve); nginx.kill('SIGTERM') })
  rmSync(directory, { recursive: true, force: true })
})

const problem = (reply: Reply, status: number) => {
  assert.equal(reply.status, status, reply.body.toString())
  assert.match(String(reply.headers['content-type']), /^application\/problem\+json/)
  assert.equal(JSON.parse(reply.body.toString()).status, status)
}

test('plain HTTP is sent to HTTPS', async () => {
  const reply = await fetch(`http://127.0.0.1:${plainPort}/customers/7?since=30d`, { redirect: 'manual' })
  assert.equal(reply.status, 301)
  assert.equal(reply.headers.get('location'), 'https://127.0.0.1/customers/7?since=30d')
})

test('old TLS is refused', async () => {
  await assert.rejects(new Promise((resolve, reject) => {
    tls.connect({ ...target(), minVersion: 'TLSv1', maxVersion: 'TLSv1.1' }, () => resolve(null)).on('error', reject)
  }))
})

test('files of the front, deep links, and what may be kept', async () => {
  for (const url of ['/', '/customers/7?since=30d']) {
    const reply = await request('GET', url)
    assert.equal(reply.status, 200)
    assert.match(reply.body.toString(), /<title>front/)
    assert.equal(reply.headers['cache-control'], 'no-cache')
    assert.match(String(reply.headers['content-security-policy']), /^default-src 'none';.*frame-ancestors 'none'$/)
    assert.match(String(reply.headers['strict-transport-security']), /max-age=/)
    assert.equal(reply.headers['x-content-type-options'], 'nosniff')
    assert.equal(reply.headers['server'], 'nginx')
  }
  const asset = await request('GET', '/assets/app-1a2b.js')
  assert.match(String(asset.headers['cache-control']), /immutable/)
  assert.equal((await request('GET', '/assets/gone.js')).status, 404)
  for (const encoding of ['br', 'gzip']) {
    const reply = await request('GET', '/assets/app-1a2b.js', { 'accept-encoding': encoding })
    assert.equal(reply.headers['content-encoding'], encoding)
    assert.ok(reply.body.length < 1000, `${encoding} makes ${asset.body.length} bytes ${reply.body.length}`)
  }
})

test('the API, its headers once, and one number in both logs', async () => {
  const reply = await request('GET', '/api/v1/customers?limit=50', {
    ...await as('proxy_reader'), 'accept-encoding': 'br', 'x-forwarded-for': '203.0.113.9', 'x-request-id': 'chosen-by-the-client' })
  assert.equal(reply.status, 200)
  assert.equal(reply.headers['content-encoding'], 'br')
  for (const name of ['content-security-policy', 'strict-transport-security', 'x-content-type-options', 'x-frame-options']) {
    assert.doesNotMatch(String(reply.headers[name]), /undefined|nosniff,|DENY,|subdomains,|'none',/i, `${name} once`)
  }
  const id = String(reply.headers['x-request-id'])
  assert.match(id, /^[0-9a-f]{32}$/)
  const line = await until(async () => readFileSync(path.join(directory, 'access.log'), 'utf8').trim().split('\n')
    .map(each => JSON.parse(each)).find(each => each.request_id === id))
  assert.deepEqual([line.method, line.status, line.address], ['GET', 200, '127.0.0.1'])
  problem(await request('GET', '/api/v1/customers', await as('postgres')), 403)
  problem(await request('GET', '/api/v1/customers'), 401)
  for (const url of ['/healthz', '/readyz', '/metrics']) assert.match((await request('GET', url)).body.toString(), /<title>front/, `${url} is not for outside`)
})

test('HTTP/2', async () => {
  const session = http2.connect(`https://localhost:${port}`, { createConnection: () => tls.connect({ ...target(), ALPNProtocols: ['h2'] }) })
  try {
    const stream = session.request({ ':path': '/api/v1/stats', ...await as('proxy_reader') })
    const status = await new Promise((resolve, reject) => stream.on('response', headers => resolve(headers[':status'])).on('error', reject))
    assert.equal(status, 200)
    stream.resume()
  } finally {
    session.close()
  }
})

test('bodies: a megabyte, but a file of events of any size', async () => {
  const who = await as('proxy_recorder')
  problem(await request('POST', '/api/v1/customers/1/events', { ...who, 'content-type': 'application/json' }, Buffer.alloc(2 << 20, 32)), 413)
  const lines = Array.from({ length: 20_000 }, (_, i) => JSON.stringify({
    customer_id: 1 + i % 500, event_type: 'login', event_data: { ip_address: '::1', user_id: `u${i}`, session_duration: 60 } })).join('\n') + '\n'
  assert.ok(lines.length > 1 << 20)
  const reply = await request('POST', '/api/v1/events', { ...who, 'content-type': 'application/x-ndjson' }, lines)
  assert.equal(reply.status, 201, reply.body.toString())
  assert.equal(JSON.parse(reply.body.toString()).recorded, 20_000)
})

test('server-sent events come one by one', async () => {
  const client = await superuser('chs_proxy')
  await client.query('SELECT chs_process_queue()')
  let seen = ''
  const stream = https.request({ ...target(), path: '/api/v1/stream', headers: { host: 'localhost', accept: 'text/event-stream', ...await as('proxy_reader') } }, reply => {
    assert.equal(reply.statusCode, 200)
    assert.equal(reply.headers['content-encoding'], undefined)
    reply.on('data', part => { seen += part })
  })
  stream.on('error', () => {})
  stream.end()
  try {
    await until(async () => seen !== '')
    // the status of the customer changes
    await client.query(`INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
      SELECT 7, 'api_call', '{"endpoint": "/a", "status_code": 200}', now() - i % 28 * interval '1 day' FROM generate_series(1, 3000) i`)
    await client.query(`INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
      SELECT 7, 'login', jsonb_build_object('ip_address', '::1', 'user_id', 'u' || i, 'session_duration', 600), now() - i % 28 * interval '1 day'
      FROM generate_series(1, 300) i`)
    await client.query('SELECT chs_process_queue()')
    await until(async () => /"customer_id" ?: ?7\b/.test(seen))
  } finally {
    stream.destroy()
  }
})

test('too many requests', async () => {
  const attempts = await Promise.all(Array.from({ length: 12 }, () => request('POST', '/api/v1/session', { 'content-type': 'application/json' }, '{}')))
  const refused = attempts.filter(reply => reply.status === 429)
  assert.ok(refused.length >= 4 && refused.length <= 6, `${refused.length} of 12 attempts to log in are refused`)
  problem(refused[0]!, 429)
  assert.equal(refused[0]!.headers['retry-after'], '2')
  const who = await as('proxy_reader')
  const many = await Promise.all(Array.from({ length: 250 }, () => request('GET', '/api/v1/segments', who)))
  const [good, bad] = [200, 429].map(status => many.filter(reply => reply.status === status).length)
  assert.equal(good! + bad!, 250)
  assert.ok(good! >= 100 && bad! > 0, `${good} of 250 at once are answered, ${bad} refused`)
})

test('a server that is away', async () => {
  await server.close()
  // the limit of requests may still be full
  const reply = await until(async () => {
    const one = await request('GET', '/api/v1/stats', await as('proxy_reader'))
    return one.status !== 429 && one
  })
  problem(reply, 503)
  assert.equal(reply.headers['retry-after'], '2')
  assert.match(String(reply.headers['content-security-policy']), /default-src 'none'/)
  assert.equal((await request('GET', '/')).status, 200)
})

// Logging in: with a login of PostgreSQL, and at an identity provider.
import assert from 'node:assert/strict'
import { createHash, generateKeyPairSync, randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { exportJWK, SignJWT } from 'jose'
import { ask, rowsOf, serve, superuser, type Server } from './harness.ts'

let server: Server
before(async () => { server = await serve({ provider: undefined }) })
const login = (user: string, password: string, headers = {}) => ask(server, null, 'POST', '/session', { user, password }, headers)

describe('with a login of PostgreSQL', () => {
  test('sets a cookie that no script reads and no other site sends', async () => {
    const answer = await login('mia', 'demo')
    assert.equal(answer.status, 204)
    const [cookie, ...more] = answer.headers.get('set-cookie')!.split('; ')
    assert.deepEqual(new Set(more), new Set(['Max-Age=28800', 'Path=/', 'HttpOnly', 'Secure', 'SameSite=Strict']))
    const me = await ask(server, { cookie: cookie! }, 'GET', '/me')
    assert.deepEqual([me.json.role, me.json.actor, me.json.may, me.json.restricted], ['mia', 'mia', ['read', 'record'], false])
    const left = new Date(me.json.expires_at).getTime() - Date.now()
    assert.ok(left > 7.9 * 3600_000 && left <= 8 * 3600_000)
    const out = await ask(server, { cookie: cookie!, 'sec-fetch-site': 'same-origin' }, 'DELETE', '/session')
    assert.equal(out.status, 204)
    assert.match(out.headers.get('set-cookie')!, /^__Host-chs=; .*(Max-Age=0|Expires=Thu, 01 Jan 1970)/)
  })

  test('fails with a wrong name or password, and does not tell which', async () => {
    const answers = await Promise.all([login('mia', 'wrong'), login('nobody at all', 'demo'), login('mia', 'demo '), login('mia', 'DEMO')])
    for (const answer of answers) {
      // Those whom pg_hba.conf does not name are trusted there, and so refused here.
      assert.ok([401, 403].includes(answer.status), answer.text)
      assert.equal(answer.headers.get('set-cookie'), null)
    }
    assert.equal(new Set(answers.filter(a => a.status === 401).map(a => a.json.detail)).size, 1)
  })

  test('fails where PostgreSQL does not check', async () => {
    const answer = await login('postgres', 'anything')
    assert.equal(answer.status, 403)
    assert.match(answer.json.hint, /pg_hba.conf/)
    assert.equal(answer.headers.get('set-cookie'), null)
  })

  test('fails where it is not admitted', async () => {
    const closed = await serve({ passwords: false })
    assert.equal((await ask(closed, null, 'POST', '/session', { user: 'mia', password: 'demo' })).status, 403)
    assert.deepEqual((await ask(closed, null, 'GET', '/login')).json, { password: false, provider: null })
    assert.equal((await ask(closed, null, 'GET', '/session/provider')).status, 404)
    assert.equal((await ask(closed, null, 'GET', '/session/provider/back?code=x&state=y')).status, 404)
  })

  test('names that are something else to PostgreSQL', async () => {
    for (const user of ["mia'--", 'mia" ', 'mia\u0000leo', '/etc', 'mia dbname=postgres']) assert.ok([401, 403, 422].includes((await login(user, 'demo')).status), user)
  })

  test('lasts no longer than the role', async () => {
    const admin = await superuser()
    const cookie = /__Host-chs=[^;]+/.exec((await login('leo', 'demo')).headers.get('set-cookie')!)![0]
    assert.equal((await ask(server, { cookie }, 'GET', '/stats')).status, 200)
    await admin.query('REVOKE leo FROM chs_web')
    try {
      assert.equal((await ask(server, { cookie }, 'GET', '/stats')).status, 403)
    } finally {
      await admin.query(`SELECT chs_web.admit('leo')`)
    }
    assert.equal((await ask(server, { cookie }, 'GET', '/stats')).status, 200)
    assert.ok((await rowsOf(admin, 'SELECT 1')).length)
  })

  test('a cookie of another server, or another start of this one, is none', async () => {
    const cookie = /__Host-chs=[^;]+/.exec((await login('mia', 'demo')).headers.get('set-cookie')!)![0]
    const other = await serve()
    assert.equal((await ask(other, { cookie }, 'GET', '/me')).status, 401)
    const [header, payload, signature] = cookie.split('=')[1]!.split('.') as [string, string, string]
    const claims = JSON.parse(Buffer.from(payload, 'base64url').toString())
    const forged = Buffer.from(JSON.stringify({ ...claims, role: 'ada' })).toString('base64url')
    for (const token of [`${header}.${forged}.${signature}`, `${Buffer.from('{"alg":"none"}').toString('base64url')}.${payload}.`, `${header}.${payload}.`]) {
      assert.equal((await ask(server, { cookie: `__Host-chs=${token}` }, 'GET', '/me')).status, 401)
    }
  })
})

describe('at an identity provider', () => {
  // A small one: it knows one person, and is as strict as a real one about code, redirect and verifier.
  const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const codes = new Map<string, URLSearchParams>()
  let issuer: string
  let more: Record<string, unknown> = {}
  let down = false
  const provider = createServer(async (request, response) => {
    const url = new URL(request.url!, issuer)
    const json = (value: unknown, status = 200) => response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
    if (down) { response.destroy(); return }
    if (url.pathname === '/.well-known/openid-configuration') {
      json({
        issuer, authorization_endpoint: `${issuer}/authorize`, token_endpoint: `${issuer}/token`, jwks_uri: `${issuer}/jwks`, response_types_supported: ['code'],
        subject_types_supported: ['public'], id_token_signing_alg_values_supported: ['ES256'], code_challenge_methods_supported: ['S256'],
      })
    } else if (url.pathname === '/jwks') {
      json({ keys: [{ ...(await exportJWK(keys.publicKey)), kid: 'p', alg: 'ES256', use: 'sig' }] })
    } else if (url.pathname === '/token') {
      let body = ''
      for await (const chunk of request) body += chunk
      const given = new URLSearchParams(body)
      const asked = codes.get(given.get('code')!)
      codes.delete(given.get('code')!)
      const challenge = createHash('sha256').update(given.get('code_verifier') ?? '').digest('base64url')
      if (!asked || asked.get('code_challenge') !== challenge || asked.get('redirect_uri') !== given.get('redirect_uri')) {
        json({ error: 'invalid_grant' }, 400)
        return
      }
      json({ access_token: 'x', token_type: 'Bearer', id_token: await idToken({ nonce: asked.get('nonce')!, ...more }) })
    } else json({}, 404)
  })
  const idToken = (claims: Record<string, unknown>, audience = 'chs-dashboard') => new SignJWT({ groups: { chs: 'ada' }, preferred_username: 'Ada L.', ...claims })
    .setProtectedHeader({ alg: 'ES256', kid: 'p' }).setIssuer((claims['iss'] as string | undefined) ?? issuer).setSubject('1234').setAudience((claims['aud'] as string | undefined) ?? audience).setIssuedAt().setExpirationTime('5m').sign(keys.privateKey)
  let with_: Server

  before(async () => {
    await new Promise<void>(resolve => provider.listen(0, '127.0.0.1', resolve))
    issuer = `http://127.0.0.1:${(provider.address() as AddressInfo).port}`
    with_ = await serve({
      passwords: false,
      provider: { issuer, audience: 'chs-api', algorithms: ['ES256'], roleClaim: 'groups.chs', actorClaim: 'preferred_username', jwks: undefined, client: { id: 'chs-dashboard', secret: undefined, redirect: 'https://chs.example/api/v1/session/provider/back' } },
    })
  })
  after(() => new Promise(resolve => { provider.close(resolve); provider.closeAllConnections() }))

  const leave = async () => {
    const answer = await ask(with_, null, 'GET', '/session/provider')
    assert.equal(answer.status, 302)
    const url = new URL(answer.headers.get('location')!)
    assert.equal(url.origin + url.pathname, `${issuer}/authorize`)
    const set = answer.headers.get('set-cookie')!
    for (const part of ['HttpOnly', 'Secure', 'SameSite=Lax', 'Path=/']) assert.ok(set.includes(part))
    const code = randomUUID()
    codes.set(code, url.searchParams)
    return { code, state: url.searchParams.get('state')!, cookie: set.split(';')[0]!, asked: url.searchParams }
  }
  const back = (query: string, cookie?: string) => ask(with_, cookie === undefined ? null : { cookie }, 'GET', `/session/provider/back?${query}`)

  test('one comes back with a session', async () => {
    const { code, state, cookie, asked } = await leave()
    assert.deepEqual([asked.get('response_type'), asked.get('client_id'), asked.get('code_challenge_method'), asked.get('scope')], ['code', 'chs-dashboard', 'S256', 'openid profile'])
    const answer = await back(`code=${code}&state=${state}`, cookie)
    assert.equal(answer.status, 302, answer.text)
    assert.equal(answer.headers.get('location'), '/')
    const session = answer.headers.getSetCookie().find(c => c.startsWith('__Host-chs='))!
    assert.match(session, /HttpOnly; Secure; SameSite=Strict/)
    const me = await ask(with_, { cookie: session.split(';')[0]! }, 'GET', '/me')
    assert.deepEqual([me.json.role, me.json.actor], ['ada', 'Ada L.'])
    // Nobody comes back twice by the same way.
    assert.equal((await back(`code=${code}&state=${state}`, cookie)).status, 400)
  })

  test('but not by what is not one\'s own', async () => {
    const one = await leave()
    const other = await leave()
    for (const [query, cookie] of [
      [`code=${one.code}&state=${one.state}`, undefined], [`code=${one.code}&state=${other.state}`, one.cookie], [`code=${one.code}&state=${one.state}`, other.cookie],
      [`code=wrong&state=${one.state}`, one.cookie], [`code=${one.code}`, one.cookie], [`error=access_denied&state=${one.state}`, one.cookie], [`code=${one.code}&state=${one.state}`, '__Host-chs-login=nonsense'],
    ] as const) {
      const answer = await back(query, cookie)
      assert.equal(answer.status, 400, `${query}: ${answer.text}`)
      assert.equal(answer.headers.getSetCookie().filter(c => c.startsWith('__Host-chs=')).length, 0)
    }
  })

  test('nor with another\'s token, or a role that is none', async () => {
    for (const [claims, status] of [[{ nonce: 'another' }, 400], [{ aud: 'somebody-else' }, 400], [{ iss: 'https://evil.example' }, 400], [{ groups: {} }, 403], [{ groups: undefined }, 403]] as const) {
      more = claims
      try {
        const { code, state, cookie } = await leave()
        const answer = await back(`code=${code}&state=${state}`, cookie)
        assert.equal(answer.status, status, JSON.stringify(claims) + answer.text)
      } finally {
        more = {}
      }
    }
  })

  test('programs send its tokens, whose keys are fetched', async () => {
    const bearer = async (claims = {}, audience = 'chs-api') => ask(with_, { authorization: `Bearer ${await idToken(claims, audience)}` }, 'GET', '/me')
    assert.deepEqual([(await bearer()).json.role, (await bearer()).json.actor], ['ada', 'Ada L.'])
    assert.equal((await bearer({}, 'chs-dashboard')).status, 401, 'meant for the browser')
    assert.equal((await bearer({ groups: { chs: 'postgres' } })).status, 403)
  })

  test('when it does not answer, nobody new comes, and who is there stays', async () => {
    const { code, state, cookie } = await leave()
    const session = (await back(`code=${code}&state=${state}`, cookie)).headers.getSetCookie().find(c => c.startsWith('__Host-chs='))!.split(';')[0]!
    down = true
    try {
      assert.equal((await ask(with_, { cookie: session }, 'GET', '/me')).status, 200)
      const late = await leave()
      assert.ok([400, 503].includes((await back(`code=${late.code}&state=${late.state}`, late.cookie)).status))
    } finally {
      down = false
    }
  })
})

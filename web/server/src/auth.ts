// Who is asking.  People log in with a login of PostgreSQL, whose password PostgreSQL itself checks, or at the company's
// identity provider; from then on a cookie that no script can read carries a token that this server has signed.  Programs
// send a bearer token of the provider.  Each issuer has its own keys, which are public ones: none is a shared secret.
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { createLocalJWKSet, createRemoteJWKSet, decodeJwt, errors, jwtVerify, SignJWT, type JWTPayload, type JWTVerifyGetKey } from 'jose'
import pg from 'pg'
import type { Config, Provider } from './config.ts'
import { connection, type Identity } from './db.ts'
import { Problem } from './problem.ts'

export const cookieName = '__Host-chs'
export const sessionSeconds = 8 * 3600
const issuer = 'chs_web'

declare module 'fastify' {
  interface FastifyRequest { identity: Identity; expires: number }
}

export class Authentication {
  readonly #config: Config
  readonly #privateKey: KeyObject
  readonly #publicKey: KeyObject
  #providerKeys: JWTVerifyGetKey | undefined

  constructor(config: Config) {
    this.#config = config
    this.#privateKey = config.sessionKey ? createPrivateKey(config.sessionKey) : generateKeyPairSync('ed25519').privateKey
    if (this.#privateKey.asymmetricKeyType !== 'ed25519') throw new Error('the key that signs sessions must be an Ed25519 key')
    this.#publicKey = createPublicKey(this.#privateKey)
  }

  /** Has PostgreSQL check a password; 401 if it refuses. */
  async checkPassword(user: string, password: string): Promise<Identity> {
    if (!this.#config.passwords) throw new Problem(403, 'Logins of PostgreSQL are not admitted here.')
    let asked = false
    const client = new pg.Client({ ...connection(this.#config), user, password: () => { asked = true; return password } })
    client.on('error', () => {})
    try {
      await client.connect()
    } catch (error) {
      // 28P01, 28000: password or login refused
      if (error instanceof pg.DatabaseError && error.code?.startsWith('28')) throw new Problem(401, 'Name or password is wrong.', { code: error.code })
      throw error
    } finally {
      await client.end().catch(() => {})
    }
    // pg_hba.conf may say "trust" or "peer": then nobody has checked anything.
    if (!asked) {
      throw new Problem(403, 'PostgreSQL did not ask for a password.', { hint: 'pg_hba.conf must demand scram-sha-256 for logins of people.' })
    }
    return { role: user, actor: user }
  }

  /** Begins a session: gives the browser a cookie. */
  async begin(reply: FastifyReply, who: Identity): Promise<void> {
    const token = await new SignJWT({ role: who.role })
      .setProtectedHeader({ alg: 'EdDSA' }).setSubject(who.actor).setIssuer(issuer).setAudience(issuer)
      .setIssuedAt().setExpirationTime(`${sessionSeconds}s`).sign(this.#privateKey)
    reply.setCookie(cookieName, token, { path: '/', httpOnly: true, secure: true, sameSite: 'strict', maxAge: sessionSeconds })
  }

  end(reply: FastifyReply): void {
    reply.clearCookie(cookieName, { path: '/', httpOnly: true, secure: true, sameSite: 'strict' })
  }

  /** Sets whom the token of a request names; 401 without a valid one, 403 if a page of another site has sent it. */
  async identify(request: FastifyRequest): Promise<void> {
    const header = request.headers.authorization
    const bearer = header === undefined ? undefined : /^Bearer ([^ ]+)$/i.exec(header)?.[1] ?? ''
    const token = bearer ?? request.cookies[cookieName]
    if (!token) throw unauthorized('Log in first.')
    const payload = await this.#verify(token)
    request.identity = this.identityOf(payload)
    request.expires = payload.exp!
    // A cookie is sent with whatever a page of another site makes the browser ask for; a bearer token is not.
    if (bearer === undefined) demandSameSite(request)
  }

  /** Whom verified claims name. */
  identityOf(claims: JWTPayload): Identity {
    const own = claims.iss === issuer
    const role = claim(claims, own ? 'role' : this.#config.provider!.roleClaim)
    const actor = claim(claims, own ? 'sub' : this.#config.provider!.actorClaim)
    if (typeof role !== 'string' || role === '' || typeof actor !== 'string' || actor === '') {
      throw new Problem(403, 'The token names no role.', own ? {} : { hint: `CHS_WEB_ROLE_CLAIM is ${this.#config.provider!.roleClaim}, CHS_WEB_ACTOR_CLAIM is ${this.#config.provider!.actorClaim}.` })
    }
    return { role, actor }
  }

  async #verify(token: string): Promise<JWTPayload> {
    try {
      const provider = this.#config.provider
      // Only to choose whose keys the signature is checked with.
      if (provider && decodeJwt(token).iss === provider.issuer) {
        this.#providerKeys ??= provider.jwks ? createLocalJWKSet(JSON.parse(provider.jwks)) : await remoteKeys(provider)
        return (await jwtVerify(token, this.#providerKeys, {
          algorithms: provider.algorithms, issuer: provider.issuer, audience: provider.audience, requiredClaims: ['exp'],
        })).payload
      }
      return (await jwtVerify(token, this.#publicKey, {
        algorithms: ['EdDSA'], issuer, audience: issuer, requiredClaims: ['exp', 'sub', 'role'],
      })).payload
    } catch (error) {
      if (error instanceof errors.JWTExpired) throw unauthorized('The session has ended. Log in again.')
      if (error instanceof errors.JWKSTimeout || (error instanceof errors.JOSEError && error.code === 'ERR_JOSE_GENERIC')) {
        throw new Problem(503, 'The identity provider cannot be reached.', { headers: { 'retry-after': '5' } })
      }
      if (error instanceof errors.JOSEError) throw unauthorized('The token is not valid.')
      throw error
    }
  }
}

const safe = new Set(['GET', 'HEAD', 'OPTIONS'])

/** Refuses what a page of another site has made a browser send. */
export function demandSameSite(request: FastifyRequest): void {
  if (!safe.has(request.method) && request.headers['sec-fetch-site'] !== 'same-origin') {
    throw new Problem(403, 'The request does not come from a page of this site.', { hint: 'Programs send a bearer token instead of a cookie.' })
  }
}

const claim = (claims: JWTPayload, path: string): unknown =>
  path.split('.').reduce<unknown>((value, key) => (typeof value === 'object' && value !== null && Object.hasOwn(value, key) ? (value as Record<string, unknown>)[key] : undefined), claims)

async function remoteKeys(provider: Provider): Promise<JWTVerifyGetKey> {
  const { discover } = await import('./oidc.ts')
  const uri = (await discover(provider)).serverMetadata().jwks_uri
  if (uri === undefined) throw new Problem(503, 'The identity provider names no keys.')
  return createRemoteJWKSet(new URL(uri), { timeoutDuration: 5000 })
}

const unauthorized = (detail: string) => new Problem(401, detail, { headers: { 'www-authenticate': 'Bearer' } })

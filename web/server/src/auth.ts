// Who is asking.  People log in with a login of PostgreSQL, whose password PostgreSQL itself checks; from then on a
// cookie that no script can read carries a token that this server signed.
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import { errors, jwtVerify, SignJWT } from 'jose'
import pg from 'pg'
import type { Config } from './config.ts'
import { connection, type Identity } from './db.ts'
import { Problem } from './problem.ts'

export const cookieName = '__Host-chs'
const sessionSeconds = 8 * 3600
const issuer = 'chs_web'

declare module 'fastify' {
  interface FastifyRequest { identity: Identity; expires: number }
}

export class Authentication {
  readonly #config: Config
  readonly #privateKey: KeyObject
  readonly #publicKey: KeyObject

  constructor(config: Config) {
    this.#config = config
    this.#privateKey = config.sessionKey ? createPrivateKey(config.sessionKey) : generateKeyPairSync('ed25519').privateKey
    this.#publicKey = createPublicKey(this.#privateKey)
  }

  /** Has PostgreSQL check a password, and returns a token for the role; 401 if it refuses. */
  async logIn(user: string, password: string): Promise<{ token: string; seconds: number }> {
    let asked = false
    const options = connection(this.#config)
    const client = new pg.Client({ ...options, user, password: () => { asked = true; return password } })
    try {
      await client.connect()
    } catch (error) {
      // 28P01, 28000: password or login refused; 3D000, 53300 and the like are not the person's fault
      if (error instanceof pg.DatabaseError && error.code?.startsWith('28')) throw new Problem(401, 'Name or password is wrong.', { code: error.code })
      throw error
    } finally {
      await client.end().catch(() => {})
    }
    // pg_hba.conf may say "trust" or "peer": then nobody has checked anything.
    if (!asked) {
      throw new Problem(403, 'PostgreSQL did not ask for a password.',
        { hint: 'pg_hba.conf must demand scram-sha-256 for logins of people.' })
    }
    return { token: await this.sign({ role: user, actor: user }), seconds: sessionSeconds }
  }

  sign(who: Identity): Promise<string> {
    return new SignJWT({ role: who.role })
      .setProtectedHeader({ alg: 'EdDSA' }).setSubject(who.actor).setIssuer(issuer).setAudience(issuer)
      .setIssuedAt().setExpirationTime(`${sessionSeconds}s`).sign(this.#privateKey)
  }

  /** Whom the token of a request names; 401 without a valid one. */
  async identify(request: FastifyRequest): Promise<void> {
    const bearer = /^Bearer ([^ ]+)$/i.exec(request.headers.authorization ?? '')?.[1]
    const token = bearer ?? request.cookies[cookieName]
    if (!token) throw unauthorized('Log in first.')
    try {
      const { payload } = await jwtVerify(token, this.#publicKey, {
        algorithms: ['EdDSA'], issuer, audience: issuer, requiredClaims: ['exp', 'sub', 'role'],
      })
      request.identity = { role: String(payload['role']), actor: payload.sub! }
      request.expires = payload.exp!
    } catch (error) {
      if (error instanceof errors.JWTExpired) throw unauthorized('The session has ended. Log in again.')
      if (error instanceof errors.JOSEError) throw unauthorized('The token is not valid.')
      throw error
    }
    // A cookie is sent with whatever a page of another site makes the browser ask for; a bearer token is not.
    if (!bearer && !['GET', 'HEAD', 'OPTIONS'].includes(request.method) && request.headers['sec-fetch-site'] !== 'same-origin') {
      throw new Problem(403, 'The request comes from another site.')
    }
  }
}

const unauthorized = (detail: string) => new Problem(401, detail, { headers: { 'www-authenticate': 'Bearer' } })

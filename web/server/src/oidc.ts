// The company's identity provider: OpenID Connect's code flow, with PKCE, for browsers.
import type { FastifyReply, FastifyRequest } from 'fastify'
import * as oidc from 'openid-client'
import type { Authentication } from './auth.ts'
import type { Provider } from './config.ts'
import { Problem } from './problem.ts'

// Only between leaving for the provider and coming back.  Lax, since the way back begins on another site.
const cookieName = '__Host-chs-login'
const cookie = { path: '/', httpOnly: true, secure: true, sameSite: 'lax', maxAge: 600 } as const

let discovered: Promise<oidc.Configuration> | undefined

/** What the provider tells about itself; asked once, and again after a failure. */
export function discover(provider: Provider): Promise<oidc.Configuration> {
  const loopback = ['localhost', '127.0.0.1', '[::1]'].includes(new URL(provider.issuer).hostname)
  discovered ??= oidc.discovery(new URL(provider.issuer), provider.client?.id ?? provider.audience,
    provider.client?.secret === undefined ? { token_endpoint_auth_method: 'none' } : provider.client.secret,
    undefined, { timeout: 5, execute: loopback ? [oidc.allowInsecureRequests] : [] })
  discovered.catch(() => { discovered = undefined })
  return discovered
}

const unreachable = (): Problem => new Problem(503, 'The identity provider cannot be reached.', { headers: { 'retry-after': '5' } })

/** Sends the browser to the provider. */
export async function leave(provider: Provider, reply: FastifyReply): Promise<FastifyReply> {
  const configuration = await discover(provider).catch(() => { throw unreachable() })
  const verifier = oidc.randomPKCECodeVerifier()
  const state = oidc.randomState()
  const nonce = oidc.randomNonce()
  const url = oidc.buildAuthorizationUrl(configuration, {
    redirect_uri: provider.client!.redirect, scope: 'openid profile', state, nonce,
    code_challenge: await oidc.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
  })
  return reply.setCookie(cookieName, JSON.stringify({ verifier, state, nonce }), cookie).redirect(url.href)
}

/** Takes the browser back: checks what the provider sends along, and begins a session. */
export async function comeBack(provider: Provider, auth: Authentication, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const kept = request.cookies[cookieName]
  if (kept === undefined) throw new Problem(400, 'This login was not begun here, or too long ago.')
  reply.clearCookie(cookieName, cookie)
  const configuration = await discover(provider).catch(() => { throw unreachable() })
  let claims
  try {
    const { verifier, state, nonce } = JSON.parse(kept) as { verifier: string; state: string; nonce: string }
    const url = new URL(provider.client!.redirect)
    url.search = new URL(request.url, 'http://localhost').search
    const tokens = await oidc.authorizationCodeGrant(configuration, url, { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce })
    claims = tokens.claims()!
  } catch (error) {
    request.log.warn({ err: error }, 'a login at the identity provider failed')
    throw new Problem(400, 'The identity provider did not confirm the login.')
  }
  await auth.begin(reply, auth.identityOf(claims))
  return reply.redirect('/')
}

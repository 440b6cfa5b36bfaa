// Logging in and out, and who one is.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import Type from 'typebox'
import { cookieName, type Authentication } from '../auth.ts'
import { type Database, statement } from '../db.ts'

const me = statement('me', `
  SELECT json_build_object(
           'role', current_user, 'actor', current_setting('chs.actor', true),
           'may', COALESCE((SELECT json_agg(DISTINCT g.may ORDER BY g.may)
                            FROM pg_roles r, unnest(chs.granted(r.rolname)) g(may)
                            WHERE pg_has_role(r.oid, 'USAGE')), '[]'))::text AS json`)

export const session: FastifyPluginAsyncTypebox<{ db: Database; auth: Authentication }> = async (app, { db, auth }) => {
  app.post('/session', {
    config: { open: true },
    schema: { body: Type.Object({ user: Type.String({ minLength: 1, maxLength: 63 }), password: Type.String({ minLength: 1, maxLength: 1000 }) }, { additionalProperties: false }) },
  }, async (request, reply) => {
    const { token, seconds } = await auth.logIn(request.body.user, request.body.password)
    return reply.setCookie(cookieName, token, { path: '/', httpOnly: true, secure: true, sameSite: 'strict', maxAge: seconds }).code(204).send()
  })

  app.delete('/session', { config: { open: true } }, async (_request, reply) =>
    reply.clearCookie(cookieName, { path: '/', httpOnly: true, secure: true, sameSite: 'strict' }).code(204).send())

  app.get('/me', async (request, reply) => reply.type('application/json').send(await db.read(request.identity, me)))
}

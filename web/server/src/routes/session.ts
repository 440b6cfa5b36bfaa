// Logging in and out, who one is, and the views that one has named.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import Type from 'typebox'
import { demandSameSite } from '../auth.ts'
import { statement } from '../db.ts'
import { comeBack, leave } from '../oidc.ts'
import { Problem } from '../problem.ts'
import { exactly, Text } from '../schema/common.ts'
import { Credentials, LoginWays, Me, SavedViewBody, SavedViews } from '../schema/operations.ts'
import { answers, callOf, type Context, nothing, send } from './context.ts'

const me = statement('me', `
  SELECT json_build_object(
           'role', current_user, 'actor', current_setting('chs.actor'),
           'may', (SELECT COALESCE(json_agg(m.may ORDER BY m.may), '[]')
                   FROM (SELECT DISTINCT g.may FROM pg_roles r, unnest(chs.granted(r.rolname)) g(may)
                         WHERE pg_has_role(r.oid, 'USAGE')
                         UNION ALL SELECT 'maintain'
                         WHERE has_any_column_privilege('chs.customers', 'INSERT') AND has_any_column_privilege('chs.customers', 'UPDATE')) m),
           'expires_at', to_timestamp($1), 'restricted', row_security_active('chs.customers'))::text AS json`)
const views = statement('views', `
  SELECT json_build_object('views', COALESCE(json_agg(json_build_object('name', v.name, 'page', v.page, 'query', v.query) ORDER BY v.name), '[]'))::text AS json
  FROM chs_web.saved_views v`)
const saveView = statement('save_view', `
  INSERT INTO chs_web.saved_views AS v (name, page, query) VALUES ($1, $2, $3)
  ON CONFLICT (role_name, actor, name) DO UPDATE SET page = excluded.page, query = excluded.query
  RETURNING json_build_object('name', v.name)::text AS json`)
const dropView = statement('drop_view', `DELETE FROM chs_web.saved_views v WHERE v.name = $1 RETURNING json_build_object('name', v.name)::text AS json`)

const tags = ['session']

export const session: FastifyPluginAsyncTypebox<Context> = async (app, { config, db, auth }) => {
  app.get('/login', {
    config: { open: true },
    schema: { operationId: 'ways_to_log_in', summary: 'How people log in', tags, response: answers({ 200: LoginWays }) },
  }, async (_request, reply) => send(reply, JSON.stringify({
    password: config.passwords, provider: config.provider?.client ? '/api/v1/session/provider' : null,
  })))

  app.post('/session', {
    config: { open: true, login: true },
    schema: { operationId: 'log_in', summary: 'Log in with a login of PostgreSQL, which checks the password; sets a cookie', tags, body: Credentials, response: answers({ 204: nothing }) },
  }, async (request, reply) => {
    // Not that another site makes somebody work as somebody else.  Programs send no such header.
    if (request.headers['sec-fetch-site'] !== undefined) demandSameSite(request)
    await auth.begin(reply, await auth.checkPassword(request.body.user, request.body.password))
    return reply.code(204).send()
  })

  app.delete('/session', {
    config: { open: true },
    schema: { operationId: 'log_out', summary: 'Log out: removes the cookie', tags, response: answers({ 204: nothing }) },
  }, async (request, reply) => {
    demandSameSite(request)
    auth.end(reply)
    return reply.code(204).send()
  })

  app.get('/session/provider', {
    config: { open: true, login: true },
    schema: { operationId: 'log_in_at_provider', summary: 'Sends the browser to the identity provider', tags, response: answers({ 302: nothing }) },
  }, async (_request, reply) => {
    if (!config.provider?.client) throw new Problem(404, 'There is no identity provider here.')
    return leave(config.provider, reply)
  })

  app.get('/session/provider/back', {
    config: { open: true, login: true },
    schema: {
      operationId: 'come_back_from_provider', summary: 'Where the identity provider sends the browser back to; sets the cookie', tags,
      // The provider decides what else it sends along.
      querystring: Type.Object({ code: Type.Optional(Type.String()), state: Type.Optional(Type.String()) }, { additionalProperties: true }),
      response: answers({ 302: nothing }),
    },
  }, async (request, reply) => {
    if (!config.provider?.client) throw new Problem(404, 'There is no identity provider here.')
    return comeBack(config.provider, auth, request, reply)
  })

  app.get('/me', {
    schema: { operationId: 'me', summary: 'Who one is, and what one may', tags, response: answers({ 200: Me }) },
  }, async (request, reply) => send(reply, await db.read(request.identity, me, [request.expires])))

  app.get('/views', {
    schema: { operationId: 'saved_views', summary: 'Views of the dashboard that one has named', tags, response: answers({ 200: SavedViews }) },
  }, async (request, reply) => send(reply, await db.read(request.identity, views)))

  app.put('/views/:name', {
    schema: { operationId: 'save_view', summary: 'Name a view', tags, params: exactly({ name: Text(100) }), body: SavedViewBody, response: answers({ 204: nothing }) },
  }, async (request, reply) => {
    await db.write(request.identity, callOf(request), saveView, [request.params.name, request.body.page, request.body.query], () => request.params.name)
    return reply.code(204).send()
  })

  app.delete('/views/:name', {
    schema: { operationId: 'drop_view', summary: 'Forget a view', tags, params: exactly({ name: Text(100) }), response: answers({ 204: nothing }) },
  }, async (request, reply) => {
    const json = await db.write(request.identity, callOf(request), dropView, [request.params.name], () => request.params.name)
    if (json === null) throw new Problem(404, 'There is no view of that name.')
    return reply.code(204).send()
  })
}

// Customers: the list, and one with everything.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import Type from 'typebox'
import { type Database, statement } from '../db.ts'

const list = statement('customers', `
  SELECT json_build_object('customers', COALESCE(json_agg(l ORDER BY l.customer_id), '[]'))::text AS json
  FROM (SELECT l.* FROM chs.customer_list l WHERE l.customer_id > $1 ORDER BY l.customer_id LIMIT $2) l`)
const one = statement('customer', 'SELECT chs_health($1)::text AS json')

export const customers: FastifyPluginAsyncTypebox<{ db: Database }> = async (app, { db }) => {
  app.get('/customers', {
    schema: { querystring: Type.Object({ limit: Type.Integer({ minimum: 1, maximum: 500, default: 50 }) }, { additionalProperties: false }) },
  }, async (request, reply) => reply.type('application/json').send(await db.read(request.identity, list, [0, request.query.limit])))

  app.get('/customers/:customer_id', {
    schema: { params: Type.Object({ customer_id: Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER }) }) },
  }, async (request, reply) => reply.type('application/json').send(await db.read(request.identity, one, [request.params.customer_id])))
}

// How many, of which status.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { type Database, statement } from '../db.ts'

const stats_ = statement('stats', 'SELECT row_to_json(s)::text AS json FROM chs.dashboard_stats s')
const segments = statement('segments', `SELECT json_build_object('segments', COALESCE(json_agg(s ORDER BY s.segment), '[]'))::text AS json FROM chs.segment_stats s`)

export const stats: FastifyPluginAsyncTypebox<{ db: Database }> = async (app, { db }) => {
  app.get('/stats', async (request, reply) => reply.type('application/json').send(await db.read(request.identity, stats_)))
  app.get('/segments', async (request, reply) => reply.type('application/json').send(await db.read(request.identity, segments)))
}

// For those who operate the service.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import Type from 'typebox'
import { statement } from '../db.ts'
import { exactly } from '../schema/common.ts'
import { Operations, PauseRequest, Resumed, Retried } from '../schema/operations.ts'
import { rows } from '../sql.ts'
import { answers, callOf, type Context, nothing, send } from './context.ts'

// Workers show themselves to members of pg_monitor alone; for others the list is empty.
const operations = statement('operations', `
  SELECT json_build_object(
    'workers', ${rows(`SELECT w.worker, w.pid, w.state, w.started_at, w.last_batch_at, w.last_batch_deltas, w.last_batch_customers, w.deltas_per_second,
                              w.customers_per_second, w.last_error, w.last_error_at, w.lag_seconds FROM chs.worker_status w`, 'r.worker')},
    'queue', (SELECT row_to_json(r) FROM (SELECT q.depth, q.is_estimate, q.oldest_at, q.oldest_age_seconds, q.lag_seconds, q.held_back, q.failing, q.total_bytes,
                                                 q.paused, q.paused_at, q.paused_by, q.pause_reason FROM chs.queue_status q) r),
    'jobs', ${rows('SELECT p.job, p.state, p.phase, p.done, p.total, p.percent, p.started_at, p.updated_at, p.finished_at, p.rate, p.estimated_end FROM chs.progress p', 'r.started_at DESC')},
    'failures', ${rows(`SELECT f.customer_id, c.name, f.sqlstate, f.message, f.detail, f.attempts, f.failed_at, f.next_attempt
                        FROM chs.failures f LEFT JOIN chs.customers c USING (customer_id) ORDER BY f.failed_at DESC LIMIT 100`, 'r.failed_at DESC, r.customer_id')},
    'rejected', ${rows(`SELECT e.rejected_id, e.source_id, e.relation::text AS relation, e.customer_key, e.sqlstate, e.reason, e.event_row, e.rejected_at
                        FROM chs.rejected_events e ORDER BY e.rejected_id DESC LIMIT 100`, 'r.rejected_id DESC')},
    'sources', ${rows('SELECT s.source_id, s.relation, s.kind, s.problem, s.rejected, s.attached_at, s.too_slow FROM chs.source_status s', 'r.source_id')},
    'retention', ${rows('SELECT t.kind, t.setting, t.delete_before, t.kept_from, t.deleted, t.complete, t.updated_at, t.warning FROM chs.retention_status t', 'r.kind')})::text AS json`)
const pause = statement('pause', `SELECT json_build_object('paused', chs_pause($1) IS NULL)::text AS json`, { milliseconds: 60_000 })
const resume = statement('resume', `SELECT json_build_object('resumed', chs_resume())::text AS json`)
const retryAll = statement('retry_all_rejected', `SELECT json_build_object('rejected', chs_retry_rejected())::text AS json`, { milliseconds: 120_000 })
const retryOne = statement('retry_rejected', `
  SELECT json_build_object('rejected', chs_retry_rejected(s.relation))::text AS json FROM chs.sources s WHERE s.source_id = $1`, { milliseconds: 120_000 })

const tags = ['operations']

export const operate: FastifyPluginAsyncTypebox<Context> = async (app, { db }) => {
  app.get('/operations', {
    config: { may: 'operate' },
    schema: { operationId: 'operations', summary: 'Workers, queue, long jobs, failures, rejected rows, sources, retention', tags, response: answers({ 200: Operations }) },
  }, async (request, reply) => send(reply, await db.read(request.identity, operations)))

  app.post('/operations/pause', {
    config: { may: 'operate' },
    schema: { operationId: 'pause', summary: 'Stop the workers until they are resumed; readers stay exact', tags, body: PauseRequest, response: answers({ 204: nothing }) },
  }, async (request, reply) => {
    await db.write(request.identity, callOf(request), pause, [request.body.reason], () => 'workers')
    return reply.code(204).send()
  })

  app.delete('/operations/pause', {
    config: { may: 'operate' },
    schema: { operationId: 'resume', summary: 'Let the workers work again', tags, response: answers({ 200: Resumed }) },
  }, async (request, reply) => send(reply, await db.write(request.identity, callOf(request), resume, [], () => 'workers')))

  app.post('/operations/rejected/retry', {
    config: { may: 'operate' },
    schema: {
      operationId: 'retry_rejected', summary: 'Look at the rows of attached tables anew, of one source or of all', tags,
      body: exactly({ source_id: Type.Optional(Type.Integer({ minimum: 1, maximum: 2147483647 })) }), response: answers({ 200: Retried }),
    },
  }, async (request, reply) => {
    const { source_id } = request.body
    return send(reply, source_id === undefined
      ? await db.write(request.identity, callOf(request), retryAll, [], () => 'all sources')
      : await db.write(request.identity, callOf(request), retryOne, [source_id], () => `source ${source_id}`))
  })
}

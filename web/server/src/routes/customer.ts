// One customer: with everything in one round trip, its parts, what is done to it, and notes about it.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import Type from 'typebox'
import { cursorOf } from '../cursor.ts'
import { statement } from '../db.ts'
import { Problem } from '../problem.ts'
import { After, CustomerPath, Day, exactly, Id, Limit, Text } from '../schema/common.ts'
import {
  ActivityDay, Change, CustomerNew, CustomerPatch, CustomerWhole, HistoryDay, NewEvent, Recommendation, Recorded, Timeline,
} from '../schema/customers.ts'
import { answers, callOf, type Context, nothing, send } from './context.ts'

const whole = statement('customer', 'SELECT chs_web.customer($1, $2, $3, $4, $5, $6)::text AS json')
const change = statement('change', 'SELECT chs_web.change($1, $2, $3, $4)::text AS json')
const recommendations = statement('recommendations', `
  SELECT json_build_object('recommendations', chs_web.recommendations($1))::text AS json`)
const history = statement('history', `SELECT json_build_object('days', chs_web.history($1, $2, $3, $4, $5))::text AS json`)
const activity = statement('activity', `SELECT json_build_object('days', chs_web.activity($1, $2, NULL))::text AS json`)
const timeline = statement('timeline', 'SELECT chs_web.timeline($1, $2, $3, $4, NULL)::text AS json')
const record = statement('record_event', `
  SELECT json_build_object('event_id', r.event_id, 'recorded', r.recorded)::text AS json
  FROM chs_web.record_event($1, $2, $3, $4, $5) r`)
const refresh = statement('refresh', `SELECT 'true' AS json FROM (SELECT chs_refresh($1) AS queued OFFSET 0) r WHERE r.queued`)
const rebuild = statement('rebuild', `
  SELECT json_build_object('score', chs_score($1))::text AS json FROM (SELECT chs_rebuild($1) AS customers OFFSET 0) r WHERE r.customers > 0`, { milliseconds: 60_000 })
const purge = statement('purge', `
  SELECT json_build_object('events', chs_purge_customer(c.customer_id))::text AS json
  FROM chs.customers c WHERE c.customer_id = $1 AND COALESCE(c.name, c.external_id, c.customer_id::text) = $2`, { milliseconds: 60_000 })
const exists = statement('exists', `SELECT 'true' AS json FROM chs.customers c WHERE c.customer_id = $1`)
const addNote = statement('add_note', `
  INSERT INTO chs_web.notes AS n (customer_id, note) VALUES ($1, $2) RETURNING json_build_object('note_id', n.note_id)::text AS json`)
const dropNote = statement('drop_note', `
  DELETE FROM chs_web.notes n WHERE n.customer_id = $1 AND n.note_id = $2 RETURNING json_build_object('note_id', n.note_id)::text AS json`)
const add = statement('add_customer', `
  INSERT INTO chs.customers AS c (external_id, name, email, segment, parent_id, created_at, churned_at, owner, value)
  SELECT r.external_id, r.name, r.email, r.segment, r.parent_id, COALESCE(r.created_at, now()), r.churned_at, r.owner, r.value
  FROM jsonb_populate_record(NULL::chs.customers, $1) r
  RETURNING json_build_object('customer_id', c.customer_id)::text AS json`)
const patch = statement('patch_customer', `
  UPDATE chs.customers c
  SET external_id = r.external_id, name = r.name, email = r.email, segment = r.segment, parent_id = r.parent_id,
      churned_at = r.churned_at, owner = r.owner, value = r.value
  FROM chs.customers o CROSS JOIN LATERAL jsonb_populate_record(o, $2) r
  WHERE o.customer_id = $1 AND c.customer_id = o.customer_id
  RETURNING json_build_object('customer_id', c.customer_id)::text AS json`)

const Days = Type.Integer({ minimum: 1, maximum: 1000, default: 90, description: 'so many days up to today' })
const Since = Type.String({ pattern: '^([1-9][0-9]{0,3}d|[0-9]{4}-[0-9]{2}-[0-9]{2})$', default: '30d', description: 'a UTC day, or so many days ago: 7d' })
const tags = ['customer']
const NotePath = exactly({ customer_id: Id, note_id: Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER }) })

export const customer: FastifyPluginAsyncTypebox<Context> = async (app, { db }) => {
  app.get('/customers/:customer_id', {
    config: { may: 'read' },
    schema: {
      operationId: 'customer', summary: 'One customer with everything: health, why it changed, what to do, past, activity, timeline', tags, params: CustomerPath,
      querystring: exactly({
        as_of: Type.Optional(Day), version: Type.Optional(Type.Integer({ minimum: 1, description: 'of the rules' })), since: Type.Optional(Since), days: Type.Optional(Days),
        entries: Type.Optional(Type.Integer({ minimum: 1, maximum: 200, default: 20, description: 'of the timeline' })),
      }),
      response: answers({ 200: CustomerWhole }),
    },
  }, async (request, reply) => {
    const { as_of, version, since, days, entries } = request.query
    return send(reply, await db.read(request.identity, whole, [request.params.customer_id, as_of ?? null, version ?? null, since ?? '30d', days ?? 90, entries ?? 20]))
  })

  app.get('/customers/:customer_id/change', {
    config: { may: 'read' },
    schema: {
      operationId: 'change', summary: 'Why the score moved between two days', tags, params: CustomerPath,
      querystring: exactly({ since: Type.Optional(Since), until: Type.Optional(Day) }), response: answers({ 200: Change }),
    },
  }, async (request, reply) => send(reply, await db.read(request.identity, change, [request.params.customer_id, request.query.since ?? '30d', request.query.until ?? null, false])))

  app.get('/customers/:customer_id/recommendations', {
    config: { may: 'read' },
    schema: {
      operationId: 'recommendations', summary: 'What to do, by the points to be gained', tags, params: CustomerPath,
      response: answers({ 200: exactly({ recommendations: Type.Array(Recommendation) }) }),
    },
  }, async (request, reply) => send(reply, await db.read(request.identity, recommendations, [request.params.customer_id])))

  app.get('/customers/:customer_id/history', {
    config: { may: 'read' },
    schema: {
      operationId: 'history', summary: 'Score and status of each day', tags, params: CustomerPath,
      querystring: exactly({ from: Type.Optional(Day), to: Type.Optional(Day), factors: Type.Optional(Type.Boolean({ default: false })), version: Type.Optional(Type.Integer({ minimum: 1 })) }),
      response: answers({ 200: exactly({ days: Type.Array(HistoryDay) }) }),
    },
  }, async (request, reply) => {
    const { from, to, factors, version } = request.query
    return send(reply, await db.read(request.identity, history, [request.params.customer_id, from ?? null, to ?? null, factors ?? false, version ?? null]))
  })

  app.get('/customers/:customer_id/activity', {
    config: { may: 'read' },
    schema: {
      operationId: 'activity', summary: 'How many events of each type on each day', tags, params: CustomerPath,
      querystring: exactly({ days: Type.Optional(Days) }), response: answers({ 200: exactly({ days: Type.Array(ActivityDay) }) }),
    },
  }, async (request, reply) => send(reply, await db.read(request.identity, activity, [request.params.customer_id, request.query.days ?? 90])))

  app.get('/customers/:customer_id/timeline', {
    config: { may: 'read' },
    schema: {
      operationId: 'timeline', summary: 'Changes of status, changes of the rules, and notes, latest first', tags, params: CustomerPath,
      querystring: exactly({ limit: Type.Optional(Limit), after: Type.Optional(After) }), response: answers({ 200: Timeline }),
    },
  }, async (request, reply) => {
    const [at, id] = cursorOf('timeline', request.query.after, 2) ?? [null, null]
    return send(reply, await db.read(request.identity, timeline, [request.params.customer_id, request.query.limit ?? 50, at, id]))
  })

  app.post('/customers/:customer_id/events', {
    config: { may: 'record' },
    schema: {
      operationId: 'record_event', summary: 'Record an event; with the same Idempotency-Key only once', tags, params: CustomerPath,
      headers: Type.Object({ 'idempotency-key': Type.Optional(Text(200, { description: 'the same for a second attempt' })) }),
      body: NewEvent, response: answers({ 200: Recorded, 201: Recorded }),
    },
  }, async (request, reply) => {
    const { event_type, event_data, occurred_at } = request.body
    const json = await db.write(request.identity, callOf(request), record,
      [request.params.customer_id, event_type, event_data ?? null, occurred_at ?? null, request.headers['idempotency-key'] ?? null],
      done => `customer ${request.params.customer_id}, event ${(JSON.parse(done) as Recorded).event_id}`)
    return send(reply, json, (JSON.parse(json!) as Recorded).recorded ? 201 : 200)
  })

  app.post('/customers', {
    config: { may: 'maintain' },
    schema: {
      operationId: 'add_customer', summary: 'Add a customer', tags, body: CustomerNew,
      response: answers({ 201: exactly({ customer_id: Id }) }),
    },
  }, async (request, reply) => {
    const json = await db.write(request.identity, callOf(request), add, [request.body], done => `customer ${(JSON.parse(done) as { customer_id: number }).customer_id}`)
    const { customer_id } = JSON.parse(json!) as { customer_id: number }
    return send(reply.header('location', `/api/v1/customers/${customer_id}`), json, 201)
  })

  app.patch('/customers/:customer_id', {
    config: { may: 'maintain' },
    schema: { operationId: 'change_customer', summary: 'Change a customer', tags, params: CustomerPath, body: CustomerPatch, response: answers({ 200: exactly({ customer_id: Id }) }) },
  }, async (request, reply) => send(reply, await db.write(request.identity, callOf(request), patch, [request.params.customer_id, request.body], () => `customer ${request.params.customer_id}`)))

  app.delete('/customers/:customer_id', {
    config: { may: 'operate' },
    schema: {
      operationId: 'purge_customer', summary: 'Forget a customer, with all events, for good', tags, params: CustomerPath,
      querystring: exactly({ name: Text(500, { description: 'its name, so that it is not another one; without a name its external_id, else its number' }) }),
      response: answers({ 200: exactly({ events: Type.Integer({ description: 'so many were deleted' }) }) }),
    },
  }, async (request, reply) => {
    const json = await db.write(request.identity, callOf(request), purge, [request.params.customer_id, request.query.name], () => `customer ${request.params.customer_id}`)
    if (json === null) {
      if ((await db.read(request.identity, exists, [request.params.customer_id])) !== null) {
        throw new Problem(422, 'The customer has another name.', { hint: 'Nothing was deleted. "name" must be the name of the customer, as it is written.' })
      }
      throw new Problem(404, `customer ${request.params.customer_id} does not exist`)
    }
    return send(reply, json)
  })

  app.post('/customers/:customer_id/refresh', {
    config: { may: 'operate' },
    schema: { operationId: 'refresh', summary: 'Have a customer scored again soon', tags, params: CustomerPath, response: answers({ 202: nothing }) },
  }, async (request, reply) => {
    const { customer_id } = request.params
    if ((await db.write(request.identity, callOf(request), refresh, [customer_id], () => `customer ${customer_id}`)) === null) throw new Problem(404, `customer ${customer_id} does not exist`)
    return reply.code(202).send()
  })

  app.post('/customers/:customer_id/rebuild', {
    config: { may: 'operate' },
    schema: { operationId: 'rebuild', summary: 'Count the events of a customer anew, score and store', tags, params: CustomerPath, response: answers({ 200: exactly({ score: Type.Union([Type.Number(), Type.Null()]) }) }) },
  }, async (request, reply) => send(reply, await db.write(request.identity, callOf(request), rebuild, [request.params.customer_id], () => `customer ${request.params.customer_id}`)))

  app.post('/customers/:customer_id/notes', {
    config: { may: 'read' },
    schema: { operationId: 'add_note', summary: 'Write a note', tags, params: CustomerPath, body: exactly({ note: Text(10_000) }), response: answers({ 201: exactly({ note_id: Type.Integer() }) }) },
  }, async (request, reply) => send(reply, await db.write(request.identity, callOf(request), addNote, [request.params.customer_id, request.body.note],
    done => `customer ${request.params.customer_id}, note ${(JSON.parse(done) as { note_id: number }).note_id}`), 201))

  app.delete('/customers/:customer_id/notes/:note_id', {
    config: { may: 'read' },
    schema: { operationId: 'drop_note', summary: 'Delete a note of one\'s own', tags, params: NotePath, response: answers({ 204: nothing }) },
  }, async (request, reply) => {
    const { customer_id, note_id } = request.params
    if ((await db.write(request.identity, callOf(request), dropNote, [customer_id, note_id], () => `customer ${customer_id}, note ${note_id}`)) === null) {
      throw new Problem(404, 'There is no such note of yours.')
    }
    return reply.code(204).send()
  })
}

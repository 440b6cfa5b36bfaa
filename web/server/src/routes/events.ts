// Events in bulk, and what kinds there are.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { Readable } from 'node:stream'
import Type from 'typebox'
import { csv, linesOf, load, ndjson } from '../bulk.ts'
import { statement } from '../db.ts'
import { Problem } from '../problem.ts'
import { exactly } from '../schema/common.ts'
import { BulkRecorded, EventType } from '../schema/customers.ts'
import { rows } from '../sql.ts'
import { answers, callOf, type Context, send } from './context.ts'

const eventTypes = statement('event_types', `
  SELECT json_build_object('event_types', ${rows('SELECT t.event_type, t.description, t.required, t.positive FROM chs.event_types t', 'r.event_type')})::text AS json`)

// A client that sends nothing for so long is gone.
const patience = 30_000

export const events: FastifyPluginAsyncTypebox<Context> = async (app, { config, db }) => {
  app.get('/event-types', {
    config: { may: 'record' },
    schema: { operationId: 'event_types', summary: 'Kinds of events, and what their event_data must have', tags: ['events'], response: answers({ 200: exactly({ event_types: Type.Array(EventType) }) }) },
  }, async (request, reply) => send(reply, await db.read(request.identity, eventTypes)))

  // Not parsed here: the handler reads the stream.
  for (const type of ['application/x-ndjson', 'text/csv']) app.addContentTypeParser(type, (_request, payload, done) => done(null, payload))

  app.post('/events', {
    bodyLimit: Number.MAX_SAFE_INTEGER,
    config: { streaming: true, may: 'record' },
    schema: {
      operationId: 'record_events', tags: ['events'],
      summary: 'Record many events, all or none: an object a line (NDJSON), or CSV with a header; the fields are customer_id, event_type, event_data, occurred_at, idempotency_key',
      consumes: ['application/x-ndjson', 'text/csv'],
      headers: Type.Object({ 'content-encoding': Type.Optional(Type.Enum(['gzip', 'identity'])) }),
      response: answers({ 201: BulkRecorded }),
    },
  }, async (request, reply) => {
    const type = /^[^; ]*/.exec(request.headers['content-type'] ?? '')![0].toLowerCase()
    const read = type === 'text/csv' ? csv : type === 'application/x-ndjson' ? ndjson : undefined
    if (!read) throw new Problem(415, 'The body must be application/x-ndjson or text/csv.')
    if (Number(request.headers['content-length'] ?? 0) > config.bulkLimit) throw new Problem(413, `The body has more than ${config.bulkLimit} bytes.`)
    const body = request.body as Readable
    request.raw.setTimeout(patience, () => body.destroy(new Problem(408, 'The rest of the body did not come.')))
    const lines = linesOf(body, request.headers['content-encoding'] === 'gzip', config.bulkLimit)
    const result = await db.stream(request.identity, 'BEGIN', { milliseconds: 600_000 }, client => load(client, read(lines)),
      { call: callOf(request), target: done => `${done.recorded} events` })
    return send(reply, JSON.stringify(result), 201)
  })
}

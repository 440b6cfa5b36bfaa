// The stream of changes.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import Type from 'typebox'
import { Problem } from '../problem.ts'
import { exactly } from '../schema/common.ts'
import { Streams, snapshotPattern } from '../stream.ts'
import { answers, type Context } from './context.ts'

const LastEvent = Type.String({ maxLength: 100_000, pattern: snapshotPattern, description: 'the id of the last event that was seen: goes on from there' })

export const stream: FastifyPluginAsyncTypebox<Context & { streams: Streams }> = async (app, { config, streams }) => {
  app.get('/stream', {
    config: { may: 'read' },
    schema: {
      operationId: 'stream', tags: ['stream'],
      summary: 'Changes of status as they happen, as server-sent events: "changes" with what changed, "resync" if that is too much, "expired" when the session has ended',
      headers: Type.Object({ 'last-event-id': Type.Optional(LastEvent) }),
      // A browser that gave up after an error, and so begins anew, cannot send the header.
      querystring: exactly({ last_event_id: Type.Optional(LastEvent) }),
      produces: ['text/event-stream'], response: answers({ 200: Type.String() }),
    },
  }, async (request, reply) => {
    const who = request.identity
    if (streams.size >= config.streams) throw new Problem(503, 'Too many streams are open.', { headers: { 'retry-after': '10' } })
    if (streams.countOf(who) >= config.streamsPerPerson) throw new Problem(429, `You have ${config.streamsPerPerson} streams open already.`, { headers: { 'retry-after': '10' } })
    const since = await streams.begin(who, request.headers['last-event-id'] ?? request.query.last_event_id)
    reply.hijack()
    for (const [name, value] of Object.entries(reply.getHeaders())) if (value !== undefined) reply.raw.setHeader(name, value)
    reply.raw.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache, no-transform', 'x-accel-buffering': 'no' })
    request.raw.socket.setTimeout(0)
    streams.add(who, since, reply.raw, request.expires)
  })
}

// What all routes share.
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { TSchema } from 'typebox'
import type { Authentication } from '../auth.ts'
import type { Config } from '../config.ts'
import type { Call, Database } from '../db.ts'
import { Problem } from '../problem.ts'

export interface Context { config: Config; db: Database; auth: Authentication }

/** What a route answers.  Not typed, since answers are JSON that PostgreSQL has made; the tests compare them with this. */
export const answers = (answers: Record<number, TSchema>): unknown => answers

export const nothing = { type: 'null', description: 'nothing' } as unknown as TSchema

/** Answers with JSON; without any, there is no such thing. */
export function send(reply: FastifyReply, json: string | null, status = 200): FastifyReply {
  if (json === null) throw new Problem(404, 'There is no such thing, or you may not see it.')
  return reply.code(status).type('application/json').send(json)
}

/** What the audit says about a request. */
export const callOf = (request: FastifyRequest): Call =>
  ({ method: request.method, route: request.routeOptions.url!, requestId: request.id })

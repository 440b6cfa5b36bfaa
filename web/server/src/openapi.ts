// openapi.json: made from the schemas that validate.
import type { FastifyInstance, RouteOptions } from 'fastify'
import * as schemas from './schema/index.ts'

export const information = {
  openapi: '3.1.0',
  info: {
    title: 'chs', version: '1',
    description: 'Customer health scores. Who may see and do what, PostgreSQL decides: a request is a transaction as the role of its token. '
      + 'Errors are application/problem+json; an unknown parameter is one. Numbers that identify something are below 2^53.',
    license: { name: 'PostgreSQL' },
  },
  components: {
    securitySchemes: {
      cookie: { type: 'apiKey' as const, in: 'cookie' as const, name: '__Host-chs', description: 'by POST /session, or at the identity provider' },
      bearer: { type: 'http' as const, scheme: 'bearer', bearerFormat: 'JWT', description: 'a token of the identity provider' },
    },
  },
}

/** Adds to a route what all have: errors, and that a token is needed. */
export function described(route: RouteOptions): void {
  const schema = route.schema as { response?: Record<string, unknown>; security?: unknown[] } | undefined
  if (!schema) return
  schema.response = { ...schema.response, default: schemas.Problem }
  if (route.config?.may) (schema as Record<string, unknown>)['x-may'] = route.config.may
  schema.security = route.config?.open ? [] : [{ cookie: [] }, { bearer: [] }]
}

type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

/** The document, with the schemas that have a name in one place. */
export function openapi(app: FastifyInstance): Json {
  const document = JSON.parse(JSON.stringify(app.swagger())) as { [key: string]: Json }
  const names = new Map(Object.entries(schemas).map(([name, schema]) => [JSON.stringify(schema), name]))
  // Large ones first, so that a schema in another is found in the definition of that one.
  const used = new Set<string>()
  const refer = (value: Json, self?: string): Json => {
    if (value === null || typeof value !== 'object') return value
    if (Array.isArray(value)) return value.map(item => refer(item))
    const name = names.get(JSON.stringify(value))
    // Short ones, such as a day, read better where they stand.
    if (name !== undefined && name !== self && value['type'] === 'object' && value['properties'] !== undefined) {
      used.add(name)
      return { $ref: `#/components/schemas/${name}` }
    }
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, refer(item)]))
  }
  document['paths'] = refer(document['paths']!)
  const components: { [key: string]: Json } = {}
  for (const name of used) {
    const schema = JSON.parse(JSON.stringify((schemas as Record<string, unknown>)[name])) as Json
    components[name] = refer(schema, name)
  }
  document['components'] = {
    ...(document['components'] as { [key: string]: Json }),
    schemas: Object.fromEntries(Object.entries(components).sort(([a], [b]) => (a < b ? -1 : 1))),
  }
  for (const item of Object.values(document['paths'] as Record<string, Record<string, { responses?: Record<string, { content?: Record<string, Json> }> }>>)) {
    for (const operation of Object.values(item)) {
      const error = operation.responses?.['default']
      if (error?.content) error.content = { 'application/problem+json': Object.values(error.content)[0]! }
    }
  }
  return document
}

// Pieces of schemas that everything else is made of.  Validation, openapi.json and the types of the front come from them.
import Type, { type TSchema } from 'typebox'

export const nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()])
/** An object with these properties and no others. */
export const exactly = <T extends Record<string, TSchema>>(properties: T, options: object = {}) =>
  Type.Object(properties, { additionalProperties: false, ...options })

export const Id = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER, description: 'identifies a customer; below 2^53' })
export const Status = Type.Enum(['healthy', 'at_risk', 'critical', 'unknown'])
export const Trend = Type.Enum(['improving', 'stable', 'declining'])
export const Score = nullable(Type.Number({ minimum: 0, maximum: 100, description: '0 to 100; null if the status is unknown' }))
// The formats only document: PostgreSQL is who reads the values.
export const Day = Type.String({ pattern: '^[0-9]{4}-[0-9]{2}-[0-9]{2}$', description: 'a UTC day' })
export const Time = Type.String({ pattern: '^[0-9]{4}-[0-9]{2}-[0-9]{2}T', description: 'a time, ISO 8601' })
export const Text = (maxLength: number, options: object = {}) => Type.String({ minLength: 1, maxLength, ...options })

export const Problem = exactly({
  type: Type.String(),
  title: Type.String(),
  status: Type.Integer(),
  detail: Type.String({ description: 'what is wrong' }),
  hint: Type.Optional(Type.String({ description: 'what to do about it' })),
  code: Type.Optional(Type.String({ description: 'SQLSTATE, if PostgreSQL refused' })),
  may: Type.Optional(Type.Enum(['read', 'record', 'administer', 'operate', 'maintain'], { description: 'what is missing: a function of chs_grant(), or to maintain customers' })),
  line: Type.Optional(Type.Integer({ description: 'of a bulk load: the first line that is wrong' })),
  errors: Type.Optional(Type.Array(exactly({ pointer: Type.String(), detail: Type.String() }))),
  instance: Type.String({ description: 'the request id, under which the log of the server tells more' }),
}, { description: 'an error, by RFC 9457' })
export type Problem = Type.Static<typeof Problem>

export const CustomerPath = exactly({ customer_id: Id })
export const Limit = Type.Integer({ minimum: 1, maximum: 500, default: 50, description: 'rows of a page' })
export const After = Type.String({ maxLength: 1000, pattern: '^[A-Za-z0-9_-]+$', description: 'next of the page before' })
export const Next = nullable(Type.String({ description: 'after of the next page; null: this is the last one' }))
export const Document = Type.Object({}, { additionalProperties: true, description: 'a scorecard, as chs_scorecard_export() returns it' })

// For those who operate the service, and who one is.
import Type, { type Static } from 'typebox'
import { exactly, nullable, Text, Time } from './common.ts'

const Row = Type.Object({}, { additionalProperties: true })
export const Operations = exactly({
  workers: Type.Array(exactly({
    worker: Type.Integer(), pid: nullable(Type.Integer()), state: Type.String(), started_at: nullable(Time), last_batch_at: nullable(Time),
    last_batch_deltas: nullable(Type.Integer()), last_batch_customers: nullable(Type.Integer()), deltas_per_second: nullable(Type.Number()),
    customers_per_second: nullable(Type.Number()), last_error: nullable(Type.String()), last_error_at: nullable(Time), lag_seconds: nullable(Type.Number()),
  })),
  queue: exactly({
    depth: Type.Integer(), is_estimate: Type.Boolean(), oldest_at: nullable(Time), oldest_age_seconds: nullable(Type.Number()), lag_seconds: nullable(Type.Number()),
    held_back: Type.Integer(), failing: Type.Integer(), total_bytes: Type.Integer(), paused: Type.Boolean(), paused_at: nullable(Time),
    paused_by: nullable(Type.String()), pause_reason: nullable(Type.String()),
  }),
  jobs: Type.Array(exactly({
    job: Type.String(), state: Type.String(), phase: Type.String(), done: Type.Integer(), total: Type.Integer(), percent: Type.Number(), started_at: Time,
    updated_at: Time, finished_at: nullable(Time), rate: nullable(Type.Number()), estimated_end: nullable(Time),
  })),
  failures: Type.Array(exactly({
    customer_id: Type.Integer(), name: nullable(Type.String()), sqlstate: Type.String(), message: Type.String(), detail: nullable(Type.String()),
    attempts: Type.Integer(), failed_at: Time, next_attempt: Time,
  }), { description: 'the latest hundred' }),
  rejected: Type.Array(exactly({
    rejected_id: Type.Integer(), source_id: Type.Integer(), relation: Type.String(), customer_key: nullable(Type.String()), sqlstate: Type.String(),
    reason: Type.String(), event_row: nullable(Row), rejected_at: Time,
  }), { description: 'the latest hundred' }),
  sources: Type.Array(exactly({
    source_id: Type.Integer(), relation: Type.String(), kind: Type.String(), problem: nullable(Type.String()), rejected: nullable(Type.Integer()),
    attached_at: Time, too_slow: nullable(Type.Integer()),
  })),
  retention: Type.Array(exactly({
    kind: Type.String(), setting: nullable(Type.String()), delete_before: nullable(Type.String()), kept_from: nullable(Type.String()),
    deleted: nullable(Type.Integer()), complete: nullable(Type.Boolean()), updated_at: nullable(Time), warning: nullable(Type.String()),
  })),
})
export type Operations = Static<typeof Operations>
export const PauseRequest = exactly({ reason: Text(1000) })
export const Resumed = exactly({ resumed: Type.Boolean({ description: 'false: was not paused' }) })
export const Retried = exactly({ rejected: Type.Integer({ description: 'rows that still cannot be used' }) })

export const May = Type.Enum(['read', 'record', 'administer', 'operate', 'maintain'])
export const Me = exactly({
  role: Type.String(), actor: Type.String(),
  may: Type.Array(May, { description: 'what chs_grant() has granted to the role or one that it inherits from; maintain: to add and change customers' }),
  expires_at: Time, restricted: Type.Boolean({ description: 'row-level security limits the role to some customers' }),
})
export type Me = Static<typeof Me>
// NUL would end a parameter of the connection, and begin another.
const Word = (maxLength: number) => Type.String({ minLength: 1, maxLength, pattern: '^[^\\u0000]*$' })
export const Credentials = exactly({ user: Word(63), password: Word(1000) })
export const LoginWays = exactly({ password: Type.Boolean(), provider: nullable(Type.String({ description: 'where to send the browser' })) })
export type LoginWays = Static<typeof LoginWays>
export const SavedView = exactly({ name: Text(100), page: Text(100), query: Type.String({ maxLength: 2000 }) })
export type SavedView = Static<typeof SavedView>
export const SavedViews = exactly({ views: Type.Array(SavedView) })
export const SavedViewBody = exactly({ page: Text(100), query: Type.String({ maxLength: 2000 }) })

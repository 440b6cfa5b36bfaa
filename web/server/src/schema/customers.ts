// Customers: list, one with everything, what happened to it.
import Type, { type Static } from 'typebox'
import { After, Day, exactly, Id, Limit, Next, nullable, Score, Status, Text, Time, Trend } from './common.ts'

export const Sort = Type.Enum(['score', '-score', 'name', 'customer_id', 'change', '-change', '-value', '-status_since'], {
  default: 'score', description: 'score: lowest first; -: highest or latest first. By score, those without one come last',
})

const filters = {
  status: Type.Optional(Type.Array(Status, { maxItems: 4, description: 'one of these' })),
  segment: Type.Optional(Type.Array(Type.String({ maxLength: 200 }), { maxItems: 50, description: 'one of these; empty: without a segment' })),
  trend: Type.Optional(Type.Array(Trend, { maxItems: 3 })),
  factor: Type.Optional(Text(200, { description: 'the factor that costs most' })),
  score_from: Type.Optional(Type.Number({ minimum: 0, maximum: 100 })),
  score_below: Type.Optional(Type.Number({ minimum: 0, maximum: 100 })),
  q: Type.Optional(Text(200, { description: 'part of the name, or beginning of the external_id' })),
  owner: Type.Optional(Text(200, { description: 'who looks after it' })),
  churned: Type.Optional(Type.Boolean({ default: false, description: 'true: those who have left, instead of those who have not' })),
}
export const CustomerFilters = exactly({ ...filters, sort: Type.Optional(Sort) })
export const CustomerQuery = exactly({
  ...filters,
  sort: Type.Optional(Sort),
  fields: Type.Optional(Type.Array(Type.Enum(['sparkline']), { maxItems: 1, description: 'what costs extra' })),
  count: Type.Optional(Type.Enum(['free', 'exact'], { default: 'free', description: 'free: total only where it costs nothing; exact: always' })),
  limit: Type.Optional(Limit),
  after: Type.Optional(After),
})
export type CustomerQuery = Static<typeof CustomerQuery>

export const CustomerRow = exactly({
  customer_id: Id,
  external_id: nullable(Type.String()),
  name: nullable(Type.String()),
  segment: nullable(Type.String()),
  owner: nullable(Type.String()),
  value: nullable(Type.Number({ description: 'the revenue of a year' })),
  score: Score,
  status: Status,
  trend: nullable(Trend),
  coverage: nullable(Type.Number({ description: 'share of the weight that rests on data, 0 to 1' })),
  weakest_factor: nullable(Type.String({ description: 'the factor that costs most' })),
  weakest_points: nullable(Type.Number({ description: 'points of the score that it costs' })),
  change: nullable(Type.Number({ description: 'of the score, against the end of the day seven days ago' })),
  status_since: nullable(Time),
  previous_status: nullable(Status),
  as_of: nullable(Day),
  calculated_at: nullable(Time),
  churned_at: nullable(Time),
  sparkline: Type.Optional(Type.Array(Score, { description: 'scores of the last eight weeks, a week apart, oldest first; the last one is the present' })),
})
export type CustomerRow = Static<typeof CustomerRow>

export const CustomerPage = exactly({
  customers: Type.Array(CustomerRow),
  total: nullable(Type.Integer({ description: 'of all pages; null: was not counted' })),
  next: Next,
})
export type CustomerPage = Static<typeof CustomerPage>

export const Metric = exactly({
  metric: Type.String(), value: nullable(Type.Number()), target: nullable(Type.Number()), score: Score,
  weight: nullable(Type.Number()), effective_weight: nullable(Type.Number()), contribution: nullable(Type.Number()),
  trend: nullable(Trend), sparkline: nullable(Type.String()), details: Type.Object({}, { additionalProperties: true }),
})
export const Factor = exactly({
  factor: Type.String(), score: Score, weight: nullable(Type.Number()), effective_weight: nullable(Type.Number()),
  contribution: nullable(Type.Number({ description: 'points of the whole score; they sum to it' })), trend: nullable(Trend),
  sparkline: nullable(Type.String()), metrics: nullable(Type.Array(Metric)),
})
export type Factor = Static<typeof Factor>

export const Health = exactly({
  customer_id: Id, external_id: nullable(Type.String()), name: nullable(Type.String()), segment: nullable(Type.String()),
  email: nullable(Type.String()), parent_id: nullable(Type.Integer()), owner: nullable(Type.String()), value: nullable(Type.Number()),
  created_at: Time, churned_at: nullable(Time),
  status_since: nullable(Time), previous_status: nullable(Status), calculated_at: nullable(Time),
  score: Score, status: Status, coverage: nullable(Type.Number()), trend: nullable(Trend), scorecard: Type.String(), version: Type.Integer(), as_of: Day,
  factors: nullable(Type.Array(Factor)),
})
export type Health = Static<typeof Health>

export const Change = exactly({
  since: Day, until: Day, score_since: Score, score_until: Score,
  factors: Type.Array(exactly({
    factor: Type.String(), score_since: Score, score_until: Score, contribution_since: nullable(Type.Number()), contribution_until: nullable(Type.Number()),
    change: nullable(Type.Number()), by_behaviour: nullable(Type.Number()), by_time: nullable(Type.Number()), by_data: nullable(Type.Number()),
    by_scorecard: nullable(Type.Number()), details: nullable(Type.Object({}, { additionalProperties: true })),
  })),
}, { description: 'why the score moved: the changes sum to the difference' })
export type Change = Static<typeof Change>

export const Recommendation = exactly({
  rank: Type.Integer(), recommendation: Type.String(), factor: nullable(Type.String()), action: Type.String(), priority: Type.Integer(),
  gain: nullable(Type.Number({ description: 'points to be gained' })), score: Score, details: nullable(Type.Object({}, { additionalProperties: true })),
})
export type Recommendation = Static<typeof Recommendation>

export const HistoryDay = exactly({
  day: Day, score: Score, status: nullable(Status), coverage: nullable(Type.Number()), version: nullable(Type.Integer()),
  factor_scores: Type.Optional(nullable(Type.Object({}, { additionalProperties: nullable(Type.Number()), description: 'by factor' }))),
})
export type HistoryDay = Static<typeof HistoryDay>

export const ActivityDay = exactly({ day: Day, event_type: Type.String(), events: Type.Integer() })
export type ActivityDay = Static<typeof ActivityDay>

export const TimelineEntry = Type.Union([
  exactly({ kind: Type.Literal('status'), at: Time, status: Status, previous_status: nullable(Status), score: Score }),
  exactly({ kind: Type.Literal('rules'), at: Time, version: Type.Integer(), previous_version: Type.Integer() }),
  exactly({ kind: Type.Literal('note'), at: Time, note_id: Type.Integer(), actor: Type.String(), note: Type.String(), own: Type.Boolean() }),
])
export type TimelineEntry = Static<typeof TimelineEntry>
export const Timeline = exactly({ entries: Type.Array(TimelineEntry, { description: 'latest first' }), next: Next })
export type Timeline = Static<typeof Timeline>

export const CustomerWhole = exactly({
  health: Health,
  change: nullable(Change),
  recommendations: Type.Array(Recommendation),
  history: Type.Array(HistoryDay),
  activity: Type.Array(ActivityDay),
  timeline: Timeline,
}, { description: 'all that the page of a customer shows' })
export type CustomerWhole = Static<typeof CustomerWhole>

export const NewEvent = exactly({
  event_type: Text(200),
  event_data: Type.Optional(Type.Object({}, { additionalProperties: true, description: 'what the type demands, see /event-types' })),
  occurred_at: Type.Optional(Time),
})
export const Recorded = exactly({ event_id: Type.Integer(), recorded: Type.Boolean({ description: 'false: the key was used before, for this event' }) })
export type Recorded = Static<typeof Recorded>
export const BulkRecorded = exactly({ recorded: Type.Integer(), duplicates: Type.Integer({ description: 'events whose idempotency_key had been used' }) })

export const EventType = exactly({ event_type: Type.String(), description: nullable(Type.String()), required: Type.Array(Type.String()), positive: Type.Array(Type.String()) })
export type EventType = Static<typeof EventType>

const attributes = {
  external_id: nullable(Text(500)), name: nullable(Text(500)), email: nullable(Text(500)), segment: nullable(Text(200)),
  parent_id: nullable(Id), churned_at: nullable(Time), owner: nullable(Text(200)), value: nullable(Type.Number()),
}
export const CustomerNew = Type.Partial(exactly({ ...attributes, created_at: Time }), { additionalProperties: false, minProperties: 1 })
export const CustomerPatch = Type.Partial(exactly(attributes), { additionalProperties: false, minProperties: 1, description: 'what is to change; null: removes it' })

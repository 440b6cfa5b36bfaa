// All customers together.
import Type, { type Static } from 'typebox'
import { Day, exactly, nullable, Score, Status, Time } from './common.ts'

const counts = {
  total: Type.Integer(), healthy: Type.Integer(), at_risk: Type.Integer(), critical: Type.Integer(), unknown: Type.Integer(),
  healthy_percent: nullable(Type.Number()), at_risk_percent: nullable(Type.Number()), critical_percent: nullable(Type.Number()), unknown_percent: nullable(Type.Number()),
  average_score: nullable(Type.Number()), last_updated: nullable(Time),
}
export const Stats = exactly({
  ...counts,
  lag_seconds: nullable(Type.Number({ description: 'how far stored scores lag behind the events; 0 if they do not' })),
  version: nullable(Type.Integer({ description: 'of the rules that are live' })),
  factors: Type.Array(Type.String(), { description: 'of the live rules' }),
  owners: Type.Array(Type.String(), { description: 'who looks after customers that one may see, at most 500' }),
})
export type Stats = Static<typeof Stats>
export const Segment = exactly({ segment: nullable(Type.String()), description: nullable(Type.String()), ...counts })
export type Segment = Static<typeof Segment>
export const Segments = exactly({ segments: Type.Array(Segment) })
export const Distribution = exactly({ buckets: Type.Array(exactly({ score_from: Type.Number(), score_to: Type.Number(), customers: Type.Integer() })) })
export type Distribution = Static<typeof Distribution>
export const MovementStatus = Type.Enum(['none', 'healthy', 'at_risk', 'critical', 'unknown', 'churned'], { description: 'none: was no customer yet' })
export const Movements = exactly({ from: Day, to: Day, movements: Type.Array(exactly({ from_status: MovementStatus, to_status: MovementStatus, customers: Type.Integer() })) })
export type Movements = Static<typeof Movements>
export const Mover = exactly({
  customer_id: Type.Integer(), name: nullable(Type.String()), segment: nullable(Type.String()), score: Score, status: Status,
  previous_score: Score, previous_status: nullable(Status), change: nullable(Type.Number()), factor: nullable(Type.String()),
})
export type Mover = Static<typeof Mover>
// Who left, or came, has no score at one of both ends.
export const Moved = exactly({ customers: Type.Array(exactly({
  customer_id: Type.Integer(), name: nullable(Type.String()), segment: nullable(Type.String()), score: Score, status: MovementStatus,
  previous_score: Score, previous_status: MovementStatus, change: nullable(Type.Number()),
}), { description: 'at most 200, by the change of the score' }) })
export type Moved = Static<typeof Moved>
export const Movers = exactly({ down: Type.Array(Mover), up: Type.Array(Mover) })
export type Movers = Static<typeof Movers>
export const PortfolioDay = exactly({
  day: Day, healthy: Type.Integer(), at_risk: Type.Integer(), critical: Type.Integer(), unknown: Type.Integer(), average_score: nullable(Type.Number()),
  value_at_risk: nullable(Type.Number({ description: 'what those at risk or critical are worth; null: of today, see /portfolio/values' })),
})
export type PortfolioDay = Static<typeof PortfolioDay>
export const PortfolioTrend = exactly({ days: Type.Array(PortfolioDay) })
export const Values = exactly({
  values: Type.Array(exactly({ segment: nullable(Type.String()), status: Status, customers: Type.Integer(), value: Type.Number(), without_value: Type.Integer() })),
})
export type Values = Static<typeof Values>

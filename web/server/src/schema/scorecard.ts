// The rules: live, draft, versions, simulation.
import Type, { type Static } from 'typebox'
import { Day, Document, exactly, nullable, Score, Status, Text, Time } from './common.ts'

export const Rules = exactly({
  version: Type.Integer(), live_at: Time,
  scorecards: Type.Array(exactly({
    scorecard: Type.String(), description: nullable(Type.String()), healthy_from: nullable(Type.Number()), at_risk_from: nullable(Type.Number()),
    factors: nullable(Type.Array(exactly({
      factor: Type.String(), description: nullable(Type.String()), weight: nullable(Type.Number()),
      metrics: Type.Array(exactly({
        metric: Type.String(), description: nullable(Type.String()), aggregate: nullable(Type.String()), window_days: nullable(Type.Integer()),
        measure: nullable(Type.String()), curve: nullable(Type.String({ description: 'points "x:y" in ascending order' })), penalty: nullable(Type.Unknown()),
      })),
    }))),
  })),
}, { description: 'the live rules, as far as charts need them' })
export type Rules = Static<typeof Rules>

const Changes = Type.Array(exactly({ what: Type.String(), change: Type.String(), old_value: Type.Unknown(), new_value: Type.Unknown() }))
const Lint = Type.Array(exactly({ severity: Type.String(), object: Type.String(), message: Type.String(), hint: nullable(Type.String()) }))
export const Draft = exactly({ hash: Type.String({ description: 'also the ETag' }), document: Document, changes: Changes, lint: Lint })
export type Draft = Static<typeof Draft>
export const DraftSaved = exactly({ hash: Type.String() })
export const DraftChanges = exactly({ changes: Changes })
export const DraftLint = exactly({ lint: Lint })
export const DraftCheck = exactly({ changes: Changes, lint: Lint })
export type DraftCheck = Static<typeof DraftCheck>

export const SimulationRequest = exactly({
  document: Type.Optional(Document),
  sample: Type.Optional(Type.Number({ exclusiveMinimum: 0, maximum: 10_000_000, description: 'so many customers from 1 on, a fraction below 1; without: all' })),
  customer_id: Type.Optional(Type.Integer({ minimum: 1, description: 'one to look at besides' })),
})
const simulated = {
  customer_id: Type.Integer(), name: nullable(Type.String()), segment: nullable(Type.String()), live_score: Score, live_status: nullable(Status),
  draft_score: Score, draft_status: nullable(Status), score_change: nullable(Type.Number()),
}
export const Simulation = exactly({
  customers: Type.Integer({ description: 'active ones that were simulated' }),
  changed_status: Type.Integer(),
  live_average: nullable(Type.Number()), draft_average: nullable(Type.Number()),
  movements: Type.Array(exactly({ from_status: nullable(Status), to_status: nullable(Status), customers: Type.Integer() })),
  histogram: Type.Array(exactly({ score_from: Type.Number(), score_to: Type.Number(), live: Type.Integer(), draft: Type.Integer() })),
  top: Type.Array(exactly(simulated), { description: 'the twenty whose score changes most' }),
  customer: nullable(exactly(simulated)),
})
export type Simulation = Static<typeof Simulation>

export const Version = exactly({
  version: Type.Integer(), published_at: Time, live_at: nullable(Time), live: Type.Boolean(), published_by: Type.String(), actor: nullable(Type.String()),
  note: nullable(Type.String()), changes: Type.Array(Type.Object({}, { additionalProperties: true })),
})
export type Version = Static<typeof Version>
export const Versions = exactly({ versions: Type.Array(Version) })
export const VersionDocument = exactly({ version: Type.Integer(), document: Document })
export const Publication = exactly({ note: Text(10000), expected: Text(200, { description: 'hash of the draft that is meant' }) })
export const Published = exactly({ version: Type.Integer() })
export const Rollback = exactly({ note: Type.Optional(Text(10000)), discard: Type.Optional(Type.Boolean({ default: false, description: 'true: loses what is unpublished in the draft' })) })
export { Day }

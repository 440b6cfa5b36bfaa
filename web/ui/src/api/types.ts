import type * as api from '../../../server/src/schema/index.ts'

// What the API answers: the types of the schemas that it validates by.
export type {
  ActivityDay, Change, CustomerPage, CustomerRow, Distribution, DraftCheck, EventType, LoginWays, Me, Moved, Movements, Mover, Movers, Operations,
  PortfolioDay, Rules, SavedView, Simulation, Stats, Timeline, TimelineEntry, Values, Version,
} from '../../../server/src/schema/index.ts'

export type SegmentStats = api.Segment
export type May = api.Me['may'][number]
export type Trend = api.CustomerRow['trend']
export type FactorChange = api.Change['factors'][number]
/** From which status to which; a simulation has null for those without a score. */
export interface Movement { from_status: string | null; to_status: string | null; customers: number }
export type Bucket = api.Distribution['buckets'][number]
export type DraftChange = api.DraftCheck['changes'][number]
export type Lint = api.DraftCheck['lint'][number]

/** What chs_explain tells of a metric besides its figures. */
export interface MetricDetails {
  event_type?: string
  window_days?: number
  events?: number
  penalty?: number
  penalty_each?: number
  estimated?: boolean
  missing?: string
}
type Known<T> = T extends null ? never : T
export type HistoryDay = Omit<api.HistoryDay, 'factor_scores'> & { factor_scores?: Record<string, number | null> | null }
export type Factor = Omit<api.Factor, 'metrics' | 'weight'> & { metrics: Metric[]; weight: number }
/** A metric that loses points, in the details of a recommendation. */
export interface Loss { metric: string; value: number | null; target: number | null; gain: number }
export type Recommendation = Omit<api.Recommendation, 'details'> & { details: { metrics?: Loss[] } | null }
export type Metric = Omit<Known<api.Factor['metrics']>[number], 'details'> & { details: MetricDetails }
export type Health = Omit<api.Health, 'factors'> & { factors: Factor[] }
export type CustomerWhole = Omit<api.CustomerWhole, 'health' | 'history' | 'recommendations'> & { health: Health; history: HistoryDay[]; recommendations: Recommendation[] }

// A scorecard as one document, as far as it can be edited here; what else is in it is kept.
export interface MetricRule {
  metric: string
  event_type?: string
  aggregate: string
  field?: string
  filter?: string
  window_days?: number
  curve?: string
  weight?: number
  penalty?: number
  target?: number
  targets?: Record<string, number>
  missing?: string
  missing_score?: number
  description?: string
}
export interface FactorRule { factor: string; weight: number; description?: string; metrics: MetricRule[] }
export interface Scorecard { factors: FactorRule[]; healthy_from: number; at_risk_from: number; min_coverage: number; [setting: string]: unknown }
export interface ScorecardDocument {
  default: string
  segments: Record<string, { scorecard: string; description?: string }>
  scorecards: Record<string, Scorecard>
  [part: string]: unknown
}
export type Draft = Omit<api.Draft, 'document'> & { document: ScorecardDocument }

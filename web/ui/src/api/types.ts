import type { Status } from '../words'

// What the API answers.  The names are PostgreSQL's.

export type May = 'read' | 'record' | 'administer' | 'operate'
export type Trend = 'improving' | 'stable' | 'declining' | null

export interface Me { role: string; actor: string; may: May[]; expires_at: string }

export interface Counts { total: number; healthy: number; at_risk: number; critical: number; unknown: number; average_score: number | null; last_updated: string | null }
export interface Stats extends Counts {
  lag_seconds: number | null
  version: number
  factors: string[]
  owners?: string[]
  value?: Partial<Record<Status, number>>
}
export interface SegmentStats extends Counts { segment: string | null; description: string | null; value?: Partial<Record<Status, number>> }

export interface CustomerRow {
  customer_id: number
  external_id: string | null
  name: string
  segment: string | null
  owner: string | null
  value: number | null
  score: number | null
  status: Status
  trend: Trend
  coverage: number | null
  weakest_factor?: string | null
  weakest_points?: number | null
  change?: number | null
  status_since?: string | null
  previous_status?: Status | null
  churned_at: string | null
  as_of: string | null
  calculated_at: string | null
  sparkline?: (number | null)[]
}
export interface CustomerPage { customers: CustomerRow[]; next?: string | null; total?: number | null }

export interface Metric {
  metric: string
  value: number | null
  target: number | null
  score: number | null
  weight: number | null
  effective_weight: number | null
  contribution: number | null
  trend: Trend
  sparkline: string | null
  curve?: string
  details: { from?: string; to?: string; window_days?: number; event_type?: string; events?: number; penalty?: number; penalty_each?: number; estimated?: boolean; field?: string; filter?: string }
}
export interface Factor {
  factor: string
  score: number | null
  weight: number
  effective_weight: number | null
  contribution: number | null
  trend: Trend
  sparkline: string | null
  metrics: Metric[]
}
export interface Recommendation {
  recommendation: string
  rank: number
  factor: string | null
  action: string
  gain: number | null
  priority: number
  details: { metrics?: { factor: string; metric: string; value: number | null; target: number | null; score: number | null; gain: number }[] }
}
export interface Health {
  customer_id: number
  external_id?: string | null
  name: string
  email?: string | null
  segment: string | null
  owner?: string | null
  value?: number | null
  created_at?: string
  churned_at?: string | null
  as_of: string
  score: number | null
  status: Status
  status_since?: string | null
  coverage: number | null
  trend: Trend
  scorecard: string
  version: number
  calculated_at?: string | null
  factors: Factor[]
  recommendations?: Recommendation[]
}
export interface FactorChange {
  factor: string
  change: number | null
  by_behaviour: number | null
  by_time: number | null
  by_data: number | null
  by_scorecard: number | null
  score_since: number | null
  score_until: number | null
  contribution_since: number | null
  contribution_until: number | null
  details: { since: string; until: string; version_since: number; version_until: number }
}
export interface HistoryDay { day: string; score: number | null; status: Status; coverage: number | null; trend: Trend; version: number; factor_scores?: (number | null)[] }
export interface ActivityDay { day: string; event_type: string; events: number }

export interface EventType { event_type: string; description: string | null; required: string[]; positive: string[] }
export interface Movement { from_status: string; to_status: string; customers: number }
export interface Bucket { score_from: number; score_to: number; customers: number }
export interface Mover { customer_id: number; name: string; segment: string | null; status: Status; score: number; previous_score: number; previous_status: Status; previous_day: string; change: number; moved_most: string | null }

export interface MetricRule {
  metric: string
  event_type?: string
  aggregate: string
  measure?: string
  field?: string
  filter?: string
  base_filter?: string
  window_days: number
  curve?: string
  weight?: number
  penalty?: number
  target?: number
  targets?: Record<string, number>
  missing?: string
  missing_score?: number
  description?: string
}
export interface FactorRule { factor: string; weight: number; description?: string; metrics: MetricRule[]; segment_weights?: Record<string, number> }
export interface Scorecard { factors: FactorRule[]; healthy_from: number; at_risk_from: number; min_coverage: number; [setting: string]: unknown }
export interface ScorecardDocument {
  default: string
  segments: Record<string, { scorecard: string; description?: string }>
  scorecards: Record<string, Scorecard>
  [part: string]: unknown
}
export interface DraftChange { what: string; change: string; old_value: unknown; new_value: unknown }
export interface Lint { severity: string; object: string; message: string; hint?: string | null }
export interface DraftCheck { changes: DraftChange[]; lint: Lint[] }
export interface Draft extends DraftCheck { hash: string; document: ScorecardDocument }
export interface Simulated { customer_id: number; name: string | null; segment: string | null; live_score: number | null; live_status: Status | null; draft_score: number | null; draft_status: Status | null; score_change: number | null }
export interface Simulation {
  customers: number
  changed_status: number
  live_average: number | null
  draft_average: number | null
  movements: { from_status: Status | null; to_status: Status | null; customers: number }[]
  histogram: { score_from: number; score_to: number; live: number; draft: number }[]
  top: Simulated[]
  customer: Simulated | null
}
export interface Version { version: number; published_at: string; live_at: string | null; live: boolean; published_by: string; actor?: string | null; note: string | null; changes: object[] }
export interface Operations {
  workers: { worker: number; pid: number | null; state: string; last_batch_at: string | null; last_batch_customers: number | null; customers_per_second: number | null; last_error: string | null; last_error_at: string | null; lag_seconds: number | null }[]
  queue: { depth: number; is_estimate: boolean; oldest_at: string | null; lag_seconds: number | null; failing: number; total_bytes: number; paused: boolean; paused_at: string | null; paused_by: string | null; pause_reason: string | null }
  jobs: { job: string; state: string; phase: string; done: number; total: number; percent: number | null; started_at: string; finished_at: string | null; rate: number | null; estimated_end: string | null }[]
  failures: { customer_id: number; name: string | null; sqlstate: string; message: string; detail: string | null; attempts: number; failed_at: string; next_attempt: string }[]
  rejected: { rejected_id: number; relation: string; customer_key: string | null; reason: string; event_row: unknown; rejected_at: string }[]
  sources: { source_id: number; relation: string; kind: string; problem: string | null; rejected: number | null; attached_at: string }[]
  retention: { kind: string; setting: string | null; kept_from: string | null; deleted: number | null; warning: string | null }[]
}

import { keepPreviousData, queryOptions, useQuery } from '@tanstack/react-query'
import { get } from './client'
import type { Me, Rules, SegmentStats, Stats, Values } from './types'

// Questions that several pages ask.

export const meQuery = queryOptions({ queryKey: ['me'], queryFn: ({ signal }) => get<Me>('/me', undefined, signal), staleTime: Infinity, retry: false })
export const statsQuery = queryOptions({ queryKey: ['stats'], queryFn: ({ signal }) => get<Stats>('/stats', undefined, signal), placeholderData: keepPreviousData })
export const segmentsQuery = queryOptions({ queryKey: ['segments'], queryFn: async ({ signal }) => (await get<{ segments: SegmentStats[] }>('/segments', undefined, signal)).segments })

export const valuesQuery = queryOptions({ queryKey: ['stats', 'values'], staleTime: 60_000, queryFn: async ({ signal }) => (await get<Values>('/portfolio/values', undefined, signal)).values })
/** What the customers of these statuses are worth together. */
export const worth = (values: Values['values'], statuses: readonly string[]) => values.reduce((sum, one) => (statuses.includes(one.status) ? sum + one.value : sum), 0)
/** The live rules, as far as charts need them. */
export const rulesQuery = queryOptions({ queryKey: ['rules'], staleTime: 60_000, queryFn: ({ signal }) => get<Rules>('/scorecard/rules', undefined, signal) })

/** Who is looking. Inside the shell this is known. */
export const useMe = () => useQuery(meQuery).data!

/** Whether stored scores are of an earlier UTC day, or lag behind the events. */
export const isStale = (stats: Stats) => (stats.lag_seconds ?? 0) > 60 || (stats.last_updated !== null && stats.total > 0 && stats.last_updated.slice(0, 10) < new Date().toISOString().slice(0, 10))

import { keepPreviousData, queryOptions, useQuery } from '@tanstack/react-query'
import { get } from './client'
import type { Me, SegmentStats, Stats } from './types'

// Questions that several pages ask.

export const meQuery = queryOptions({ queryKey: ['me'], queryFn: ({ signal }) => get<Me>('/me', undefined, signal), staleTime: Infinity, retry: false })
export const statsQuery = queryOptions({ queryKey: ['stats'], queryFn: ({ signal }) => get<Stats>('/stats', undefined, signal), placeholderData: keepPreviousData })
export const segmentsQuery = queryOptions({ queryKey: ['segments'], queryFn: async ({ signal }) => (await get<{ segments: SegmentStats[] }>('/segments', undefined, signal)).segments })

/** Who is looking. Inside the shell this is known. */
export const useMe = () => useQuery(meQuery).data!

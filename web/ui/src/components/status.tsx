import type { ReactNode } from 'react'
import type { Trend } from '../api/types'
import { num, signed, statusWord } from '../words'

// Literal class names, so that Tailwind finds them.
export const INK: Record<string, string> = { healthy: 'text-healthy', at_risk: 'text-at_risk', critical: 'text-critical', unknown: 'text-unknown', churned: 'text-unknown', none: 'text-soft' }
export const SOFT: Record<string, string> = { healthy: 'bg-healthy-soft', at_risk: 'bg-at_risk-soft', critical: 'bg-critical-soft', unknown: 'bg-unknown-soft', churned: 'bg-unknown-soft', none: 'bg-raised' }
export const FILL: Record<string, string> = { healthy: 'fill-healthy', at_risk: 'fill-at_risk', critical: 'fill-critical', unknown: 'fill-unknown', churned: 'fill-edge', none: 'fill-edge' }

/** The shape of a status: a disc, a triangle, a square on its point, and a ring for unknown. Never colour alone. */
export function StatusShape({ status, size = 12 }: { status: string; size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 12 12" aria-hidden className={`shrink-0 forced ${INK[status] ?? ''}`} fill="currentColor">
      {status === 'healthy' ? <circle cx="6" cy="6" r="5" />
        : status === 'at_risk' ? <path d="M6 .8 11.6 11H.4Z" />
        : status === 'critical' ? <path d="M6 0 12 6 6 12 0 6Z" />
        : status === 'churned' ? <path d="m2 2 8 8M10 2l-8 8" stroke="currentColor" strokeWidth="2" />
        : <circle cx="6" cy="6" r="4.4" fill="none" stroke="currentColor" strokeWidth="1.8" strokeDasharray="2.6 1.4" />}
    </svg>
  )
}

export function StatusBadge({ status }: { status: string }) {
  return (
    <span className={`inline-flex items-center gap-1.5 rounded-full px-2.5 py-0.5 font-medium whitespace-nowrap ${SOFT[status]} ${INK[status]}`}>
      <StatusShape status={status} size={10} />
      {statusWord(status)}
    </span>
  )
}

/** A score as it may be shown: with its status and with the reason for it, which is not optional. */
export function Score({ value, status, reason, large }: { value: number | null; status: string; reason: ReactNode; large?: boolean }) {
  return (
    <div className={large ? 'flex items-center gap-4' : 'flex min-w-0 items-center gap-2.5'}>
      <span data-score={value === null ? '' : num(value, 1)} className={`inline-flex items-center gap-1.5 font-semibold ${large ? 'text-5xl tracking-tight' : 'text-[17px]'}`}>
        <StatusShape status={status} size={large ? 26 : 11} />
        {value === null ? <span className="text-unknown" aria-label="no score">–</span> : num(value, 1)}
        <span className="sr-only">, {statusWord(status)}</span>
      </span>
      <div className="min-w-0">{reason}</div>
    </div>
  )
}

/** A change in points: arrow, sign and colour. */
export function Delta({ value, decimals = 1, unit = '', neutral }: { value: number | null | undefined; decimals?: number; unit?: string; neutral?: boolean }) {
  if (value === null || value === undefined) return <span className="text-soft">–</span>
  const flat = Math.abs(value) < 0.5 * 10 ** -decimals
  return (
    <span className={`inline-flex items-center gap-1 whitespace-nowrap ${flat || neutral ? 'text-soft' : value > 0 ? 'text-healthy' : 'text-critical'}`}>
      {!flat && (
        <svg width="8" height="8" viewBox="0 0 8 8" aria-hidden fill="currentColor">
          <path d={value > 0 ? 'M4 1 7.5 7H.5Z' : 'M4 7 .5 1h7Z'} />
        </svg>
      )}
      {signed(value, decimals)}{unit}
    </span>
  )
}

export function TrendWord({ trend }: { trend: Trend }) {
  if (!trend) return <span className="text-soft">no trend yet</span>
  const path = trend === 'improving' ? 'M1 9 9 1M9 1H3.5M9 1v5.5' : trend === 'declining' ? 'M1 1l8 8M9 9H3.5M9 9V3.5' : 'M1 5h8M9 5 6 2M9 5 6 8'
  const ink = trend === 'improving' ? 'text-healthy' : trend === 'declining' ? 'text-critical' : 'text-soft'
  return (
    <span className={`inline-flex items-center gap-1.5 ${ink}`}>
      <svg width="10" height="10" viewBox="0 0 10 10" aria-hidden fill="none" stroke="currentColor" strokeWidth="1.6"><path d={path} /></svg>
      {trend}
    </span>
  )
}

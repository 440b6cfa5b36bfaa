import type { FactorChange } from '../api/types'
import { nameOf, num, signed } from '../words'
import { Legend, LegendItem } from './frame'

// Why a score moved: factor by factor, and of each what they did, what no longer counts, data, and rules.
export const CAUSES = [
  ['by_behaviour', 'what they did', 'bg-accent'],
  ['by_time', 'older activity that no longer counts', 'bg-[light-dark(#9a86c4,#7d68ab)]'],
  ['by_data', 'data gained or lost', 'bg-[light-dark(#3f9aa6,#3d8f9b)]'],
  ['by_scorecard', 'changed rules', 'bg-[light-dark(#c08a3e,#a97a36)]'],
] as const
type Cause = (typeof CAUSES)[number][0]

/** The whole change by cause. */
export const byCause = (factors: FactorChange[]) => CAUSES.map(([cause]) => factors.reduce((sum, f) => sum + (f[cause] ?? 0), 0))

export function ChangeChart({ factors }: { factors: FactorChange[] }) {
  const rows = [...factors].sort((a, b) => Math.abs(b.change ?? 0) - Math.abs(a.change ?? 0))
  const side = (f: FactorChange, sign: number) => CAUSES.reduce((sum, [cause]) => sum + Math.max(0, sign * (f[cause] ?? 0)), 0)
  const down = Math.max(0.5, ...rows.map((f) => side(f, -1))), up = Math.max(0.5, ...rows.map((f) => side(f, 1)))
  const whole = down + up
  const used = CAUSES.filter(([cause]) => factors.some((f) => Math.abs(f[cause] ?? 0) >= 0.05))
  return (
    <div className="space-y-3">
      <div role="table" aria-label="Change by factor and cause">
        <div role="row" className="sr-only"><span role="columnheader">Factor</span>{CAUSES.map(([cause, word]) => <span key={cause} role="columnheader">{word}</span>)}<span role="columnheader">points</span></div>
        {rows.map((f) => (
          <div role="row" key={f.factor} className="grid grid-cols-[minmax(104px,150px)_1fr_56px] items-center gap-3 py-1">
            <span role="rowheader" className="truncate" title={nameOf(f.factor)}>{nameOf(f.factor)}</span>
            <div className="relative h-5">
              <span aria-hidden className="absolute inset-y-[-3px] w-px bg-edge" style={{ left: `${(100 * down) / whole}%` }} />
              {([-1, 1] as const).map((sign) => {
                let reach = 0
                return CAUSES.map(([cause, word, fill]) => {
                  const points = sign * (f[cause] ?? 0)
                  if (points <= 0.004) return null
                  const start = reach
                  reach += points
                  return <span key={cause + sign} aria-hidden title={`${word}: ${signed(sign * points)}`} className={`absolute inset-y-0 forced ${fill} ${sign < 0 ? 'origin-right' : ''}`} style={{ left: `${(100 * (sign < 0 ? down - reach : down + start)) / whole}%`, width: `calc(${(100 * points) / whole}% - 1px)` }} />
                })
              })}
              {CAUSES.map(([cause]) => <span role="cell" key={cause} className="sr-only">{f[cause as Cause] === null ? 'unknown' : signed(f[cause as Cause]!)}</span>)}
            </div>
            <span role="cell" className={`text-right font-medium ${Math.abs(f.change ?? 0) < 0.05 ? 'text-soft' : (f.change ?? 0) > 0 ? 'text-healthy' : 'text-critical'}`}>{f.change === null ? '–' : signed(f.change)}</span>
          </div>
        ))}
      </div>
      <Legend>{used.map(([cause, word, fill]) => <LegendItem key={cause} swatch={fill}>{word} <b className="font-medium text-ink">{signed(factors.reduce((s, f) => s + (f[cause] ?? 0), 0))}</b></LegendItem>)}</Legend>
    </div>
  )
}

/** The change in one sentence. */
export function changeSentence(factors: FactorChange[], days: string): string {
  if (factors.some((f) => f.change === null)) return `There was no score ${days}, or is none now, so there is no change to explain.`
  const change = factors.reduce((sum, f) => sum + (f.change ?? 0), 0)
  if (Math.abs(change) < 0.5) return `Hardly anything has changed ${days}.`
  const most = factors.reduce((a, b) => (Math.sign(change) * (b.change ?? 0) > Math.sign(change) * (a.change ?? 0) ? b : a))
  const [, word] = CAUSES.reduce((a, b) => (Math.sign(change) * (most[b[0]] ?? 0) > Math.sign(change) * (most[a[0]] ?? 0) ? b : a))
  return `${change < 0 ? 'Lost' : 'Gained'} ${num(Math.abs(change), 1)} points ${days}, most of all in ${nameOf(most.factor)} (${signed(most.change!)}): ${word}.`
}

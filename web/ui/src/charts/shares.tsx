import { scaleLinear, scaleUtc } from 'd3-scale'
import { area, stack } from 'd3-shape'
import { useState, type KeyboardEvent } from 'react'
import type { PortfolioDay as DayCounts } from '../api/types'
import { FILL } from '../components/status'
import { day, dayYear, num, percent, statusWord, type Status } from '../words'
import { AsTable, useWidth } from './frame'

const ORDER: Status[] = ['critical', 'at_risk', 'unknown', 'healthy']

/** The share of each status, day by day. */
export function ShareChart({ days }: { days: DayCounts[] }) {
  const [box, width] = useWidth<HTMLDivElement>()
  const [at, setAt] = useState<number | null>(null)
  const height = 210, left = 38, right = 10, top = 8, bottom = 24
  const total = (d: DayCounts) => d.healthy + d.at_risk + d.critical + d.unknown
  const x = scaleUtc([new Date(days[0]!.day), new Date(days[days.length - 1]!.day)], [left, Math.max(left + 1, width - right)])
  const y = scaleLinear([0, 1], [height - bottom, top])
  const layers = stack<DayCounts, Status>().keys(ORDER).value((d, key) => d[key] / (total(d) || 1))(days)
  const shape = area<(typeof layers)[number][number]>((p) => x(new Date(p.data.day)), (p) => y(p[0]), (p) => y(p[1]))
  const cursor = at ?? days.length - 1, current = days[cursor]!
  const say = (d: DayCounts) => `${dayYear(d.day)}: ${ORDER.map((s) => `${statusWord(s).toLowerCase()} ${num(d[s])} (${percent(d[s], total(d))})`).join(', ')}`
  function pressed(event: KeyboardEvent) {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageDown: -7, PageUp: 7, Home: -days.length, End: days.length }[event.key]
    if (step) { setAt(Math.max(0, Math.min(days.length - 1, cursor + step))); event.preventDefault() }
  }
  return (
    <div>
      <div ref={box}>
        {width > 0 && (
          <svg width={width} height={height} viewBox={`0 0 ${width} ${height}`} role="slider" tabIndex={0} aria-label="Share of each status by day" aria-valuemin={0} aria-valuemax={days.length - 1} aria-valuenow={cursor} aria-valuetext={say(current)}
            onKeyDown={pressed} onBlur={() => setAt(null)} onPointerLeave={() => setAt(null)} className="block touch-pan-y rounded-md"
            onPointerMove={(event) => { const t = x.invert(event.clientX - event.currentTarget.getBoundingClientRect().left).getTime(); setAt(Math.max(0, Math.min(days.length - 1, days.findLastIndex((d) => Date.parse(d.day) <= t + 43200000)))) }}>
            {layers.map((layer) => <path key={layer.key} d={shape(layer) ?? ''} className={`forced opacity-85 ${FILL[layer.key]} stroke-surface`} strokeWidth="1" />)}
            {[0, 0.25, 0.5, 0.75, 1].map((v) => <g key={v}><line x1={left} x2={width - right} y1={y(v)} y2={y(v)} className="stroke-surface opacity-35" /><text x={left - 6} y={y(v) + 4} textAnchor="end">{100 * v} %</text></g>)}
            {x.ticks(Math.max(2, Math.floor(width / 110))).map((t) => <text key={+t} x={x(t)} y={height - 7} textAnchor="middle">{day(t.toISOString())}</text>)}
            {at !== null && <line x1={x(new Date(current.day))} x2={x(new Date(current.day))} y1={top} y2={height - bottom} className="stroke-ink" strokeWidth="1.5" />}
          </svg>
        )}
      </div>
      <p className="min-h-5 text-[13px] text-soft" aria-hidden>{say(current)}</p>
      <AsTable caption="Customers of each status by day" head={['Day', ...ORDER.map(statusWord), 'Average']} rows={[...days].reverse().map((d) => [dayYear(d.day), ...ORDER.map((s) => num(d[s])), d.average_score === null ? null : num(d.average_score, 1)])} />
    </div>
  )
}

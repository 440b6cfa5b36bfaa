import { scaleLinear, scaleUtc } from 'd3-scale'
import { line } from 'd3-shape'
import { useState, type KeyboardEvent, type PointerEvent } from 'react'
import type { HistoryDay } from '../api/types'
import { day, dayYear, nameOf, num, statusWord } from '../words'
import { FILL } from '../components/status'
import { AsTable, useWidth } from './frame'

interface Props {
  days: HistoryDay[]
  factors: string[]
  /** Days on which other rules came into force. */
  rules: { day: string; version: number }[]
  /** Bounds of the statuses. */
  bounds: { healthy_from: number; at_risk_from: number }
  since?: string
  onSince: (day: string) => void
  shown: string[]
}

const BANDS = [['critical', 'fill-critical-soft'], ['at_risk', 'fill-at_risk-soft'], ['healthy', 'fill-healthy-soft']] as const
const FACTOR_INKS = ['stroke-[light-dark(#7a4fb5,#c3a1f5)]', 'stroke-[light-dark(#0c7c8c,#5cc6d6)]', 'stroke-[light-dark(#a35a18,#e8a56a)]', 'stroke-[light-dark(#b03a82,#f08cc4)]', 'stroke-[light-dark(#5c6b1f,#b4c764)]']

/** Score by day on the bands of the statuses, with marks where the rules changed. A slider over days: arrows move, Enter explains. */
export function HistoryChart({ days, factors, rules, bounds, since, onSince, shown }: Props) {
  const [box, width] = useWidth<HTMLDivElement>()
  const [at, setAt] = useState<number | null>(null)
  const height = 230, left = 30, right = width < 480 ? 46 : 56, top = 10, bottom = 24
  const x = scaleUtc([new Date(days[0]!.day), new Date(days[days.length - 1]!.day)], [left, Math.max(left + 1, width - right)])
  const y = scaleLinear([0, 100], [height - bottom, top])
  const px = (d: HistoryDay) => x(new Date(d.day))
  const path = line<HistoryDay>((d) => px(d), (d) => y(d.score!)).defined((d) => d.score !== null)
  const cursor = at ?? days.length - 1
  const current = days[Math.min(cursor, days.length - 1)]!
  const marks = rules.filter((v) => v.day >= days[0]!.day && v.day <= days[days.length - 1]!.day)
  const say = (d: HistoryDay) => `${dayYear(d.day)}: ${d.score === null ? 'no score' : num(d.score, 1)}, ${statusWord(d.status ?? 'unknown').toLowerCase()}`
  const edges = { critical: [0, bounds.at_risk_from], at_risk: [bounds.at_risk_from, bounds.healthy_from], healthy: [bounds.healthy_from, 100] } as const

  function pointed(event: PointerEvent<SVGSVGElement>) {
    const t = x.invert(event.clientX - event.currentTarget.getBoundingClientRect().left).getTime()
    setAt(Math.max(0, Math.min(days.length - 1, Math.round((t - Date.parse(days[0]!.day)) / 86400000))))
  }
  function pressed(event: KeyboardEvent) {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageDown: -7, PageUp: 7, Home: -days.length, End: days.length }[event.key]
    if (step) { setAt(Math.max(0, Math.min(days.length - 1, cursor + step))); event.preventDefault() }
    if (event.key === 'Enter' && cursor < days.length - 1) { onSince(current.day); event.preventDefault() }
  }
  const ticks = x.ticks(Math.max(2, Math.floor(width / 90)))
  return (
    <div>
      <div ref={box} className="relative">
        {width > 0 && (
          <svg
            width={width} height={height} viewBox={`0 0 ${width} ${height}`} role="slider" tabIndex={0} aria-label="Score by day. Enter explains the change since a day" aria-orientation="horizontal"
            aria-valuemin={0} aria-valuemax={days.length - 1} aria-valuenow={cursor} aria-valuetext={say(current)}
            onPointerMove={pointed} onPointerLeave={() => setAt(null)} onBlur={() => setAt(null)} onKeyDown={pressed} onClick={() => at !== null && at < days.length - 1 && onSince(current.day)}
            className="block cursor-crosshair touch-pan-y rounded-md"
          >
            {BANDS.map(([status, fill]) => <rect key={status} x={left} width={Math.max(0, width - right - left)} y={y(edges[status][1])} height={Math.max(0, y(edges[status][0]) - y(edges[status][1]))} className={`${fill} opacity-60`} />)}
            {BANDS.map(([status]) => <text key={status} x={width - right + 7} y={(y(edges[status][1]) + y(edges[status][0])) / 2 + 4} className={FILL[status]}>{statusWord(status)}</text>)}
            {[0, bounds.at_risk_from, bounds.healthy_from, 100].map((v) => <text key={v} x={left - 6} y={y(v) + 4} textAnchor="end">{v}</text>)}
            {ticks.map((t) => <text key={+t} x={x(t)} y={height - 7} textAnchor="middle">{day(t.toISOString())}</text>)}
            {marks.map((v) => { const vx = x(new Date(v.day)); return (
              <g key={v.version}>
                <title>{`Version ${v.version} of the rules`}</title>
                <line x1={vx} x2={vx} y1={top} y2={height - bottom} className="stroke-edge" strokeDasharray="2 3" />
                <path d={`M${vx - 5} ${height - bottom}h10l-5 -8Z`} className="fill-edge" />
              </g>) })}
            {since && since >= days[0]!.day && (
              <g><rect x={x(new Date(since))} y={top} width={Math.max(0, x(new Date(days[days.length - 1]!.day)) - x(new Date(since)))} height={height - bottom - top} className="fill-accent opacity-8" />
                <line x1={x(new Date(since))} x2={x(new Date(since))} y1={top} y2={height - bottom} className="stroke-accent" /></g>
            )}
            {shown.map((name) => { const i = factors.indexOf(name); const f = line<HistoryDay>((d) => px(d), (d) => y(d.factor_scores![name]!)).defined((d) => typeof d.factor_scores?.[name] === 'number'); return <path key={name} d={f(days) ?? ''} fill="none" className={FACTOR_INKS[i % FACTOR_INKS.length]} strokeWidth="1.3" strokeDasharray={['', '5 2', '2 2', '7 2 2 2', '1 3'][i % 5]} /> })}
            <path d={path(days) ?? ''} fill="none" className="stroke-ink" strokeWidth="2" strokeLinejoin="round" />
            {days.length === 1 && days[0]!.score !== null && <circle cx={px(days[0]!)} cy={y(days[0]!.score)} r="3.5" className="fill-ink" />}
            {at !== null && (
              <g>
                <line x1={px(current)} x2={px(current)} y1={top} y2={height - bottom} className="stroke-soft" />
                {current.score !== null && <circle cx={px(current)} cy={y(current.score)} r="4.5" className="fill-surface stroke-ink" strokeWidth="2" />}
              </g>
            )}
          </svg>
        )}
        {at !== null && width > 0 && (
          <div className="card shadow-float pointer-events-none absolute top-1 z-10 px-3 py-1.5 text-[13px] whitespace-nowrap" style={px(current) > width / 2 ? { right: width - px(current) + 10 } : { left: px(current) + 10 }}>
            <b className="font-semibold">{current.score === null ? 'no score' : num(current.score, 1)}</b> {statusWord(current.status ?? 'unknown').toLowerCase()}
            <div className="text-soft">{dayYear(current.day)}</div>
            {shown.map((name) => <div key={name} className="text-soft">{nameOf(name)}: {typeof current.factor_scores?.[name] === 'number' ? num(current.factor_scores[name], 0) : 'no data'}</div>)}
            {marks.filter((v) => v.day === current.day).map((v) => <div key={v.version}>rules: version {v.version}</div>)}
          </div>
        )}
      </div>
      <AsTable caption="Score by day" head={['Day', 'Score', 'Status', 'Coverage', 'Rules']} rows={[...days].reverse().map((d) => [dayYear(d.day), d.score === null ? null : num(d.score, 1), statusWord(d.status ?? 'unknown'), d.coverage === null ? null : num(100 * d.coverage) + ' %', d.version ? `version ${d.version}` : null])} />
    </div>
  )
}


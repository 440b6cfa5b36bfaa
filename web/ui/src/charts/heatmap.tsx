import { useState, type KeyboardEvent } from 'react'
import type { ActivityDay } from '../api/types'
import { count, day, dayYear, daysAgo, nameOf, num, today } from '../words'
import { AsTable, useWidth } from './frame'

/** Events by type and day, darker the more there were; each type on its own scale. */
export function HeatMap({ activity, days, end }: { activity: ActivityDay[]; days: number; end: string }) {
  const [box, width] = useWidth<HTMLDivElement>()
  const [at, setAt] = useState<number | null>(null)
  const all = Array.from({ length: days }, (_, i) => daysAgo(days - 1 - i, end))
  const types = [...new Set(activity.map((a) => a.event_type))].sort()
  const events = new Map(activity.map((a) => [`${a.event_type} ${a.day}`, a.events]))
  const label = width < 480 ? 0 : 116, row = width < 480 ? 34 : 22
  const cell = Math.max(1, (width - label) / days)
  const height = types.length * row + 22
  const level = (n: number, most: number) => (n === 0 ? 0 : Math.max(1, Math.ceil((4 * Math.sqrt(n)) / Math.sqrt(most))))
  const shade = ['fill-raised', 'fill-[color-mix(in_oklab,var(--color-accent)_25%,var(--color-surface))]', 'fill-[color-mix(in_oklab,var(--color-accent)_45%,var(--color-surface))]', 'fill-[color-mix(in_oklab,var(--color-accent)_70%,var(--color-surface))]', 'fill-accent']
  const cursor = at ?? days - 1
  const say = (i: number) => `${dayYear(all[i]!)}: ${types.map((t) => count(events.get(`${t} ${all[i]}`) ?? 0, nameOf(t).toLowerCase(), nameOf(t).toLowerCase())).join(', ')}`
  function pressed(event: KeyboardEvent) {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageDown: -7, PageUp: 7, Home: -days, End: days }[event.key]
    if (step) { setAt(Math.max(0, Math.min(days - 1, cursor + step))); event.preventDefault() }
  }
  if (!types.length) return <p className="py-6 text-center text-soft">No events in the last {days} days.</p>
  return (
    <div>
      <div ref={box}>
        {width > 0 && (
          <svg width={width} height={height} viewBox={`0 0 ${width} ${height}`} role="slider" tabIndex={0} aria-label="Events by day" aria-valuemin={0} aria-valuemax={days - 1} aria-valuenow={cursor} aria-valuetext={say(cursor)} onKeyDown={pressed} onBlur={() => setAt(null)}
            onPointerMove={(event) => { const i = Math.floor((event.clientX - event.currentTarget.getBoundingClientRect().left - label) / cell); setAt(i >= 0 && i < days ? i : null) }} onPointerLeave={() => setAt(null)} className="block touch-pan-y rounded-md">
            {types.map((type, r) => {
              const most = Math.max(...all.map((d) => events.get(`${type} ${d}`) ?? 0))
              return (
                <g key={type} transform={`translate(0 ${r * row})`}>
                  <text x="0" y={label ? 15 : 11}>{nameOf(type)}</text>
                  {all.map((d, i) => <rect key={d} x={label + i * cell + 0.5} y={label ? 3 : 15} width={Math.max(0.5, cell - 1)} height="16" rx="2" className={`forced ${shade[level(events.get(`${type} ${d}`) ?? 0, most)]}`} />)}
                </g>
              )
            })}
            {at !== null && <rect x={label + at * cell - 0.5} y="0" width={cell + 1} height={types.length * row} fill="none" className="stroke-ink" rx="2" />}
            {[0, Math.floor(days / 2), days - 1].map((i) => <text key={i} x={label + (i + 0.5) * cell} y={height - 5} textAnchor={i === 0 ? 'start' : i === days - 1 ? 'end' : 'middle'}>{i === days - 1 && end === today() ? 'today' : day(all[i]!)}</text>)}
          </svg>
        )}
      </div>
      <p className="min-h-5 text-[13px] text-soft" aria-hidden>{at !== null ? say(at) : ' '}</p>
      <AsTable caption="Events by day" head={['Day', ...types.map(nameOf)]} rows={[...all].reverse().filter((d) => types.some((t) => events.has(`${t} ${d}`))).map((d) => [dayYear(d), ...types.map((t) => num(events.get(`${t} ${d}`) ?? 0))])} />
    </div>
  )
}

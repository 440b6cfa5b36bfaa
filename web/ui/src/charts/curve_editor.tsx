import { scaleLinear } from 'd3-scale'
import { useId, useRef, useState, type KeyboardEvent, type PointerEvent } from 'react'
import { num, plain } from '../words'
import { domainOf, readCurve, scoreOf, writeCurve, type Point } from './curve'
import { useWidth } from './frame'

interface Props {
  /** The curve as text, which may be wrong while it is typed. */
  text: string
  onChange: (text: string) => void
  /** What the values are: "times the target", "seconds". */
  unit: string
  label: string
  /** The curve that is live, drawn behind. */
  live?: string
}

/** A curve to be changed by mouse (drag a point, double-click for a new one), by keyboard, and as text. */
export function CurveEditor({ text, onChange, unit, label, live }: Props) {
  const [box, width] = useWidth<HTMLDivElement>()
  const [typed, setTyped] = useState<string | null>(null)
  const [dragged, setDragged] = useState<number | null>(null)
  const [frozen, setFrozen] = useState<[number, number] | null>(null)
  const svg = useRef<SVGSVGElement>(null)
  const help = useId(), wrongId = useId()
  const read = readCurve(typed ?? text)
  const valid = readCurve(text)
  const points = 'points' in read ? read.points : 'points' in valid ? valid.points : []
  const old = live !== undefined && live !== text ? readCurve(live) : null
  const height = 260, left = 34, right = 14, top = 12, bottom = 34
  const domain = frozen ?? domainOf([...points, ...(old && 'points' in old ? old.points : [])])
  const x = scaleLinear(domain, [left, Math.max(left + 1, width - right)]), y = scaleLinear([0, 100], [height - bottom, top])
  const path = (ps: Point[]) => `M${x(domain[0])} ${y(ps[0]!.y)}` + ps.map((p) => `L${x(p.x)} ${y(p.y)}`).join('') + `L${x(domain[1])} ${y(ps[ps.length - 1]!.y)}`
  const step = (domain[1] - domain[0]) / 100

  function put(i: number, to: Point) {
    const gap = step / 10
    const before = points[i - 1]?.x ?? -Infinity, after = points[i + 1]?.x ?? Infinity
    const moved = { x: Math.max(before + gap, Math.min(after - gap, to.x)), y: Math.max(0, Math.min(100, to.y)) }
    setTyped(null)
    onChange(writeCurve(points.map((p, k) => (k === i ? moved : p))))
  }
  function add(at: Point) {
    const next = [...points, at].sort((a, b) => a.x - b.x)
    if (points.some((p) => Math.abs(p.x - at.x) < step / 10)) return
    setTyped(null)
    onChange(writeCurve(next))
    const i = next.indexOf(at)
    requestAnimationFrame(() => svg.current?.querySelector<SVGElement>(`[data-point="${i}"]`)?.focus())
  }
  function remove(i: number) {
    if (points.length < 2) return
    setTyped(null)
    onChange(writeCurve(points.filter((_, k) => k !== i)))
    requestAnimationFrame(() => svg.current?.querySelector<SVGElement>(`[data-point="${Math.max(0, i - 1)}"]`)?.focus())
  }
  function pressed(event: KeyboardEvent, i: number) {
    const p = points[i]!, many = event.shiftKey ? 10 : 1
    const to = { ArrowUp: { x: p.x, y: p.y + many }, ArrowDown: { x: p.x, y: p.y - many }, ArrowLeft: { x: p.x - many * step, y: p.y }, ArrowRight: { x: p.x + many * step, y: p.y } }[event.key]
    if (to) put(i, to)
    else if (event.key === 'Delete' || event.key === 'Backspace') remove(i)
    else if (event.key === '+' || event.key === 'Insert') { const q = points[i + 1] ?? { x: p.x + 10 * step, y: p.y }; add({ x: (p.x + q.x) / 2, y: scoreOf(points, (p.x + q.x) / 2) }) }
    else return
    event.preventDefault()
  }
  const place = (event: PointerEvent | React.MouseEvent): Point => {
    const r = svg.current!.getBoundingClientRect()
    return { x: x.invert(event.clientX - r.left), y: Math.round(y.invert(event.clientY - r.top)) }
  }
  return (
    <div>
      <div ref={box}>
        {width > 0 && points.length > 0 && (
          <svg ref={svg} width={width} height={height} role="group" aria-label={`${label}: curve`} aria-describedby={help} className="block rounded-md select-none"
            onDoubleClick={(event) => { const at = place(event); add({ x: +at.x.toPrecision(3), y: Math.max(0, Math.min(100, at.y)) }) }}
            onPointerMove={(event) => { if (dragged !== null) { const to = place(event); put(dragged, { x: +to.x.toPrecision(3), y: to.y }) } }}
            onPointerUp={() => { setDragged(null); setFrozen(null) }} onPointerCancel={() => { setDragged(null); setFrozen(null) }}>
            {[0, 25, 50, 75, 100].map((v) => <g key={v}><line x1={left} x2={width - right} y1={y(v)} y2={y(v)} className="stroke-grid" /><text x={left - 6} y={y(v) + 4} textAnchor="end">{v}</text></g>)}
            {x.ticks(Math.max(3, Math.floor(width / 80))).map((t) => <g key={t}><line x1={x(t)} x2={x(t)} y1={top} y2={height - bottom} className="stroke-grid" /><text x={x(t)} y={height - bottom + 15} textAnchor="middle">{plain(t)}</text></g>)}
            <text x={width - right} y={height - 3} textAnchor="end">{unit}</text>
            {old && 'points' in old && <path d={path(old.points)} fill="none" className="stroke-edge" strokeWidth="1.5" strokeDasharray="4 4" />}
            <path d={path(points)} fill="none" className="stroke-accent" strokeWidth="2.2" strokeLinejoin="round" />
            {points.map((p, i) => (
              <circle key={i} data-point={i} cx={x(p.x)} cy={y(p.y)} r={dragged === i ? 9 : 7} tabIndex={0} role="slider" aria-label={`Point ${i + 1} of ${points.length}`}
                aria-valuemin={0} aria-valuemax={100} aria-valuenow={p.y} aria-valuetext={`value ${plain(p.x)} gives ${num(p.y, 0)}`} aria-orientation="vertical"
                className="cursor-grab touch-none fill-surface stroke-accent" strokeWidth="2.5"
                onKeyDown={(event) => pressed(event, i)}
                onPointerDown={(event) => { setFrozen(domain); setDragged(i); event.currentTarget.focus(); svg.current?.setPointerCapture(event.pointerId) }}>
                <title>{`${plain(p.x)} gives ${num(p.y, 0)}`}</title>
              </circle>
            ))}
          </svg>
        )}
      </div>
      <label className="mt-1 block space-y-1">
        <span className="label">Points as text, value:score</span>
        <input className={`field w-full font-mono text-[13px] ${'wrong' in read ? 'border-critical' : ''}`} value={typed ?? text} spellCheck={false} aria-invalid={'wrong' in read} aria-describedby={'wrong' in read ? wrongId : undefined}
          onChange={(event) => { setTyped(event.target.value); if ('points' in readCurve(event.target.value)) onChange(event.target.value.trim().replace(/\s+/g, ' ')) }} onBlur={() => setTyped(null)} />
      </label>
      {'wrong' in read ? <p id={wrongId} role="alert" className="mt-1 text-[13px] text-critical">{read.wrong}</p>
        : <p id={help} className="mt-1 text-[13px] text-soft">Drag a point; double-click for a new one. Keyboard: arrows move (Shift: by ten), + adds, Delete removes.</p>}
    </div>
  )
}

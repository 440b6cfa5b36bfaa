import { scaleLinear } from 'd3-scale'
import { metricValue, num } from '../words'
import { domainOf, readCurve } from './curve'

/** The curve of a metric and where the customer is on it. With a target, values are measured against it. */
export function CurveDot({ curve, metric, value, target, score }: { curve: string; metric: string; value: number | null; target: number | null; score: number | null }) {
  const read = readCurve(curve)
  if ('wrong' in read) return null
  const points = target ? read.points.map((p) => ({ x: p.x * target, y: p.y })) : read.points
  const width = 200, height = 88
  const [low, high] = domainOf(points, value)
  const x = scaleLinear([low, high], [26, width - 8]), y = scaleLinear([0, 100], [height - 18, 8])
  const last = points[points.length - 1]!
  const d = `M${x(low)} ${y(points[0]!.y)}` + points.map((p) => `L${x(p.x)} ${y(p.y)}`).join('') + `L${x(high)} ${y(last.y)}`
  return (
    <svg width={width} height={height} role="img" aria-label={`Curve from ${metricValue(metric, points[0]!.x, target)} to ${metricValue(metric, last.x, target)}${score !== null && value !== null ? `; ${metricValue(metric, value, target)} gives ${num(score)} points of 100` : ''}`} className="shrink-0">
      {[0, 50, 100].map((v) => <g key={v}><line x1={26} x2={width - 8} y1={y(v)} y2={y(v)} className="stroke-grid" /><text x="21" y={y(v) + 4} textAnchor="end">{v}</text></g>)}
      <path d={d} fill="none" className="stroke-soft" strokeWidth="1.6" />
      <text x={x(points[0]!.x)} y={height - 4} textAnchor={x(points[0]!.x) < 40 ? 'start' : 'middle'}>{metricValue(metric, points[0]!.x, last.x)}</text>
      {points.length > 1 && <text x={Math.min(x(last.x), width - 4)} y={height - 4} textAnchor={x(last.x) > width - 40 ? 'end' : 'middle'}>{metricValue(metric, last.x, last.x)}</text>}
      {value !== null && score !== null && (
        <g><line x1={x(value)} x2={x(value)} y1={y(0)} y2={y(score)} className="stroke-accent" strokeDasharray="2 2" /><circle cx={x(value)} cy={y(score)} r="4.5" className="fill-accent stroke-surface" strokeWidth="1.5" /></g>
      )}
    </svg>
  )
}

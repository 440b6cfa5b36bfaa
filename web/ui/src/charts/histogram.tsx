import { Link } from '@tanstack/react-router'
import type { Bucket } from '../api/types'
import { count, num } from '../words'
import { AsTable, useWidth } from './frame'

const fillOf = (from: number, bounds: { healthy_from: number; at_risk_from: number }) => (from >= bounds.healthy_from ? 'fill-healthy' : from >= bounds.at_risk_from ? 'fill-at_risk' : 'fill-critical')

/** How many customers have which score; a bar opens the list of these customers. */
export function Histogram({ buckets: unsorted, bounds = { healthy_from: 75, at_risk_from: 50 }, segment }: { buckets: Bucket[]; bounds?: { healthy_from: number; at_risk_from: number }; segment?: string }) {
  const buckets = [...unsorted].sort((a, b) => a.score_from - b.score_from)
  const [box, width] = useWidth<HTMLDivElement>()
  const most = Math.max(1, ...buckets.map((b) => b.customers))
  const height = 180, bottom = 22, top = 16
  const w = width / buckets.length
  const h = (n: number) => ((height - bottom - top) * n) / most
  return (
    <div>
      <div ref={box} className="relative">
        {width > 0 && (
          <svg width={width} height={height} viewBox={`0 0 ${width} ${height}`} role="group" aria-label="Customers by score" className="block">
            {buckets.map((b, i) => (
              <Link key={b.score_from} to="/" search={{ status: 'all', score_from: b.score_from, score_below: b.score_to >= 100 ? undefined : b.score_to, segment }} aria-label={`score ${b.score_from} to ${b.score_to}: ${count(b.customers, 'customer')}`} tabIndex={b.customers ? 0 : -1} className="group">
                <rect x={i * w} y={0} width={w} height={height - bottom} className="fill-transparent group-hover:fill-raised" />
                <rect x={i * w + 1} y={height - bottom - h(b.customers)} width={Math.max(1, w - 2)} height={h(b.customers)} rx="2" className={`forced ${fillOf(b.score_from, bounds)}`} />
                {b.customers > 0 && w > 16 && <text x={(i + 0.5) * w} y={height - bottom - h(b.customers) - 4} textAnchor="middle">{num(b.customers)}</text>}
              </Link>
            ))}
            {[0, 25, 50, 75, 100].map((v) => <text key={v} x={(v / 100) * width} y={height - 6} textAnchor={v === 0 ? 'start' : v === 100 ? 'end' : 'middle'}>{v}</text>)}
          </svg>
        )}
      </div>
      <AsTable caption="Customers by score" head={['Score', 'Customers']} rows={buckets.map((b) => [`${b.score_from} to ${b.score_to}`, num(b.customers)])} />
    </div>
  )
}

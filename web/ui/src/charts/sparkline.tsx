import { num } from '../words'

// Eight weeks of scores in the height of a line of text.  Gaps are days without a score.
const WIDTH = 112
const HEIGHT = 28

export function Sparkline({ values, className = '' }: { values: (number | null)[]; className?: string }) {
  const known = values.filter((v) => v !== null)
  if (known.length < 2) return <span className="text-soft">{known.length ? 'one day so far' : 'no scores yet'}</span>
  // The range is at least 20 points, so that noise does not look like a story.
  const low = Math.min(...known), high = Math.max(...known)
  const middle = (low + high) / 2, span = Math.max(20, high - low)
  const bottom = Math.max(0, Math.min(middle - span / 2, 100 - span))
  const x = (i: number) => 3 + ((WIDTH - 6) * i) / (values.length - 1)
  const y = (v: number) => HEIGHT - 3 - ((HEIGHT - 6) * (v - bottom)) / span
  let path = '', pen = false
  values.forEach((v, i) => {
    if (v === null) pen = false
    else { path += `${pen ? 'L' : 'M'}${x(i).toFixed(1)} ${y(v).toFixed(1)}`; pen = true }
  })
  const last = values.findLastIndex((v) => v !== null)
  const first = known[0]!, now = known[known.length - 1]!
  return (
    <svg width={WIDTH} height={HEIGHT} viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={`from ${num(first, 0)} to ${num(now, 0)} in eight weeks`} className={`max-w-full ${className}`}>
      <path d={path} fill="none" className="stroke-soft" strokeWidth="1.5" strokeLinejoin="round" strokeLinecap="round" />
      <circle cx={x(last)} cy={y(now)} r="2.6" className="fill-accent" />
    </svg>
  )
}

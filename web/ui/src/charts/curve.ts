// A curve: "0:0 1:100" are points of value:score, straight lines between them, and level beyond.
export interface Point { x: number; y: number }

/** The points that a text means, or what is wrong with it. */
export function readCurve(text: string): { points: Point[] } | { wrong: string } {
  const points: Point[] = []
  for (const part of text.trim().split(/\s+/)) {
    const [, x, y] = /^([^:]+):([^:]+)$/.exec(part) ?? []
    if (x === undefined || y === undefined || !Number.isFinite(Number(x)) || !Number.isFinite(Number(y))) return { wrong: part ? `“${part}” is not value:score` : 'Write points as value:score' }
    if (Number(y) < 0 || Number(y) > 100) return { wrong: `the score ${y} is outside 0 to 100` }
    if (points.length && Number(x) <= points[points.length - 1]!.x) return { wrong: `the value ${x} does not come after ${points[points.length - 1]!.x}` }
    points.push({ x: Number(x), y: Number(y) })
  }
  return { points }
}

export const writeCurve = (points: Point[]) => points.map((p) => `${+p.x.toPrecision(6)}:${+p.y.toFixed(2)}`).join(' ')

/** The score of a value. */
export function scoreOf(points: Point[], x: number): number {
  const after = points.findIndex((p) => p.x >= x)
  if (after === 0 || points.length === 1) return points[0]!.y
  if (after === -1) return points[points.length - 1]!.y
  const a = points[after - 1]!, b = points[after]!
  return a.y + ((b.y - a.y) * (x - a.x)) / (b.x - a.x)
}

/** The range of values to draw: all points and the value, with some room. */
export function domainOf(points: Point[], value?: number | null): [number, number] {
  const xs = points.map((p) => p.x)
  if (value !== null && value !== undefined) xs.push(value)
  const low = Math.min(...xs), high = Math.max(...xs)
  const room = (high - low || Math.abs(high) || 1) * 0.12
  return [low >= 0 ? Math.max(0, low - room) : low - room, high + room]
}

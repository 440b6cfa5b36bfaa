import type { ReactNode } from 'react'
import type { Movement } from '../api/types'
import { StatusShape } from '../components/status'
import { count, num, statusWord } from '../words'

const before = (m: Movement): string => m.from_status ?? 'none'
const after = (m: Movement): string => m.to_status ?? 'churned'

const RANK: Record<string, number> = { healthy: 3, at_risk: 2, critical: 1, unknown: 0, none: -1, churned: -2 }
const ROWS = ['healthy', 'at_risk', 'critical', 'unknown', 'none']
const COLUMNS = ['healthy', 'at_risk', 'critical', 'unknown', 'churned']

/** From which status to which: worse is red, better is green, deeper the more. A cell is whatever `cell` makes of it. */
export function MovementMatrix({ movements, cell, from = 'Before', to = 'Now' }: { movements: Movement[]; cell?: (m: Movement, children: ReactNode, label: string) => ReactNode; from?: string; to?: string }) {
  const rows = ROWS.filter((r) => movements.some((m) => before(m) === r))
  const columns = COLUMNS.filter((c) => movements.some((m) => after(m) === c))
  const moved = movements.filter((m) => before(m) !== after(m))
  const most = Math.max(1, ...moved.map((m) => m.customers))
  const tone = (m: Movement) => {
    if (before(m) === after(m)) return 'bg-raised text-soft'
    const a = RANK[before(m)]!, b = RANK[after(m)]!
    if (a <= 0 || b === 0) return 'bg-unknown-soft text-ink'
    const deep = Math.sqrt(m.customers / most) > 0.5
    return b < a ? `${deep ? 'bg-[color-mix(in_oklab,var(--color-critical)_32%,var(--color-surface))]' : 'bg-[color-mix(in_oklab,var(--color-critical)_15%,var(--color-surface))]'} text-ink` : `${deep ? 'bg-[color-mix(in_oklab,var(--color-healthy)_32%,var(--color-surface))]' : 'bg-[color-mix(in_oklab,var(--color-healthy)_15%,var(--color-surface))]'} text-ink`
  }
  return (
    <div className="@container overflow-x-auto">
      <table className="w-full table-fixed border-separate border-spacing-1 text-center">
        <thead>
          <tr>
            <td className="w-20 text-left text-[11px] text-soft @md:w-28 @md:whitespace-nowrap">{from} <span aria-hidden>↓</span> {to} <span aria-hidden>→</span></td>
            {columns.map((c) => <th key={c} scope="col" className="px-1 pb-1 text-xs font-medium"><span className="inline-flex items-center gap-1.5"><StatusShape status={c} size={9} /><span className="@max-md:sr-only">{statusWord(c)}</span></span></th>)}
          </tr>
        </thead>
        <tbody>
          {rows.map((r) => (
            <tr key={r}>
              <th scope="row" className="text-left text-xs font-medium"><span className="inline-flex items-center gap-1.5">{r !== 'none' && <StatusShape status={r} size={9} />}{statusWord(r)}</span></th>
              {columns.map((c) => {
                const m = movements.find((one) => before(one) === r && after(one) === c)
                if (!m) return <td key={c} className="h-10 rounded-md bg-raised/50 text-soft"><span aria-label="nobody">·</span></td>
                const label = `${count(m.customers, 'customer')} from ${statusWord(r).toLowerCase()} to ${statusWord(c).toLowerCase()}`
                return <td key={c} className={`h-10 rounded-md p-0 font-semibold forced ${tone(m)}`}>{cell && r !== c ? cell(m, num(m.customers), label) : num(m.customers)}</td>
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

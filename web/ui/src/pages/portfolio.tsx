import { keepPreviousData, useQuery } from '@tanstack/react-query'
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router'
import { get } from '../api/client'
import { isStale, rulesQuery, segmentsQuery, statsQuery, useMe, valuesQuery, worth } from '../api/queries'
import type { Distribution, Moved as MovedAnswer, Movements, Mover, Movers as MoversAnswer, PortfolioDay, SegmentStats, Stats } from '../api/types'
import { Histogram } from '../charts/histogram'
import { MovementMatrix } from '../charts/matrix'
import { ShareChart } from '../charts/shares'
import { Card, Choice } from '../components/card'
import { Dialog } from '../components/dialog'
import { Age, Forbidden, Loading, Note, ProblemNote } from '../components/states'
import { Delta, Score, StatusShape } from '../components/status'
import { compact, count, dayYear, daysAgo, nameOf, nameOfCustomer, num, percent, statusWord, STATUSES, today, type Status } from '../words'

const route = getRouteApi('/portfolio')

export function PortfolioPage() {
  const me = useMe()
  return me.may.includes('read') ? <Portfolio /> : <Forbidden may="read" role={me.role} />
}

/** A question of this page; the rest of the page stays when it fails. */
function usePart<T>(name: string, parameters: Record<string, string | number | undefined> = {}, enabled = true) {
  return useQuery({ queryKey: ['portfolio', name, parameters], enabled, placeholderData: keepPreviousData, staleTime: 60_000, queryFn: ({ signal }) => get<T>(`/portfolio/${name}`, parameters, signal) })
}

function Portfolio() {
  const search = route.useSearch()
  const navigate = useNavigate()
  const set = (change: Partial<typeof search>) => void navigate({ to: '/portfolio', search: { ...search, ...change }, replace: true, resetScroll: false })
  const days = search.days ?? 30
  const stats = useQuery(statsQuery)
  const segments = useQuery(segmentsQuery)
  const trend = usePart<{ days: PortfolioDay[] }>('trend', { days: Math.max(days + 1, 91) })
  const movements = usePart<Movements>('movements', { from: daysAgo(days), to: today() })
  const movers = usePart<MoversAnswer>('movers')
  const rules = useQuery(rulesQuery)
  const card = rules.data?.scorecards[0]
  const bounds = card?.healthy_from && card.at_risk_from ? { healthy_from: card.healthy_from, at_risk_from: card.at_risk_from } : undefined
  const distribution = usePart<Distribution>('distribution')
  const past = trend.data?.days.findLast((d) => d.day <= daysAgo(days))
  if (stats.data?.total === 0) return <div className="card"><Note icon="empty" title="No customers yet" page><p>As soon as there are customers with events, this page shows how they are doing as a whole.</p><p><Link to="/" search={{}} className="link">How to load customers</Link></p></Note></div>
  return (
    <div className="space-y-4 print:space-y-2">
      <div className="flex flex-wrap items-end justify-between gap-3">
        <div>
          <h1 className="text-2xl font-semibold tracking-tight print:text-lg">Portfolio</h1>
          <p className="text-soft">{stats.data ? <>{count(stats.data.total, 'customer')}, compared with {past ? dayYear(past.day) : `${days} days ago`}</> : ' '}{stats.data?.last_updated && <span className="screen-only"> · <Age at={stats.data.last_updated} prefix="scored" stale={isStale(stats.data)} /></span>}</p>
        </div>
        <div className="screen-only flex flex-wrap items-center gap-2">
          <Choice label="Compared with" value={days} options={[[7, '7 days'], [30, '30'], [90, '90']] as const} onChange={(n) => set({ days: n === 30 ? undefined : n })} />
          <button type="button" className="button max-sm:hidden" onClick={() => print()}>Print</button>
        </div>
      </div>
      {stats.isError && !stats.data ? <div className="card"><ProblemNote error={stats.error} retry={() => void stats.refetch()} /></div>
        : !stats.data ? <Loading className="h-28" what="Counting" />
        : <Cards now={stats.data} past={past} />}
      <div className="grid items-stretch gap-4 lg:grid-cols-2 print:grid-cols-2 print:gap-2">
        <Card title="Who moved where" aside={<span className="text-[13px]">{`${days} days`}</span>}>
          <Part of={movements} height="h-56">{(d) => d.movements.length ? <MovementMatrix movements={d.movements} cell={(m, children, label) => <Link to="/portfolio" search={{ ...search, from_status: m.from_status ?? 'none', to_status: m.to_status ?? 'churned' }} replace resetScroll={false} aria-label={label} className="grid h-10 place-items-center rounded-md no-underline hover:underline print:h-7">{children}</Link>} /> : <Empty>Nobody has moved.</Empty>}</Part>
        </Card>
        <Card title="Segments" pad={false}><Part of={segments} height="h-56">{(d) => <Segments segments={d} />}</Part></Card>
        <Card title="Share of each status"><Part of={trend} height="h-56">{(d) => d.days.length > 1 ? <ShareChart days={d.days.filter((one) => one.day >= daysAgo(Math.max(days, 30)))} /> : <Empty>The past begins today: there is one day to show. <code>CALL chs_backfill_history(…)</code> computes what was before.</Empty>}</Part></Card>
        <Card title="Scores" aside={<span className="screen-only text-[13px]">click a bar for its customers</span>}><Part of={distribution} height="h-56">{(d) => d.buckets.some((b) => b.customers) ? <Histogram buckets={d.buckets} bounds={bounds} /> : <Empty>Nobody has a score yet.</Empty>}</Part></Card>
        <Card title="Falling" aside={<span className="text-[13px]">7 days</span>} pad={false}><Part of={movers} height="h-64">{(d) => <Movers movers={d.down} none="Nobody is falling." />}</Part></Card>
        <Card title="Rising" aside={<span className="text-[13px]">7 days</span>} pad={false}><Part of={movers} height="h-64">{(d) => <Movers movers={d.up} none="Nobody is rising." />}</Part></Card>
      </div>
      {search.from_status && search.to_status && <Moved from={search.from_status} to={search.to_status} days={days} onClose={() => set({ from_status: undefined, to_status: undefined })} />}
    </div>
  )
}

function Part<T>({ of, height, children }: { of: { data: T | undefined; error: unknown; isError: boolean; isPlaceholderData?: boolean; refetch: () => unknown }; height: string; children: (data: T) => React.ReactNode }) {
  if (of.data !== undefined) return <div className={of.isPlaceholderData ? 'opacity-60' : ''}>{children(of.data)}</div>
  return of.isError ? <ProblemNote error={of.error} retry={() => void of.refetch()} compact /> : <div className="px-4 pb-4"><Loading className={height} /></div>
}
const Empty = ({ children }: { children: React.ReactNode }) => <p className="px-4 py-8 text-center text-soft">{children}</p>

function Cards({ now, past }: { now: Stats; past?: PortfolioDay }) {
  const values = useQuery(valuesQuery)
  const all = values.data ? worth(values.data, STATUSES) : 0
  const stake = all > 0 ? worth(values.data!, ['critical', 'at_risk']) : null
  return (
    <ul className="grid grid-cols-2 gap-3 md:grid-cols-3 xl:grid-cols-6 print:grid-cols-6 print:gap-1.5">
      <li className="card px-4 py-3"><p className="label">Average score</p><p className="my-0.5 flex flex-wrap items-baseline gap-x-2"><span className="text-2xl font-semibold print:text-base">{now.average_score === null ? '–' : num(now.average_score, 1)}</span>{past?.average_score != null && now.average_score !== null && <Delta value={now.average_score - past.average_score} />}</p><p className="text-[13px] text-soft">of those with a score</p></li>
      {STATUSES.map((status) => (
        <li key={status} className="card px-4 py-3">
          <Link to="/" search={{ status }} className="block no-underline">
            <p className="label flex items-center gap-1.5"><StatusShape status={status} size={9} />{statusWord(status)}</p>
            <p className="my-0.5 flex flex-wrap items-baseline gap-x-2"><span className="text-2xl font-semibold print:text-base">{num(now[status])}</span>{past && <Change status={status} by={now[status] - past[status]} />}</p>
            <p className="text-[13px] text-soft">{percent(now[status], now.total)}</p>
          </Link>
        </li>
      ))}
      <li className="card px-4 py-3"><p className="label">Value at risk</p><p className="my-0.5 text-2xl font-semibold print:text-base">{stake === null ? '–' : compact(stake)}</p><p className="text-[13px] text-soft">{stake !== null ? `of ${compact(all)} a year` : 'no values known'}</p></li>
    </ul>
  )
}

/** More healthy ones are good, more of the others are not. */
function Change({ status, by }: { status: Status; by: number }) {
  if (by === 0) return <span className="text-soft">±0</span>
  const good = status === 'healthy' ? by > 0 : by < 0
  return <span className={status === 'unknown' ? 'text-soft' : good ? 'text-healthy' : 'text-critical'}>{by > 0 ? '+' : '−'}{num(Math.abs(by))}</span>
}

const BACK: Record<string, string> = { healthy: 'bg-healthy', at_risk: 'bg-at_risk', critical: 'bg-critical', unknown: 'bg-edge' }

function Segments({ segments }: { segments: SegmentStats[] }) {
  return (
    <table className="w-full">
      <thead><tr className="text-xs text-soft"><th scope="col" className="py-1.5 pl-4 text-left font-medium md:pl-5">Segment</th><th scope="col" className="py-1.5 pl-2 text-right font-medium">Customers</th><th scope="col" className="px-2 py-1.5 text-left font-medium md:px-4">Status</th><th scope="col" className="py-1.5 pr-4 text-right font-medium md:pr-5">Average</th></tr></thead>
      <tbody>
        {segments.filter((s) => s.total > 0).map((s) => (
          <tr key={s.segment ?? ''} className="border-t border-line">
            <th scope="row" className="py-2.5 pl-4 text-left font-medium md:pl-5 print:py-1"><Link to="/" search={{ status: 'all', segment: s.segment ?? undefined }} className="no-underline hover:underline">{s.segment ? nameOf(s.segment) : 'None'}</Link></th>
            <td className="py-2.5 text-right">{num(s.total)}</td>
            <td className="w-1/3 px-2 py-2.5 md:w-1/2 md:px-4">
              <span className="flex h-3.5 gap-px overflow-hidden rounded-[4px]" role="img" aria-label={STATUSES.map((st) => `${statusWord(st).toLowerCase()} ${num(s[st])}`).join(', ')}>
                {STATUSES.map((st) => s[st] > 0 && <span key={st} title={`${statusWord(st)}: ${num(s[st])}`} className={`forced print:[print-color-adjust:exact] ${BACK[st]}`} style={{ width: `${(100 * s[st]) / s.total}%` }} />)}
              </span>
            </td>
            <td className="py-2.5 pr-4 text-right font-semibold md:pr-5">{s.average_score === null ? '–' : num(s.average_score, 1)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  )
}

function Movers({ movers, none }: { movers: Mover[]; none: string }) {
  if (!movers.length) return <Empty>{none}</Empty>
  return (
    <ol className="divide-y divide-line border-t border-line">
      {movers.slice(0, 6).map((m) => (
        <li key={m.customer_id} className="grid grid-cols-[70px_1fr_64px] items-center gap-3 px-5 py-2 print:py-0.5">
          <Score value={m.score} status={m.status} reason={null} />
          <span className="min-w-0"><Link to="/customers/$customerId" params={{ customerId: String(m.customer_id) }} search={{}} className="block truncate font-medium no-underline hover:underline">{nameOfCustomer(m)}</Link><span className="block truncate text-[13px] text-soft">{m.factor ? nameOf(m.factor) : ' '}{m.previous_status && m.previous_status !== m.status ? ` · was ${statusWord(m.previous_status).toLowerCase()}` : ''}</span></span>
          <span className="text-right"><Delta value={m.change} /></span>
        </li>
      ))}
    </ol>
  )
}

/** The customers of a cell of the matrix. */
function Moved({ from, to, days, onClose }: { from: string; to: string; days: number; onClose: () => void }) {
  const list = usePart<MovedAnswer>('movements/customers', { from: daysAgo(days), to: today(), from_status: from, to_status: to })
  return (
    <Dialog title={`From ${statusWord(from).toLowerCase()} to ${statusWord(to).toLowerCase()} in ${days} days`} onClose={onClose}>
      <Part of={list} height="h-64">{(d) => d.customers.length ? (
        <ul className="divide-y divide-line">
          {d.customers.map((m) => (
            <li key={m.customer_id} className="grid grid-cols-[70px_1fr_auto] items-center gap-3 py-2">
              <Score value={m.score} status={m.status} reason={null} />
              <span className="min-w-0"><Link to="/customers/$customerId" params={{ customerId: String(m.customer_id) }} search={{}} className="block truncate font-medium">{nameOfCustomer(m)}</Link><span className="text-[13px] text-soft">{m.segment && nameOf(m.segment)}{m.previous_score !== null && ` · was ${num(m.previous_score, 1)}`}</span></span>
              <Delta value={m.change} />
            </li>
          ))}
        </ul>) : <Empty>Nobody, by now.</Empty>}</Part>
    </Dialog>
  )
}

import { keepPreviousData, useQuery, useQueryClient } from '@tanstack/react-query'
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router'
import { useEffect, useState } from 'react'
import { get } from '../api/client'
import { useMe } from '../api/queries'
import { useChanges } from '../api/stream'
import type { ActivityDay, Factor, FactorChange, Health, HistoryDay, Metric, Recommendation, Version } from '../api/types'
import { ChangeChart, changeSentence } from '../charts/change'
import { CurveDot } from '../charts/curve_dot'
import { HeatMap } from '../charts/heatmap'
import { HistoryChart } from '../charts/history'
import { Card, Choice } from '../components/card'
import { RecordEvent } from '../components/record_event'
import { Timeline } from '../components/timeline'
import { typing, useKeys } from '../components/keys'
import { Age, Forbidden, Loading, Note, ProblemNote } from '../components/states'
import { Delta, Score, StatusBadge, TrendWord } from '../components/status'
import { compact, count, day, dayYear, daysAgo, daysBetween, metricValue, nameOf, num, plain, today } from '../words'

const route = getRouteApi('/customers/$customerId')

export function CustomerPage() {
  const me = useMe()
  const { customerId } = route.useParams()
  if (!me.may.includes('read')) return <Forbidden may="read" role={me.role} />
  if (!/^\d{1,16}$/.test(customerId)) return <Note icon="search" title={`“${customerId}” is not the number of a customer`}><p><Link to="/" className="link">All customers</Link></p></Note>
  return <Customer key={customerId} id={customerId} />
}

function Customer({ id }: { id: string }) {
  const me = useMe()
  const search = route.useSearch()
  const navigate = useNavigate()
  const client = useQueryClient()
  const set = (change: Partial<typeof search>) => void navigate({ to: '/customers/$customerId', params: { customerId: id }, search: { ...search, ...change }, replace: true, resetScroll: false })
  const health = useQuery({
    queryKey: ['customer', id, 'health', search.as_of], placeholderData: keepPreviousData,
    queryFn: ({ signal }) => get<Health>(`/customers/${id}`, { as_of: search.as_of }, signal),
  })
  // A change of this customer shows at once.
  const changes = useChanges()
  const mine = changes.find((change) => String(change.customer_id) === id)
  useEffect(() => { if (mine) void client.invalidateQueries({ queryKey: ['customer', id] }) }, [mine, client, id])
  useEffect(() => { if (health.data) document.title = `${health.data.name} · Customer health`; return () => { document.title = 'Customer health' } }, [health.data])
  useKeys((event) => {
    if (typing(event) || event.altKey || event.ctrlKey || event.metaKey) return
    if (event.key === 'b') { history.length > 1 ? history.back() : void navigate({ to: '/', search: {} }); return true }
    if (event.key === 'r' && me.may.includes('record')) { set({ record: 'event' }); return true }
  })
  if (health.isError && !health.data)
    return <div className="card"><ProblemNote error={health.error} retry={() => void health.refetch()} /><p className="pb-6 text-center"><Link to="/" search={{}} className="link">All customers</Link></p></div>
  if (!health.data) return <div className="space-y-4"><Loading className="h-28" what="Loading the customer" /><div className="grid gap-4 xl:grid-cols-[7fr_5fr]"><Loading className="h-80" /><Loading className="h-80" /></div></div>
  const h = health.data
  const since = search.since ?? daysAgo(30, h.as_of)
  return (
    <div className={`space-y-4 ${health.isPlaceholderData ? 'opacity-60' : ''}`}>
      <Head h={h} past={search.as_of} onNow={() => set({ as_of: undefined })} refresh={health.isError ? () => void health.refetch() : undefined}>
        {me.may.includes('record') && !h.churned_at && <button type="button" className="button primary" onClick={() => set({ record: 'event' })}>Record an event</button>}
      </Head>
      <div className="grid items-start gap-4 xl:grid-cols-[minmax(0,7fr)_minmax(0,5fr)]">
        <div className="space-y-4">
          <Why id={id} h={h} since={since} onSince={(day) => set({ since: day })} />
          <Lost h={h} open={search.metric} onOpen={(metric) => set({ metric })} />
        </div>
        <Advice id={id} h={h} />
      </div>
      <Past id={id} h={h} days={search.days ?? 90} since={search.since} set={set} />
      <div className="grid items-start gap-4 xl:grid-cols-[minmax(0,7fr)_minmax(0,5fr)]">
        <Activity id={id} />
        <Timeline id={id} />
      </div>
      {search.record && <RecordEvent id={id} h={h} onClose={() => set({ record: undefined })} />}
    </div>
  )
}

/** What costs most, in words: the reason that goes with the score. */
function reasonOf(h: Health): string {
  const missing = h.factors.filter((f) => f.score === null)
  if (h.score === null) return h.churned_at && h.churned_at.slice(0, 10) <= today() ? `Left on ${dayYear(h.churned_at)}.` : `${missing.length} of ${count(h.factors.length, 'factor')} have no data (${missing.map((f) => nameOf(f.factor)).join(', ')}), so there is no score yet. Unknown is not bad.`
  const lost = h.factors.filter((f) => f.contribution !== null).map((f) => ({ name: nameOf(f.factor), points: 100 * f.effective_weight! - f.contribution! })).sort((a, b) => b.points - a.points).filter((f) => f.points >= 1)
  return lost.length ? `${lost.slice(0, 2).map((f, i) => `${f.name} costs ${num(f.points, 1)}${i ? '' : ' points'}`).join(', ')}.` : 'Nothing costs more than a point.'
}

function Head({ h, past, onNow, refresh, children }: { h: Health; past?: string; onNow: () => void; refresh?: () => void; children: React.ReactNode }) {
  const facts = [
    h.segment && nameOf(h.segment), h.external_id, h.owner && `looked after by ${h.owner}`, h.value != null && `${compact(h.value)} a year`,
    h.created_at && `customer since ${dayYear(h.created_at)}`,
  ].filter(Boolean)
  return (
    <header>
      <nav aria-label="Back" className="screen-only mb-2 text-[13px]"><Link to="/" search={{}} className="link">Customers</Link> <span className="text-soft" aria-hidden>/</span></nav>
      {past && <p role="status" className="mb-3 flex flex-wrap items-center gap-3 rounded-xl bg-at_risk-soft px-4 py-2 text-at_risk">As it was at the end of {dayYear(past)}. <button type="button" className="button" onClick={onNow}>Back to now</button></p>}
      {refresh && <p role="alert" className="mb-3 flex flex-wrap items-center gap-3 rounded-xl bg-at_risk-soft px-4 py-2 text-at_risk">The server does not answer; this is what was last known. <button type="button" className="button" onClick={refresh}>Try again</button></p>}
      <div className="flex flex-wrap items-start justify-between gap-x-8 gap-y-4">
        <div className="min-w-0">
          <h1 className="text-2xl font-semibold tracking-tight [overflow-wrap:anywhere]">{h.name}</h1>
          <p className="mt-0.5 text-soft">{facts.join(' · ')}</p>
        </div>
        <div className="screen-only flex gap-2">{children}</div>
      </div>
      <div className="card mt-4 flex flex-wrap items-center justify-between gap-x-8 gap-y-3 px-5 py-4">
        <Score large value={h.score} status={h.status} reason={
          <div className="space-y-1">
            <p className="flex flex-wrap items-center gap-x-3 gap-y-1"><StatusBadge status={h.status} />{h.status_since && <span className="text-soft">{daysBetween(h.status_since, today()) < 1 ? 'since today' : `for ${count(daysBetween(h.status_since, today()), 'day')}`}</span>}<TrendWord trend={h.trend} /></p>
            <p className="max-w-xl">{reasonOf(h)}</p>
          </div>} />
        <div className="text-[13px] text-soft">
          {h.coverage !== null && <p>Rests on <b className="font-semibold text-ink">{num(100 * h.coverage)} %</b> of the weight</p>}
          <p>Rules of version {h.version}</p>
          {h.as_of < today() && !past && !h.churned_at ? <Age at={h.as_of} stale /> : null}
        </div>
      </div>
    </header>
  )
}

function Why({ id, h, since, onSince }: { id: string; h: Health; since: string; onSince: (day: string | undefined) => void }) {
  const change = useQuery({
    queryKey: ['customer', id, 'change', since], placeholderData: keepPreviousData,
    queryFn: async ({ signal }) => (await get<{ factors: FactorChange[] }>(`/customers/${id}/change`, { since }, signal)).factors,
  })
  const days = daysBetween(since, h.as_of)
  const factors = change.data
  const at = (name: 'contribution_since' | 'contribution_until') => factors?.some((f) => f[name] !== null) ? factors.reduce((sum, f) => sum + (f[name] ?? 0), 0) : null
  const before = at('contribution_since'), now = at('contribution_until')
  return (
    <Card title="Why did it change?" aside={<>
      <Choice label="Since" value={[7, 30, 90].includes(days) ? days : 0} options={[[7, '7 days'], [30, '30'], [90, '90']] as const} onChange={(n) => onSince(n === 30 ? undefined : daysAgo(n, h.as_of))} />
      <input type="date" aria-label="Since the day" className="field screen-only" value={since} max={daysAgo(1, h.as_of)} onChange={(event) => event.target.value && onSince(event.target.value)} />
    </>}>
      {change.isError ? <ProblemNote error={change.error} retry={() => void change.refetch()} compact />
        : !factors ? <Loading className="h-56" what="Comparing the days" />
        : (
          <div className={change.isPlaceholderData ? 'opacity-60' : ''}>
            <p className="mb-1 flex flex-wrap items-baseline gap-x-3">
              <span className="text-lg font-semibold">{before === null ? 'no score' : num(before, 1)} <span aria-hidden className="text-soft">→</span><span className="sr-only">to</span> {now === null ? 'no score' : num(now, 1)}</span>
              {before !== null && now !== null && <Delta value={now - before} />}
            </p>
            <p className="mb-3">{changeSentence(factors, days === 1 ? 'since yesterday' : `in ${count(days, 'day')}`)}</p>
            {before !== null && now !== null && <ChangeChart factors={factors} />}
          </div>
        )}
    </Card>
  )
}

function Lost({ h, open, onOpen }: { h: Health; open?: string; onOpen: (metric: string | undefined) => void }) {
  const most = Math.max(...h.factors.map((f) => f.effective_weight ?? f.weight), 0.01)
  return (
    <Card title="Where the points are lost" aside={<span className="text-[13px]">open a factor to see what it rests on</span>}>
      <ul className="divide-y divide-line">
        {h.factors.map((f) => (
          <li key={f.factor}>
            <details open={open === f.factor} className="group">
              <summary className="grid grid-cols-[1fr_auto_14px] items-center gap-x-3 gap-y-1.5 py-2.5 sm:grid-cols-[150px_1fr_84px_14px]" onClick={(event) => { event.preventDefault(); onOpen(open === f.factor ? undefined : f.factor) }}>
                <span className="truncate font-medium" title={nameOf(f.factor)}>{nameOf(f.factor)}</span>
                <span className="h-3.5 max-sm:order-last max-sm:col-span-3" aria-hidden>
                  <span className="relative block h-full rounded-[4px] bg-raised forced" style={{ width: `${(100 * (f.effective_weight ?? f.weight)) / most}%` }}>
                    {f.contribution !== null
                      ? <span className="absolute inset-y-0 left-0 rounded-[4px] bg-accent" style={{ width: `${Math.max(0, Math.min(100, f.contribution / f.effective_weight!))}%` }} />
                      : <span className="absolute inset-0 rounded-[4px] border border-dashed border-unknown" />}
                  </span>
                </span>
                <span className="text-right whitespace-nowrap">{f.contribution === null ? <span className="text-unknown">no data</span> : <><b className="font-semibold">{num(f.contribution, 1)}</b> <span className="text-soft">of {plain(Math.round(1000 * f.effective_weight!) / 10)}</span></>}</span>
                <svg width="10" height="10" viewBox="0 0 10 10" aria-hidden className="text-soft group-open:rotate-90" fill="none" stroke="currentColor" strokeWidth="1.6"><path d="m3 1 4 4-4 4" /></svg>
              </summary>
              <Metrics f={f} />
            </details>
          </li>
        ))}
      </ul>
    </Card>
  )
}

function Metrics({ f }: { f: Factor }) {
  const scored = f.metrics.filter((m) => m.details.penalty_each === undefined)
  const penalties = f.metrics.filter((m) => m.details.penalty_each !== undefined)
  return (
    <div className="reveal space-y-3 pb-4">
      <p className="text-soft">{f.score === null ? 'No data.' : <>{num(f.score, 1)} of 100, at {num(100 * f.effective_weight!, 0)} % of the weight</>}{f.trend && <>, <TrendWord trend={f.trend} /></>}</p>
      <ul className="grid gap-3 sm:grid-cols-2">
        {scored.map((m) => <li key={m.metric} className="rounded-lg border border-line p-3"><MetricView m={m} /></li>)}
      </ul>
      {penalties.length > 0 && (
        <p className="flex flex-wrap gap-x-4 gap-y-1 text-[13px]">
          <span className="text-soft">Points off:</span>
          {penalties.map((m) => <span key={m.metric} className={m.details.penalty ? 'text-critical' : 'text-soft'}>{nameOf(m.metric)}: {m.details.penalty ? `${num(m.value ?? 0)} × −${num(m.details.penalty_each!)} = −${num(m.details.penalty, 0)}` : 'none'}</span>)}
        </p>
      )}
    </div>
  )
}

function MetricView({ m }: { m: Metric }) {
  const missing = (m.details as { missing?: string }).missing
  const curve = m.curve ?? (m.details as { curve?: string }).curve
  return (
    <div className="flex h-full flex-col gap-1.5">
      <p className="flex items-baseline justify-between gap-2"><span className="font-medium">{nameOf(m.metric)}</span><TrendMark m={m} /></p>
      <p><b className="text-lg font-semibold">{metricValue(m.metric, m.value, m.target)}</b>{m.details.estimated && <span className="text-soft" title="counted approximately"> ≈</span>}{m.target !== null && <span className="text-soft"> of {metricValue(m.metric, m.target, m.target)}</span>}{m.details.window_days && <span className="text-soft"> in {m.details.window_days} days</span>}</p>
      {m.contribution !== null && m.effective_weight !== null && <p className="text-[13px] text-soft">{num(m.contribution, 1)} of {plain(Math.round(1000 * m.effective_weight) / 10)} points</p>}
      {missing && <p className="text-[13px] text-soft">{missing}</p>}
      {m.sparkline?.trim() && <Bars text={m.sparkline} />}
      {curve && m.score !== null && <div className="mt-auto"><CurveDot curve={curve} metric={m.metric} value={m.value} target={m.target} score={m.score} /></div>}
    </div>
  )
}
const TrendMark = ({ m }: { m: Metric }) => (m.trend && m.trend !== 'stable' ? <span className="text-[13px]"><TrendWord trend={m.trend} /></span> : null)

/** chs_explain's sparkline, which is made of block characters, as bars: 30 days. */
function Bars({ text }: { text: string }) {
  const chars = [...text]
  return (
    <svg width="200" height="18" viewBox={`0 0 ${chars.length * 5} 18`} preserveAspectRatio="none" aria-hidden className="max-w-full">
      {chars.map((c, i) => { const n = ' ▁▂▃▄▅▆▇█'.indexOf(c); return n > 0 && <rect key={i} x={i * 5} y={18 - 2.2 * n} width="4" height={2.2 * n} className="fill-soft opacity-60" /> })}
    </svg>
  )
}

function Advice({ id, h }: { id: string; h: Health }) {
  const advice = useQuery({
    queryKey: ['customer', id, 'recommendations'], enabled: !h.recommendations,
    queryFn: async ({ signal }) => (await get<{ recommendations: Recommendation[] }>(`/customers/${id}/recommendations`, undefined, signal)).recommendations,
  })
  const list = h.recommendations ?? advice.data
  const [all, setAll] = useState(false)
  return (
    <Card title="What to do">
      {advice.isError ? <ProblemNote error={advice.error} retry={() => void advice.refetch()} compact />
        : !list ? <Loading className="h-56" />
        : !list.length ? <p className="py-4 text-soft">Nothing in particular: no rule of the scorecard has advice for this score.</p>
        : (
          <ol className="divide-y divide-line">
            {list.slice(0, all ? undefined : 5).map((r) => (
              <li key={r.recommendation} className="grid grid-cols-[1fr_auto] gap-x-4 py-3">
                <p><span className="label block">{r.factor ? nameOf(r.factor) : 'Overall'}</span>{r.action}</p>
                {r.gain !== null && r.gain > 0 && <p className="self-start rounded-full bg-healthy-soft px-2.5 py-0.5 font-medium whitespace-nowrap text-healthy" title="if this were at 100">up to +{num(r.gain, 1)}</p>}
                {!!r.details.metrics?.length && <p className="col-span-2 mt-1 text-[13px] text-soft">{r.details.metrics.slice(0, 3).map((m) => `${nameOf(m.metric)} ${metricValue(m.metric, m.value, m.target)}${m.target !== null ? ` of ${metricValue(m.metric, m.target, m.target)}` : ''} (−${num(m.gain, 1)})`).join(' · ')}</p>}
              </li>
            ))}
          </ol>
        )}
      {list && list.length > 5 && <button type="button" className="button mt-2" onClick={() => setAll(!all)}>{all ? 'Fewer' : `All ${list.length}`}</button>}
    </Card>
  )
}

interface HistoryAnswer { history: HistoryDay[]; factors?: string[]; versions?: Version[]; bounds?: { healthy_from: number; at_risk_from: number } }

function Past({ id, h, days, since, set }: { id: string; h: Health; days: number; since?: string; set: (change: { since?: string; days?: number; as_of?: string }) => void }) {
  const [shown, setShown] = useState<string[]>([])
  const past = useQuery({
    queryKey: ['customer', id, 'history', days, h.as_of], placeholderData: keepPreviousData,
    queryFn: ({ signal }) => get<HistoryAnswer>(`/customers/${id}/history`, { from: daysAgo(days - 1, h.as_of), to: h.as_of, factors: true }, signal),
  })
  const factors = past.data?.factors ?? h.factors.map((f) => f.factor)
  return (
    <Card title="History" aside={<>
      <Choice label="Days shown" value={days} options={[[30, '30 days'], [90, '90'], [365, 'a year']] as const} onChange={(n) => set({ days: n === 90 ? undefined : n })} />
    </>}>
      <fieldset className="screen-only mb-2 flex flex-wrap gap-1.5 text-[13px]">
        <legend className="sr-only">Factors in the chart</legend>
        {factors.map((f) => <label key={f} className="chip min-h-7 py-0"><input type="checkbox" className="sr-only" checked={shown.includes(f)} onChange={() => setShown(shown.includes(f) ? shown.filter((one) => one !== f) : [...shown, f])} />{nameOf(f)}</label>)}
      </fieldset>
      {past.isError ? <ProblemNote error={past.error} retry={() => void past.refetch()} compact />
        : !past.data ? <Loading className="h-60" what="Computing the past" />
        : !past.data.history.length ? <p className="py-8 text-center text-soft">No day to show.</p>
        : <div className={past.isPlaceholderData ? 'opacity-60' : ''}><HistoryChart days={past.data.history} factors={factors} versions={past.data.versions ?? []} bounds={past.data.bounds ?? { healthy_from: 75, at_risk_from: 50 }} since={since} onSince={(d) => set({ since: d })} shown={shown} /></div>}
      <p className="screen-only mt-1 text-[13px] text-soft">Click a day to see what has changed since{since ? <>; now since {day(since)}. <button type="button" className="link" onClick={() => set({ as_of: since })}>Show the customer as of that day</button></> : '.'}</p>
    </Card>
  )
}

function Activity({ id }: { id: string }) {
  const activity = useQuery({
    queryKey: ['customer', id, 'activity'],
    queryFn: async ({ signal }) => (await get<{ activity: ActivityDay[] | null }>(`/customers/${id}/activity`, { days: 90 }, signal)).activity ?? [],
  })
  return (
    <Card title="What they did" aside={<span className="text-[13px]">90 days</span>}>
      {activity.isError ? <ProblemNote error={activity.error} retry={() => void activity.refetch()} compact /> : !activity.data ? <Loading className="h-40" /> : <HeatMap activity={activity.data} days={90} />}
    </Card>
  )
}

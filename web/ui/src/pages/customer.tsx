import { keepPreviousData, useQuery, useQueryClient } from '@tanstack/react-query'
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router'
import { useEffect, useRef, useState } from 'react'
import { get } from '../api/client'
import { rulesQuery, useMe } from '../api/queries'
import { useChanges } from '../api/stream'
import type { Change, CustomerWhole, Factor, Health, HistoryDay, Metric, Recommendation, TimelineEntry } from '../api/types'
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
import { compact, count, day, dayYear, daysAgo, daysBetween, metricValue, nameOf, nameOfCustomer, num, plain, today } from '../words'

const route = getRouteApi('/customers/$customerId')

export function CustomerPage() {
  const me = useMe()
  const { customerId } = route.useParams()
  if (!me.may.includes('read')) return <Forbidden may="read" role={me.role} />
  if (!/^\d{1,16}$/.test(customerId)) return <Note icon="search" title={`“${customerId}” is not the number of a customer`} page><p><Link to="/" className="link">All customers</Link></p></Note>
  return <Customer key={customerId} id={customerId} />
}

function Customer({ id }: { id: string }) {
  const me = useMe()
  const search = route.useSearch()
  const navigate = useNavigate()
  const client = useQueryClient()
  const set = (change: Partial<typeof search>) => void navigate({ to: '/customers/$customerId', params: { customerId: id }, search: { ...search, ...change }, replace: true, resetScroll: false })
  const days = search.days ?? 90
  // The whole page in one round trip.
  const whole = useQuery({
    queryKey: ['customer', id, search.as_of, search.since, days], placeholderData: keepPreviousData,
    queryFn: ({ signal }) => get<CustomerWhole>(`/customers/${id}`, { as_of: search.as_of, since: search.since ?? '30d', days }, signal),
  })
  // What was known last stays when an answer does not come.
  const last = useRef<CustomerWhole>(undefined)
  useEffect(() => { if (whole.data) last.current = whole.data }, [whole.data])
  const shown = whole.data ?? last.current
  // A change of this customer shows at once.
  const changes = useChanges()
  const mine = changes.find((change) => String(change.customer_id) === id)
  useEffect(() => { if (mine) void client.invalidateQueries({ queryKey: ['customer', id] }) }, [mine, client, id])
  const h = shown?.health
  const name = h && nameOfCustomer(h)
  useEffect(() => { if (name) document.title = `${name} · Customer health`; return () => { document.title = 'Customer health' } }, [name])
  useKeys((event) => {
    if (typing(event) || event.altKey || event.ctrlKey || event.metaKey) return
    if (event.key === 'b') { if (history.length > 1) history.back(); else void navigate({ to: '/', search: {} }); return true }
    if (event.key === 'r' && me.may.includes('record')) { set({ record: 'event' }); return true }
  })
  if (whole.isError && !h)
    return <div className="card"><ProblemNote error={whole.error} retry={() => void whole.refetch()} page /><p className="pb-6 text-center">{search.as_of ? <button type="button" className="link" onClick={() => set({ as_of: undefined })}>Show the customer as of now</button> : <Link to="/" search={{}} className="link">All customers</Link>}</p></div>
  if (!shown || !h) return <div className="space-y-4"><Loading className="h-28" what="Loading the customer" /><div className="grid gap-4 xl:grid-cols-[7fr_5fr]"><Loading className="h-80" /><Loading className="h-80" /></div></div>
  const { change, recommendations, history: past, activity, timeline } = shown
  return (
    <div className={`space-y-4 ${whole.isPlaceholderData ? 'opacity-60' : ''}`}>
      <Head h={h} since={h.status_since ?? timeline.entries.find((e) => e.kind === 'status')?.at} past={search.as_of} onNow={() => set({ as_of: undefined })} refresh={whole.isError ? () => void whole.refetch() : undefined}>
        {me.may.includes('record') && !h.churned_at && <button type="button" className="button primary" onClick={() => set({ record: 'event' })}>Record an event</button>}
      </Head>
      <div className="grid items-start gap-4 xl:grid-cols-[minmax(0,7fr)_minmax(0,5fr)]">
        <div className="space-y-4">
          <Why h={h} change={change} since={search.since ?? daysAgo(30, h.as_of)} onSince={(since) => set({ since })} />
          <Lost h={h} open={search.metric} onOpen={(metric) => set({ metric })} />
        </div>
        <Advice list={recommendations} past={search.as_of} />
      </div>
      <Past id={id} h={h} days={days} past={past} timeline={timeline.entries} since={search.since} set={set} />
      <div className="grid items-start gap-4 xl:grid-cols-[minmax(0,7fr)_minmax(0,5fr)]">
        <Card title="What they did" aside={<span className="text-[13px]">{days} days</span>}><HeatMap activity={activity} days={days} end={h.as_of} /></Card>
        <Timeline id={id} first={timeline} />
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

function Head({ h, since, past, onNow, refresh, children }: { h: Health; since?: string; past?: string; onNow: () => void; refresh?: () => void; children: React.ReactNode }) {
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
          <h1 className="text-2xl font-semibold tracking-tight [overflow-wrap:anywhere]">{nameOfCustomer(h)}</h1>
          <p className="mt-0.5 text-soft">{facts.join(' · ')}</p>
        </div>
        <div className="screen-only flex gap-2">{children}</div>
      </div>
      <div className="card mt-4 flex flex-wrap items-center justify-between gap-x-8 gap-y-3 px-5 py-4">
        <Score large value={h.score} status={h.status} reason={
          <div className="space-y-1">
            <p className="flex flex-wrap items-center gap-x-3 gap-y-1"><StatusBadge status={h.status} />{since && <span className="text-soft">{daysBetween(since, h.as_of) < 1 ? 'since today' : `for ${count(daysBetween(since, h.as_of), 'day')}`}</span>}<TrendWord trend={h.trend} /></p>
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

function Why({ h, change, since, onSince }: { h: Health; change: Change | null; since: string; onSince: (day: string | undefined) => void }) {
  const days = daysBetween(since, h.as_of)
  const { score_since: before, score_until: now } = change ?? { score_since: null, score_until: null }
  return (
    <Card title="Why did it change?" aside={<>
      <Choice label="Since" value={[7, 30, 90].includes(days) ? days : 0} options={[[7, '7 days'], [30, '30'], [90, '90']] as const} onChange={(n) => onSince(n === 30 ? undefined : daysAgo(n, h.as_of))} />
      <input type="date" aria-label="Since the day" className="field screen-only" value={since} max={daysAgo(1, h.as_of)} onChange={(event) => event.target.value && onSince(event.target.value)} />
    </>}>
      {!change ? <p className="py-6 text-soft">The events of {dayYear(since)} have been deleted, so that day cannot be compared any more.</p> : (
        <>
          <p className="mb-1 flex flex-wrap items-baseline gap-x-3">
            <span className="text-lg font-semibold">{before === null ? 'no score' : num(before, 1)} <span aria-hidden className="text-soft">→</span><span className="sr-only">to</span> {now === null ? 'no score' : num(now, 1)}</span>
            {before !== null && now !== null && <Delta value={now - before} />}
          </p>
          <p className="mb-3">{changeSentence(change.factors, days === 1 ? 'since yesterday' : `in ${count(days, 'day')}`)}</p>
          {before !== null && now !== null && <ChangeChart factors={change.factors} />}
        </>
      )}
    </Card>
  )
}

function Lost({ h, open, onOpen }: { h: Health; open?: string; onOpen: (metric: string | undefined) => void }) {
  const rules = useQuery({ ...rulesQuery, enabled: open !== undefined }).data
  // Curves are those of the live rules: for a past day by other rules there are none to show.
  const curves = rules?.version === h.version ? rules.scorecards.find((s) => s.scorecard === h.scorecard)?.factors?.find((f) => f.factor === open)?.metrics : undefined
  const share = (f: Factor) => (f.contribution === null ? f.weight : f.effective_weight!)
  const most = Math.max(...h.factors.map(share), 0.01)
  return (
    <Card title="Where the points are lost" aside={<span className="text-[13px]">open a factor to see what it rests on</span>}>
      <ul className="divide-y divide-line">
        {h.factors.map((f) => (
          <li key={f.factor}>
            <details open={open === f.factor} className="group">
              <summary className="grid grid-cols-[1fr_auto_14px] items-center gap-x-3 gap-y-1.5 py-2.5 sm:grid-cols-[150px_1fr_84px_14px]" onClick={(event) => { event.preventDefault(); onOpen(open === f.factor ? undefined : f.factor) }}>
                <span className="truncate font-medium" title={nameOf(f.factor)}>{nameOf(f.factor)}</span>
                <span className="h-3.5 max-sm:order-last max-sm:col-span-3" aria-hidden>
                  <span className="relative block h-full rounded-[4px] bg-raised forced" style={{ width: `${(100 * share(f)) / most}%` }}>
                    {f.contribution !== null
                      ? <span className="absolute inset-y-0 left-0 rounded-[4px] bg-accent" style={{ width: `${Math.max(0, Math.min(100, f.contribution / f.effective_weight!))}%` }} />
                      : <span className="absolute inset-0 rounded-[4px] border border-dashed border-unknown" />}
                  </span>
                </span>
                <span className="text-right whitespace-nowrap">{f.contribution === null ? <span className="text-unknown">no data</span> : <><b className="font-semibold">{num(f.contribution, 1)}</b> <span className="text-soft">of {plain(Math.round(1000 * f.effective_weight!) / 10)}</span></>}</span>
                <svg width="10" height="10" viewBox="0 0 10 10" aria-hidden className="text-soft group-open:rotate-90" fill="none" stroke="currentColor" strokeWidth="1.6"><path d="m3 1 4 4-4 4" /></svg>
              </summary>
              <Metrics f={f} curves={open === f.factor ? curves : undefined} />
            </details>
          </li>
        ))}
      </ul>
    </Card>
  )
}

type Curves = { metric: string; description: string | null; curve: string | null }[]

function Metrics({ f, curves }: { f: Factor; curves?: Curves }) {
  const scored = f.metrics.filter((m) => m.details.penalty_each === undefined)
  const penalties = f.metrics.filter((m) => m.details.penalty_each !== undefined)
  return (
    <div className="reveal space-y-3 pb-4">
      <p className="text-soft">{f.score === null ? 'No data.' : <>{num(f.score, 1)} of 100, at {num(100 * f.effective_weight!, 0)} % of the weight</>}{f.trend && <>, <TrendWord trend={f.trend} /></>}</p>
      <ul className="grid gap-3 sm:grid-cols-2">
        {scored.map((m) => <li key={m.metric} className="rounded-lg border border-line p-3"><MetricView m={m} rule={curves?.find((one) => one.metric === m.metric)} /></li>)}
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

function MetricView({ m, rule }: { m: Metric; rule?: Curves[number] }) {
  const { missing } = m.details
  const curve = rule?.curve
  return (
    <div className="flex h-full flex-col gap-1.5">
      <p className="flex items-baseline justify-between gap-2"><span className="font-medium" title={rule?.description ?? undefined}>{nameOf(m.metric)}</span><TrendMark m={m} /></p>
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

function Advice({ list, past }: { list: Recommendation[]; past?: string }) {
  const [all, setAll] = useState(false)
  return (
    <Card title="What to do">
      {!list.length ? <p className="py-4 text-soft">{past ? 'What to do is about now, not about a past day.' : 'Nothing in particular: no rule of the scorecard has advice for this score.'}</p>
        : (
          <ol className="divide-y divide-line">
            {list.slice(0, all ? undefined : 5).map((r) => {
              const metrics = (r.details?.metrics ?? []).slice(0, 3)
              return (
                <li key={r.recommendation} className="grid grid-cols-[1fr_auto] gap-x-4 py-3">
                  <p><span className="label block">{r.factor ? nameOf(r.factor) : 'Overall'}</span>{r.action}</p>
                  {r.gain !== null && r.gain > 0 && <p className="self-start rounded-full bg-healthy-soft px-2.5 py-0.5 font-medium whitespace-nowrap text-healthy" title="if this were at 100">up to +{num(r.gain, 1)}</p>}
                  {metrics.length > 0 && <p className="col-span-2 mt-1 text-[13px] text-soft">{metrics.map((m) => `${nameOf(m.metric)} ${metricValue(m.metric, m.value, m.target)}${m.target !== null ? ` of ${metricValue(m.metric, m.target, m.target)}` : ''} (−${num(m.gain, 1)})`).join(' · ')}</p>}
                </li>
              )
            })}
          </ol>
        )}
      {list.length > 5 && <button type="button" className="button mt-2" onClick={() => setAll(!all)}>{all ? 'Fewer' : `All ${list.length}`}</button>}
    </Card>
  )
}

function Past({ id, h, days, past, timeline, since, set }: { id: string; h: Health; days: number; past: HistoryDay[]; timeline: TimelineEntry[]; since?: string; set: (change: { since?: string; days?: number; as_of?: string }) => void }) {
  const [shown, setShown] = useState<string[]>([])
  const rules = useQuery(rulesQuery).data?.scorecards.find((s) => s.scorecard === h.scorecard)
  // The lines of the factors only when one asks for them.
  const detailed = useQuery({
    queryKey: ['customer', id, 'factors', days, h.as_of], enabled: shown.length > 0, placeholderData: keepPreviousData,
    queryFn: async ({ signal }) => (await get<{ days: HistoryDay[] }>(`/customers/${id}/history`, { from: daysAgo(days - 1, h.as_of), to: h.as_of, factors: true }, signal)).days,
  })
  const factors = h.factors.map((f) => f.factor)
  const marks = timeline.flatMap((e) => (e.kind === 'rules' ? [{ day: e.at.slice(0, 10), version: e.version }] : []))
  return (
    <Card title="History" aside={<Choice label="Days shown" value={days} options={[[30, '30 days'], [90, '90'], [365, 'a year']] as const} onChange={(n) => set({ days: n === 90 ? undefined : n })} />}>
      <fieldset className="screen-only mb-2 flex flex-wrap gap-1.5 text-[13px]">
        <legend className="sr-only">Factors in the chart</legend>
        {factors.map((f) => <label key={f} className="chip min-h-7 py-0"><input type="checkbox" className="sr-only" checked={shown.includes(f)} onChange={() => setShown(shown.includes(f) ? shown.filter((one) => one !== f) : [...shown, f])} />{nameOf(f)}</label>)}
      </fieldset>
      {detailed.isError && <ProblemNote error={detailed.error} retry={() => void detailed.refetch()} compact />}
      {!past.length ? <p className="py-8 text-center text-soft">There is no day to show: the events of that time have been deleted, or there were none.</p>
        : <HistoryChart days={shown.length && detailed.data?.length ? detailed.data : past} factors={factors} rules={marks} bounds={{ healthy_from: rules?.healthy_from ?? 75, at_risk_from: rules?.at_risk_from ?? 50 }} since={since} onSince={(d) => set({ since: d })} shown={shown} />}
      <p className="screen-only mt-1 text-[13px] text-soft">Click a day to see what has changed since{since ? <>; now since {day(since)}. <button type="button" className="link" onClick={() => set({ as_of: since, since: undefined })}>Show the customer as of that day</button></> : '.'}</p>
    </Card>
  )
}

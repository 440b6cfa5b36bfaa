import { keepPreviousData, useQuery, useQueryClient } from '@tanstack/react-query'
import { getRouteApi, useBlocker, useNavigate } from '@tanstack/react-router'
import { useDeferredValue, useEffect, useMemo, useState } from 'react'
import { get, post, Problem, send } from '../api/client'
import { useMe } from '../api/queries'
import type { Draft, DraftCheck, DraftChange, FactorRule, Lint, MetricRule, Scorecard, ScorecardDocument, Simulation } from '../api/types'
import { CurveEditor } from '../charts/curve_editor'
import { MovementMatrix } from '../charts/matrix'
import { Card } from '../components/card'
import { Dialog } from '../components/dialog'
import { differences, show, type Difference } from '../components/diff'
import { Versions } from '../components/versions'
import { Forbidden, Loading, ProblemNote } from '../components/states'
import { Delta, StatusShape } from '../components/status'
import { count, nameOf, num, percent, plain, signed, statusWord } from '../words'

const route = getRouteApi('/scorecard')

export function ScorecardPage() {
  const me = useMe()
  return me.may.includes('administer') ? <Editor /> : <Forbidden may="administer" role={me.role} />
}

/** A value, but only once it has stopped changing for so long. */
function useSettled<T>(value: T, milliseconds: number): T {
  const [settled, setSettled] = useState(value)
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), milliseconds)
    return () => clearTimeout(timer)
  }, [value, milliseconds])
  return settled
}

const draftQuery = { queryKey: ['draft'], queryFn: ({ signal }: { signal: AbortSignal }) => get<Draft>('/scorecard/draft', undefined, signal) }

function Editor() {
  const client = useQueryClient()
  const search = route.useSearch()
  const navigate = useNavigate()
  const set = (change: Partial<typeof search>) => void navigate({ to: '/scorecard', search: { ...search, ...change }, replace: true, resetScroll: false })
  const draft = useQuery(draftQuery)
  // What is being edited, and the draft that it began from.
  const [work, setWork] = useState<{ document: ScorecardDocument; base: Draft } | null>(null)
  const [conflict, setConflict] = useState<Draft | null>(null)
  const [publishing, setPublishing] = useState(false)
  const [problem, setProblem] = useState<unknown>(null)
  const [busy, setBusy] = useState(false)
  const [said, say] = useState('')
  const document = work?.document ?? draft.data?.document
  const dirty = work !== null && JSON.stringify(work.document) !== JSON.stringify(work.base.document)
  useBlocker({ shouldBlockFn: ({ current, next }) => dirty && current.pathname !== next.pathname && !confirm('There are changes that are not saved. Leave them?'), enableBeforeUnload: dirty })

  const settled = useSettled(document, 300)
  const check = useQuery({
    queryKey: ['draft', 'check', settled], enabled: dirty && !!settled, placeholderData: keepPreviousData, retry: false,
    queryFn: async ({ signal }) => (await send<DraftCheck>('/scorecard/draft/check', { method: 'POST', body: { document: settled }, signal })).body,
  })
  const changed = dirty ? check.data?.changes : draft.data?.changes
  const simulation = useQuery({
    queryKey: ['draft', 'simulation', settled], enabled: !!settled && (dirty || !!draft.data?.changes.length), placeholderData: keepPreviousData, retry: false,
    queryFn: async ({ signal }) => (await send<Simulation>('/scorecard/simulations', { method: 'POST', body: { document: settled, sample: 500 }, signal })).body,
  })

  if (draft.isError && !draft.data) return <div className="card"><ProblemNote error={draft.error} retry={() => void draft.refetch()} page /></div>
  if (!document || !draft.data) return <div className="grid gap-4 xl:grid-cols-[300px_1fr_380px]"><Loading className="h-96" what="Loading the draft" /><Loading className="h-96" /><Loading className="h-96" /></div>

  const card = search.card && document.scorecards[search.card] ? search.card : document.default
  const scorecard = document.scorecards[card]!
  const edit = (change: (d: ScorecardDocument) => void) => {
    const next = structuredClone(document)
    change(next)
    setWork({ document: next, base: work?.base ?? draft.data! })
    setProblem(null)
  }
  const editCard = (change: (s: Scorecard) => void) => edit((d) => change(d.scorecards[card]!))

  /** Stores the draft; false if somebody else has changed it meanwhile. */
  async function save(over?: string): Promise<string | null> {
    if (!work) return draft.data!.hash
    setBusy(true)
    try {
      const { body } = await send<{ hash: string }>('/scorecard/draft', { method: 'PUT', body: work.document, headers: { 'if-match': `"${over ?? work.base.hash}"` } })
      await client.invalidateQueries({ queryKey: ['draft'], exact: true })
      setWork(null)
      setConflict(null)
      say('The draft is saved.')
      return body.hash
    } catch (error) {
      if (error instanceof Problem && error.status === 412) setConflict(await get<Draft>('/scorecard/draft'))
      else setProblem(error)
      return null
    } finally {
      setBusy(false)
    }
  }

  const factor = scorecard.factors.find((f) => f.factor === search.factor)
  const metric = factor?.metrics.find((m) => m.metric === search.metric)
  const lint = dirty ? (check.data?.lint ?? []) : draft.data.lint
  const tab = search.tab ?? 'differences'
  return (
    <div className="space-y-4">
      <div className="flex flex-wrap items-end justify-between gap-3">
        <div>
          <h1 className="text-2xl font-semibold tracking-tight">Scorecard</h1>
          <p className="text-soft" role="status">{dirty ? 'Changes that are not saved yet. Nothing counts before it is published.' : changed?.length ? `The draft differs from the live rules in ${count(changed.length, 'place')}.` : 'The draft is the same as the live rules.'}<span className="sr-only"> {said}</span></p>
        </div>
        <div className="flex flex-wrap gap-2">
          {dirty && <button type="button" className="button" onClick={() => { setWork(null); setProblem(null) }}>Discard</button>}
          <button type="button" className="button" disabled={!dirty || busy} onClick={() => void save()}>Save draft</button>
          <button type="button" className="button primary" disabled={busy || (!dirty && !changed?.length)} onClick={() => setPublishing(true)}>Publish…</button>
        </div>
      </div>
      {problem !== null && <div className="card"><ProblemNote error={problem} compact /></div>}
      <div className="grid items-start gap-4 lg:grid-cols-[280px_minmax(0,1fr)] xl:grid-cols-[280px_minmax(0,1fr)_370px]">
        <Tree document={document} card={card} search={search} set={set} lint={lint} />
        {metric && factor ? <MetricEditor key={card + factor.factor + metric.metric} document={document} card={card} factor={factor} metric={metric} live={draft.data.document} edit={(change) => editCard((s) => change(s.factors.find((f) => f.factor === factor.factor)!.metrics.find((m) => m.metric === metric.metric)!))} />
          : factor ? <FactorEditor key={card + factor.factor} scorecard={scorecard} factor={factor} edit={(change) => editCard((s) => change(s.factors.find((f) => f.factor === factor.factor)!))} />
          : <CardEditor key={card} card={card} scorecard={scorecard} edit={editCard} />}
        <div className="lg:col-span-2 xl:col-span-1">
          <SimulationCard simulation={simulation.data} error={simulation.error} loading={simulation.isFetching} idle={!dirty && !changed?.length} retry={() => void simulation.refetch()} />
        </div>
      </div>
      <section className="card" aria-label="About the draft">
        <div role="tablist" aria-label="About the draft" className="no-bar flex gap-1 overflow-x-auto border-b border-line px-3 pt-2"
          onKeyDown={(event) => { const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key]; if (step) { const tabs = [...event.currentTarget.querySelectorAll<HTMLElement>('[role=tab]')]; const i = tabs.indexOf(event.target as HTMLElement); const next = tabs[(i + step + tabs.length) % tabs.length]!; next.focus(); next.click() } }}>
          {([['differences', `Differences${changed ? ` ${changed.length}` : ''}`], ['doubts', `Doubts ${lint.length}`], ['versions', 'Versions']] as const).map(([name, word]) => (
            <button key={name} type="button" role="tab" id={`tab-${name}`} aria-selected={tab === name} aria-controls="tab-panel" tabIndex={tab === name ? 0 : -1} onClick={() => set({ tab: name === 'differences' ? undefined : name })} className="rounded-t-md border-b-2 border-transparent px-3 py-2 whitespace-nowrap text-soft aria-selected:border-accent aria-selected:font-medium aria-selected:text-ink">{word}</button>
          ))}
        </div>
        <div role="tabpanel" id="tab-panel" aria-labelledby={`tab-${tab}`} tabIndex={0} className="p-4">
          {tab === 'versions' ? <Versions dirty={dirty || !!changed?.length} hash={draft.data.hash} onRollback={() => { setWork(null); void client.invalidateQueries({ queryKey: ['draft'] }) }} />
            : check.isError && dirty ? <ProblemNote error={check.error} what="The draft cannot be published like this" compact />
            : tab === 'doubts' ? <Doubts lint={lint} set={set} />
            : <Changes changes={changed ?? []} />}
        </div>
      </section>
      {conflict && work && <Conflict mine={work} theirs={conflict} busy={busy} onClose={() => setConflict(null)} takeMine={() => void save(conflict.hash)} takeTheirs={() => { setWork(null); setConflict(null); client.setQueryData(['draft'], conflict); say('The other draft is shown.') }} />}
      {publishing && <Publish document={document} save={save} onClose={() => setPublishing(false)} onDone={(version) => { setPublishing(false); say(`Version ${version} is published.`); void client.invalidateQueries(); set({ tab: 'versions' }) }} />}
    </div>
  )
}

type Search = ReturnType<typeof route.useSearch>
const shareOf = (weight: number, all: { weight?: number }[]) => weight / (all.reduce((sum, one) => sum + (one.weight ?? 0), 0) || 1)

function Tree({ document, card, search, set, lint }: { document: ScorecardDocument; card: string; search: Search; set: (change: Partial<Search>) => void; lint: Lint[] }) {
  const scorecard = document.scorecards[card]!
  const doubtful = (name: string) => lint.some((l) => l.object.endsWith(name) && l.severity !== 'notice')
  const item = 'flex w-full items-center justify-between gap-2 rounded-md px-2.5 py-1 text-left hover:bg-raised aria-[current=true]:bg-accent-soft aria-[current=true]:font-medium aria-[current=true]:text-accent'
  return (
    <nav aria-label="Parts of the scorecard" className="card p-3 max-lg:max-h-80 max-lg:overflow-y-auto">
      <label className="mb-2 block"><span className="sr-only">Scorecard</span>
        <select className="field w-full font-medium" value={card} onChange={(event) => set({ card: event.target.value === document.default ? undefined : event.target.value, factor: undefined, metric: undefined })}>
          {Object.keys(document.scorecards).map((name) => <option key={name} value={name}>{nameOf(name)}{name === document.default && name !== 'default' ? ' (default)' : ''}</option>)}
        </select>
      </label>
      <button type="button" className={item} aria-current={!search.factor} onClick={() => set({ factor: undefined, metric: undefined })}>Bounds and settings</button>
      <ul className="mt-1 space-y-1">
        {scorecard.factors.map((f) => (
          <li key={f.factor}>
            <button type="button" className={item} aria-current={search.factor === f.factor && !search.metric} onClick={() => set({ factor: f.factor, metric: undefined })}>
              <span className="truncate">{nameOf(f.factor)}{doubtful(f.factor) && <Doubt />}</span><span className="text-soft">{percent(shareOf(f.weight, scorecard.factors), 1)}</span>
            </button>
            <span aria-hidden className="mx-2.5 block h-1 rounded bg-raised"><span className="block h-full rounded bg-accent forced" style={{ width: `${100 * shareOf(f.weight, scorecard.factors)}%` }} /></span>
            <ul className="mt-0.5 ml-3 border-l border-line pl-1">
              {f.metrics.map((m) => (
                <li key={m.metric}>
                  <button type="button" className={`${item} text-[13px]`} aria-current={search.factor === f.factor && search.metric === m.metric} onClick={() => set({ factor: f.factor, metric: m.metric })}>
                    <span className="truncate">{nameOf(m.metric)}{doubtful(m.metric) && <Doubt />}</span><span className="text-soft">{m.penalty ? `−${plain(m.penalty)}` : percent(shareOf(m.weight ?? 0, f.metrics), 1)}</span>
                  </button>
                </li>
              ))}
            </ul>
          </li>
        ))}
      </ul>
    </nav>
  )
}
const Doubt = () => <span className="ml-1.5 text-at_risk" title="There is a doubt">▲<span className="sr-only">, doubtful</span></span>

function Number_({ label, value, onChange, step = 'any', min, max, suffix }: { label: string; value: number | undefined; onChange: (value: number | undefined) => void; step?: number | 'any'; min?: number; max?: number; suffix?: string }) {
  const [text, setText] = useState<string | null>(null)
  return (
    <label className="block space-y-1">
      <span className="label block">{label}</span>
      <span className="flex items-center gap-2">
        <input type="number" className="field w-full min-w-0" value={text ?? value ?? ''} step={step} min={min} max={max} inputMode="decimal" onBlur={() => setText(null)}
          onChange={(event) => { setText(event.target.value); if (event.target.value === '') onChange(undefined); else if (Number.isFinite(event.target.valueAsNumber)) onChange(event.target.valueAsNumber) }} />
        {suffix && <span className="shrink-0 text-soft">{suffix}</span>}
      </span>
    </label>
  )
}

function CardEditor({ card, scorecard, edit }: { card: string; scorecard: Scorecard; edit: (change: (s: Scorecard) => void) => void }) {
  const { healthy_from: high, at_risk_from: low } = scorecard
  return (
    <Card title={nameOf(card)}>
      {typeof scorecard.description === 'string' && <p className="mb-4 text-soft">{scorecard.description}</p>}
      <div aria-hidden className="mb-1 flex h-8 overflow-hidden rounded-lg text-xs font-medium forced">
        {([['critical', low, 'bg-critical-soft text-critical'], ['at_risk', high - low, 'bg-at_risk-soft text-at_risk'], ['healthy', 100 - high, 'bg-healthy-soft text-healthy']] as const).map(([s, w, tone]) => w > 0 && <span key={s} className={`flex items-center justify-center gap-1.5 overflow-hidden ${tone}`} style={{ width: `${w}%` }}><StatusShape status={s} size={9} />{statusWord(s)}</span>)}
      </div>
      <div aria-hidden className="relative mb-4 h-4 text-xs text-soft"><span>0</span><span className="absolute -translate-x-1/2" style={{ left: `${low}%` }}>{plain(low)}</span><span className="absolute -translate-x-1/2" style={{ left: `${high}%` }}>{plain(high)}</span><span className="absolute right-0">100</span></div>
      <div className="grid gap-4 sm:grid-cols-3">
        <Number_ label="Healthy from" value={high} min={0} max={100} onChange={(v) => v !== undefined && edit((s) => { s.healthy_from = v })} />
        <Number_ label="At risk from" value={low} min={0} max={100} onChange={(v) => v !== undefined && edit((s) => { s.at_risk_from = v })} />
        <Number_ label="Needs data for" value={Math.round(scorecard.min_coverage * 1000) / 10} min={0} max={100} suffix="% of the weight" onChange={(v) => v !== undefined && edit((s) => { s.min_coverage = v / 100 })} />
        <Number_ label="Trend: days" value={scorecard.trend_days as number | undefined} min={1} step={1} onChange={(v) => v !== undefined && edit((s) => { s.trend_days = v })} />
        <Number_ label="Trend: stable within" value={scorecard.trend_band as number | undefined} min={0} suffix="points" onChange={(v) => v !== undefined && edit((s) => { s.trend_band = v })} />
        <Number_ label="Announce changes from beyond a bound" value={(scorecard.calm_points as number | undefined) ?? 0} min={0} max={50} suffix="points" onChange={(v) => edit((s) => { if (v) s.calm_points = v; else delete s.calm_points })} />
      </div>
      <h3 className="mt-6 mb-2 font-semibold">Weights</h3>
      <Weights scorecard={scorecard} edit={edit} />
    </Card>
  )
}

function Weights({ scorecard, edit }: { scorecard: Scorecard; edit: (change: (s: Scorecard) => void) => void }) {
  return (
    <ul className="space-y-2">
      {scorecard.factors.map((f, i) => (
        <li key={f.factor}>
          <label className="grid grid-cols-[minmax(110px,170px)_1fr_88px_56px] items-center gap-3 max-sm:grid-cols-[1fr_88px_56px]">
            <span className="truncate">{nameOf(f.factor)}</span>
            <span aria-hidden className="h-3 rounded bg-raised max-sm:hidden"><span className="block h-full rounded bg-accent forced" style={{ width: `${100 * shareOf(f.weight, scorecard.factors)}%` }} /></span>
            <input type="number" className="field" step="0.01" min="0" max="1" value={f.weight} aria-label={`Weight of ${nameOf(f.factor)}`} onChange={(event) => Number.isFinite(event.target.valueAsNumber) && edit((s) => { s.factors[i]!.weight = event.target.valueAsNumber })} />
            <span className="text-right text-soft">{percent(shareOf(f.weight, scorecard.factors), 1)}</span>
          </label>
        </li>
      ))}
    </ul>
  )
}

function FactorEditor({ scorecard, factor, edit }: { scorecard: Scorecard; factor: FactorRule; edit: (change: (f: FactorRule) => void) => void }) {
  const weighted = factor.metrics.filter((m) => !m.penalty)
  return (
    <Card title={nameOf(factor.factor)}>
      {factor.description && <p className="mb-4 text-soft">{factor.description}</p>}
      <div className="grid gap-4 sm:grid-cols-3">
        <Number_ label="Weight in the score" value={factor.weight} step={0.01} min={0} max={1} onChange={(v) => v !== undefined && edit((f) => { f.weight = v })} />
        <p className="self-end pb-1.5 text-soft sm:col-span-2">{percent(shareOf(factor.weight, scorecard.factors), 1)} of the score: up to {num(100 * shareOf(factor.weight, scorecard.factors), 1)} points</p>
      </div>
      <h3 className="mt-6 mb-2 font-semibold">Metrics</h3>
      <ul className="space-y-2">
        {factor.metrics.map((m, i) => (
          <li key={m.metric}>
            <label className="grid grid-cols-[1fr_88px_110px] items-center gap-3">
              <span className="min-w-0"><span className="block truncate">{nameOf(m.metric)}</span><span className="block truncate text-[13px] text-soft">{m.description}</span></span>
              {m.penalty
                ? <input type="number" className="field" min="0" max="100" step="1" value={m.penalty} aria-label={`Points off for each: ${nameOf(m.metric)}`} onChange={(event) => event.target.valueAsNumber > 0 && edit((f) => { f.metrics[i]!.penalty = event.target.valueAsNumber })} />
                : <input type="number" className="field" min="0" step="0.05" value={m.weight ?? 0} aria-label={`Weight of ${nameOf(m.metric)}`} onChange={(event) => Number.isFinite(event.target.valueAsNumber) && edit((f) => { f.metrics[i]!.weight = event.target.valueAsNumber })} />}
              <span className="text-[13px] text-soft">{m.penalty ? 'points off each' : `${percent(shareOf(m.weight ?? 0, weighted), 1)} of it`}</span>
            </label>
          </li>
        ))}
      </ul>
    </Card>
  )
}

function MetricEditor({ document, card, factor, metric: m, live, edit }: { document: ScorecardDocument; card: string; factor: FactorRule; metric: MetricRule; live: ScorecardDocument; edit: (change: (m: MetricRule) => void) => void }) {
  const relative = m.target !== undefined || m.targets !== undefined
  const before = live.scorecards[card]?.factors.find((f) => f.factor === factor.factor)?.metrics.find((one) => one.metric === m.metric)
  const segments = [...new Set([...Object.keys(document.segments), ...Object.keys(m.targets ?? {})])]
  const words: Record<string, string> = { count: 'number', sum: 'sum', avg: 'mean', ratio: 'share', distinct: 'number of different values', active_days: 'days with any', days_since_last: 'days since the last', growth: 'growth', of_usual: 'share of the usual' }
  return (
    <Card title={<><span className="text-soft">{nameOf(factor.factor)} /</span> {nameOf(m.metric)}</>}>
      <p className="mb-3 text-soft">{m.description ? `${m.description.charAt(0).toUpperCase()}${m.description.slice(1)}: ` : ''}{words[m.aggregate] ?? m.aggregate} of {m.event_type ? `${m.event_type.replaceAll('_', ' ')} events` : 'what a function returns'}{m.field ? `, ${m.field}` : ''}{m.window_days ? `, in ${m.window_days} days` : ''}.{m.filter && <> Only where <code className="text-[12px] [overflow-wrap:anywhere]">{m.filter}</code>.</>}</p>
      {m.curve !== undefined && <CurveEditor text={m.curve} live={before?.curve} label={nameOf(m.metric)} unit={relative ? 'value, as a multiple of the target' : 'value'} onChange={(text) => edit((one) => { one.curve = text })} />}
      <div className="mt-4 grid gap-4 sm:grid-cols-3">
        {m.penalty !== undefined
          ? <Number_ label="Points off for each" value={m.penalty} min={0} max={100} onChange={(v) => v && edit((one) => { one.penalty = v })} />
          : <Number_ label="Weight in the factor" value={m.weight} min={0} step={0.05} onChange={(v) => v !== undefined && edit((one) => { one.weight = v })} />}
        <Number_ label="Window" value={m.window_days} min={1} max={730} step={1} suffix="days" onChange={(v) => v && edit((one) => { one.window_days = v })} />
        {m.missing !== undefined && (
          <label className="block space-y-1"><span className="label block">Without data</span>
            <select className="field w-full" value={m.missing} onChange={(event) => edit((one) => { one.missing = event.target.value; if (event.target.value === 'score') one.missing_score ??= 50; else delete one.missing_score })}>
              <option value="missing">does not count</option><option value="zero">counts as zero</option><option value="score">a fixed score</option>
            </select>
          </label>
        )}
        {m.missing === 'score' && <Number_ label="The fixed score" value={m.missing_score} min={0} max={100} onChange={(v) => v !== undefined && edit((one) => { one.missing_score = v })} />}
      </div>
      {m.curve !== undefined && (
        <fieldset className="mt-5"><legend className="mb-2 font-semibold">Targets</legend>
          <div className="grid gap-3 sm:grid-cols-4">
            {segments.map((s) => <Number_ key={s} label={nameOf(s)} value={m.targets?.[s]} min={0} onChange={(v) => edit((one) => { const t = { ...one.targets }; if (v) t[s] = v; else delete t[s]; if (Object.keys(t).length) one.targets = t; else delete one.targets })} />)}
            <Number_ label="Everyone else" value={m.target} min={0} onChange={(v) => edit((one) => { if (v) one.target = v; else delete one.target })} />
          </div>
          <p className="mt-1.5 text-[13px] text-soft">With a target, the curve is over value / target; without any, over the value itself.</p>
        </fieldset>
      )}
    </Card>
  )
}

function SimulationCard({ simulation: s, error, loading, idle, retry }: { simulation: Simulation | undefined; error: unknown; loading: boolean; idle: boolean; retry: () => void }) {
  const shown = useDeferredValue(s)
  return (
    <Card title="What would change" aside={loading ? <span className="pulse text-[13px]">computing…</span> : !idle && shown && <span className="text-[13px]">{count(shown.customers, 'customer')} sampled</span>}>
      {idle ? <p className="py-3 text-soft">Change a weight, a curve or a bound, and see here at once whom it would concern. Nothing counts before it is published.</p>
        : error ? <ProblemNote error={error} retry={retry} compact />
        : !shown ? <Loading className="h-64" what="Simulating" />
        : <SimulationView s={shown} />}
    </Card>
  )
}

function SimulationView({ s }: { s: Simulation }) {
  const most = Math.max(1, ...s.histogram.flatMap((b) => [b.live, b.draft]))
  return (
    <div className="space-y-4">
      <p><b className="text-lg font-semibold">{num(s.changed_status)}</b> of {count(s.customers, 'customer')} would change status. Average {s.live_average === null ? '–' : num(s.live_average, 1)} <span aria-hidden>→</span><span className="sr-only">to</span> <b className="font-semibold">{s.draft_average === null ? '–' : num(s.draft_average, 1)}</b> {s.live_average !== null && s.draft_average !== null && <Delta value={s.draft_average - s.live_average} />}</p>
      <MovementMatrix movements={s.movements} from="Live" to="Draft" />
      <div>
        <svg viewBox="0 0 200 56" className="w-full" role="img" aria-label="Scores now (outline) and under the draft (filled)" preserveAspectRatio="none">
          {s.histogram.map((b) => <g key={b.score_from}><rect x={b.score_from * 2 + 0.5} width="9" y={54 - (50 * b.draft) / most} height={(50 * b.draft) / most} className="fill-accent opacity-70" /><path d={`M${b.score_from * 2} ${54 - (50 * b.live) / most}h10`} className="stroke-ink" strokeWidth="1.2" /></g>)}
          <path d="M0 54.5h200" className="stroke-grid" />
        </svg>
        <p className="flex justify-between text-xs text-soft"><span>0</span><span>line: live, filled: draft</span><span>100</span></p>
      </div>
      {s.top.some((t) => t.score_change) && (
        <table className="w-full text-[13px]"><caption className="label pb-1 text-left">Most concerned</caption>
          <tbody>{s.top.filter((t) => t.score_change).slice(0, 6).map((t) => (
            <tr key={t.customer_id} className="border-t border-line"><th scope="row" className="max-w-40 truncate py-1.5 pr-2 text-left font-normal"><a href={`/customers/${t.customer_id}`} target="_blank" rel="noreferrer" className="no-underline hover:underline">{t.name}</a></th><td className="py-1.5 text-right whitespace-nowrap">{t.live_score === null ? '–' : num(t.live_score, 1)} → {t.draft_score === null ? '–' : num(t.draft_score, 1)}</td><td className="py-1.5 pl-2 text-right"><Delta value={t.score_change} /></td></tr>
          ))}</tbody>
        </table>
      )}
    </div>
  )
}

const pathOf = (what: string) => what.replace(/^scorecards\./, '').replaceAll('.factors.', ' / ').replaceAll('.metrics.', ' / ').replaceAll('.', ' / ').replaceAll('_', ' ')

function Changes({ changes }: { changes: DraftChange[] }) {
  if (!changes.length) return <p className="py-3 text-soft">The draft is the same as the live rules.</p>
  return (
    <div className="overflow-x-auto"><table className="w-full"><caption className="sr-only">What publishing would change</caption>
      <thead><tr className="text-left text-xs text-soft"><th scope="col" className="py-1 pr-4 font-medium">What</th><th scope="col" className="py-1 pr-4 font-medium">Live</th><th scope="col" className="py-1 font-medium">Draft</th></tr></thead>
      <tbody>{changes.map((c) => <tr key={c.what} className="border-t border-line align-top"><th scope="row" className="py-1.5 pr-4 text-left font-normal">{pathOf(c.what)}</th><td className="py-1.5 pr-4 text-soft line-through decoration-critical [overflow-wrap:anywhere]">{show(c.old_value)}</td><td className="py-1.5 [overflow-wrap:anywhere]">{c.new_value === null || c.new_value === undefined ? 'removed' : show(c.new_value)}</td></tr>)}</tbody>
    </table></div>
  )
}

function Doubts({ lint, set }: { lint: Lint[]; set: (change: Partial<Search>) => void }) {
  if (!lint.length) return <p className="py-3 text-soft">Nothing looks doubtful.</p>
  const tone = { error: 'bg-critical-soft text-critical', warning: 'bg-at_risk-soft text-at_risk', notice: 'bg-raised text-soft' }
  return (
    <ul className="divide-y divide-line">
      {lint.map((l, i) => {
        const [, card, factor, metric] = /^(?:factor|metric) ([^.]+)\.([^.]+)(?:\.([^.]+))?$/.exec(l.object) ?? []
        return (
          <li key={i} className="flex flex-wrap items-baseline gap-x-3 gap-y-1 py-2">
            <span className={`rounded-full px-2 py-0.5 text-xs font-medium ${tone[l.severity as keyof typeof tone] ?? tone.notice}`}>{l.severity}</span>
            {factor ? <button type="button" className="link" onClick={() => set({ card, factor, metric })}>{nameOf(metric ?? factor)}</button> : <span className="font-medium">{l.object}</span>}
            <span className="grow">{l.message}</span>
            {l.hint && <span className="text-soft">{l.hint}</span>}
          </li>
        )
      })}
    </ul>
  )
}

/** Somebody else has saved the draft meanwhile. */
function Conflict({ mine, theirs, busy, onClose, takeMine, takeTheirs }: { mine: { document: ScorecardDocument; base: Draft }; theirs: Draft; busy: boolean; onClose: () => void; takeMine: () => void; takeTheirs: () => void }) {
  const [open, setOpen] = useState(false)
  const list = useMemo<Difference[]>(() => differences(mine.document, theirs.document), [mine, theirs])
  return (
    <Dialog title="Somebody else has changed the draft" onClose={onClose} wide={open}>
      <p>While you were editing, another administrator saved the draft. Yours and theirs differ in {count(list.length, 'place')}.</p>
      {open && (
        <div className="my-3 max-h-80 overflow-auto rounded-lg border border-line" tabIndex={0} role="group" aria-label="Differences">
          <table className="w-full"><thead><tr className="bg-raised text-left text-xs text-soft"><th scope="col" className="px-3 py-1.5 font-medium">What</th><th scope="col" className="px-3 py-1.5 font-medium">Before</th><th scope="col" className="px-3 py-1.5 font-medium">Mine</th><th scope="col" className="px-3 py-1.5 font-medium">Theirs</th></tr></thead>
            <tbody>{list.map((d) => { const before = at(mine.base.document, d.what); return <tr key={d.what} className="border-t border-line"><th scope="row" className="px-3 py-1.5 text-left font-normal">{pathOf(d.what)}</th><td className="px-3 py-1.5 text-soft">{show(before)}</td><td className={`px-3 py-1.5 ${show(before) !== show(d.mine) ? 'font-semibold' : 'text-soft'}`}>{show(d.mine)}</td><td className={`px-3 py-1.5 ${show(before) !== show(d.theirs) ? 'font-semibold' : 'text-soft'}`}>{show(d.theirs)}</td></tr> })}</tbody></table>
        </div>
      )}
      <div className="mt-4 flex flex-wrap justify-end gap-2">
        {!open && <button type="button" className="button mr-auto" onClick={() => setOpen(true)}>Show differences</button>}
        <button type="button" className="button" disabled={busy} onClick={takeTheirs}>Take theirs</button>
        <button type="button" className="button primary" disabled={busy} onClick={takeMine}>Take mine</button>
      </div>
    </Dialog>
  )
}

/** What stands at a path of differences(). */
function at(document: unknown, path: string): unknown {
  return path.split('.').reduce<unknown>((value, key) => Array.isArray(value) ? value.find((one) => [one?.metric, one?.factor, one?.recommendation].includes(key)) : (value as Record<string, unknown> | undefined)?.[key], document)
}

function Publish({ document, save, onClose, onDone }: { document: ScorecardDocument; save: () => Promise<string | null>; onClose: () => void; onDone: (version: number) => void }) {
  const [note, setNote] = useState('')
  const [problem, setProblem] = useState<unknown>(null)
  const [busy, setBusy] = useState(false)
  const all = useQuery({ queryKey: ['draft', 'simulation', 'all', document], retry: false, staleTime: 60_000, queryFn: async ({ signal }) => (await send<Simulation>('/scorecard/simulations', { method: 'POST', body: { document }, signal })).body })
  const worse = all.data?.movements.filter((m) => m.to_status === 'critical' && m.from_status !== 'critical').reduce((sum, m) => sum + m.customers, 0) ?? 0
  async function publish() {
    setBusy(true)
    setProblem(null)
    const hash = await save()
    if (hash === null) { setBusy(false); onClose(); return }
    try {
      onDone((await post<{ version: number }>('/scorecard/versions', { note, expected: hash })).version)
    } catch (error) {
      setProblem(error)
      setBusy(false)
    }
  }
  return (
    <Dialog title="Publish the draft" onClose={onClose}>
      <form onSubmit={(event) => { event.preventDefault(); void publish() }} className="space-y-4">
        <div className="rounded-lg bg-raised p-3" role="status">
          {all.isError ? <ProblemNote error={all.error} what="Could not simulate everybody" retry={() => void all.refetch()} compact />
            : !all.data ? <p className="text-soft">Simulating every customer…</p>
            : <p>Of {count(all.data.customers, 'customer')}, <b className="font-semibold">{count(all.data.changed_status, 'changes', 'change')} status</b>{worse > 0 && <>, <b className="font-semibold text-critical">{count(worse, 'becomes', 'become')} critical</b></>}. The average score {all.data.live_average !== null && all.data.draft_average !== null ? `moves by ${signed(all.data.draft_average - all.data.live_average)} points` : 'is unknown'}.</p>}
        </div>
        <label className="block space-y-1"><span className="label">Why (everybody sees this)</span><textarea required autoFocus rows={3} className="field w-full" value={note} onChange={(event) => setNote(event.target.value)} placeholder="Fewer calls are expected of small companies" /></label>
        {problem !== null && <div className="rounded-lg bg-critical-soft"><ProblemNote error={problem} compact /></div>}
        <div className="flex justify-end gap-2"><button type="button" className="button" onClick={onClose}>Cancel</button><button type="submit" className="button primary" disabled={busy || !note.trim()}>Publish</button></div>
      </form>
    </Dialog>
  )
}

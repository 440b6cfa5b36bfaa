import { keepPreviousData, useQuery, useQueryClient } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useState, type ReactNode } from 'react'
import { get, post, send } from '../api/client'
import { useMe } from '../api/queries'
import type { Operations } from '../api/types'
import { Card } from '../components/card'
import { Dialog } from '../components/dialog'
import { Age, Forbidden, Loading, ProblemNote, useNow } from '../components/states'
import { ago, compact, count, duration, moment, nameOf, num } from '../words'

export function OperationsPage() {
  const me = useMe()
  return me.may.includes('operate') ? <Watch /> : <Forbidden may="operate" role={me.role} />
}

/** Something that an operator does; the page is asked again when it is done. */
function useAct() {
  const client = useQueryClient()
  const [problem, setProblem] = useState<unknown>(null)
  const [said, say] = useState('')
  async function act(word: string, action: () => Promise<unknown>) {
    setProblem(null)
    try {
      await action()
      say(word)
    } catch (error) {
      setProblem(error)
    }
    await client.invalidateQueries({ queryKey: ['operations'] })
  }
  return { act, problem, said }
}

function Watch() {
  const operations = useQuery({
    queryKey: ['operations'], placeholderData: keepPreviousData, refetchInterval: 5000,
    queryFn: ({ signal }) => get<Operations>('/operations', undefined, signal),
  })
  const { act, problem, said } = useAct()
  const [pausing, setPausing] = useState(false)
  const now = useNow(5000)
  const o = operations.data
  if (!o) return operations.isError ? <div className="card"><ProblemNote error={operations.error} retry={() => void operations.refetch()} page /></div> : <div className="grid gap-4 lg:grid-cols-4"><Loading className="h-28" what="Asking the workers" /><Loading className="h-28" /><Loading className="h-28" /><Loading className="h-28" /><Loading className="h-72 lg:col-span-4" /></div>
  const q = o.queue
  const lag = q.lag_seconds ?? 0
  const running = o.jobs.filter((j) => j.finished_at === null)
  return (
    <div className="space-y-4">
      <div className="flex flex-wrap items-end justify-between gap-3">
        <div>
          <h1 className="text-2xl font-semibold tracking-tight">Operations</h1>
          <p role="status" className="text-soft">{q.paused ? 'The workers are paused; readers stay exact.' : o.failures.length ? `${count(o.failures.length, 'customer')} could not be scored.` : lag > 60 ? 'Scores lag behind the events.' : 'All is well.'} <span className="sr-only">{said}</span> <Age at={new Date(operations.dataUpdatedAt).toISOString()} stale={operations.isError} /></p>
        </div>
        {q.paused
          ? <button type="button" className="button primary" onClick={() => void act('The workers go on.', () => send('/operations/pause', { method: 'DELETE' }))}>Let the workers go on</button>
          : <button type="button" className="button" onClick={() => setPausing(true)}>Pause the workers…</button>}
      </div>
      {problem !== null && <div className="card"><ProblemNote error={problem} compact /></div>}
      {q.paused && <p className="rounded-xl bg-at_risk-soft px-4 py-2.5 text-at_risk">Paused{q.paused_at && ` ${ago(q.paused_at, now)}`}{q.paused_by && ` by ${q.paused_by}`}{q.pause_reason && `: ${q.pause_reason}`}</p>}
      <dl className="grid grid-cols-2 gap-3 lg:grid-cols-4">
        <Figure label="Lag" value={duration(lag)} note={lag > 60 ? 'stored scores are behind the events' : 'stored scores keep up with the events'} bad={lag > 60} />
        <Figure label="In the queue" value={`${q.is_estimate ? '≈ ' : ''}${num(q.depth)}`} note={q.oldest_at ? `oldest ${ago(q.oldest_at, now)}` : `${compact(q.total_bytes / 1024)} kB, nothing waits`} />
        <Figure label="Failing" value={num(q.failing)} note={q.failing ? 'tried again by themselves' : 'every score could be stored'} bad={q.failing > 0} />
        <Figure label="Rejected rows" value={num(o.sources.reduce((sum, s) => sum + (s.rejected ?? 0), 0))} note="of attached tables, all kept with their reason" bad={o.sources.some((s) => (s.rejected ?? 0) > 0)} />
      </dl>
      <Card title="Workers" pad={false}>
        <Table caption="Workers" head={['Worker', 'State', 'Last batch', 'Customers a second', 'Last error']} empty="No worker is registered for this database. Is chs in shared_preload_libraries?"
          rows={o.workers.map((w) => [num(w.worker), <span key="s" className="inline-flex items-center gap-2"><span aria-hidden className={`size-2 shrink-0 rounded-full ${w.state === 'away' || w.state === 'idle' || w.state === 'working' ? 'bg-healthy' : 'bg-at_risk'}`} />{w.state === 'away' ? 'away, comes when needed' : w.state}{w.pid ? <span className="text-soft">pid {w.pid}</span> : null}</span>, w.last_batch_at ? `${num(w.last_batch_customers ?? 0)} customers, ${ago(w.last_batch_at, now)}` : '–', w.customers_per_second ? num(w.customers_per_second) : '–', w.last_error ? <span key="e" className="text-critical">{w.last_error}{w.last_error_at && `, ${ago(w.last_error_at, now)}`}</span> : 'none'])} />
      </Card>
      <Card title="Long jobs" aside={running.length ? <span className="text-[13px]">{running.length} running</span> : undefined}>
        {o.jobs.length === 0 ? <p className="py-2 text-soft">None has run.</p> : (
          <ul className="divide-y divide-line">
            {o.jobs.map((j) => (
              <li key={j.job + j.started_at} className="grid grid-cols-[minmax(90px,140px)_1fr_auto] items-center gap-x-4 gap-y-1 py-2.5 max-sm:grid-cols-[1fr_auto]">
                <span className="font-medium">{nameOf(j.job)}</span>
                <span className="max-sm:order-last max-sm:col-span-2"><progress className="job h-2 w-full overflow-hidden rounded-full" max={100} value={j.percent ?? 0} aria-label={`${nameOf(j.job)}: ${num(j.percent ?? 0)} %`} /></span>
                <span className="text-[13px] text-soft">{num(j.done)} of {num(j.total)}{j.finished_at ? `, finished ${ago(j.finished_at, now)}` : j.estimated_end ? `, ends about ${moment(j.estimated_end)}` : `, ${j.state}`}{j.rate ? ` (${compact(j.rate)}/s)` : ''}</span>
              </li>
            ))}
          </ul>
        )}
      </Card>
      <Card title="Customers that could not be scored" pad={false}>
        <Table caption="Failures" head={['Customer', 'Why', 'Attempts', 'Next', '']} empty="None. If a plug-in fails or a definition is broken, the customer concerned stands here, and nobody else is held up."
          rows={o.failures.map((f) => [<Link key="l" to="/customers/$customerId" params={{ customerId: String(f.customer_id) }} search={{}} className="link">{f.name ?? f.customer_id}</Link>, <span key="w"><code>{f.sqlstate}</code> {f.message}{f.detail && <span className="block text-soft">{f.detail}</span>}</span>, num(f.attempts), moment(f.next_attempt),
            <span key="b" className="flex justify-end gap-2"><button type="button" className="button" onClick={() => void act(`${f.name} is tried again.`, () => post(`/customers/${f.customer_id}/refresh`))}>Try again</button><button type="button" className="button" onClick={() => void act(`${f.name} is rebuilt.`, () => post(`/customers/${f.customer_id}/rebuild`))}>Rebuild</button></span>])} />
      </Card>
      <Card title="Attached tables" pad={false}>
        <Table caption="Sources" head={['Table', 'Kind', 'Rejected', 'Problem', '']} empty="None is attached: events come into chs.customer_events."
          rows={o.sources.map((s) => [<code key="r">{s.relation}</code>, s.kind, num(s.rejected ?? 0), s.problem ? <span key="p" className="text-critical">{s.problem}</span> : 'none', (s.rejected ?? 0) > 0 ? <button key="b" type="button" className="button" onClick={() => void act('The rows were looked at again.', () => post('/operations/rejected/retry', { source_id: s.source_id }))}>Look again</button> : ''])} />
      </Card>
      {o.rejected.length > 0 && (
        <Card title="Rejected rows" aside={<span className="text-[13px]">the latest</span>} pad={false}>
          <Table caption="Rejected rows" head={['Table', 'Customer', 'Why', 'When']} empty=""
            rows={o.rejected.map((r) => [<code key="r">{r.relation}</code>, r.customer_key ?? '–', <details key="d"><summary className="w-fit">{r.reason}</summary><pre className="mt-1 max-w-xl overflow-x-auto rounded-lg bg-raised p-2 text-[12px]" tabIndex={0}>{JSON.stringify(r.event_row, null, 1)}</pre></details>, moment(r.rejected_at)])} />
        </Card>
      )}
      <Card title="What is kept" pad={false}>
        <Table caption="Retention" head={['What', 'How long', 'Kept from', 'Deleted so far', 'Warning']} empty=""
          rows={o.retention.map((r) => [nameOf(r.kind), r.setting ?? 'for ever', r.kept_from ?? 'the beginning', num(r.deleted ?? 0), r.warning ?? 'none'])} />
      </Card>
      {pausing && <Pause onClose={() => setPausing(false)} onPause={(reason) => { setPausing(false); void act('The workers are paused.', () => post('/operations/pause', { reason })) }} />}
    </div>
  )
}

function Figure({ label, value, note, bad }: { label: string; value: string; note: string; bad?: boolean }) {
  return (
    <div className="card px-4 py-3">
      <dt className="label">{label}</dt>
      <dd><span className={`text-2xl font-semibold ${bad ? 'text-at_risk' : ''}`}>{bad && <span aria-hidden className="mr-1.5 text-base">▲</span>}{value}</span><span className="block text-[13px] text-soft">{note}</span></dd>
    </div>
  )
}

function Table({ caption, head, rows, empty }: { caption: string; head: string[]; rows: ReactNode[][]; empty: string }) {
  if (!rows.length) return <p className="px-5 pb-4 text-soft">{empty}</p>
  return (
    <div className="relative overflow-x-auto" tabIndex={0} role="group" aria-label={caption}>
      <table className="w-full min-w-[640px]">
        <caption className="sr-only">{caption}</caption>
        <thead><tr className="text-left text-xs text-soft">{head.map((h, i) => <th key={i} scope="col" className="px-5 py-1.5 font-medium whitespace-nowrap">{h || <span className="sr-only">Actions</span>}</th>)}</tr></thead>
        <tbody>{rows.map((row, r) => <tr key={r} className="border-t border-line align-top">{row.map((cell, i) => <td key={i} className="px-5 py-2.5">{cell}</td>)}</tr>)}</tbody>
      </table>
    </div>
  )
}

function Pause({ onClose, onPause }: { onClose: () => void; onPause: (reason: string) => void }) {
  const [reason, setReason] = useState('')
  return (
    <Dialog title="Pause the workers" onClose={onClose}>
      <form className="space-y-4" onSubmit={(event) => { event.preventDefault(); onPause(reason.trim()) }}>
        <p>Events are still recorded, and scores that are asked for stay exact. What is stored for lists falls behind until the workers go on, even across restarts.</p>
        <label className="block space-y-1"><span className="label">Why (everybody sees this)</span><input required autoFocus className="field w-full" value={reason} onChange={(event) => setReason(event.target.value)} /></label>
        <div className="flex justify-end gap-2"><button type="button" className="button" onClick={onClose}>Cancel</button><button type="submit" className="button primary" disabled={!reason.trim()}>Pause</button></div>
      </form>
    </Dialog>
  )
}

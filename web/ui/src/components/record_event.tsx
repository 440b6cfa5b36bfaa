import { useQuery, useQueryClient } from '@tanstack/react-query'
import { useId, useRef, useState, type FormEvent } from 'react'
import { get, post } from '../api/client'
import type { CustomerWhole, EventType, Health } from '../api/types'
import { nameOf, num } from '../words'
import { Dialog } from './dialog'
import { Loading, ProblemNote } from './states'
import { Delta, StatusBadge } from './status'

/** A form made from the rules of the event types; the score that the event makes shows at once. */
export function RecordEvent({ id, h, onClose }: { id: string; h: Health; onClose: () => void }) {
  const client = useQueryClient()
  const form = useId()
  const types = useQuery({ queryKey: ['event-types'], staleTime: 300_000, queryFn: async ({ signal }) => (await get<{ event_types: EventType[] }>('/event-types', undefined, signal)).event_types })
  const [type, setType] = useState('')
  const [more, setMore] = useState<{ name: string; value: string }[]>([])
  const [busy, setBusy] = useState(false)
  const [problem, setProblem] = useState<unknown>(null)
  const [done, setDone] = useState<{ before: Health; after: Health } | null>(null)
  // The same key until the event is recorded, so that trying again cannot record it twice.
  const key = useRef(crypto.randomUUID())
  const chosen = types.data?.find((t) => t.event_type === type) ?? types.data?.[0]
  const fields = chosen ? [...new Set([...chosen.required, ...chosen.positive])] : []

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault()
    const entries = new FormData(event.currentTarget)
    const data: Record<string, unknown> = {}
    for (const name of fields) {
      const value = String(entries.get(`field ${name}`) ?? '')
      if (value !== '') data[name] = chosen!.positive.includes(name) ? Number(value) : valueOf(value)
    }
    for (const { name, value } of more) if (name.trim() && value !== '') data[name.trim()] = valueOf(value)
    const at = String(entries.get('occurred_at') ?? '')
    setBusy(true)
    setProblem(null)
    try {
      await post(`/customers/${id}/events`, { event_type: chosen!.event_type, event_data: data, ...(at && { occurred_at: new Date(at).toISOString() }) }, { 'idempotency-key': key.current })
      const after = (await get<CustomerWhole>(`/customers/${id}`, { entries: 1, days: 1 })).health
      key.current = crypto.randomUUID()
      setDone({ before: done?.after ?? h, after })
      void client.invalidateQueries({ queryKey: ['customer', id] })
    } catch (error) {
      setProblem(error)
    } finally {
      setBusy(false)
    }
  }
  return (
    <Dialog title="Record an event" onClose={onClose}>
      {types.isError ? <ProblemNote error={types.error} retry={() => void types.refetch()} compact />
        : !chosen ? <Loading className="h-40" />
        : (
          <form id={form} onSubmit={submit} className="space-y-3">
            <label className="block space-y-1"><span className="label">What happened</span>
              <select className="field w-full" value={chosen.event_type} onChange={(event) => { setType(event.target.value); setProblem(null) }}>
                {types.data!.map((t) => <option key={t.event_type} value={t.event_type}>{nameOf(t.event_type)}{t.description ? ` – ${t.description}` : ''}</option>)}
              </select>
            </label>
            {fields.map((name) => (
              <label key={chosen.event_type + name} className="block space-y-1"><span className="label">{nameOf(name)}</span>
                <input name={`field ${name}`} required className="field w-full" {...(chosen.positive.includes(name) ? { type: 'number', min: 0, step: 'any', inputMode: 'decimal' as const } : { type: 'text' })} />
              </label>
            ))}
            <label className="block space-y-1"><span className="label">When (empty: now)</span><input type="datetime-local" name="occurred_at" className="field w-full" /></label>
            {more.map((one, i) => (
              <div key={i} className="flex gap-2">
                <input aria-label={`Name of detail ${i + 1}`} placeholder="name" className="field w-2/5" value={one.name} onChange={(event) => setMore(more.map((m, k) => (k === i ? { ...m, name: event.target.value } : m)))} />
                <input aria-label={`Value of detail ${i + 1}`} placeholder="value" className="field grow" value={one.value} onChange={(event) => setMore(more.map((m, k) => (k === i ? { ...m, value: event.target.value } : m)))} />
                <button type="button" className="button quiet" aria-label={`Remove detail ${i + 1}`} onClick={() => setMore(more.filter((_, k) => k !== i))}>×</button>
              </div>
            ))}
            <button type="button" className="link text-[13px]" onClick={() => setMore([...more, { name: '', value: '' }])}>Add a detail</button>
            {problem !== null && <div className="rounded-lg bg-critical-soft"><ProblemNote error={problem} compact /></div>}
            {done && (
              <p role="status" className="flex flex-wrap items-center gap-x-3 gap-y-1 rounded-lg bg-healthy-soft px-4 py-3">
                <span>Recorded. The score is <b className="font-semibold">{done.after.score === null ? 'still unknown' : num(done.after.score, 2)}</b></span>
                {done.after.score !== null && done.before.score !== null && <Delta value={done.after.score - done.before.score} decimals={2} />}
                <StatusBadge status={done.after.status} />
              </p>
            )}
            <div className="flex justify-end gap-2 pt-1">
              <button type="button" className="button" onClick={onClose}>{done ? 'Close' : 'Cancel'}</button>
              <button type="submit" className="button primary" disabled={busy}>{done ? 'Record another' : 'Record'}</button>
            </div>
          </form>
        )}
    </Dialog>
  )
}

/** What somebody typed: a number, true, false or null if it looks like one, else text. */
function valueOf(text: string): unknown {
  if (/^-?\d{1,15}(\.\d+)?$/.test(text)) return Number(text)
  return text === 'true' ? true : text === 'false' ? false : text
}

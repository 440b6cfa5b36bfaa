import { useInfiniteQuery, useQueryClient } from '@tanstack/react-query'
import { useState, type FormEvent } from 'react'
import { get, post, send } from '../api/client'
import type { Timeline as Entries, TimelineEntry } from '../api/types'
import { dayYear, num, statusWord } from '../words'
import { Card } from './card'
import { ProblemNote } from './states'
import { StatusShape } from './status'

/** What happened to a customer: changes of status and of the rules, and notes, which one may add here. */
export function Timeline({ id, first }: { id: string; first: Entries }) {
  const client = useQueryClient()
  const [note, setNote] = useState('')
  const [problem, setProblem] = useState<unknown>(null)
  const more = useInfiniteQuery({
    queryKey: ['customer', id, 'timeline', first.next], enabled: false, initialPageParam: first.next,
    queryFn: ({ pageParam, signal }) => get<Entries>(`/customers/${id}/timeline`, { after: pageParam, limit: 50 }, signal),
    getNextPageParam: (last: Entries) => last.next,
  })
  const entries = [...first.entries, ...(more.data?.pages.flatMap((page) => page.entries) ?? [])]
  const further = more.data ? more.hasNextPage : first.next !== null
  async function change(action: () => Promise<unknown>) {
    setProblem(null)
    try {
      await action()
      setNote('')
      await client.invalidateQueries({ queryKey: ['customer', id] })
    } catch (error) {
      setProblem(error)
    }
  }
  return (
    <Card title="Timeline">
      <form className="screen-only mb-2 flex gap-2" onSubmit={(event: FormEvent) => { event.preventDefault(); void change(() => post(`/customers/${id}/notes`, { note: note.trim() })) }}>
        <input className="field min-w-0 grow" aria-label="Note" placeholder="Write a note" value={note} maxLength={10000} onChange={(event) => setNote(event.target.value)} />
        <button type="submit" className="button" disabled={!note.trim()}>Add</button>
      </form>
      {problem !== null && <ProblemNote error={problem} compact />}
      {entries.length === 0 ? <p className="py-4 text-soft">Nothing yet.</p> : (
        <ol className="max-h-96 overflow-auto" tabIndex={0} aria-label="What happened">
          {entries.map((entry) => <li key={entry.kind + entry.at + ('note_id' in entry ? entry.note_id : '')} className="grid grid-cols-[18px_1fr_auto] items-baseline gap-2 border-b border-line py-2 last:border-0"><Entry entry={entry} drop={(note_id) => void change(() => send(`/customers/${id}/notes/${note_id}`, { method: 'DELETE' }))} /></li>)}
        </ol>
      )}
      {more.isError && <ProblemNote error={more.error} compact />}
      {further && <button type="button" className="button mt-2" onClick={() => void (more.data ? more.fetchNextPage() : more.refetch())}>Earlier</button>}
    </Card>
  )
}

function Entry({ entry: e, drop }: { entry: TimelineEntry; drop: (note_id: number) => void }) {
  return (
    <>
      {e.kind === 'status' ? <span className="self-center"><StatusShape status={e.status} /></span> : <span aria-hidden className="text-soft">{e.kind === 'rules' ? '§' : '✎'}</span>}
      <span className="min-w-0 [overflow-wrap:anywhere] whitespace-pre-line">
        {e.kind === 'status' ? <>{statusWord(e.status)}{e.previous_status && <span className="text-soft">, was {statusWord(e.previous_status).toLowerCase()}</span>}{e.score !== null && <span className="text-soft"> ({num(e.score, 1)})</span>}</>
          : e.kind === 'rules' ? <>Version {e.version} of the rules <span className="text-soft">instead of {e.previous_version}</span></>
          : <>{e.note} <span className="text-soft">({e.actor}){e.own && <> · <button type="button" className="link" onClick={() => drop(e.note_id)}>delete<span className="sr-only"> the note</span></button></>}</span></>}
      </span>
      <time dateTime={e.at} className="text-[13px] whitespace-nowrap text-soft">{dayYear(e.at)}</time>
    </>
  )
}

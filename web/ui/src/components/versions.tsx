import { useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { get, post } from '../api/client'
import type { Version } from '../api/types'
import { count, moment } from '../words'
import { Dialog } from './dialog'
import { show } from './diff'
import { Loading, ProblemNote } from './states'

/** Every published version: when, by whom, why, what changed; and the way back. */
export function Versions({ dirty, hash, onRollback }: { dirty: boolean; hash: string; onRollback: () => void }) {
  const client = useQueryClient()
  const versions = useQuery({ queryKey: ['versions'], queryFn: async ({ signal }) => (await get<{ versions: Version[] }>('/scorecard/versions', undefined, signal)).versions })
  const [back, setBack] = useState<Version | null>(null)
  const [note, setNote] = useState('')
  const [busy, setBusy] = useState(false)
  const [problem, setProblem] = useState<unknown>(null)
  if (versions.isError) return <ProblemNote error={versions.error} retry={() => void versions.refetch()} compact />
  if (!versions.data) return <Loading className="h-40" what="Loading the versions" />
  async function rollback(version: number) {
    setBusy(true)
    try {
      await post(`/scorecard/versions/${version}/rollback`, { ...(note.trim() && { note: note.trim() }), ...(dirty && { discard: true }) }, { 'if-match': `"${hash}"` })
      setBack(null)
      setNote('')
      onRollback()
      await client.invalidateQueries({ queryKey: ['versions'] })
    } catch (error) {
      setProblem(error)
    } finally {
      setBusy(false)
    }
  }
  const live = versions.data.find((v) => v.live)?.version
  return (
    <>
      <ol className="divide-y divide-line">
        {versions.data.map((v) => (
          <li key={v.version} className="grid grid-cols-[auto_1fr_auto] gap-x-4 gap-y-1 py-3">
            <span className="font-semibold">{v.version}</span>
            <span className="min-w-0">
              <span className="block [overflow-wrap:anywhere]">{v.note ?? <span className="text-soft">no note</span>} {v.version === live ? <span className="ml-1 rounded-full bg-healthy-soft px-2 py-0.5 text-xs font-medium text-healthy">live</span> : !v.live_at && <span className="ml-1 rounded-full bg-at_risk-soft px-2 py-0.5 text-xs font-medium text-at_risk">being counted</span>}</span>
              <span className="text-[13px] text-soft">{v.actor ?? v.published_by}, {moment(v.published_at)}</span>
              {v.changes.length > 0 && (
                <details className="text-[13px]"><summary className="w-fit text-soft hover:text-ink">{count(v.changes.length, 'change')}</summary>
                  <ul className="reveal mt-1 space-y-0.5">{v.changes.map((c, i) => { const { what, old_value, new_value } = c as { what?: string; old_value?: unknown; new_value?: unknown }; return <li key={i} className="[overflow-wrap:anywhere]">{String(what ?? '').replaceAll('_', ' ').replaceAll('.', ' / ')}: <span className="text-soft line-through decoration-critical">{show(old_value)}</span> {show(new_value)}</li> })}</ul>
                </details>
              )}
            </span>
            {v.version !== live && v.live_at && <button type="button" className="button self-start" onClick={() => { setBack(v); setProblem(null) }}>Go back to it</button>}
          </li>
        ))}
      </ol>
      {back && (
        <Dialog title={`Go back to version ${back.version}`} onClose={() => setBack(null)}>
          <form className="space-y-4" onSubmit={(event) => { event.preventDefault(); void rollback(back.version) }}>
            <p>The rules of version {back.version} are published again, as a new version, and every customer is scored by them.</p>
            {dirty && <p className="rounded-lg bg-at_risk-soft px-3 py-2 text-at_risk">What is unpublished in the draft will be lost.</p>}
            <label className="block space-y-1"><span className="label">Why</span><input className="field w-full" value={note} onChange={(event) => setNote(event.target.value)} /></label>
            {problem !== null && <ProblemNote error={problem} compact />}
            <div className="flex justify-end gap-2"><button type="button" className="button" onClick={() => setBack(null)}>Cancel</button><button type="submit" className="button primary" disabled={busy}>Go back</button></div>
          </form>
        </Dialog>
      )}
    </>
  )
}

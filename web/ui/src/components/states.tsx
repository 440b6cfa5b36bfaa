import { useEffect, useState, type ReactNode } from 'react'
import { Problem, type ProblemDocument } from '../api/client'
import type { May } from '../api/types'
import { ago, moment } from '../words'

// The states that every part of a page can be in, besides having something to show.

export function Skeleton({ className = 'h-4 w-full' }: { className?: string }) {
  return <div className={`skeleton ${className}`} aria-hidden />
}

/** Room of the final size while an answer is on its way. */
export function Loading({ className = 'h-48', what = 'Loading' }: { className?: string; what?: string }) {
  return <div role="status" className={className}><span className="sr-only">{what}…</span><Skeleton className="h-full w-full" /></div>
}

/** What each word of chs_grant allows. */
const MAY: Record<May, string> = {
  read: 'see customers and their scores', record: 'record events', administer: 'change scorecards', operate: 'see and run operations', maintain: 'add and change customers',
}

/** A part that the role may not see or do: says what is missing, and who can give it. */
export function Forbidden({ may, role }: { may: May; role: string }) {
  return (
    <Note icon="lock" title={`The role ${role} may not ${MAY[may]}`} page>
      <p>An administrator of the database can allow it:</p>
      <p><code className="rounded bg-raised px-2 py-1 select-all">SELECT chs_grant('{role}', '{may}')</code></p>
    </Note>
  )
}

/** What is wrong, in the words of the database, and what can be done. */
export function ProblemNote({ error, retry, compact, page, what }: { error: unknown; retry?: () => void; compact?: boolean; page?: boolean; what?: string }) {
  const p: ProblemDocument = error instanceof Problem ? error.document : { status: 0, title: error instanceof Error ? error.message : String(error) }
  return (
    <Note icon={p.status === 403 ? 'lock' : 'alert'} title={what ?? p.detail ?? p.title} alert compact={compact} page={page}>
      {(what || !p.detail) && <p>{what ? (p.detail ?? p.title) : null}</p>}
      {p.errors?.map((one) => <p key={one.pointer}><code>{one.pointer}</code> {one.detail}</p>)}
      {p.may && <p>It takes the function <code className="rounded bg-raised px-1.5">{p.may}</code> of chs_grant, to {MAY[p.may]}.</p>}
      {p.hint && <p className="text-soft">{p.hint}</p>}
      {p.instance && <p className="text-soft">Request <code className="select-all">{p.instance}</code>{p.code && `, SQLSTATE ${p.code}`}</p>}
      {retry && <button type="button" className="button mt-2" onClick={retry}>Try again</button>}
    </Note>
  )
}

/** page: there is nothing else, so this is the page's heading; compact: inside a part that has a heading. */
export function Note({ icon, title, children, alert, compact, page }: { icon: 'lock' | 'alert' | 'empty' | 'search'; title: string; children?: ReactNode; alert?: boolean; compact?: boolean; page?: boolean }) {
  const Heading = page ? 'h1' : compact ? 'h3' : 'h2'
  const paths = {
    lock: 'M6 11V8a6 6 0 0 1 12 0v3M5 11h14v9H5zM12 15v2',
    alert: 'M12 4 2.5 20h19ZM12 10v5M12 17.5v.5',
    empty: 'M4 7h16v12H4zM4 12h5l1.5 2h3L15 12h5M8 7V4h8v3',
    search: 'M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13ZM20 20l-4.8-4.8',
  }
  return (
    <div role={alert ? 'alert' : undefined} className={`flex gap-4 ${compact ? 'p-3' : 'mx-auto max-w-xl p-6 md:p-10'}`}>
      <svg width="28" height="28" viewBox="0 0 24 24" fill="none" stroke="currentColor" strokeWidth="1.5" aria-hidden className={`mt-0.5 shrink-0 ${alert ? 'text-critical' : 'text-soft'}`}><path d={paths[icon]} /></svg>
      <div className="min-w-0 space-y-1.5 [overflow-wrap:anywhere]">
        <Heading className="text-base font-semibold">{title}</Heading>
        {children}
      </div>
    </div>
  )
}

/** Moves on by itself, so that ages on the screen stay true. */
export function useNow(every = 15000) {
  const [now, setNow] = useState(Date.now)
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), every)
    return () => clearInterval(timer)
  }, [every])
  return now
}

/** How old something is; amber when it is older than it should be. */
export function Age({ at, stale, prefix = 'as of' }: { at: string; stale?: boolean; prefix?: string }) {
  const now = useNow()
  return (
    <time dateTime={at} title={moment(at)} className={stale ? 'rounded-full bg-at_risk-soft px-2 py-0.5 text-at_risk' : 'text-soft'}>
      {stale ? `${prefix} ${moment(at)}` : `${prefix} ${ago(at, now)}`}
    </time>
  )
}

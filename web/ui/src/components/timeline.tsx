import { useQuery } from '@tanstack/react-query'
import { get } from '../api/client'
import { count, dayYear, num, statusWord } from '../words'
import { Card } from './card'
import { Loading, ProblemNote } from './states'
import { StatusShape } from './status'

interface Entry { at: string; kind: 'status' | 'version' | 'note'; status?: string | null; previous_status?: string | null; score?: number | null; version?: number | null; note?: string | null; by?: string | null }

/** What happened to a customer: changes of status, of the rules, and notes. */
export function Timeline({ id }: { id: string }) {
  const timeline = useQuery({
    queryKey: ['customer', id, 'timeline'],
    queryFn: async ({ signal }) => (await get<{ timeline: Entry[] | null }>(`/customers/${id}/timeline`, undefined, signal)).timeline ?? [],
  })
  return (
    <Card title="Timeline" aside={timeline.data && <span className="text-[13px]">{count(timeline.data.length, 'entry', 'entries')}</span>}>
      {timeline.isError ? <ProblemNote error={timeline.error} retry={() => void timeline.refetch()} compact />
        : !timeline.data ? <Loading className="h-40" />
        : !timeline.data.length ? <p className="py-4 text-soft">Nothing yet.</p>
        : (
          <ol className="max-h-80 overflow-auto" tabIndex={0} aria-label="Entries">
            {timeline.data.map((e, i) => (
              <li key={i} className="grid grid-cols-[18px_1fr_auto] items-baseline gap-2 border-b border-line py-2 last:border-0">
                {e.kind === 'status' ? <span className="self-center"><StatusShape status={e.status!} /></span> : <span aria-hidden className="text-soft">{e.kind === 'version' ? '§' : '✎'}</span>}
                <span className="min-w-0 [overflow-wrap:anywhere]">
                  {e.kind === 'status' ? <>{statusWord(e.status!)}{e.previous_status && <span className="text-soft">, was {statusWord(e.previous_status).toLowerCase()}</span>}{e.score != null && <span className="text-soft"> ({num(e.score, 1)})</span>}</>
                    : e.kind === 'version' ? <>Version {e.version} of the rules{e.note && <span className="text-soft">: {e.note}</span>}</>
                    : <>{e.note}{e.by && <span className="text-soft"> ({e.by})</span>}</>}
                </span>
                <time dateTime={e.at} className="text-[13px] whitespace-nowrap text-soft">{dayYear(e.at)}</time>
              </li>
            ))}
          </ol>
        )}
    </Card>
  )
}

import { useQuery, useQueryClient } from '@tanstack/react-query'
import { useRouter, useRouterState } from '@tanstack/react-router'
import { useState, type FormEvent } from 'react'
import { get, send } from '../api/client'
import type { SavedView } from '../api/types'

/** Addresses with a name: filters that one comes back to. They belong to the person. */
export function SavedViews() {
  const client = useQueryClient()
  const router = useRouter()
  const query = useRouterState({ select: (s) => s.location.searchStr.replace(/^\?/, '') })
  const views = useQuery({ queryKey: ['views'], queryFn: async ({ signal }) => (await get<{ views: SavedView[] }>('/views', undefined, signal)).views.filter((v) => v.page === '/') })
  const [name, setName] = useState('')
  const close = () => document.getElementById('views')?.hidePopover()
  async function change(method: string, of: string, body?: unknown) {
    await send(`/views/${encodeURIComponent(of)}`, { method, body })
    setName('')
    await client.invalidateQueries({ queryKey: ['views'] })
  }
  const save = (event: FormEvent) => { event.preventDefault(); void change('PUT', name.trim(), { page: '/', query }) }
  return (
    <>
      <button type="button" className="button" popoverTarget="views">Views{views.data?.length ? <span className="text-soft">{views.data.length}</span> : null}</button>
      <div id="views" popover="auto" className="card shadow-float fixed top-32 right-4 left-auto m-0 w-72 p-3 text-ink md:right-16">
        <h2 className="mb-1 font-semibold">Views</h2>
        {views.data?.length === 0 && <p className="mb-2 text-soft">Give these filters a name, to come back to them.</p>}
        <ul className="mb-2">
          {views.data?.map((v) => (
            <li key={v.name} className="flex items-center">
              <a href={`/?${v.query}`} aria-current={v.query === query ? 'page' : undefined} className="grow truncate rounded-md px-2 py-1.5 no-underline hover:bg-raised aria-[current=page]:font-semibold" onClick={(event) => { if (!event.ctrlKey && !event.metaKey) { event.preventDefault(); close(); router.history.push(`/?${v.query}`) } }}>{v.name}</a>
              <button type="button" className="button quiet" aria-label={`Forget the view ${v.name}`} onClick={() => void change('DELETE', v.name)}>×</button>
            </li>
          ))}
        </ul>
        <form className="flex gap-2" onSubmit={save}>
          <input className="field min-w-0 grow" aria-label="Name of the view" placeholder="Name" maxLength={100} value={name} onChange={(event) => setName(event.target.value)} />
          <button type="submit" className="button" disabled={!name.trim()}>Save</button>
        </form>
      </div>
    </>
  )
}

import { keepPreviousData, useInfiniteQuery, useQuery, useQueryClient } from '@tanstack/react-query'
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router'
import { defaultRangeExtractor, useWindowVirtualizer } from '@tanstack/react-virtual'
import { useEffect, useLayoutEffect, useMemo, useRef, useState, useSyncExternalStore, type ReactNode, type RefObject } from 'react'
import { address, get } from '../api/client'
import { isStale, segmentsQuery, statsQuery, useMe, valuesQuery, worth } from '../api/queries'
import { clearChanges, useChanges, useResyncs } from '../api/stream'
import type { CustomerPage, CustomerRow } from '../api/types'
import { SavedViews } from '../components/saved_views'
import { Sparkline } from '../charts/sparkline'
import { typing, useKeys } from '../components/keys'
import { Age, Forbidden, Note, ProblemNote, Skeleton } from '../components/states'
import { Delta, Score, StatusShape } from '../components/status'
import { compact, count, day, daysBetween, nameOf, nameOfCustomer, num, STATUSES, statusWord, today, type Status } from '../words'

const route = getRouteApi('/')
const PAGE = 100

// At most 50 pages are kept, in both directions; where each page begins is remembered, so that dropped ones come back.
interface Place { page: number; after: string | null }

type Filters = ReturnType<typeof route.useSearch>

/** What the API is asked for; by default, who needs help, worst first. */
function asked(search: Filters, actor: string) {
  const status = search.status ?? 'critical,at_risk'
  return {
    ...search, status: status === 'all' ? undefined : status.split(','), segment: search.segment?.split(','),
    owner: search.owner === 'me' ? actor : search.owner, sort: search.sort ?? 'score',
  }
}

const SORTS = [['score', 'Lowest score first'], ['-score', 'Highest score first'], ['change', 'Falling fastest'], ['-change', 'Rising fastest'], ['-value', 'Highest value first'], ['name', 'By name'], ['customer_id', 'By number']] as const

function useWide() {
  return useSyncExternalStore(
    (listener) => { const m = matchMedia('(min-width: 768px)'); m.addEventListener('change', listener); return () => m.removeEventListener('change', listener) },
    () => matchMedia('(min-width: 768px)').matches)
}

export function CustomersPage() {
  const me = useMe()
  return me.may.includes('read') ? <Customers /> : <Forbidden may="read" role={me.role} />
}

function Customers() {
  const search = route.useSearch()
  const navigate = useNavigate()
  const client = useQueryClient()
  const me = useMe()
  const filters = asked(search, me.actor)
  const key = ['customers', filters]
  const starts = useRef(new Map<number, string | null>())
  const name = JSON.stringify(filters)
  const lastName = useRef(name)
  if (lastName.current !== name) { lastName.current = name; starts.current = new Map() }

  const list = useInfiniteQuery({
    queryKey: key,
    initialPageParam: { page: 0, after: null } as Place,
    queryFn: ({ pageParam, signal }) => {
      starts.current.set(pageParam.page, pageParam.after)
      return get<CustomerPage>('/customers', { ...filters, fields: 'sparkline', limit: PAGE, after: pageParam.after }, signal)
    },
    getNextPageParam: (last: CustomerPage, _all, param: Place): Place | undefined => (last.next ? { page: param.page + 1, after: last.next } : undefined),
    getPreviousPageParam: (_first, _all, param: Place): Place | undefined => (param.page > 0 ? { page: param.page - 1, after: starts.current.get(param.page - 1) ?? null } : undefined),
    maxPages: 50,
    staleTime: Infinity,
    placeholderData: keepPreviousData,
  })
  const rows = useMemo(() => list.data?.pages.flatMap((page) => page.customers) ?? [], [list.data])
  const offset = ((list.data?.pageParams[0] as Place | undefined)?.page ?? 0) * PAGE
  const total = list.data?.pages[0]?.total ?? null

  const changes = useChanges()
  const resyncs = useResyncs()
  const [synced, setSynced] = useState(resyncs)
  function show() {
    clearChanges()
    setSynced(resyncs)
    void client.resetQueries({ queryKey: ['customers'] })
    void client.invalidateQueries({ queryKey: ['stats'] })
  }
  // The figures follow by themselves; the rows under the cursor do not move until one asks.
  useEffect(() => { if (changes.length) void client.invalidateQueries({ queryKey: ['stats'] }) }, [changes, client])

  const [marked, setMarked] = useState<Map<number, CustomerRow>>(new Map())
  const [current, setCurrent] = useState(0)
  const [announcement, announce] = useState('')
  const searchBox = useRef<HTMLInputElement>(null)
  const wide = useWide()
  const body = useRef<HTMLDivElement>(null)
  const [top, setTop] = useState(0)
  useLayoutEffect(() => setTop(body.current?.offsetTop ?? 0), [list.isPending, wide, changes.length > 0, rows.length > 0])

  const counted = offset + rows.length
  const virtualizer = useWindowVirtualizer({
    count: counted + (list.hasNextPage ? 1 : 0),
    estimateSize: () => (wide ? 58 : 92),
    overscan: 8,
    scrollMargin: top,
    // The row that has the focus stays, wherever one scrolls.
    rangeExtractor: (range) => [...new Set([...defaultRangeExtractor(range), Math.min(current, range.count - 1)])].filter((i) => i >= 0).sort((a, b) => a - b),
  })
  useEffect(() => virtualizer.measure(), [wide, virtualizer])
  const items = virtualizer.getVirtualItems()
  const lowest = items.find((item) => item.index !== current)?.index ?? 0
  const highest = items.findLast((item) => item.index !== current)?.index ?? 0
  useEffect(() => {
    if (list.isFetching || list.isError || list.isPlaceholderData) return
    if (highest >= counted - PAGE / 2 && list.hasNextPage) void list.fetchNextPage()
    else if (lowest < offset + PAGE / 2 && list.hasPreviousPage) void list.fetchPreviousPage()
  }, [highest, lowest, counted, offset, list])

  function move(to: number) {
    const index = Math.max(offset, Math.min(to, counted - 1))
    setCurrent(index)
    virtualizer.scrollToIndex(index, { align: 'auto' })
    requestAnimationFrame(() => document.querySelector<HTMLElement>(`[data-row="${index}"] a`)?.focus({ preventScroll: true }))
  }
  function mark(row: CustomerRow | undefined) {
    if (!row) return
    setMarked((before) => {
      const after = new Map(before)
      if (!after.delete(row.customer_id)) after.set(row.customer_id, row)
      return after
    })
  }
  const csv = address('/customers.csv', filters)
  function save() {
    if (marked.size) download(marked.values())
    else document.querySelector<HTMLAnchorElement>('#export')?.click()
    announce(marked.size ? `${count(marked.size, 'customer')} exported` : 'Export started')
  }
  useKeys((event) => {
    if (typing(event) || event.altKey || event.ctrlKey || event.metaKey) return
    const inside = (document.activeElement as HTMLElement | null)?.closest('[data-row]') !== null && document.activeElement !== document.body
    switch (event.key) {
      case '/': searchBox.current?.focus(); searchBox.current?.select(); return true
      case 'j': case 'ArrowDown': if (event.key === 'j' || inside) { move(inside ? current + 1 : current); return true } return
      case 'k': case 'ArrowUp': if (event.key === 'k' || inside) { move(current - 1); return true } return
      case 'Home': if (inside) { move(0); return true } return
      case 'x': mark(rows[current - offset]); return true
      case 'e': save(); return true
    }
  })

  const set = (change: Partial<Filters>) => void navigate({ to: '/', search: { ...search, ...change }, replace: true, resetScroll: false })
  return (
    <>
      <Headline>
        <SavedViews />
        <a id="export" href={csv} download="customers.csv" className="button" onClick={(event) => { if (marked.size) { event.preventDefault(); save() } }}>
          <svg width="14" height="14" viewBox="0 0 14 14" fill="none" stroke="currentColor" strokeWidth="1.6" aria-hidden><path d="M7 1v8M3.5 6 7 9.5 10.5 6M1 12.5h12" /></svg>
          {marked.size ? `Export ${marked.size}` : 'Export'}
        </a>
      </Headline>
      <FilterBar search={search} set={set} searchBox={searchBox} />
      <p role="status" className="sr-only">{announcement}</p>
      {(changes.length > 0 || synced !== resyncs) && (
        <div role="status" className="mb-3 flex items-center justify-between gap-3 rounded-xl bg-accent-soft px-4 py-2 text-accent">
          <span className="min-w-0 truncate">
            {synced !== resyncs ? 'Many scores have changed.' : `${count(changes.length, 'customer has', 'customers have')} changed: ${changes.slice(-3).map((c) => `${c.name ?? `customer ${c.customer_id}`} is ${statusWord(c.status).toLowerCase()}`).join(', ')}${changes.length > 3 ? ' …' : ''}`}
          </span>
          <button type="button" className="button primary shrink-0" onClick={show}>Show</button>
        </div>
      )}
      {list.isError && !rows.length ? <div className="card"><ProblemNote error={list.error} retry={() => void list.refetch()} /></div>
        : list.isPending ? <ListSkeleton wide={wide} />
        : !rows.length ? <Nobody search={search} set={set} />
        : (
          <div role="table" aria-label="Customers" aria-rowcount={list.hasNextPage ? (total ?? -1) : counted + 1} className={`card ${list.isPlaceholderData ? 'opacity-60' : ''}`}>
            <div role="rowgroup" className="screen-only">
              <div role="row" aria-rowindex={1} className={wide ? 'grid h-9 items-center border-b border-line px-3 text-xs font-medium text-soft ' + COLUMNS : 'sr-only'}>
                <span role="columnheader"><span className="sr-only">Marked</span></span>
                <span role="columnheader">Score</span><span role="columnheader">Customer</span><span role="columnheader">Why: costs most</span><span role="columnheader">Eight weeks</span>
                <span role="columnheader" className="text-right">In 7 days</span><span role="columnheader" className="max-lg:sr-only">Since</span><span role="columnheader" className="text-right max-lg:sr-only">Value a year</span>
              </div>
            </div>
            <div role="rowgroup" ref={body} className="relative" style={{ height: virtualizer.getTotalSize() }}>
              {items.map((item) => {
                const row = rows[item.index - offset]
                return (
                  <div
                    key={item.key} role="row" aria-rowindex={item.index + 2} data-row={item.index}
                    className={`group absolute inset-x-0 top-0 cursor-pointer border-b border-line last:border-0 hover:bg-raised has-[a:focus-visible]:bg-accent-soft ${row && marked.has(row.customer_id) ? 'bg-accent-soft' : ''}`}
                    style={{ height: item.size, transform: `translateY(${item.start - top}px)` }}
                    onFocus={() => setCurrent(item.index)}
                    onClick={(event) => { if (row && !(event.target as HTMLElement).closest('a,label') && !getSelection()?.toString()) void navigate({ to: '/customers/$customerId', params: { customerId: String(row.customer_id) } }) }}
                  >
                    {row ? <Row row={row} wide={wide} marked={marked.has(row.customer_id)} mark={() => mark(row)} /> : <SkeletonRow />}
                  </div>
                )
              })}
            </div>
          </div>
        )}
      {list.isError && rows.length > 0 && <div className="card mt-3"><ProblemNote error={list.error} retry={() => void list.fetchNextPage()} compact /></div>}
    </>
  )
}

// Since when, and the value, where there is room.
const COLUMNS = 'grid-cols-[28px_84px_minmax(0,1.3fr)_minmax(0,1fr)_116px_72px] gap-x-4 lg:grid-cols-[32px_92px_minmax(170px,1.3fr)_minmax(150px,1fr)_128px_84px_minmax(110px,.7fr)_92px]'

function Row({ row, wide, marked, mark }: { row: CustomerRow; wide: boolean; marked: boolean; mark: () => void }) {
  const reason = row.score === null
    ? <span className="text-soft">{row.churned_at ? 'has left' : 'too little data'}</span>
    : row.weakest_factor ? <span>{nameOf(row.weakest_factor)}</span>
    : <span className="text-soft">{statusWord(row.status)}</span>
  const link = <Link to="/customers/$customerId" params={{ customerId: String(row.customer_id) }} search={{}} className="block truncate font-medium no-underline group-hover:underline">{nameOfCustomer(row)}</Link>
  const under = [row.segment, row.owner].filter(Boolean).join(' · ')
  const box = (
    <label className="grid size-6 place-items-center"><input type="checkbox" className="size-4 accent-accent" checked={marked} onChange={mark} aria-label={`Mark ${nameOfCustomer(row)}`} tabIndex={wide ? 0 : -1} /></label>
  )
  if (!wide)
    return (
      <div className="grid h-full grid-cols-[84px_1fr_auto] items-center gap-x-3 px-4">
        <span role="cell"><Score value={row.score} status={row.status} reason={null} /></span>
        <span role="cell" className="min-w-0">{link}<span className="block truncate text-soft">{under}</span><span className="block truncate text-[13px]">{reason}</span></span>
        <span role="cell" className="text-right text-[13px]">{row.sparkline && <span className="hidden min-[360px]:block"><Sparkline values={row.sparkline} className="w-20" /></span>}<Delta value={row.change} /></span>
      </div>
    )
  return (
    <div className={'grid h-full items-center px-3 ' + COLUMNS}>
      <span role="cell">{box}</span>
      <span role="cell"><Score value={row.score} status={row.status} reason={null} /></span>
      <span role="cell" className="min-w-0">{link}<span className="block truncate text-[13px] text-soft">{under}</span></span>
      <span role="cell" className="truncate">{reason}</span>
      <span role="cell">{row.sparkline && <Sparkline values={row.sparkline} />}</span>
      <span role="cell" className="text-right"><Delta value={row.change} /></span>
      <span role="cell" className="truncate text-[13px] text-soft max-lg:sr-only">{row.status_since ? `${statusWord(row.status).toLowerCase()} ${daysBetween(row.status_since, today()) < 1 ? 'since today' : `for ${count(daysBetween(row.status_since, today()), 'day')}`}` : row.churned_at ? `left ${day(row.churned_at)}` : ''}</span>
      <span role="cell" className="text-right max-lg:sr-only">{row.value !== null ? compact(row.value) : <span className="text-soft">–</span>}</span>
    </div>
  )
}

function SkeletonRow() {
  return <div className="flex h-full items-center gap-4 px-4"><Skeleton className="h-5 w-14" /><Skeleton className="h-4 w-48 max-w-1/2" /></div>
}
function ListSkeleton({ wide }: { wide: boolean }) {
  return <div role="status" className="card divide-y divide-line"><span className="sr-only">Loading customers…</span>{Array.from({ length: 12 }, (_, i) => <div key={i} className={wide ? 'h-[58px]' : 'h-[92px]'}><SkeletonRow /></div>)}</div>
}

function Headline({ children }: { children: ReactNode }) {
  const stats = useQuery(statsQuery)
  const s = stats.data
  const needing = s ? s.critical + s.at_risk : 0
  const values = useQuery(valuesQuery)
  const stake = values.data ? worth(values.data, ['critical', 'at_risk']) : 0
  return (
    <div className="mb-4 flex flex-wrap items-end justify-between gap-x-6 gap-y-2">
      <div>
        <h1 className="text-2xl font-semibold tracking-tight">Who needs you today</h1>
        <p className="mt-0.5 min-h-5 text-soft">
          {s && (s.total === 0 ? 'No customers yet.' : <><b className="font-semibold text-ink">{num(needing)}</b> of {count(s.total, 'customer')} need attention{stake > 0 && <>, worth <b className="font-semibold text-ink">{compact(stake)}</b> a year</>}. The average score is {s.average_score === null ? 'unknown' : num(s.average_score, 1)}.</>)}
        </p>
      </div>
      <div className="screen-only flex flex-wrap items-center gap-2">
        {s?.last_updated && <span className="mr-1 text-[13px]"><Age at={s.last_updated} prefix="scored" stale={isStale(s)} /></span>}
        {children}
      </div>
    </div>
  )
}

interface BarProps { search: Filters; set: (change: Partial<Filters>) => void }

function FilterBar({ search, set, searchBox }: BarProps & { searchBox: RefObject<HTMLInputElement | null> }) {
  const stats = useQuery(statsQuery)
  const segments = useQuery(segmentsQuery)
  const me = useMe()
  const chosen = search.status === 'all' ? [...STATUSES] : ((search.status ?? 'critical,at_risk').split(',') as Status[])
  const counts = search.segment ? segments.data?.find((one) => one.segment === search.segment) : stats.data
  const [q, setQ] = useState(search.q ?? '')
  useEffect(() => setQ(search.q ?? ''), [search.q])
  useEffect(() => {
    if (q === (search.q ?? '')) return
    const timer = setTimeout(() => set({ q: q || undefined }), 250)
    return () => clearTimeout(timer)
  })
  function toggle(status: Status) {
    const next = STATUSES.filter((one) => (one === status ? !chosen.includes(one) : chosen.includes(one)))
    set({ status: next.length === 0 || next.length === STATUSES.length ? 'all' : next.join(',') === 'critical,at_risk' ? undefined : next.join(',') })
  }
  const select = (label: string, name: 'segment' | 'trend' | 'factor' | 'owner' | 'sort', options: readonly (readonly [string, string])[], any?: string) => (
    <label className="shrink-0">
      <span className="sr-only">{label}</span>
      <select className={`field max-w-44 ${any !== undefined && search[name] ? 'border-accent bg-accent-soft' : ''}`} value={search[name] ?? ''} onChange={(event) => set({ [name]: event.target.value || undefined })}>
        {any !== undefined && <option value="">{any}</option>}
        {options.map(([value, word]) => <option key={value} value={any === undefined && value === 'score' ? '' : value}>{word}</option>)}
      </select>
    </label>
  )
  return (
    <div className="screen-only mb-3 flex flex-wrap items-center gap-2">
      <label className="relative w-full md:w-64">
        <span className="sr-only">Search by name</span>
        <svg width="15" height="15" viewBox="0 0 16 16" fill="none" stroke="currentColor" strokeWidth="1.6" aria-hidden className="absolute top-2 left-2.5 text-soft"><path d="M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10ZM14 14l-3.4-3.4" /></svg>
        <input ref={searchBox} type="search" value={q} onChange={(event) => setQ(event.target.value)} onKeyDown={(event) => { if (event.key === 'Escape') { setQ(''); set({ q: undefined }); event.currentTarget.blur() } if (event.key === 'Enter') event.currentTarget.blur() }} placeholder="Search by name" className="field w-full pl-8" />
        <kbd aria-hidden className="pointer-events-none absolute top-1.5 right-2 rounded border border-line px-1.5 text-xs leading-4.5 text-soft max-md:hidden [input:focus~&]:hidden">/</kbd>
      </label>
      <fieldset className="no-bar relative -mx-4 flex w-[calc(100%+2rem)] min-w-0 gap-1.5 overflow-x-auto px-4 py-0.5 md:mx-0 md:w-auto md:px-0">
        <legend className="sr-only">Status</legend>
        {STATUSES.map((status) => (
          <label key={status} className="chip">
            <input type="checkbox" className="sr-only" checked={chosen.includes(status)} onChange={() => toggle(status)} />
            <StatusShape status={status} size={10} />{statusWord(status)}
            {counts && <span className="text-soft">{num(counts[status])}</span>}
          </label>
        ))}
      </fieldset>
      <div className="no-bar relative -mx-4 flex w-[calc(100%+2rem)] gap-2 overflow-x-auto px-4 py-0.5 md:mx-0 md:w-auto md:grow md:flex-wrap md:px-0">
        {select('Segment', 'segment', (segments.data ?? []).filter((s) => s.segment !== null).map((s) => [s.segment!, nameOf(s.segment!)] as const), 'Any segment')}
        {select('Trend', 'trend', [['declining', 'Declining'], ['stable', 'Stable'], ['improving', 'Improving']], 'Any trend')}
        {select('Costs most', 'factor', (stats.data?.factors ?? []).map((f) => [f, nameOf(f)] as const), 'Any reason')}
        {select('Owner', 'owner', [['me', `Mine (${me.actor})`], ...(stats.data?.owners ?? []).map((o) => [o, o] as const)], 'Any owner')}
        {(search.score_from !== undefined || search.score_below !== undefined) && (
          <button type="button" className="chip border-accent bg-accent-soft" onClick={() => set({ score_from: undefined, score_below: undefined })} aria-label="Remove the range of scores">
            score {search.score_from ?? 0} to {search.score_below ?? 100} <span aria-hidden>×</span>
          </button>
        )}
        {select('Order', 'sort', SORTS)}
      </div>
    </div>
  )
}

/** Nobody to show: is there nobody at all, or who is left out by what? */
function Nobody({ search, set }: BarProps) {
  const stats = useQuery(statsQuery)
  if (stats.data?.total === 0)
    return (
      <div className="card"><Note icon="empty" title="No customers yet">
        <p>Customers come from your own tables, or by the API. For example:</p>
        <pre className="overflow-x-auto rounded-lg bg-raised p-3 text-[13px]">{`SELECT chs_attach_customers('crm.accounts', external_id => 'id', name => 'name');\nSELECT chs_attach('billing.invoices', 'account_id', 'payment', 'paid_at');`}</pre>
        <p className="text-soft">Scores appear here as soon as the first events have been counted.</p>
      </Note></div>
    )
  const drops: [string, Partial<Filters>][] = []
  if (search.q) drops.push([`the search for “${search.q}”`, { q: undefined }])
  if (search.segment) drops.push([`the segment ${nameOf(search.segment)}`, { segment: undefined }])
  if (search.trend) drops.push([`the trend ${search.trend}`, { trend: undefined }])
  if (search.factor) drops.push([`the reason ${nameOf(search.factor)}`, { factor: undefined }])
  if (search.owner) drops.push([`the owner ${search.owner}`, { owner: undefined }])
  if (search.score_from !== undefined || search.score_below !== undefined) drops.push(['the range of scores', { score_from: undefined, score_below: undefined }])
  if (search.status !== 'all') drops.push([`the status (${(search.status ?? 'critical,at_risk').split(',').map((s: string) => statusWord(s).toLowerCase()).join(', ')})`, { status: 'all' }])
  return (
    <div className="card"><Note icon="search" title={drops.length > 1 || search.status ? 'Nobody matches all of this' : 'Nobody needs you at the moment'}>
      {drops.length > 0 && <><p className="text-soft">Leave out:</p><p className="flex flex-wrap gap-2">{drops.map(([word, change]) => <button key={word} type="button" className="chip" onClick={() => set(change)}>{word} <span aria-hidden>×</span></button>)}</p></>}
    </Note></div>
  )
}

/** The marked rows as a file; a cell that a spreadsheet would compute gets a quote, as the API does it. */
function download(rows: Iterable<CustomerRow>) {
  const names = ['customer_id', 'external_id', 'name', 'segment', 'owner', 'value', 'score', 'status', 'trend', 'coverage', 'weakest_factor', 'change', 'status_since'] as const
  const cell = (value: unknown) => { const s = value === null || value === undefined ? '' : String(value); return `"${(/^[=+@\t\r-]/.test(s) && typeof value === 'string' ? "'" + s : s).replaceAll('"', '""')}"` }
  const text = [names.join(','), ...Array.from(rows, (row) => names.map((n) => cell(row[n])).join(','))].join('\r\n') + '\r\n'
  const link = document.createElement('a')
  link.href = URL.createObjectURL(new Blob([text], { type: 'text/csv' }))
  link.download = 'customers-marked.csv'
  link.click()
  URL.revokeObjectURL(link.href)
}

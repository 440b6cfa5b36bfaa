import { useQuery } from '@tanstack/react-query'
import { Link, Outlet, useRouterState } from '@tanstack/react-router'
import { useEffect, useRef, useState, type ReactNode } from 'react'
import { Problem, send } from '../api/client'
import { meQuery } from '../api/queries'
import { closeStream, openStream, useConnection } from '../api/stream'
import type { Me } from '../api/types'
import { LoginPage } from '../pages/login'
import { queryClient } from '../router'
import { setTheme, THEMES, useTheme } from '../theme'
import { typing, useKeys } from './keys'
import { KeyHelp } from './key_help'
import { ProblemNote } from './states'

const PAGES = [
  { to: '/', word: 'Customers', may: 'read', key: '1', icon: 'M3 5h14M3 10h14M3 15h9' },
  { to: '/portfolio', word: 'Portfolio', may: 'read', key: '2', icon: 'M3 17V9M8 17V3M13 17v-6M18 17V6' },
  { to: '/scorecard', word: 'Scorecard', may: 'administer', key: '3', icon: 'M2 16C7 16 8 4 18 4M5 16a2 2 0 1 1-4 0 2 2 0 0 1 4 0ZM20 4a2 2 0 1 1-4 0 2 2 0 0 1 4 0Z' },
  { to: '/operations', word: 'Operations', may: 'operate', key: '4', icon: 'M1 11h4l2.5-7 4.5 12 3-8 1.3 3H20' },
] as const

/** The frame of every page. */
export function Shell() {
  const me = useQuery(meQuery)
  const signedIn = !!me.data
  const reads = me.data?.may.includes('read')
  useEffect(() => {
    if (!signedIn || !reads) return
    openStream()
    return closeStream
  }, [signedIn, reads])
  if (me.data) return <Frame me={me.data} />
  if (me.data === null || (me.error instanceof Problem && me.error.status === 401)) return <LoginPage />
  if (me.error) return <main className="p-6"><ProblemNote error={me.error} retry={() => void me.refetch()} page /></main>
  return <div role="status"><span className="sr-only">Loading…</span></div>
}

function Frame({ me }: { me: Me }) {
  const main = useRef<HTMLElement>(null)
  const path = useRouterState({ select: (s) => s.location.pathname })
  const [help, setHelp] = useState(false)
  const first = useRef(true)
  useEffect(() => {
    // A new page is announced, and reading begins at its heading.
    if (first.current) first.current = false
    else main.current?.focus({ preventScroll: true })
  }, [path])
  useKeys((event) => {
    if (typing(event)) return
    if (event.key === '?') { setHelp(true); return true }
    const page = PAGES.find((one) => one.key === event.key)
    if (page && !event.altKey && !event.ctrlKey && !event.metaKey) { document.querySelector<HTMLElement>(`[data-page="${page.key}"]`)?.click(); return true }
  })
  return (
    <>
      <a href="#main" className="button primary fixed top-2 left-2 z-50 -translate-y-20 focus:translate-y-0" onClick={(event) => { event.preventDefault(); main.current?.focus() }}>Skip to the content</a>
      <header className="screen-only sticky top-0 z-30 border-b border-line bg-surface">
        <div className="mx-auto flex h-14 max-w-[1440px] items-center gap-2 px-4 md:gap-6 md:px-6">
          <Link to="/" search={{}} className="flex items-center gap-2.5 font-semibold" aria-label="Customer health, start">
            <img src="/icon.svg" width="26" height="26" alt="" />
            <span className="hidden sm:inline">Customer health</span>
          </Link>
          <nav aria-label="Pages" className="fixed inset-x-0 bottom-0 z-30 flex justify-around border-t border-line bg-surface pb-[env(safe-area-inset-bottom)] md:static md:justify-start md:gap-1 md:border-0 md:pb-0">
            {PAGES.map((page) => (
              <Link
                key={page.to} to={page.to} data-page={page.key} activeOptions={{ exact: page.to === '/', includeSearch: false }}
                className={`flex min-w-16 flex-col items-center gap-0.5 rounded-lg px-2 py-1.5 text-[11px] text-soft hover:bg-raised md:flex-row md:gap-2 md:px-3 md:text-sm aria-[current=page]:font-medium aria-[current=page]:text-accent md:aria-[current=page]:bg-accent-soft ${me.may.includes(page.may) ? '' : 'hidden'}`}
              >
                <svg width="18" height="18" viewBox="0 0 20 20" fill="none" stroke="currentColor" strokeWidth="1.6" strokeLinecap="round" strokeLinejoin="round" aria-hidden><path d={page.icon} /></svg>
                {page.word}
              </Link>
            ))}
          </nav>
          <div className="ml-auto flex items-center gap-1.5 md:gap-3">
            {me.may.includes('read') && <ConnectionMark />}
            <ThemeSwitch />
            <Person me={me} onKeys={() => setHelp(true)} />
          </div>
        </div>
      </header>
      <main id="main" ref={main} tabIndex={-1} className="mx-auto max-w-[1440px] px-4 pt-5 pb-24 outline-none md:px-6 md:pb-10 print:max-w-none print:p-0">
        <Outlet />
      </main>
      {help && <KeyHelp onClose={() => setHelp(false)} />}
    </>
  )
}

function ConnectionMark() {
  const connection = useConnection()
  const [word, ink] = { live: ['Live', 'bg-healthy'], connecting: ['Connecting', 'bg-unknown pulse'], reconnecting: ['Reconnecting', 'bg-at_risk pulse'], off: ['Not live', 'bg-unknown'] }[connection] as [string, string]
  return (
    <span role="status" data-connection={connection} className={`inline-flex items-center gap-1.5 text-xs ${connection === 'reconnecting' ? 'rounded-full bg-at_risk-soft px-2 py-1 text-at_risk' : 'text-soft'}`} title={connection === 'live' ? 'Changes appear as they happen' : 'Changes are not arriving at the moment; what is shown keeps its age'}>
      <span className={`size-2 rounded-full ${ink}`} aria-hidden />
      <span className={connection === 'live' ? 'max-sm:sr-only' : ''}>{word}</span>
    </span>
  )
}

function ThemeSwitch() {
  const theme = useTheme()
  const icons: Record<string, ReactNode> = {
    system: <path d="M2 3.5h12v8H2zM6 14h4" />,
    light: <><circle cx="8" cy="8" r="3" /><path d="M8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1 1M12 12l1 1M13 3l-1 1M4 12l-1 1" /></>,
    dark: <path d="M13.5 9.5A6 6 0 0 1 6.5 2.5 6 6 0 1 0 13.5 9.5Z" />,
  }
  return (
    <fieldset className="inline-flex rounded-lg border border-line bg-raised p-0.5">
      <legend className="sr-only">Colours</legend>
      {THEMES.map((one) => (
        <label key={one} title={{ system: 'As the system', light: 'Light', dark: 'Dark' }[one]} className="grid size-7 place-items-center rounded-md text-soft has-checked:bg-surface has-checked:text-ink has-checked:shadow-card has-focus-visible:outline-2 has-focus-visible:outline-accent max-sm:[&:not(:has(:checked))]:sr-only max-sm:focus-within:not-sr-only">
          <input type="radio" name="theme" className="sr-only" checked={theme === one} onChange={() => setTheme(one)} onClick={() => theme === one && window.matchMedia('(max-width: 639px)').matches && setTheme(THEMES[(THEMES.indexOf(one) + 1) % 3]!)} />
          <svg width="16" height="16" viewBox="0 0 16 16" fill="none" stroke="currentColor" strokeWidth="1.4" strokeLinecap="round" strokeLinejoin="round" aria-hidden>{icons[one]}</svg>
          <span className="sr-only">{{ system: 'As the system', light: 'Light', dark: 'Dark' }[one]}</span>
        </label>
      ))}
    </fieldset>
  )
}

function Person({ me, onKeys }: { me: Me; onKeys: () => void }) {
  return (
    <>
      <button type="button" popoverTarget="person" className="grid size-8 place-items-center rounded-full bg-accent-soft font-semibold text-accent uppercase" aria-label={`${me.actor}: account`}>{me.actor.slice(0, 1)}</button>
      <div id="person" popover="auto" className="card shadow-float fixed top-14 right-4 left-auto m-0 w-64 p-2 text-ink">
        <p className="px-3 pt-2 font-semibold">{me.actor}</p>
        <p className="px-3 pb-2 text-soft">{me.actor === me.role ? 'may' : `as ${me.role}, may`} {me.may.join(', ') || 'do nothing yet'}</p>
        <button type="button" className="button quiet w-full" onClick={() => { document.getElementById('person')?.hidePopover(); onKeys() }}>Keyboard <kbd className="ml-auto rounded border border-line px-1.5 text-soft">?</kbd></button>
        <button type="button" className="button quiet w-full" onClick={async () => { await send('/session', { method: 'DELETE' }).catch(() => {}); queryClient.setQueryData(['me'], null); queryClient.removeQueries({ predicate: (query) => query.queryKey[0] !== 'me' }) }}>Log out</button>
      </div>
    </>
  )
}

import { useSyncExternalStore } from 'react'
import { BASE } from './client'

// Changes of status as they happen.  EventSource reconnects by itself and tells the server what it has seen.

export interface StatusChange { customer_id: number; name: string | null; status: string; previous_status: string | null; score: number | null }
export type Connection = 'connecting' | 'live' | 'reconnecting' | 'off'

let source: EventSource | null = null
let connection: Connection = 'off'
let changes: StatusChange[] = []
let resyncs = 0
// Of the last event: who begins anew tells the server.
let last = ''
let onExpired = () => {}
/** What to do when the session has ended. */
export const onStreamExpired = (action: () => void) => { onExpired = action }
const listeners = new Set<() => void>()
const tell = () => { for (const listener of listeners) listener() }

function set(state: Connection) {
  if (connection !== state) { connection = state; tell() }
}

export function openStream() {
  if (source) return
  set('connecting')
  source = new EventSource(`${BASE}/stream${last && `?last_event_id=${encodeURIComponent(last)}`}`)
  for (const name of ['open', 'alive', 'changes', 'resync']) {
    source.addEventListener(name, (event) => { last = (event as MessageEvent).lastEventId || last })
  }
  source.onopen = () => set('live')
  source.onerror = () => {
    set('reconnecting')
    // A browser gives up for good when the answer is an error; this does not.
    if (source?.readyState === EventSource.CLOSED) {
      source = null
      setTimeout(openStream, 3000)
    }
  }
  source.addEventListener('changes', (event) => {
    const news = (JSON.parse(event.data) as { changes: StatusChange[] }).changes
    // The latest of each customer.
    changes = [...new Map([...changes, ...news].map((one) => [one.customer_id, one])).values()]
    tell()
  })
  source.addEventListener('resync', () => { resyncs++; tell() })
  source.addEventListener('expired', () => onExpired())
}

export function closeStream() {
  source?.close()
  source = null
  changes = []
  last = ''
  set('off')
}

/** The changes have been shown. */
export function clearChanges() {
  if (changes.length) { changes = []; tell() }
}

const subscribe = (listener: () => void) => (listeners.add(listener), () => listeners.delete(listener))
export const useConnection = () => useSyncExternalStore(subscribe, () => connection)
export const useChanges = () => useSyncExternalStore(subscribe, () => changes)
/** Grows whenever so much has changed that it is not told one by one. */
export const useResyncs = () => useSyncExternalStore(subscribe, () => resyncs)

import { useSyncExternalStore } from 'react'
import { BASE } from './client'

// Changes of status as they happen.  EventSource reconnects by itself and tells the server what it has seen; rows that
// come twice are dropped here.

export interface StatusChange { customer_id: number; name?: string; status: string; previous_status?: string | null; score: number | null }
export type Connection = 'connecting' | 'live' | 'reconnecting' | 'off'

let source: EventSource | null = null
let connection: Connection = 'off'
let changes: StatusChange[] = []
let resyncs = 0
const seen = new Set<string>()
const listeners = new Set<() => void>()
const tell = () => { for (const listener of listeners) listener() }

function set(state: Connection) {
  if (connection !== state) { connection = state; tell() }
}

export function openStream() {
  if (source) return
  set('connecting')
  source = new EventSource(`${BASE}/stream`)
  source.onopen = () => set('live')
  source.onerror = () => {
    set('reconnecting')
    // A browser gives up for good when the answer is an error; this does not.
    if (source?.readyState === EventSource.CLOSED) {
      source = null
      setTimeout(openStream, 3000)
    }
  }
  source.addEventListener('status', (event) => {
    if (event.lastEventId && seen.has(event.lastEventId)) return
    if (seen.size > 5000) seen.clear()
    seen.add(event.lastEventId)
    const change = JSON.parse(event.data) as StatusChange
    changes = [...changes.filter((one) => one.customer_id !== change.customer_id), change]
    tell()
  })
  source.addEventListener('resync', () => { resyncs++; tell() })
}

export function closeStream() {
  source?.close()
  source = null
  changes = []
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

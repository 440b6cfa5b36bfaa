// How numbers, days and names are said, in one place.
export const STATUSES = ['critical', 'at_risk', 'healthy', 'unknown'] as const
export type Status = (typeof STATUSES)[number]

const STATUS_WORDS: Record<string, string> = {
  healthy: 'Healthy', at_risk: 'At risk', critical: 'Critical', unknown: 'Unknown', churned: 'Churned', none: 'New',
}
/** The word of a status, also of the two that only movements have. */
export const statusWord = (status: string) => STATUS_WORDS[status] ?? status

/** A name of the scorecard for people: "api_usage" becomes "API usage". */
export function nameOf(identifier: string): string {
  const words = identifier.replaceAll('_', ' ').replace(/\b(api|nps|sla|crm|url|ip|id|smb)\b/g, (w) => w.toUpperCase())
  return words.charAt(0).toUpperCase() + words.slice(1)
}

const fixed = new Map<number, Intl.NumberFormat>()
/** A number with so many decimals. */
export function num(value: number, decimals = 0): string {
  let format = fixed.get(decimals)
  if (!format) fixed.set(decimals, (format = new Intl.NumberFormat('en', { minimumFractionDigits: decimals, maximumFractionDigits: decimals })))
  return format.format(value).replace('-', '−')
}
const short = new Intl.NumberFormat('en', { maximumSignificantDigits: 3, notation: 'compact' })
/** A sum of money or a large count: 1.24M. */
export const compact = (value: number) => short.format(value)
const free = new Intl.NumberFormat('en', { maximumFractionDigits: 2 })
/** A measured value, with no more decimals than it needs. */
export const plain = (value: number) => free.format(value).replace('-', '−')
/** A difference, always with its sign. */
export const signed = (value: number, decimals = 1) => {
  const text = num(Math.abs(value), decimals)
  return Number(text.replaceAll(',', '')) === 0 ? '0' + (decimals ? '.' + '0'.repeat(decimals) : '') : (value < 0 ? '−' : '+') + text
}
export const percent = (part: number, whole: number) => (whole ? num((100 * part) / whole, part && part / whole < 0.1 ? 1 : 0) + ' %' : '–')
/** "1 customer", "3 customers". */
export const count = (n: number, one: string, many = one + 's') => `${num(n)} ${n === 1 ? one : many}`

const dayFormat = new Intl.DateTimeFormat('en', { day: 'numeric', month: 'short', timeZone: 'UTC' })
const dayYearFormat = new Intl.DateTimeFormat('en', { day: 'numeric', month: 'short', year: 'numeric', timeZone: 'UTC' })
const timeFormat = new Intl.DateTimeFormat('en', { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', hour12: false })
/** A UTC day, "2026-11-30" or a time of it. */
export const day = (iso: string) => dayFormat.format(new Date(iso.slice(0, 10)))
export const dayYear = (iso: string) => dayYearFormat.format(new Date(iso.slice(0, 10)))
/** A moment, in the reader's own time zone. */
export const moment = (iso: string) => timeFormat.format(new Date(iso))

/** Seconds as people say them: "40 s", "3 h". */
export function duration(seconds: number): string {
  if (seconds < 90) return `${num(seconds)} s`
  if (seconds < 5400) return `${num(seconds / 60)} min`
  if (seconds < 129600) return `${num(seconds / 3600)} h`
  return count(Math.round(seconds / 86400), 'day')
}
/** How long ago: "just now", "5 min ago". */
export function ago(iso: string, now = Date.now()): string {
  const seconds = (now - Date.parse(iso)) / 1000
  return seconds < 45 ? 'just now' : `${duration(seconds)} ago`
}
/** Whole UTC days from one day to another. */
export const daysBetween = (from: string, to: string) => Math.round((Date.parse(to.slice(0, 10)) - Date.parse(from.slice(0, 10))) / 86400000)
export const today = () => new Date().toISOString().slice(0, 10)
export const daysAgo = (days: number, from = today()) => new Date(Date.parse(from) - days * 86400000).toISOString().slice(0, 10)

const SECONDS = /time|duration|seconds/
/** A metric's value: shares as percent, seconds as time. */
export function metricValue(metric: string, value: number | null, target?: number | null): string {
  if (value === null) return 'no data'
  if (SECONDS.test(metric) && Math.max(value, target ?? 0) >= 120) return duration(value)
  if (/share|rate/.test(metric) && value >= 0 && value <= 1) return num(100 * value, value > 0 && value < 0.1 ? 1 : 0) + ' %'
  return plain(value)
}

/** What a customer is called, also one without a name. */
export const nameOfCustomer = (c: { name: string | null; external_id?: string | null; customer_id: number }) => c.name ?? c.external_id ?? `Customer ${c.customer_id}`

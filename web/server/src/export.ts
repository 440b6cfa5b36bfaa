// A list as CSV, by RFC 4180: all pages of one snapshot, as fast as the reader takes them.
import { once } from 'node:events'
import { PassThrough, type Readable } from 'node:stream'
import { cursorOf } from './cursor.ts'
import type { Database, Identity, Statement } from './db.ts'
import { CustomerRow } from './schema/customers.ts'

const columns = Object.keys(CustomerRow.properties).filter(name => name !== 'sparkline') as (keyof CustomerRow)[]

// Spreadsheets take text that begins like this for a formula, and would compute what somebody wrote into a name.
const formula = /^[=+\-@\t\r]/

const cell = (value: unknown): string => {
  if (value === null || value === undefined) return ''
  if (typeof value !== 'string') return String(value)
  const text = formula.test(value) ? `'${value}` : value
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

const line = (cells: unknown[]) => `${cells.map(cell).join(',')}\r\n`

/** Lines of all customers of a list statement, header first.  Rejects if not even the first page can be read. */
export function exportOf(db: Database, who: Identity, sort: string, what: Statement, parameters: unknown[]): Promise<Readable> {
  const out = new PassThrough()
  let begun = false
  return new Promise((resolve, reject) => {
    db.stream(who, 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY', { milliseconds: 60_000, planned: true }, async client => {
      let after: (string | number | null)[] | null = [null, null]
      out.write(line(columns))
      while (after !== null) {
        const answer = await client.query<{ json: string }>({ text: what.text, values: [1000, ...after, ...parameters] })
        const page = JSON.parse(answer.rows[0]!.json) as { customers: CustomerRow[]; next: string | null }
        begun = true
        resolve(out)
        const text = page.customers.map(row => line(columns.map(name => row[name]))).join('')
        // Readers that stop reading must not keep the connection and the snapshot.
        if (text !== '' && !out.write(text)) await once(out, 'drain', { signal: AbortSignal.timeout(30_000) })
        if (out.destroyed) return
        after = page.next === null ? null : cursorOf(sort, page.next, 2)
      }
    }).then(() => out.end(), error => (begun ? out.destroy(error) : reject(error)))
    out.once('close', () => out.emit('drain'))
  })
}

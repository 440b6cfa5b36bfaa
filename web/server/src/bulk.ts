// Bulk loads: NDJSON or CSV, line by line as it arrives, into COPY; all or none.
//
// COPY is fast but tells neither which line chs refuses, nor does it skip events that were recorded before.  So each batch
// has a savepoint: if COPY fails, chs_record_events() takes the same batch, and either skips what is known or names the
// event that is wrong.
import { isUtf8 } from 'node:buffer'
import { Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import pg from 'pg'
import { from as copyFrom } from 'pg-copy-streams'
import { Problem } from './problem.ts'

export interface Event { line: number; customer_id: number; event_type: string; event_data: string; occurred_at: string | null; idempotency_key: string | null }

const batchSize = 5000
const longestLine = 1 << 20

/** A line that cannot be used. */
export class LineProblem extends Problem {
  constructor(line: number, detail: string, more: { hint?: string | undefined; code?: string | undefined } = {}) {
    super(422, `line ${line}: ${detail}`, { hint: more.hint ?? 'Nothing was recorded.', code: more.code, line })
  }
}

/** The lines of a body, decompressed; 413 if it has more than limit bytes. */
export async function* linesOf(body: Readable, gzip: boolean, limit: number): AsyncGenerator<string> {
  let bytes = 0
  const counted = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length
      done(bytes > limit ? new Problem(413, `The body has more than ${limit} bytes.`) : null, chunk)
    },
  })
  const piped = gzip ? pipeline(body, createGunzip(), counted) : pipeline(body, counted)
  piped.catch(() => { /* the loop below gets the same error */ })
  let line = 0
  const text = (bytes: Buffer): string => {
    line++
    if (!isUtf8(bytes)) throw new LineProblem(line, 'is not UTF-8')
    return bytes.toString('utf8')
  }
  let rest: Buffer = Buffer.alloc(0)
  try {
    for await (const chunk of counted) {
      let block = rest.length === 0 ? chunk as Buffer : Buffer.concat([rest, chunk as Buffer])
      for (let end; (end = block.indexOf(10)) >= 0; block = block.subarray(end + 1)) yield text(block.subarray(0, end))
      if (block.length > longestLine) throw new LineProblem(line + 1, 'is longer than a megabyte')
      rest = block
    }
  } catch (error) {
    if ((error as { code?: string }).code?.startsWith('Z_')) throw new Problem(422, 'The body is not what gzip has made.')
    throw error
  }
  if (rest.length > 0) yield text(rest)
}

const known = new Set(['customer_id', 'event_type', 'event_data', 'occurred_at', 'idempotency_key'])

// Numbers that JavaScript would round are kept as they are written.
const delicate = /[0-9]{16}|[0-9]\.[0-9]{15}|[0-9][eE]/
const exact = (_key: string, value: unknown, context?: { source?: string }) =>
  (typeof value === 'number' && context?.source !== undefined ? (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(context.source) : value)

/** Events of NDJSON. */
export async function* ndjson(lines: AsyncIterable<string>): AsyncGenerator<Event> {
  let line = 0
  for await (const text of lines) {
    line++
    if (text.trim() === '') continue
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch {
      throw new LineProblem(line, 'is not JSON')
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new LineProblem(line, 'is not a JSON object')
    const event = value as Record<string, unknown>
    for (const key of Object.keys(event)) {
      if (!known.has(key)) throw new LineProblem(line, `unknown field "${key.slice(0, 64)}"`, { hint: `Known are ${[...known].join(', ')}. Nothing was recorded.` })
    }
    const data = event['event_data'] ?? {}
    if (typeof data !== 'object' || Array.isArray(data)) throw new LineProblem(line, '"event_data" must be an object')
    if (!Number.isSafeInteger(event['customer_id'])) throw new LineProblem(line, '"customer_id" must be a whole number')
    for (const key of ['event_type', 'occurred_at', 'idempotency_key'] as const) {
      if (key === 'event_type' ? typeof event[key] !== 'string' : event[key] != null && typeof event[key] !== 'string') {
        throw new LineProblem(line, `"${key}" must be a string`)
      }
    }
    const whole = delicate.test(text) ? (JSON.parse(text, exact as (key: string, value: unknown) => unknown) as { event_data?: unknown }).event_data ?? {} : data
    yield made(line, event['customer_id'] as number, event['event_type'] as string, JSON.stringify(whole),
      (event['occurred_at'] as string | null | undefined) ?? null, (event['idempotency_key'] as string | null | undefined) ?? null)
  }
}

/** Events of CSV, by RFC 4180, with a header that names the columns. */
export async function* csv(lines: AsyncIterable<string>): AsyncGenerator<Event> {
  let header: string[] | undefined
  for await (const { line, cells } of records(lines)) {
    if (header === undefined) {
      const odd = cells.find((name, n) => !known.has(name) || cells.indexOf(name) !== n)
      if (odd !== undefined) throw new LineProblem(line, `unknown or repeated column "${odd.slice(0, 64)}"`, { hint: `Known are ${[...known].join(', ')}.` })
      const missing = ['customer_id', 'event_type'].find(name => !cells.includes(name))
      if (missing !== undefined) throw new LineProblem(line, `the header has no column "${missing}"`)
      header = cells
      continue
    }
    if (cells.length !== header.length) throw new LineProblem(line, `has ${cells.length} fields, the header has ${header.length}`)
    const of = (name: string) => {
      const n = header!.indexOf(name)
      return n < 0 || cells[n] === '' ? null : cells[n]!
    }
    const customer = of('customer_id') ?? ''
    if (!/^-?[0-9]{1,15}$/.test(customer)) throw new LineProblem(line, '"customer_id" must be a whole number')
    const data = of('event_data') ?? '{}'
    try {
      const value: unknown = JSON.parse(data)
      if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error()
    } catch {
      throw new LineProblem(line, '"event_data" must be a JSON object')
    }
    yield made(line, Number(customer), of('event_type') ?? '', data.replaceAll('\n', ' '), of('occurred_at'), of('idempotency_key'))
  }
}

// A record begins on a line, and goes on over the next ones while a quoted field is open.
async function* records(lines: AsyncIterable<string>): AsyncGenerator<{ line: number; cells: string[] }> {
  let line = 0
  let first = 0
  let open = ''
  for await (const text of lines) {
    line++
    if (open === '') {
      first = line
      if (text.trim() === '') continue
    }
    const record = open === '' ? text : `${open}\n${text}`
    if (record.length > longestLine) throw new LineProblem(first, 'is longer than a megabyte')
    // Quotes come in pairs unless a field goes on.
    if ((record.split('"').length - 1) % 2 === 1) {
      open = record
      continue
    }
    open = ''
    yield { line: first, cells: cellsOf(record.endsWith('\r') ? record.slice(0, -1) : record, first) }
  }
  if (open !== '') throw new LineProblem(first, 'a quoted field does not end')
}

const field = /(?:"((?:[^"]|"")*)"|([^",]*))(,|$)/y
function cellsOf(record: string, line: number): string[] {
  const cells: string[] = []
  field.lastIndex = 0
  for (;;) {
    const match = field.exec(record)
    if (!match) throw new LineProblem(line, `field ${cells.length + 1} has a quote where none can be`)
    cells.push(match[1] === undefined ? match[2]! : match[1].replaceAll('""', '"'))
    if (match[3] === '') return cells
  }
}

// PostgreSQL's text has neither NUL nor half of a surrogate pair.
const impossible = /\\u0000|\\u[dD][89a-fA-F]/
function made(line: number, customer_id: number, event_type: string, event_data: string, occurred_at: string | null, idempotency_key: string | null): Event {
  if (impossible.test(event_data) || [event_type, occurred_at, idempotency_key].some(text => text !== null && (text.includes('\0') || !text.isWellFormed()))) {
    throw new LineProblem(line, 'has a character that PostgreSQL cannot store, such as NUL')
  }
  return { line, customer_id, event_type, event_data, occurred_at, idempotency_key }
}

const escapes: Record<string, string> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' }
const copied = (text: string | null) => (text === null ? '\\N' : text.replace(/[\\\n\r\t]/g, c => escapes[c]!))
const row = (e: Event) => `${e.customer_id}\t${copied(e.event_type)}\t${copied(e.event_data)}\t${copied(e.occurred_at ?? 'now')}\t${copied(e.idempotency_key)}\n`
const asJson = (e: Event) => `{"customer_id":${e.customer_id},"event_type":${JSON.stringify(e.event_type)},"event_data":${e.event_data}`
  + `${e.occurred_at === null ? '' : `,"occurred_at":${JSON.stringify(e.occurred_at)}`}${e.idempotency_key === null ? '' : `,"idempotency_key":${JSON.stringify(e.idempotency_key)}`}}`

/** Records all events, in the transaction that the client is in.  Throws the problem of the first line that is wrong. */
export async function load(client: pg.ClientBase, events: AsyncIterable<Event>): Promise<{ recorded: number; duplicates: number }> {
  let recorded = 0
  let total = 0
  let batch: Event[] = []
  const flush = async () => {
    if (batch.length === 0) return
    const full = batch
    batch = []
    recorded += await loadBatch(client, full)
    total += full.length
  }
  try {
    for await (const event of events) {
      batch.push(event)
      if (batch.length === batchSize) await flush()
    }
  } catch (error) {
    // A line before may be wrong, too, and comes first.
    if (error instanceof LineProblem) await flush()
    throw error
  }
  await flush()
  return { recorded, duplicates: total - recorded }
}

async function loadBatch(client: pg.ClientBase, batch: Event[]): Promise<number> {
  await client.query('SAVEPOINT batch')
  try {
    await pipeline(Readable.from(chunks(batch)), client.query(copyFrom(
      'COPY chs.customer_events (customer_id, event_type, event_data, occurred_at, idempotency_key) FROM STDIN')))
    await client.query('RELEASE batch')
    return batch.length
  } catch (error) {
    if (!(error instanceof pg.DatabaseError) || !/^2[23]/.test(error.code ?? '')) throw error
  }
  await client.query('ROLLBACK TO batch')
  try {
    const answer = await client.query<{ n: string }>('SELECT chs_record_events($1) AS n', [`[${batch.map(asJson).join(',')}]`])
    return Number(answer.rows[0]!.n)
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error
    const named = /^events\[([0-9]+)\]:? ?/.exec(error.message)
    const event = named && batch[Number(named[1])]
    if (!event) throw error
    throw new LineProblem(event.line, `${error.message.slice(named[0].length)}${error.detail ? `. ${error.detail}` : ''}`, { hint: error.hint, code: error.code })
  }
}

function* chunks(batch: Event[]): Generator<string> {
  for (let n = 0; n < batch.length; n += 500) yield batch.slice(n, n + 500).map(row).join('')
}

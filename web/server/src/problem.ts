// Errors as RFC 9457 tells them: application/problem+json, for those of PostgreSQL with SQLSTATE, detail and hint.
import { STATUS_CODES } from 'node:http'
import pg from 'pg'

export interface Pointer { pointer: string; detail: string }

/** An error that the caller is told: status, what is wrong, and what to do about it. */
export class Problem extends Error {
  readonly status: number
  readonly hint: string | undefined
  readonly code: string | undefined
  readonly errors: Pointer[] | undefined
  /** Of a bulk load: the first line that is wrong. */
  readonly line: number | undefined
  readonly headers: Record<string, string>

  constructor(status: number, detail: string,
    more: { hint?: string | undefined; code?: string | undefined; errors?: Pointer[]; line?: number; headers?: Record<string, string> } = {}) {
    super(detail)
    this.status = status
    this.hint = more.hint
    this.code = more.code
    this.errors = more.errors
    this.line = more.line
    this.headers = more.headers ?? {}
  }
}

// SQLSTATE to status: whole codes first, then classes.
const statuses: Record<string, number> = {
  '42501': 403, P0002: 404, '23505': 409, '40001': 409, '40P01': 409, '55000': 409, '55006': 409, '55P03': 409,
  '57014': 504, '25006': 403,
}
const classes: Record<string, number> = { 22: 422, 23: 422, '08': 503, 53: 503, 57: 503, P0: 422 }

const unreachable = new Set(['ECONNREFUSED', 'ECONNRESET', 'ENOENT', 'EPIPE', 'ETIMEDOUT', 'EHOSTUNREACH', 'ENOTFOUND', 'EAI_AGAIN'])

/** What an error means to the caller; null for those that are ours, of which nothing is told. */
export function problemOf(error: unknown): Problem | null {
  if (error instanceof Problem) return error
  if (error instanceof pg.DatabaseError && error.code) {
    const status = statuses[error.code] ?? classes[error.code.slice(0, 2)]
    if (status === undefined) return null
    if (status === 503) return unavailable(error.code)
    const detail = error.detail ? `${error.message}. ${error.detail}` : error.message
    return new Problem(status, detail, { hint: error.hint, code: error.code })
  }
  if (error instanceof Error) {
    const code = (error as { code?: string }).code
    if ((code && unreachable.has(code)) || /^(Connection terminated|timeout exceeded when trying to connect|Client has encountered)/.test(error.message)) {
      return unavailable()
    }
  }
  return null
}

function unavailable(code?: string): Problem {
  return new Problem(503, 'The database cannot be reached at the moment.', { code, hint: 'Try again in a few seconds.', headers: { 'retry-after': '2' } })
}

/** The body of the answer. */
export function problemBody(problem: Problem, instance: string) {
  return {
    type: 'about:blank',
    title: STATUS_CODES[problem.status] ?? 'Error',
    status: problem.status,
    detail: problem.message,
    ...(problem.hint !== undefined && { hint: problem.hint }),
    ...(problem.code !== undefined && { code: problem.code }),
    ...(problem.line !== undefined && { line: problem.line }),
    ...(problem.errors !== undefined && { errors: problem.errors }),
    instance,
  }
}

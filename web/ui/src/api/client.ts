// The API speaks JSON, and RFC 9457 where something is wrong.  Everything else of HTTP is here.

export interface ProblemDocument {
  type?: string
  title: string
  status: number
  detail?: string
  hint?: string
  /** The SQLSTATE. */
  code?: string
  /** The request's id, as in the server's log. */
  instance?: string
  /** The function of chs_grant that the role lacks. */
  may?: 'read' | 'record' | 'administer' | 'operate' | 'maintain'
  errors?: { pointer: string; detail: string }[]
  line?: number
}

/** What the server answered instead of what was asked for, or why it did not answer (status 0). */
export class Problem extends Error {
  constructor(readonly document: ProblemDocument) {
    super(document.title)
  }
  get status() { return this.document.status }
}

export type Parameters = Record<string, string | number | boolean | readonly string[] | undefined | null>
export const BASE = '/api/v1'

/** The address of an operation; parameters without a value are left out. */
export function address(path: string, parameters: Parameters = {}): string {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(parameters))
    for (const one of Array.isArray(value) ? value : [value])
      if (one !== undefined && one !== null && one !== '') query.append(name, String(one))
  const text = query.toString()
  return BASE + path + (text ? `?${text}` : '')
}

export interface Answer<T> { body: T; etag: string | null; status: number }

export interface Sending {
  method?: string
  body?: unknown
  headers?: Record<string, string>
  parameters?: Parameters
  signal?: AbortSignal
}

let signedOut = () => {}
/** What to do when the server no longer knows who this is. */
export const onSignedOut = (action: () => void) => { signedOut = action }

/** Asks once, and throws a Problem unless the answer is a good one. */
export async function send<T>(path: string, { method = 'GET', body, headers, parameters, signal }: Sending = {}): Promise<Answer<T>> {
  let response: Response
  try {
    response = await fetch(address(path, parameters), {
      method,
      signal,
      headers: { accept: 'application/json', ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    })
  } catch (error) {
    if (signal?.aborted) throw error
    throw new Problem({
      status: 0,
      title: navigator.onLine ? 'The server does not answer' : 'You are offline',
      hint: navigator.onLine ? 'It may be restarting. What is on the screen keeps its age.' : 'What is on the screen keeps its age, and is refreshed when you are back.',
    })
  }
  if (!response.ok) {
    if (response.status === 401 && path !== '/session') signedOut()
    throw new Problem(await problemOf(response))
  }
  return {
    body: (response.status === 204 ? undefined : await response.json()) as T,
    etag: response.headers.get('etag'),
    status: response.status,
  }
}

async function problemOf(response: Response): Promise<ProblemDocument> {
  const instance = response.headers.get('x-request-id') ?? undefined
  try {
    const document = await response.json()
    if (typeof document.title === 'string') return { instance, ...document, status: response.status }
  } catch { /* not JSON: a proxy said it */ }
  return { status: response.status, title: response.statusText || `HTTP status ${response.status}`, instance }
}

export const get = async <T>(path: string, parameters?: Parameters, signal?: AbortSignal) => (await send<T>(path, { parameters, signal })).body
export const post = async <T>(path: string, body?: unknown, headers?: Record<string, string>) => (await send<T>(path, { method: 'POST', body, headers })).body

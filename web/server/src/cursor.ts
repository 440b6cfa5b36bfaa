// Cursors: where a page ended, opaque to callers.  They come back from outside, so they are checked like any parameter.
import { Problem } from './problem.ts'

/** Reads a cursor of a certain kind: its values after the kind, strings, numbers or null.  422 if it is another's. */
export function cursorOf(kind: string, after: string | undefined, length: number): (string | number | null)[] | null {
  if (after === undefined) return null
  try {
    const array: unknown = JSON.parse(Buffer.from(after, 'base64url').toString('utf8'))
    if (Array.isArray(array) && array.length === length + 1 && array[0] === kind
      && array.slice(1).every(value => value === null || typeof value === 'string' || typeof value === 'number')) {
      return array.slice(1)
    }
  } catch { /* as below */ }
  throw new Problem(422, '"after" is not what a page of this list has given as "next".', { hint: 'Leave it out to begin with the first page.' })
}

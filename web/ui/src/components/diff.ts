// What differs between two documents of JSON, by path.  Lists of things with a name are compared by name.
export interface Difference { what: string; mine: unknown; theirs: unknown }

const named = (list: unknown[]): Record<string, unknown> | null => {
  const names = list.map((one) => (one && typeof one === 'object' ? ((one as Record<string, unknown>).metric ?? (one as Record<string, unknown>).factor ?? (one as Record<string, unknown>).recommendation) : undefined))
  return names.every((n) => typeof n === 'string') ? Object.fromEntries(list.map((one, i) => [names[i], one])) : null
}

export function differences(mine: unknown, theirs: unknown, what = ''): Difference[] {
  if (JSON.stringify(mine) === JSON.stringify(theirs)) return []
  const a = Array.isArray(mine) ? named(mine) : mine, b = Array.isArray(theirs) ? named(theirs) : theirs
  if (!a || !b || typeof a !== 'object' || typeof b !== 'object') return [{ what, mine, theirs }]
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].flatMap((key) =>
    differences((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key], what ? `${what}.${key}` : key))
}

/** A value of a document, short. */
export const show = (value: unknown): string => (value === undefined || value === null ? '–' : typeof value === 'object' ? JSON.stringify(value).slice(0, 80) : String(value))

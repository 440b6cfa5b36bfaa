// Pieces of SQL that several statements have in common.  All of it is fixed: values are parameters.

/** The present UTC day. */
export const today = `(now() AT TIME ZONE 'UTC')::date`

/** An opaque cursor from a JSON array, by which the next page begins; cursorOf() of cursor.ts reads it. */
export const cursor = (array: string) => `chs_web.cursor(${array})`

/** Rows of a query as a JSON array; [] without any. */
export const rows = (query: string, order = '') => `(SELECT COALESCE(json_agg(r${order && ` ORDER BY ${order}`}), '[]') FROM (${query}) r)`

// What may stand in an address: anything else is as if it were not there.
export const text = (value: unknown) => (typeof value === 'string' && value !== '' ? value.slice(0, 200) : undefined)
export const number = (value: unknown) => (text(value) !== undefined && Number.isFinite(Number(value)) ? Number(value) : typeof value === 'number' && Number.isFinite(value) ? value : undefined)
export const integer = (value: unknown) => { const n = number(value); return n !== undefined && Number.isSafeInteger(n) && n > 0 ? n : undefined }
export const day = (value: unknown) => { const t = text(value); return t && /^\d{4}-\d\d-\d\d$/.test(t) && !Number.isNaN(Date.parse(t)) ? t : undefined }
export const oneOf = <const T extends readonly string[]>(value: unknown, allowed: T): T[number] | undefined => allowed.find((one) => one === value)

/** Every part of an address may be missing. */
type Optional<T> = { [K in keyof T]?: Exclude<T[K], undefined> | undefined }
export const search = <T extends object>(validate: (raw: Record<string, unknown>) => T) => (raw: Record<string, unknown>): Optional<T> => validate(raw)

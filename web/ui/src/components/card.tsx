import { useId, type ReactNode } from 'react'

/** A part of a page with its heading. */
export function Card({ title, aside, children, className = '', pad = true }: { title: ReactNode; aside?: ReactNode; children: ReactNode; className?: string; pad?: boolean }) {
  const id = useId()
  return (
    <section aria-labelledby={id} className={`card min-w-0 ${className}`}>
      <header className="flex flex-wrap items-center justify-between gap-x-4 gap-y-1 px-4 pt-3.5 md:px-5">
        <h2 id={id} className="text-[15px] font-semibold">{title}</h2>
        {aside && <div className="flex flex-wrap items-center gap-2 text-soft">{aside}</div>}
      </header>
      <div className={pad ? 'px-4 pt-2 pb-4 md:px-5' : 'pt-2'}>{children}</div>
    </section>
  )
}

/** A choice of a few, as buttons in a row. */
export function Choice<T extends string | number>({ label, value, options, onChange, hidden }: { label: string; value: T; options: readonly (readonly [T, string])[]; onChange: (value: T) => void; hidden?: boolean }) {
  const name = useId()
  return (
    <fieldset className="inline-flex items-center rounded-lg border border-line bg-raised p-0.5">
      <legend className={hidden === false ? 'label' : 'sr-only'}>{label}</legend>
      {options.map(([option, word]) => (
        <label key={option} className="rounded-md px-2.5 py-0.5 leading-6 text-soft has-checked:bg-surface has-checked:font-medium has-checked:text-ink has-checked:shadow-card has-focus-visible:outline-2 has-focus-visible:outline-accent">
          <input type="radio" name={name} className="sr-only" checked={option === value} onChange={() => onChange(option)} />
          {word}
        </label>
      ))}
    </fieldset>
  )
}

import { useEffect, useRef, useState, type ReactNode } from 'react'

/** The width that a chart has, followed as it changes; 0 before it is known. */
export function useWidth<T extends HTMLElement>() {
  const element = useRef<T>(null)
  const [width, setWidth] = useState(0)
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(Math.round(entry!.contentRect.width)))
    if (element.current) observer.observe(element.current)
    return () => observer.disconnect()
  }, [])
  return [element, width] as const
}

/** The same figures for those who read rather than look. */
export function AsTable({ caption, head, rows }: { caption: string; head: string[]; rows: (string | number | null)[][] }) {
  return (
    <details className="screen-only mt-2 text-[13px]">
      <summary className="w-fit text-soft hover:text-ink">As a table</summary>
      <div className="reveal mt-2 max-h-72 overflow-auto rounded-lg border border-line" tabIndex={0} role="group" aria-label={caption}>
        <table className="w-full border-collapse">
          <caption className="sr-only">{caption}</caption>
          <thead><tr>{head.map((h, i) => <th key={i} scope="col" className={`sticky top-0 bg-raised px-3 py-1 font-medium ${i ? 'text-right' : 'text-left'}`}>{h}</th>)}</tr></thead>
          <tbody>{rows.map((row, r) => <tr key={r} className="border-t border-line">{row.map((cell, i) => (i ? <td key={i} className="px-3 py-1 text-right">{cell ?? '–'}</td> : <th key={i} scope="row" className="px-3 py-1 text-left font-normal">{cell}</th>))}</tr>)}</tbody>
        </table>
      </div>
    </details>
  )
}

export function Legend({ children }: { children: ReactNode }) {
  return <ul className="flex flex-wrap gap-x-4 gap-y-1 text-[13px] text-soft">{children}</ul>
}
export function LegendItem({ swatch, children }: { swatch: string; children: ReactNode }) {
  return <li className="flex items-center gap-1.5"><span className={`size-2.5 rounded-[3px] forced ${swatch}`} aria-hidden />{children}</li>
}

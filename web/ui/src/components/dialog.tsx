import { useEffect, useId, useRef, type ReactNode } from 'react'

/** A native modal dialog: Escape and the backdrop close it, and the focus returns to where it was. */
export function Dialog({ title, onClose, children, wide }: { title: string; onClose: () => void; children: ReactNode; wide?: boolean }) {
  const element = useRef<HTMLDialogElement>(null)
  const id = useId()
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null
    const dialog = element.current
    if (dialog && !dialog.open) dialog.showModal()
    return () => before?.focus?.()
  }, [])
  return (
    <dialog
      ref={element}
      aria-labelledby={id}
      onClose={onClose}
      onClick={(event) => event.target === element.current && onClose()}
      className={`w-[calc(100vw-24px)] ${wide ? 'max-w-4xl' : 'max-w-lg'}`}
    >
      <div className="card shadow-float max-h-[calc(100dvh-48px)] overflow-auto p-5">
        <header className="mb-3 flex items-start justify-between gap-4">
          <h2 id={id} className="text-lg font-semibold">{title}</h2>
          <button type="button" className="button quiet -mt-1 -mr-2" onClick={onClose} aria-label="Close">
            <svg width="12" height="12" viewBox="0 0 12 12" aria-hidden stroke="currentColor" strokeWidth="1.8"><path d="m1 1 10 10M11 1 1 11" /></svg>
          </button>
        </header>
        {children}
      </div>
    </dialog>
  )
}

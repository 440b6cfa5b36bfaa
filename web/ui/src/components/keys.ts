import { useEffect, useRef } from 'react'

/** Whether a key belongs to what is being typed, or to an open dialog. */
export function typing(event: KeyboardEvent): boolean {
  const target = event.target as HTMLElement
  return target.isContentEditable || /^(SELECT|TEXTAREA)$/.test(target.tagName) || (target.tagName === 'INPUT' && !/^(checkbox|radio|button)$/.test((target as HTMLInputElement).type)) || !!document.querySelector('dialog[open]')
}

/** Listens for keys anywhere on the page; a handler that returns true has used the key. */
export function useKeys(handler: (event: KeyboardEvent) => boolean | void) {
  const latest = useRef(handler)
  useEffect(() => { latest.current = handler })
  useEffect(() => {
    const listen = (event: KeyboardEvent) => {
      if (!event.defaultPrevented && !event.isComposing && latest.current(event)) event.preventDefault()
    }
    addEventListener('keydown', listen)
    return () => removeEventListener('keydown', listen)
  }, [])
}

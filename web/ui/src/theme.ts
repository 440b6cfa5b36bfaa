import { useSyncExternalStore } from 'react'

// The three-way switch: what the system says, light, or dark. Remembered in this browser.
export const THEMES = ['system', 'light', 'dark'] as const
export type Theme = (typeof THEMES)[number]
const listeners = new Set<() => void>()

function stored(): Theme {
  const value = localStorage.getItem('theme')
  return value === 'light' || value === 'dark' ? value : 'system'
}

export function applyTheme(theme = stored()) {
  if (theme === 'system') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = theme
}

export function setTheme(theme: Theme) {
  if (theme === 'system') localStorage.removeItem('theme')
  else localStorage.setItem('theme', theme)
  applyTheme(theme)
  for (const listener of listeners) listener()
}

export const useTheme = () => useSyncExternalStore((listener) => (listeners.add(listener), () => listeners.delete(listener)), stored)

import { defineConfig } from 'vite'
import react from '@vitejs/plugin-react'
import tailwindcss from '@tailwindcss/vite'

// Modern browsers only: light-dark(), <dialog> and popover are used as they are.
export default defineConfig({
  plugins: [react(), tailwindcss()],
  build: {
    target: ['chrome123', 'safari17.5', 'firefox125'],
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    proxy: { '/api': { target: process.env.CHS_WEB_URL ?? 'http://127.0.0.1:8080' } },
  },
})

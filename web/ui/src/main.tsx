import './style.css'
import { QueryClientProvider } from '@tanstack/react-query'
import { RouterProvider } from '@tanstack/react-router'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { onSignedOut } from './api/client'
import { closeStream, onStreamExpired } from './api/stream'
import { queryClient, router } from './router'
import { applyTheme } from './theme'

applyTheme()
const signOut = () => {
  closeStream()
  queryClient.setQueryData(['me'], null)
}
onSignedOut(signOut)
onStreamExpired(signOut)

createRoot(document.getElementById('root')!).render(
  <StrictMode>
    <QueryClientProvider client={queryClient}>
      <RouterProvider router={router} />
    </QueryClientProvider>
  </StrictMode>,
)

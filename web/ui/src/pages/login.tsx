import { useQuery } from '@tanstack/react-query'
import { useState, type FormEvent } from 'react'
import { get, Problem, send } from '../api/client'
import type { LoginWays } from '../api/types'
import { queryClient } from '../router'

/** By the company's identity provider, or a login of the database, whose password PostgreSQL checks. */
export function LoginPage() {
  const [problem, setProblem] = useState<Problem | null>(null)
  const [busy, setBusy] = useState(false)
  const ways = useQuery({ queryKey: ['login'], staleTime: Infinity, queryFn: ({ signal }) => get<LoginWays>('/login', undefined, signal) })
  const { password, provider } = ways.data ?? { password: true, provider: null }
  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault()
    const form = new FormData(event.currentTarget)
    setBusy(true)
    try {
      await send('/session', { method: 'POST', body: { user: form.get('user'), password: form.get('password') } })
      await queryClient.resetQueries()
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      setProblem(error)
    } finally {
      setBusy(false)
    }
  }
  return (
    <main className="grid min-h-dvh place-items-center p-6">
      <form onSubmit={submit} className="card w-full max-w-sm space-y-4 p-7" aria-labelledby="login">
        <img src="/icon.svg" width="36" height="36" alt="" />
        <div>
          <h1 id="login" className="text-xl font-semibold">Customer health</h1>
          <p className="text-soft">{password ? 'Log in with your login of the database.' : 'Log in to see who needs you today.'}</p>
        </div>
        {provider && <a href={provider} className={`button w-full justify-center py-1.5 ${password ? '' : 'primary'}`}>Log in with your company</a>}
        {password && <>
        <label className="block space-y-1"><span className="label">Name</span><input name="user" required autoFocus autoComplete="username" autoCapitalize="none" spellCheck={false} className="field w-full" /></label>
        <label className="block space-y-1"><span className="label">Password</span><input name="password" type="password" required autoComplete="current-password" className="field w-full" /></label>
        {problem && <p role="alert" className="rounded-lg bg-critical-soft px-3 py-2 text-critical">{problem.document.detail ?? problem.document.title}{problem.document.hint && <span className="block">{problem.document.hint}</span>}</p>}
        <button type="submit" disabled={busy} className="button primary w-full justify-center py-1.5">Log in</button>
        </>}
      </form>
    </main>
  )
}

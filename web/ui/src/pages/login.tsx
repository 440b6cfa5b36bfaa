import { useState, type FormEvent } from 'react'
import { Problem, send } from '../api/client'
import { queryClient } from '../router'

/** The database's own logins: PostgreSQL checks the password. */
export function LoginPage() {
  const [problem, setProblem] = useState<Problem | null>(null)
  const [busy, setBusy] = useState(false)
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
          <p className="text-soft">Log in with your login of the database.</p>
        </div>
        <label className="block space-y-1"><span className="label">Name</span><input name="user" required autoFocus autoComplete="username" autoCapitalize="none" spellCheck={false} className="field w-full" /></label>
        <label className="block space-y-1"><span className="label">Password</span><input name="password" type="password" required autoComplete="current-password" className="field w-full" /></label>
        {problem && <p role="alert" className="rounded-lg bg-critical-soft px-3 py-2 text-critical">{problem.document.detail ?? problem.document.title}{problem.document.hint && <span className="block">{problem.document.hint}</span>}</p>}
        <button type="submit" disabled={busy} className="button primary w-full justify-center py-1.5">Log in</button>
      </form>
    </main>
  )
}

import { QueryClient } from '@tanstack/react-query'
import { createRootRoute, createRoute, createRouter, lazyRouteComponent } from '@tanstack/react-router'
import { Problem } from './api/client'
import { Shell } from './components/shell'
import { Loading, Note, ProblemNote } from './components/states'
import { CustomersPage } from './pages/customers'
import { day, integer, number, oneOf, search, text } from './search'

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 15_000,
      // Also when the browser believes that it is offline: it may be wrong, and an answer that does not come is told.
      networkMode: 'always',
      retry: (failures, error) => failures < 2 && error instanceof Problem && (error.status === 0 || error.status >= 500),
    },
  },
})

// The whole state of a page is its address, so every view can be linked to.
const root = createRootRoute({ component: Shell })

const customers = createRoute({
  getParentRoute: () => root,
  path: '/',
  component: CustomersPage,
  validateSearch: search((s) => ({
    status: text(s.status), segment: text(s.segment), trend: oneOf(s.trend, ['improving', 'stable', 'declining'] as const), factor: text(s.factor), owner: text(s.owner),
    q: text(s.q), score_from: number(s.score_from), score_below: number(s.score_below), churned: oneOf(s.churned, ['true'] as const), sort: text(s.sort),
  })),
})

const customer = createRoute({
  getParentRoute: () => root,
  path: '/customers/$customerId',
  component: lazyRouteComponent(() => import('./pages/customer'), 'CustomerPage'),
  validateSearch: search((s) => ({ since: day(s.since), as_of: day(s.as_of), days: integer(s.days), metric: text(s.metric), record: oneOf(s.record, ['event'] as const) })),
})

const portfolio = createRoute({
  getParentRoute: () => root,
  path: '/portfolio',
  component: lazyRouteComponent(() => import('./pages/portfolio'), 'PortfolioPage'),
  validateSearch: search((s) => ({ days: integer(s.days), segment: text(s.segment), from_status: text(s.from_status), to_status: text(s.to_status) })),
})

const scorecard = createRoute({
  getParentRoute: () => root,
  path: '/scorecard',
  component: lazyRouteComponent(() => import('./pages/scorecard'), 'ScorecardPage'),
  validateSearch: search((s) => ({ card: text(s.card), factor: text(s.factor), metric: text(s.metric), tab: oneOf(s.tab, ['simulation', 'differences', 'doubts', 'versions'] as const), version: integer(s.version) })),
})

const operations = createRoute({
  getParentRoute: () => root,
  path: '/operations',
  component: lazyRouteComponent(() => import('./pages/operations'), 'OperationsPage'),
})

/** Flat text in both directions: ?status=critical,at_risk and not JSON. */
const parseSearch = (query: string) => Object.fromEntries(new URLSearchParams(query))
const stringifySearch = (parts: Record<string, unknown>) => {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(parts)) if (value !== undefined && value !== '') query.set(name, String(value))
  const s = query.toString().replaceAll('%2C', ',')
  return s ? `?${s}` : ''
}

export const router = createRouter({
  routeTree: root.addChildren([customers, customer, portfolio, scorecard, operations]),
  parseSearch,
  stringifySearch,
  defaultPreload: 'intent',
  scrollRestoration: true,
  defaultPendingComponent: () => <Loading className="h-96 p-6" what="Loading the page" />,
  defaultErrorComponent: ({ error, reset }) => <ProblemNote error={error} retry={reset} page />,
  defaultNotFoundComponent: () => <Note icon="search" title="There is no such page" page><p><a className="link" href="/">All customers</a></p></Note>,
})

declare module '@tanstack/react-router' {
  interface Register { router: typeof router }
}

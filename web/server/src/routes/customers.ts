// The list of customers, in pages and as CSV.
//
// Where a list begins decides how fast it is: those at risk have an index by score, others by status and trend, all by
// number, name, segment and owner.  So there are several statements, and the planner sees which filters are there.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { exportOf } from '../export.ts'
import { cursorOf } from '../cursor.ts'
import { type Statement, statement } from '../db.ts'
import { CustomerFilters, CustomerPage, CustomerQuery } from '../schema/customers.ts'
import { cursor, today } from '../sql.ts'
import { answers, type Context, send } from './context.ts'
import Type from 'typebox'

const risk = { from: 'chs.at_risk_customers', churned_at: 'NULL::timestamptz' }
const scored = { from: 'chs.scored_customers', churned_at: 'l.churned_at' }
const everyone = { from: 'chs.customer_list', churned_at: 'l.churned_at' }
type Source = typeof risk

const weekAgo = `(SELECT s.score FROM chs.health_scores s WHERE s.customer_id = l.customer_id AND s.as_of <= ${today} - 7
                  ORDER BY s.as_of DESC, s.health_score_id DESC LIMIT 1)`
const change = `round((l.score - ${weekAgo})::numeric, 2)::double precision`

// What a list is sorted by: an expression, its type, and whether the highest comes first.
const sorts: Record<string, { key: string; type: string; descending?: boolean }> = {
  score: { key: 'l.score', type: 'double precision' },
  '-score': { key: 'l.score', type: 'double precision', descending: true },
  name: { key: 'l.name', type: 'text' },
  customer_id: { key: '0', type: 'integer' },
  change: { key: change, type: 'double precision' },
  '-change': { key: change, type: 'double precision', descending: true },
  '-value': { key: 'l.value', type: 'double precision', descending: true },
  '-status_since': { key: 'l.status_since', type: 'timestamptz', descending: true },
}

// $4 to $13; a filter that is not there is NULL, and then the planner drops it.
const filters = (source: Source) => `
      ($4::text[] IS NULL OR l.status = ANY ($4))
  AND ($5::text[] IS NULL OR l.segment = ANY ($5) OR (l.segment IS NULL AND '' = ANY ($5)))
  AND ($6::text[] IS NULL OR l.trend = ANY ($6))
  AND ($7::text IS NULL OR ${source === everyone
    ? '(SELECT w.weakest_factor FROM chs.scored_customers w WHERE w.customer_id = l.customer_id)'
    : 'l.weakest_factor'} = $7)
  AND ($8::double precision IS NULL OR l.score >= $8)
  AND ($9::double precision IS NULL OR l.score < $9)
  AND ($10::text IS NULL OR l.name ILIKE $10 OR l.external_id LIKE $11)
  AND ($12::text IS NULL OR l.owner = $12)${source === risk ? '\n  AND NOT $13::boolean' : `
  AND CASE WHEN $13::boolean THEN l.churned_at IS NOT NULL AND (l.churned_at AT TIME ZONE 'UTC')::date <= ${today}
           ELSE l.churned_at IS NULL OR (l.churned_at AT TIME ZONE 'UTC')::date > ${today} END`}`

// The page: first those that have a key, in its order, then those that have none.  $1 is the limit; $2 and $3 where the page
// before ended: the key (NULL: among those without) and the customer.
function page(source: Source, sort: string): string {
  const { key, type, descending } = sorts[sort]!
  const columns = `l.customer_id, l.external_id, l.name, l.segment, l.owner, l.value, l.score, l.status, l.trend, l.coverage,
       l.status_since, l.previous_status, l.as_of, l.calculated_at, ${source.churned_at} AS churned_at`
  const direction = descending ? 'DESC' : 'ASC'
  const keyed = `
    SELECT ${columns}, k.key FROM ${source.from} l CROSS JOIN LATERAL (SELECT ${key} AS key) k
    WHERE ${filters(source)}
      AND ${sort === 'customer_id' ? '($2::text IS NULL OR $3::bigint IS NOT NULL) AND ($3::bigint IS NULL OR l.customer_id > $3)' : `k.key IS NOT NULL
      AND ($3::bigint IS NULL OR (k.key, l.customer_id) ${descending ? '<' : '>'} ($2::${type}, $3))`}
    ORDER BY ${sort === 'customer_id' ? '' : `k.key ${direction}, `}l.customer_id ${direction} LIMIT $1::integer + 1`
  const unkeyed = `
    SELECT ${columns}, NULL::${type} AS key FROM ${source.from} l CROSS JOIN LATERAL (SELECT ${key} AS key) k
    WHERE ${filters(source)}
      AND k.key IS NULL AND ($3::bigint IS NULL OR $2::text IS NOT NULL OR l.customer_id > $3)
    ORDER BY l.customer_id LIMIT $1::integer + 1`
  const never = sort === 'customer_id' || (source === risk && sort === 'score')
  return never ? keyed : `SELECT * FROM (${keyed}) a UNION ALL SELECT * FROM (${unkeyed}) b LIMIT $1::integer + 1`
}

const sparkline = `,
    'sparkline', (SELECT json_agg((SELECT s.score FROM chs.health_scores s WHERE s.customer_id = l.customer_id AND s.as_of <= ${today} - 7 * w.week
                                   ORDER BY s.as_of DESC, s.health_score_id DESC LIMIT 1) ORDER BY w.week DESC)
                  FROM generate_series(1, 7) w(week))`

function list(name: string, source: Source, sort: string, withSparkline: boolean): Statement {
  const { type, descending } = sorts[sort]!
  const direction = descending ? 'DESC' : 'ASC'
  const order = sort === 'customer_id' ? 'p.customer_id' : `p.key IS NULL, p.key ${direction}, CASE WHEN p.key IS NOT NULL THEN p.customer_id END ${direction}, p.customer_id`
  return statement(`${name} ${sort}${withSparkline ? ' sparkline' : ''}`, `
WITH page AS MATERIALIZED (${page(source, sort)}),
     l AS MATERIALIZED (SELECT p.*, row_number() OVER (ORDER BY ${order}) AS n FROM page p)
SELECT json_build_object(
  'customers', (SELECT COALESCE(json_agg(json_build_object(
    'customer_id', l.customer_id, 'external_id', l.external_id, 'name', l.name, 'segment', l.segment, 'owner', l.owner, 'value', l.value,
    'score', l.score, 'status', l.status, 'trend', l.trend, 'coverage', l.coverage,
    'weakest_factor', w.factor, 'weakest_points', w.points,
    'change', ${change}, 'status_since', l.status_since, 'previous_status', l.previous_status,
    'as_of', l.as_of, 'calculated_at', l.calculated_at, 'churned_at', l.churned_at${withSparkline ? sparkline : ''}) ORDER BY l.n), '[]')
    FROM l
    LEFT JOIN LATERAL (SELECT b.factor_name AS factor, round((b.effective_weight * (100 - b.score))::numeric, 2) AS points
                       FROM chs.factor_breakdown b WHERE b.customer_id = l.customer_id AND b.score IS NOT NULL
                       ORDER BY (100 - b.score) * b.weight DESC, b.position LIMIT 1) w ON true
    WHERE l.n <= $1::integer),
  'total', CASE WHEN $14::boolean
                THEN (SELECT COALESCE(sum(CASE WHEN $4::text[] IS NULL THEN s.total
                             ELSE s.healthy * ('healthy' = ANY ($4))::integer + s.at_risk * ('at_risk' = ANY ($4))::integer
                                + s.critical * ('critical' = ANY ($4))::integer + s.unknown * ('unknown' = ANY ($4))::integer END), 0)
                      FROM chs.segment_stats s WHERE $5::text[] IS NULL OR COALESCE(s.segment, '') = ANY ($5))
                WHEN $15::boolean THEN (SELECT count(*) FROM ${source.from} l WHERE ${filters(source)}) END,
  'next', (SELECT ${cursor(`json_build_array('${sort}', ${sort === 'customer_id' ? '0' : `l.key::${type}`}, l.customer_id)`)}
           FROM l WHERE l.n = $1::integer AND EXISTS (SELECT FROM l more WHERE more.n > $1::integer)))::text AS json`,
  { planned: true, milliseconds: 10_000 })
}

/** By source, sort and whether with a sparkline; also for the benchmark. */
export const statements = new Map<string, Statement>()
for (const [name, source] of Object.entries({ risk, scored, everyone })) {
  for (const sort of Object.keys(sorts)) {
    for (const spark of [false, true]) {
      const one = list(name, source, sort, spark)
      statements.set(one.name, one)
    }
  }
}

type Query = Type.Static<typeof CustomerQuery>

// Which index there is to begin with.
function sourceOf(query: Query): string {
  const status = query.status
  if (status?.length && !query.churned && query.sort !== 'customer_id' && status.every(s => s === 'at_risk' || s === 'critical')) return 'risk'
  if (status?.length === 1 && (status[0] === 'healthy' || status[0] === 'unknown') && query.sort === 'customer_id') return 'scored'
  return 'everyone'
}

const likely = (q: string) => q.replace(/[\\%_]/g, '\\$&')

function parametersOf(query: Query): unknown[] {
  const given = <T>(value: T[] | undefined) => (value?.length ? value : null)
  const free = !query.trend?.length && query.factor === undefined && query.score_from === undefined && query.score_below === undefined
    && query.q === undefined && query.owner === undefined && !query.churned
  return [
    given(query.status), given(query.segment), given(query.trend), query.factor ?? null, query.score_from ?? null, query.score_below ?? null,
    query.q === undefined ? null : `%${likely(query.q)}%`, query.q === undefined ? null : `${likely(query.q)}%`,
    query.owner ?? null, query.churned ?? false, free, query.count === 'exact',
  ]
}

export const customers: FastifyPluginAsyncTypebox<Context> = async (app, { db }) => {
  app.get('/customers', {
    config: { may: 'read' },
    schema: {
      operationId: 'customers', summary: 'Customers, in pages that stay right while scores move', tags: ['customers'],
      querystring: CustomerQuery, response: answers({ 200: CustomerPage }),
    },
  }, async (request, reply) => {
    const query = request.query
    const sort = query.sort ?? 'score'
    const [key, id] = cursorOf(sort, query.after, 2) ?? [null, null]
    const what = statements.get(`${sourceOf(query)} ${sort}${query.fields?.length ? ' sparkline' : ''}`)!
    const json = await db.read(request.identity, what, [query.limit ?? 50, key, id, ...parametersOf(query)])
    const next = /"next" : "([^"]*)"\}$/.exec(json!)?.[1]
    if (next !== undefined) {
      const url = new URL(request.url, 'http://localhost')
      url.searchParams.set('after', next)
      reply.header('link', `<${url.pathname}${url.search}>; rel="next"`)
    }
    return send(reply, json)
  })

  app.get('/customers.csv', {
    config: { may: 'read' },
    schema: {
      operationId: 'customers_csv', summary: 'The same list, all of it, as CSV for spreadsheets', tags: ['customers'],
      querystring: CustomerFilters, produces: ['text/csv'], response: answers({ 200: Type.String({ description: 'CSV with a header' }) }),
    },
  }, async (request, reply) => {
    const query = request.query as Query
    const sort = query.sort ?? 'score'
    const what = statements.get(`${sourceOf(query)} ${sort}`)!
    const lines = await exportOf(db, request.identity, sort, what, parametersOf(query))
    return reply.type('text/csv; charset=utf-8').header('content-disposition', 'attachment; filename="customers.csv"').send(lines)
  })
}

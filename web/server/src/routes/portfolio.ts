// All customers together: the lead's page, and cards.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import Type from 'typebox'
import { statement } from '../db.ts'
import { Day, exactly } from '../schema/common.ts'
import { Distribution, Moved, Movements, MovementStatus, Movers, PortfolioTrend, Segments, Stats, Values } from '../schema/portfolio.ts'
import { rows, today } from '../sql.ts'
import { answers, type Context, send } from './context.ts'

const counts = (s: string) => ['total', 'healthy', 'at_risk', 'critical', 'unknown', 'healthy_percent', 'at_risk_percent', 'critical_percent',
  'unknown_percent', 'average_score', 'last_updated'].map(column => `${s}.${column}`).join(', ')

// The owners are read from their index, one step for each.
const stats = statement('stats', `
  WITH RECURSIVE live AS MATERIALIZED (SELECT max(f.version) AS version FROM chs.scorecard_version_factors f WHERE f.version = chs_web.live_version()),
  owner AS (
    (SELECT c.owner FROM chs.customers c WHERE c.owner IS NOT NULL ORDER BY c.owner LIMIT 1)
    UNION ALL
    SELECT (SELECT c.owner FROM chs.customers c WHERE c.owner > o.owner ORDER BY c.owner LIMIT 1) FROM owner o WHERE o.owner IS NOT NULL)
  SELECT row_to_json(r)::text AS json
  FROM (SELECT ${counts('s')}, chs_web.lag_seconds() AS lag_seconds, live.version,
               (SELECT COALESCE(json_agg(f.factor ORDER BY f.ordinal, f.factor), '[]')
                FROM (SELECT f.factor, min(f.ordinal) AS ordinal FROM chs.scorecard_version_factors f WHERE f.version = live.version GROUP BY f.factor) f) AS factors,
               (SELECT COALESCE(json_agg(o.owner ORDER BY o.owner), '[]') FROM (SELECT o.owner FROM owner o WHERE o.owner IS NOT NULL LIMIT 500) o) AS owners
        FROM chs.dashboard_stats s, live) r`)
const segments = statement('segments', `
  SELECT json_build_object('segments', ${rows(`SELECT s.segment, s.description, ${counts('s')} FROM chs.segment_stats s`, 'r.segment NULLS LAST')})::text AS json`)
const values = statement('values', `
  SELECT json_build_object('values', ${rows('SELECT v.segment, v.status, v.customers, v.value, v.without_value FROM chs.value_stats v', 'r.segment NULLS LAST, r.status')})::text AS json`,
  { milliseconds: 15_000 })
const distribution = statement('distribution', `
  SELECT json_build_object('buckets', ${rows('SELECT d.score_from, d.score_to, d.customers FROM chs.score_distribution d', 'r.score_from')})::text AS json`,
  { milliseconds: 15_000 })
const movements = statement('movements', `
  SELECT json_build_object('from', d.from_day, 'to', d.to_day,
    'movements', ${rows('SELECT m.from_status, m.to_status, m.customers FROM chs_status_movements(d.from_day, d.to_day) m', 'r.from_status, r.to_status')})::text AS json
  FROM (SELECT COALESCE($1::date, u.day - 30) AS from_day, u.day AS to_day
        FROM (SELECT COALESCE($2::date, (SELECT max(c.day) FROM chs.counted_days c), ${today}) AS day) u) d`, { milliseconds: 30_000 })
// The customers of one cell of chs_status_movements(), which says what a status at the end of a day is.
const moved = statement('moved', `
  WITH d AS (SELECT COALESCE($1::date, COALESCE($2::date, ${today}) - 30) AS from_day, COALESCE($2::date, ${today}) AS to_day),
  e AS MATERIALIZED (
    SELECT c.customer_id, c.name, c.segment,
           CASE WHEN (c.churned_at AT TIME ZONE 'UTC')::date <= d.from_day THEN 'churned' ELSE COALESCE(f.status, 'none') END AS previous_status,
           CASE WHEN (c.churned_at AT TIME ZONE 'UTC')::date <= d.to_day THEN 'churned' ELSE t.status END AS status,
           f.score AS previous_score, t.score
    FROM d CROSS JOIN chs.customers c
    CROSS JOIN LATERAL (SELECT h.status, h.score FROM chs.health_scores h WHERE h.customer_id = c.customer_id AND h.as_of <= d.to_day
                        ORDER BY h.as_of DESC, h.health_score_id DESC LIMIT 1) t
    LEFT JOIN LATERAL (SELECT h.status, h.score FROM chs.health_scores h WHERE h.customer_id = c.customer_id AND h.as_of <= d.from_day
                       ORDER BY h.as_of DESC, h.health_score_id DESC LIMIT 1) f ON true)
  SELECT json_build_object('customers', ${rows(`
    SELECT e.customer_id, e.name, e.segment, e.score, e.status, e.previous_score, e.previous_status, round((e.score - e.previous_score)::numeric, 2)::double precision AS change
    FROM e WHERE e.previous_status = $3 AND e.status = $4 ORDER BY e.score - e.previous_score, e.customer_id LIMIT 200`, 'r.change, r.customer_id')})::text AS json`, { milliseconds: 30_000 })
const movers = statement('movers', `
  WITH m AS MATERIALIZED (
    SELECT c.customer_id, c.name, c.segment, c.score, c.status, c.previous_score, c.previous_status,
           round(c.change::numeric, 2)::double precision AS change, c.moved_most AS factor
    FROM chs.score_changes c WHERE c.change <> 0)
  SELECT json_build_object('down', ${rows('SELECT * FROM m WHERE m.change < 0 ORDER BY m.change, m.customer_id LIMIT $1', 'r.change, r.customer_id')},
                           'up', ${rows('SELECT * FROM m WHERE m.change > 0 ORDER BY m.change DESC, m.customer_id LIMIT $1', 'r.change DESC, r.customer_id')})::text AS json`,
  { milliseconds: 30_000 })
// Days that are over are counted; today is what the cards show.
const trend = statement('trend', `
  SELECT json_build_object('days', ${rows(`
    SELECT d.day, sum(d.healthy) AS healthy, sum(d.at_risk) AS at_risk, sum(d.critical) AS critical, sum(d.unknown) AS unknown,
           round((sum(d.average_score * (d.healthy + d.at_risk + d.critical)) / nullif(sum(d.healthy + d.at_risk + d.critical), 0))::numeric, 2) AS average_score,
           sum(d.value_at_risk) AS value_at_risk
    FROM chs.daily_stats d WHERE d.day > ${today} - $1::integer GROUP BY d.day
    UNION ALL
    SELECT ${today}, s.healthy, s.at_risk, s.critical, s.unknown, s.average_score, NULL FROM chs.dashboard_stats s`, 'r.day')})::text AS json`, { milliseconds: 30_000 })

const tags = ['portfolio']

export const portfolio: FastifyPluginAsyncTypebox<Context> = async (app, { db }) => {
  app.get('/stats', {
    config: { may: 'read' },
    schema: { operationId: 'stats', summary: 'How many customers have which status', tags, response: answers({ 200: Stats }) },
  }, async (request, reply) => send(reply, await db.read(request.identity, stats)))

  app.get('/segments', {
    config: { may: 'read' },
    schema: { operationId: 'segments', summary: 'The same for each segment', tags, response: answers({ 200: Segments }) },
  }, async (request, reply) => send(reply, await db.read(request.identity, segments)))

  app.get('/portfolio/values', {
    config: { may: 'read' },
    schema: { operationId: 'values', summary: 'What the customers of each segment and status are worth', tags, response: answers({ 200: Values }) },
  }, async (request, reply) => send(reply, await db.read(request.identity, values)))

  app.get('/portfolio/distribution', {
    config: { may: 'read' },
    schema: { operationId: 'distribution', summary: 'How many customers have a score from 0 to 5, 5 to 10, and so on', tags, response: answers({ 200: Distribution }) },
  }, async (request, reply) => send(reply, await db.read(request.identity, distribution)))

  app.get('/portfolio/movements', {
    config: { may: 'read' },
    schema: {
      operationId: 'movements', summary: 'How many customers moved from which status to which; without days, in 30 days', tags,
      querystring: exactly({ from: Type.Optional(Day), to: Type.Optional(Day) }), response: answers({ 200: Movements }),
    },
  }, async (request, reply) => send(reply, await db.read(request.identity, movements, [request.query.from ?? null, request.query.to ?? null])))

  app.get('/portfolio/movements/customers', {
    config: { may: 'read' },
    schema: {
      operationId: 'moved', summary: 'Which customers moved from one status to another', tags,
      querystring: exactly({ from: Type.Optional(Day), to: Type.Optional(Day), from_status: MovementStatus, to_status: MovementStatus }), response: answers({ 200: Moved }),
    },
  }, async (request, reply) => {
    const { from, to, from_status, to_status } = request.query
    return send(reply, await db.read(request.identity, moved, [from ?? null, to ?? null, from_status, to_status]))
  })

  app.get('/portfolio/movers', {
    config: { may: 'read' },
    schema: {
      operationId: 'movers', summary: 'Whose score moved most in seven days, and by which factor', tags,
      querystring: exactly({ limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 100, default: 10 })) }), response: answers({ 200: Movers }),
    },
  }, async (request, reply) => send(reply, await db.read(request.identity, movers, [request.query.limit ?? 10])))

  app.get('/portfolio/trend', {
    config: { may: 'read' },
    schema: {
      operationId: 'portfolio_trend', summary: 'How many customers had which status on each day', tags,
      querystring: exactly({ days: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 90 })) }), response: answers({ 200: PortfolioTrend }),
    },
  }, async (request, reply) => send(reply, await db.read(request.identity, trend, [request.query.days ?? 90])))
}

// The rules: what is live, the draft, what it would do, and versions.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import Type from 'typebox'
import { type Statement, statement } from '../db.ts'
import { Problem } from '../problem.ts'
import { Document, exactly } from '../schema/common.ts'
import {
  Draft, DraftChanges, DraftCheck, DraftLint, DraftSaved, Publication, Published, Rollback, Rules, Simulation, SimulationRequest, VersionDocument, Versions,
} from '../schema/scorecard.ts'
import { rows } from '../sql.ts'
import { answers, callOf, type Context, send } from './context.ts'

const changesOf = rows('SELECT c.what, c.change, c.old_value, c.new_value FROM chs.draft_changes c', 'r.what')
const lintOf = rows(`SELECT l.severity, l.object, l.message, l.hint FROM chs_lint() l`)

const rules = statement('rules', 'SELECT chs_web.rules()::text AS json')
const draft = statement('draft', `
  SELECT json_build_object('hash', chs.draft_hash(d.document), 'document', d.document, 'changes', ${changesOf}, 'lint', ${lintOf})::text AS json
  FROM (SELECT chs_scorecard_export() AS document OFFSET 0) d`)
const changes = statement('draft_changes', `SELECT json_build_object('changes', ${changesOf})::text AS json`)
const lint = statement('draft_lint', `SELECT json_build_object('lint', ${lintOf})::text AS json`)
const check = statement('draft_check', `SELECT json_build_object('changes', ${changesOf}, 'lint', ${lintOf})::text AS json`)
const importDraft = statement('import_draft', 'SELECT chs_scorecard_import($1)::text AS json')
const replaceDraft = statement('replace_draft', `
  SELECT json_build_object('hash', r.hash)::text AS json FROM (SELECT chs_web.replace_draft($1, $2) AS hash OFFSET 0) r WHERE r.hash IS NOT NULL`)
const simulated = ['customer_id', 'name', 'segment', 'live_score', 'live_status', 'draft_score', 'draft_status', 'score_change'].map(c => `s.${c}`).join(', ')
const simulate = (name: string, milliseconds: number): Statement => statement(name, `
  WITH s AS MATERIALIZED (SELECT ${simulated} FROM chs_simulate($1::jsonb, $2::double precision) s WHERE s.active)
  SELECT json_build_object(
    'customers', (SELECT count(*) FROM s), 'changed_status', (SELECT count(*) FROM s WHERE s.live_status IS DISTINCT FROM s.draft_status),
    'live_average', (SELECT round(avg(s.live_score)::numeric, 2) FROM s), 'draft_average', (SELECT round(avg(s.draft_score)::numeric, 2) FROM s),
    'movements', ${rows('SELECT s.live_status AS from_status, s.draft_status AS to_status, count(*) AS customers FROM s GROUP BY 1, 2', 'r.from_status, r.to_status')},
    'histogram', ${rows(`
      SELECT 5 * b.bucket AS score_from, 5 * b.bucket + 5 AS score_to,
             (SELECT count(*) FROM s WHERE s.live_score IS NOT NULL AND least(floor(s.live_score / 5), 19) = b.bucket) AS live,
             (SELECT count(*) FROM s WHERE s.draft_score IS NOT NULL AND least(floor(s.draft_score / 5), 19) = b.bucket) AS draft
      FROM generate_series(0, 19) b(bucket)`, 'r.score_from')},
    'top', ${rows('SELECT * FROM s WHERE s.score_change <> 0 ORDER BY abs(s.score_change) DESC, s.customer_id LIMIT 20', 'abs(r.score_change) DESC, r.customer_id')},
    'customer', (SELECT row_to_json(r) FROM (
      SELECT c.customer_id, c.name, c.segment, l.score AS live_score, l.status AS live_status, d.score AS draft_score, d.status AS draft_status,
             round((d.score - l.score)::numeric, 2) AS score_change
      FROM chs.customers c CROSS JOIN LATERAL chs.health_now(c.customer_id) l
      CROSS JOIN LATERAL chs.health_by(COALESCE($1::jsonb, chs_scorecard_export()), c.customer_id) d
      WHERE c.customer_id = $3) r))::text AS json`, { milliseconds })
const simulateSample = simulate('simulate', 10_000)
const simulateAll = simulate('simulate_all', 120_000)
const versions = statement('versions', `
  SELECT json_build_object('versions', ${rows(`
    SELECT v.version, v.published_at, v.live_at, v.version = max(v.version) FILTER (WHERE v.live_at IS NOT NULL) OVER () AS live,
           v.published_by, v.actor, v.note, v.changes FROM chs.scorecard_versions v`, 'r.version DESC')})::text AS json`)
const version = statement('version', `SELECT json_build_object('version', $1::integer, 'document', chs_scorecard_export($1::integer))::text AS json`)
const publish = statement('publish', `SELECT json_build_object('version', chs_publish($1, $2))::text AS json`, { milliseconds: 60_000 })
const rollback = statement('rollback', `
  SELECT json_build_object('version', r.version)::text AS json FROM (SELECT chs_web.rollback($1, $2, $3, $4) AS version OFFSET 0) r WHERE r.version IS NOT NULL`,
  { milliseconds: 60_000 })

// What somebody has seen: the hash in If-Match, or * for whatever is there.
const IfMatch = Type.Object({ 'if-match': Type.Optional(Type.String({ pattern: '^("[0-9a-f]{64}"|\\*)$', description: 'the ETag of the draft that is meant; *: whichever' })) })
function expected(headers: { 'if-match'?: string }): string {
  const match = headers['if-match']
  if (match === undefined) throw new Problem(428, 'If-Match is missing.', { hint: 'Send the ETag of the draft that you have seen, so that nobody else\'s changes are lost.' })
  return match.replaceAll('"', '')
}
const changed = () => new Problem(412, 'Somebody else has changed the draft.', { hint: 'Read it again, and decide whose changes are to stay.' })

const tags = ['scorecard']
const VersionPath = exactly({ version: Type.Integer({ minimum: 1, maximum: 2147483647 }) })

export const scorecard: FastifyPluginAsyncTypebox<Context> = async (app, { db }) => {
  app.get('/scorecard/rules', {
    config: { may: 'read' },
    schema: { operationId: 'rules', summary: 'The live rules, as far as charts need them', tags, response: answers({ 200: Rules }) },
  }, async (request, reply) => send(reply, await db.read(request.identity, rules)))

  app.get('/scorecard/draft', {
    config: { may: 'administer' },
    schema: { operationId: 'draft', summary: 'The draft, how it differs from what was published last, and what is questionable in it', tags, response: answers({ 200: Draft }) },
  }, async (request, reply) => {
    const json = await db.read(request.identity, draft)
    const hash = /^\{"hash" : "([0-9a-f]{64})"/.exec(json!)?.[1]
    return send(reply.header('etag', `"${hash}"`), json)
  })

  app.put('/scorecard/draft', {
    config: { may: 'administer' },
    bodyLimit: 4 << 20,
    schema: { operationId: 'save_draft', summary: 'Replace the draft that one has seen', tags, headers: IfMatch, body: Document, response: answers({ 200: DraftSaved }) },
  }, async (request, reply) => {
    const json = await db.write(request.identity, callOf(request), replaceDraft, [request.body, expected(request.headers)], done => `draft ${(JSON.parse(done) as { hash: string }).hash}`)
    if (json === null) throw changed()
    return send(reply.header('etag', `"${(JSON.parse(json) as { hash: string }).hash}"`), json)
  })

  app.get('/scorecard/draft/changes', {
    config: { may: 'administer' },
    schema: { operationId: 'draft_changes', summary: 'How the draft differs from what was published last', tags, response: answers({ 200: DraftChanges }) },
  }, async (request, reply) => send(reply, await db.read(request.identity, changes)))

  app.get('/scorecard/draft/lint', {
    config: { may: 'administer' },
    schema: { operationId: 'draft_lint', summary: 'What is questionable in the draft', tags, response: answers({ 200: DraftLint }) },
  }, async (request, reply) => send(reply, await db.read(request.identity, lint)))

  app.post('/scorecard/draft/check', {
    config: { may: 'administer', asks: true },
    bodyLimit: 4 << 20,
    schema: { operationId: 'check_draft', summary: 'What changes and lint would say if a document were the draft; it does not become it', tags, body: exactly({ document: Document }), response: answers({ 200: DraftCheck }) },
  }, async (request, reply) => send(reply, await db.tryOut(request.identity, check, importDraft, [request.body.document])))

  app.post('/scorecard/simulations', {
    config: { may: 'administer', asks: true },
    bodyLimit: 4 << 20,
    schema: { operationId: 'simulate', summary: 'What the draft, or another document, would do to scores and statuses', tags, body: SimulationRequest, response: answers({ 200: Simulation }) },
  }, async (request, reply) => {
    const { document, sample, customer_id } = request.body
    return send(reply, await db.read(request.identity, sample !== undefined && sample <= 5000 ? simulateSample : simulateAll, [document ?? null, sample ?? null, customer_id ?? null]))
  })

  app.get('/scorecard/versions', {
    config: { may: 'administer' },
    schema: { operationId: 'versions', summary: 'What was published, by whom, why, and what changed', tags, response: answers({ 200: Versions }) },
  }, async (request, reply) => send(reply, await db.read(request.identity, versions)))

  app.get('/scorecard/versions/:version', {
    config: { may: 'administer' },
    schema: { operationId: 'version', summary: 'A published version as a document', tags, params: VersionPath, response: answers({ 200: VersionDocument }) },
  }, async (request, reply) => send(reply, await db.read(request.identity, version, [request.params.version])))

  app.post('/scorecard/versions', {
    config: { may: 'administer' },
    schema: { operationId: 'publish', summary: 'Publish the draft, if it is the one that is expected', tags, body: Publication, response: answers({ 201: Published }) },
  }, async (request, reply) => send(reply, await db.write(request.identity, callOf(request), publish, [request.body.note, request.body.expected],
    done => `version ${(JSON.parse(done) as { version: number }).version}`), 201))

  app.post('/scorecard/versions/:version/rollback', {
    config: { may: 'administer' },
    schema: { operationId: 'rollback', summary: 'Make an earlier version the draft, and publish it again', tags, params: VersionPath, headers: IfMatch, body: Rollback, response: answers({ 201: Published }) },
  }, async (request, reply) => {
    const json = await db.write(request.identity, callOf(request), rollback, [request.params.version, request.body.note ?? null, request.body.discard ?? false, expected(request.headers)],
      done => `version ${(JSON.parse(done) as { version: number }).version}`)
    if (json === null) throw changed()
    return send(reply, json, 201)
  })
}

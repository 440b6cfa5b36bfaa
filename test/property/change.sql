-- chs_explain_change against what it promises, and against an oracle in plain SQL
-- that splits the change by itself; on random customers, events, plug-ins and
-- scorecards.  Prints TAP, and undoes all it did.
\ir tap.sql
\ir random.sql
SELECT set_config('tap.note', format('seed %s', :'seed'), false), setseed(:seed::bigint % 1000003 / 1000003.0) \g /dev/null
SELECT pg_sleep(CASE WHEN left_today < 60 THEN left_today + 1 ELSE 0 END)
FROM (SELECT 86400 - extract(epoch FROM now() AT TIME ZONE 'UTC' - date_trunc('day', now() AT TIME ZONE 'UTC')) AS left_today) t \g /dev/null
SET jit = off;
DROP SCHEMA IF EXISTS moved CASCADE;
CREATE SCHEMA moved;
BEGIN;

\echo # a plug-in, a scorecard published 20 days ago, and another one now
CREATE FUNCTION moved.opinion(customer_id bigint, as_of timestamptz) RETURNS double precision LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN (n * 7 + customer_id * 13) % 4 <> 0 THEN (n * 5 + customer_id * 17) % 100 END
    FROM (SELECT as_of::date - '2000-01-01'::date AS n) d
$$;
SELECT rnd.nobody() \g /dev/null
INSERT INTO chs.customers (customer_id, segment, created_at, churned_at)
SELECT i, rnd.segment(), rnd.on_day(rnd.pick('{3,15,29,45,89,95,900,900,900}')),
       CASE WHEN random() < 0.1 THEN rnd.on_day(rnd.pick('{0,5,15,30}')) END
FROM generate_series(1, least(:customers, 40)) i;
SELECT rnd.events(0.15) \g /dev/null
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT customer_id, event_type, event_data, occurred_at FROM rnd.event
-- some have been silent for a while
WHERE customer_id % 3 <> 0 OR occurred_at < now() - interval '12 days';

DELETE FROM chs.factors WHERE scorecard = 'default' AND factor NOT IN ('api_usage', 'login_frequency', 'payment_timeliness', 'feature_adoption', 'support_tickets');
SELECT rnd.scorecard('default') \g /dev/null
UPDATE chs.scorecards SET min_coverage = rnd.whole(0, 3) / 10.0, trend_days = 3 WHERE scorecard = 'default';
UPDATE chs.metrics SET window_days = rnd.pick('{7,14,30}') WHERE scorecard = 'default' AND window_days IS NOT NULL;
SELECT chs_add_factor('opinion', 0.3, 'moved.opinion', missing => ('{missing,zero}'::text[])[rnd.whole(1, 2)]) \g /dev/null
SELECT chs_publish('20 days ago') \g /dev/null
ALTER TABLE chs.scorecard_versions DISABLE TRIGGER scorecard_versions_guard;
UPDATE chs.scorecard_versions SET live_at = now() - interval '100 days' WHERE version < (SELECT max(version) FROM chs.scorecard_versions);
UPDATE chs.scorecard_versions SET live_at = now() - interval '20 days' WHERE version = (SELECT max(version) FROM chs.scorecard_versions);
ALTER TABLE chs.scorecard_versions ENABLE TRIGGER scorecard_versions_guard;
SELECT rnd.scorecard('default') \g /dev/null
UPDATE chs.scorecards SET min_coverage = rnd.whole(0, 3) / 10.0, trend_days = 3 WHERE scorecard = 'default';
SELECT chs_drop_factor('feature_adoption') \g /dev/null
SELECT chs_add_factor('extra', 0.2, metrics => '[{"metric": "any", "event_type": "login", "aggregate": "active_days", "window_days": 10, "curve": "0:0 10:100"}]') \g /dev/null
SELECT chs_publish('now') \g /dev/null

CREATE TABLE moved.days (since integer, until integer);
INSERT INTO moved.days VALUES (0, 0), (11, 0), (19, 0), (25, 0), (12, 6), (35, 22), (30, 14);
CREATE TABLE moved.change AS
SELECT c.customer_id, d.since, d.until, c.segment, c.created_at, LEAST(now() - d.since * interval '1 day', c.churned_at) AS since_at,
       LEAST(now() - d.until * interval '1 day', c.churned_at) AS until_at, e.*, e.ordinality AS n
FROM chs.customers c, moved.days d, chs_explain_change(c.customer_id, now() - d.since * interval '1 day', now() - d.until * interval '1 day') WITH ORDINALITY e;
CREATE TABLE moved.score AS
SELECT customer_id, days, chs_score(customer_id, now() - days * interval '1 day') AS score
FROM chs.customers, (SELECT since FROM moved.days UNION SELECT until FROM moved.days) d(days);
SELECT format('# %s changes, of %s both scores are known', count(*), count(change)) FROM moved.change;

SELECT * FROM tap.none($$
    SELECT c.customer_id, c.since, c.until, sum(c.change), b.score - a.score AS expected
    FROM moved.change c JOIN moved.score a ON (a.customer_id, a.days) = (c.customer_id, c.since) JOIN moved.score b ON (b.customer_id, b.days) = (c.customer_id, c.until)
    GROUP BY 1, 2, 3, a.score, b.score
    HAVING (sum(c.change) IS NULL) <> (a.score IS NULL OR b.score IS NULL) OR abs(sum(c.change) - (b.score - a.score)) > 1e-9
        OR abs(sum(c.by_behaviour + c.by_time + c.by_data + c.by_scorecard) - (b.score - a.score)) > 1e-9$$,
    'the parts sum to the difference of the scores');
SELECT * FROM tap.none($$SELECT * FROM moved.change WHERE num_nulls(change, by_behaviour, by_time, by_data, by_scorecard) NOT IN (0, 5)
    OR abs(by_behaviour + by_time + by_data + by_scorecard - change) > 1e-9
    OR abs(COALESCE(contribution_until, 0) - COALESCE(contribution_since, 0) - change) > 1e-9$$, 'and those of a factor to the difference of its contributions');
SELECT * FROM tap.none($$
    SELECT c.customer_id, c.since, c.until, c.factor, c.score_since, c.contribution_since, c.score_until, c.contribution_until
    FROM moved.change c, LATERAL (VALUES (c.since, c.score_since, c.contribution_since), (c.until, c.score_until, c.contribution_until)) v(days, score, contribution)
    CROSS JOIN LATERAL (SELECT max(e.score) AS score, max(e.contribution) AS contribution FROM chs_explain(c.customer_id, now() - v.days * interval '1 day') e
                        WHERE e.factor = c.factor AND e.metric IS NULL) e
    WHERE c.customer_id <= 15 AND ROW(v.score, v.contribution) IS DISTINCT FROM ROW(e.score, e.contribution)$$, 'both ends are what chs_explain says of them');
SELECT * FROM tap.none($$SELECT * FROM moved.change WHERE since_at = until_at AND abs(change - by_scorecard) > 0.0101$$, 'on the same day only the scorecard can differ');
SELECT * FROM tap.none($$SELECT * FROM moved.change WHERE details -> 'version_since' = details -> 'version_until' AND abs(by_scorecard) > 0.0101$$, 'which the same version does not');
SELECT * FROM tap.none($$SELECT * FROM moved.change c WHERE details -> 'version_since' = details -> 'version_until' AND customer_id % 3 = 0 AND since <= 11
    AND factor <> 'opinion' AND abs(by_behaviour) > 0.0101
    AND NOT EXISTS (SELECT FROM moved.change o WHERE (o.customer_id, o.since, o.until) = (c.customer_id, c.since, c.until) AND o.factor = 'opinion'
                    AND o.score_since IS DISTINCT FROM o.score_until)$$,
    'without new events and with the plug-in as it was, nothing is put down to behaviour');

\echo # every day by itself, and from one pass
SELECT * FROM tap.none('SELECT rnd.past_differs(60, 0.5)', 'the past from one pass is that of each day, by the versions of their days');
SELECT * FROM tap.none('SELECT rnd.past_differs(30, 0.2, v.version) FROM chs.scorecard_versions v', 'and by each version');

\echo # the split by itself, from what chs.activity_explain says of the days
CREATE FUNCTION moved.explain(customer_id bigint, version integer, events_until timestamptz, as_of timestamptz)
    RETURNS TABLE (factor text, factor_weight double precision, metric text, weight double precision, score double precision, penalty double precision, plugin boolean)
    LANGUAGE sql STABLE AS $$
    SELECT e.factor, f.weight, e.metric, e.weight, e.score, (e.details ->> 'penalty')::double precision, e.details ? 'function'
    FROM chs.scorecard_versions v, chs.customers c,
         LATERAL (SELECT chs_activity_agg(v.document, x.event_type, x.event_data, x.occurred_at) AS activity FROM chs.customer_events x
                  WHERE x.customer_id = c.customer_id AND (x.occurred_at AT TIME ZONE 'UTC')::date <= (events_until AT TIME ZONE 'UTC')::date) a,
         LATERAL chs.activity_explain(a.activity, v.document, c.segment, c.created_at, as_of, chs.plugin_values(c.customer_id, v.document, c.segment, as_of)) e
         JOIN LATERAL jsonb_to_recordset(v.document -> 'scorecards' -> (v.document -> 'segments' -> c.segment ->> 'scorecard') -> 'factors') f(factor text, weight double precision)
              USING (factor)
    WHERE v.version = $2 AND c.customer_id = $1 AND e.metric IS NOT NULL
$$;
CREATE TABLE moved.metric AS
SELECT w.customer_id, w.since, w.until, s.state, e.*
FROM (SELECT DISTINCT customer_id, since, until, since_at, until_at, (details ->> 'version_since')::integer AS v0, (details ->> 'version_until')::integer AS v1
      FROM moved.change WHERE segment IS NOT NULL AND customer_id <= 20 AND since_at < until_at) w,
     LATERAL (VALUES ('a', v0, since_at, since_at), ('t', v0, since_at, until_at), ('b', v0, until_at, until_at), ('c', v1, until_at, until_at)) s(state, version, events_until, as_of),
     LATERAL moved.explain(w.customer_id, s.version, s.events_until, s.as_of) e;
-- The scores between: 1 without what goes missing, 2 with time passed, 3 with new events.
CREATE TABLE moved.between AS
SELECT a.customer_id, a.since, a.until, s.state, a.factor, a.factor_weight, a.weight,
       CASE WHEN a.score IS NOT NULL AND b.score IS NOT NULL THEN
           CASE s.state WHEN '1' THEN a.score WHEN '2' THEN CASE WHEN a.plugin THEN a.score ELSE COALESCE(t.score, a.score) END ELSE b.score END END AS score,
       CASE s.state WHEN '1' THEN a.penalty WHEN '2' THEN t.penalty ELSE b.penalty END AS penalty
FROM moved.metric a JOIN moved.metric t USING (customer_id, since, until, factor, metric) JOIN moved.metric b USING (customer_id, since, until, factor, metric),
     (VALUES ('1'), ('2'), ('3')) s(state)
WHERE (a.state, t.state, b.state) = ('a', 't', 'b')
UNION ALL
SELECT customer_id, since, until, state, factor, factor_weight, weight, score, penalty FROM moved.metric WHERE state <> 't';
CREATE TABLE moved.part AS
WITH factors AS (
    SELECT customer_id, since, until, state, factor, factor_weight,
           CASE WHEN sum(weight) FILTER (WHERE score IS NOT NULL) > 0
                THEN GREATEST(sum(score * weight) / sum(weight) FILTER (WHERE score IS NOT NULL) - COALESCE(sum(penalty), 0), 0) END AS score
    FROM moved.between GROUP BY 1, 2, 3, 4, 5, 6)
SELECT *, score * factor_weight / nullif(sum(factor_weight) FILTER (WHERE score IS NOT NULL) OVER (PARTITION BY customer_id, since, until, state), 0) AS points,
       sum(factor_weight) FILTER (WHERE score IS NOT NULL) OVER (PARTITION BY customer_id, since, until, state) > 0 AS any_data
FROM factors;
-- Where nothing is known at both ends it is all data.
CREATE TABLE moved.expected AS
SELECT customer_id, since, until, factor,
       CASE WHEN any1 THEN p3 - p2 ELSE 0 END AS by_behaviour, CASE WHEN any1 THEN p2 - p1 ELSE 0 END AS by_time,
       CASE WHEN any1 THEN p1 - pa + pb - p3 ELSE pb - pa END AS by_data, pc - pb AS by_scorecard
FROM (SELECT customer_id, since, until, factor,
             COALESCE(max(points) FILTER (WHERE state = 'a'), 0) AS pa, COALESCE(max(points) FILTER (WHERE state = '1'), 0) AS p1,
             COALESCE(max(points) FILTER (WHERE state = '2'), 0) AS p2, COALESCE(max(points) FILTER (WHERE state = '3'), 0) AS p3,
             COALESCE(max(points) FILTER (WHERE state = 'b'), 0) AS pb, COALESCE(max(points) FILTER (WHERE state = 'c'), 0) AS pc,
             bool_or(bool_or(any_data) FILTER (WHERE state = '1')) OVER (PARTITION BY customer_id, since, until) AS any1
      FROM moved.part GROUP BY 1, 2, 3, 4) p;
SELECT format('# %s factors split, by behaviour %s, time %s, data %s, scorecard %s', count(*), count(*) FILTER (WHERE abs(by_behaviour) > 1), count(*) FILTER (WHERE abs(by_time) > 1),
              count(*) FILTER (WHERE abs(by_data) > 1), count(*) FILTER (WHERE abs(by_scorecard) > 1)) FROM moved.expected;
-- Settling adds up to half a hundredth at each end, to the part that is largest.
SELECT * FROM tap.none($$
    SELECT c.customer_id, c.since, c.until, c.factor, c.by_behaviour, e.by_behaviour AS expected, c.by_time, e.by_time AS expected_time,
           c.by_data, e.by_data AS expected_data, c.by_scorecard, e.by_scorecard AS expected_scorecard
    FROM moved.change c JOIN moved.expected e USING (customer_id, since, until, factor)
    WHERE c.change IS NOT NULL AND (abs(c.by_behaviour - e.by_behaviour) > 0.0101 OR abs(c.by_time - e.by_time) > 0.0101
        OR abs(c.by_data - e.by_data) > 0.0101 OR abs(c.by_scorecard - e.by_scorecard) > 0.0101)$$, 'the causes are those of the oracle');
SELECT * FROM tap.none($$SELECT 1 WHERE (SELECT count(*) FROM moved.change c JOIN moved.expected e USING (customer_id, since, until, factor) WHERE c.change IS NOT NULL) < 50$$,
    'there was something to compare');
ROLLBACK;
DROP SCHEMA moved;
SELECT tap.plan();

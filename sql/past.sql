-- The past: scores of many days from one pass, which are those of each day by itself; then what is refused.
\set VERBOSITY terse
SET client_min_messages = warning;
SET datestyle TO iso;
CREATE FUNCTION regress_chs_ago(days integer) RETURNS timestamptz LANGUAGE sql STABLE AS $$ SELECT now() - days * interval '1 day' $$;
CREATE FUNCTION regress_chs_day(days integer) RETURNS date LANGUAGE sql STABLE AS $$ SELECT (now() AT TIME ZONE 'UTC')::date - days $$;
-- Days that differ from what the score of the day says, of so many days up to one.
CREATE FUNCTION regress_chs_differ(id bigint, first integer, last integer, by_version integer DEFAULT NULL, OUT days bigint, OUT scores bigint, OUT differ bigint) LANGUAGE sql AS $$
    SELECT count(*), count(DISTINCT h.score),
           count(*) FILTER (WHERE (h.score, h.status, h.coverage, h.trend, h.factor_scores, h.scorecard, h.version)
               IS DISTINCT FROM (n.score, n.status, n.coverage, n.trend, n.factor_scores, n.scorecard, n.version)
               OR h.score IS DISTINCT FROM chs_score(id, h.day::timestamp AT TIME ZONE 'UTC', regress_chs_differ.by_version))
    FROM chs_history(id, regress_chs_day(first), regress_chs_day(last), regress_chs_differ.by_version) h,
         chs.health_now(id, h.day::timestamp AT TIME ZONE 'UTC', regress_chs_differ.by_version) n
$$;
INSERT INTO chs.customers (customer_id, name, segment, created_at, churned_at) OVERRIDING SYSTEM VALUE VALUES
    (1, 'busy', 'startup', '2020-01-01 00:00+00', NULL), (2, 'gone', 'smb', '2020-01-01 00:00+00', regress_chs_ago(40)),
    (3, 'new', NULL, regress_chs_ago(20), NULL), (4, 'silent', 'enterprise', '2020-01-01 00:00+00', NULL);
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT c, 'api_call', jsonb_build_object('endpoint', '/' || n % 7), regress_chs_ago(n * (c + 1) % 150) FROM generate_series(1, 3) c, generate_series(0, 200) n
UNION ALL SELECT c, 'login', jsonb_build_object('ip_address', '::1', 'user_id', n % 5), regress_chs_ago(n * n % 120) FROM generate_series(1, 3) c, generate_series(0, 60) n
UNION ALL SELECT c, 'payment', jsonb_build_object('amount', 5, 'status', CASE WHEN n % 3 = 0 THEN 'overdue' ELSE 'completed' END), regress_chs_ago(n * 9) FROM generate_series(1, 3) c, generate_series(0, 14) n
-- on a day on which there are more values than are kept
UNION ALL SELECT 1, 'feature_use', jsonb_build_object('feature_name', n), regress_chs_ago(50) FROM generate_series(1, 600) n;
SELECT c, d.* FROM generate_series(1, 4) c, regress_chs_differ(c, 100, 0) d;
-- A version from 30 days ago on, with another window and metric, and the days before by the one before.
ALTER TABLE chs.scorecard_versions DISABLE TRIGGER scorecard_versions_guard;
UPDATE chs.scorecard_versions SET live_at = regress_chs_ago(200);
UPDATE chs.metrics SET window_days = 45 WHERE (scorecard, metric) = ('default', 'features_used');
SELECT chs_add_factor('presence', 0.2, metrics => '[{"metric": "days", "event_type": "login", "aggregate": "active_days", "window_days": 60, "curve": "0:0 30:100", "missing": "zero"}]');
SELECT version - chs_publish('other') FROM chs.scorecard_versions ORDER BY version DESC LIMIT 1;
CALL chs_recalculate_all();
UPDATE chs.scorecard_versions SET live_at = regress_chs_ago(30) WHERE version > 1;
SELECT chs_publish('once more') > 2;
ALTER TABLE chs.scorecard_versions ENABLE TRIGGER scorecard_versions_guard;
SELECT version, count(*), regress_chs_day(0) - min(day) AS from_ago, regress_chs_day(0) - max(day) AS to_ago, max(cardinality(factor_scores)) AS factors
FROM chs_history(1, regress_chs_day(60), regress_chs_day(0)) GROUP BY version ORDER BY version;
SELECT c, d.* FROM generate_series(1, 4) c, regress_chs_differ(c, 60, 0) d;
SELECT v, d.* FROM generate_series(1, 3) v, regress_chs_differ(1, 60, 0, v) d;
-- By default 90 days, up to today; a day to come is as it would be if nothing happened; who has gone keeps the last score.
SELECT count(*), regress_chs_day(0) - min(day) AS first_ago, regress_chs_day(0) - max(day) AS last_ago FROM chs_history(1);
SELECT count(*), regress_chs_day(0) - min(day) AS first_ago, regress_chs_day(0) - max(day) AS last_ago FROM chs_history(1, to_day => regress_chs_day(10));
SELECT * FROM regress_chs_differ(1, 3, -20);
SELECT count(DISTINCT score) FROM chs_history(2, regress_chs_day(25), regress_chs_day(0));
-- Events that are not committed, or have just been removed, are counted as they are everywhere.
BEGIN;
DELETE FROM chs.customer_events WHERE customer_id = 1 AND event_type = 'payment';
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at) SELECT 1, 'support_ticket', '{"priority": "urgent"}', regress_chs_ago(n) FROM generate_series(0, 12, 3) n;
SELECT * FROM regress_chs_differ(1, 60, 0);
ROLLBACK;
-- The pure function, over an activity that was never pruned.
SELECT count(*), count(*) FILTER (WHERE (a.score, a.status, a.coverage, a.trend, a.factor_scores) IS DISTINCT FROM (h.score, h.status, h.coverage, h.trend, h.factor_scores)) AS differ
FROM (SELECT document, chs_activity_agg(document, event_type, event_data, occurred_at) AS activity FROM chs.customer_events, chs.scorecard_versions WHERE version = 2 AND customer_id = 3 GROUP BY document) e
CROSS JOIN LATERAL chs_activity_history(e.activity, e.document, NULL, regress_chs_ago(20), ARRAY[regress_chs_day(5), regress_chs_day(90), regress_chs_day(5), regress_chs_day(12)]) a
JOIN chs_history(3, regress_chs_day(90), regress_chs_day(0), 2) h USING (day);
SELECT count(*) FROM chs_activity_history(NULL, (SELECT document FROM chs.scorecard_versions WHERE version = 1), NULL, now(), '{2026-01-01,2026-01-02}');
SELECT count(*) FROM chs_activity_history(NULL, (SELECT document FROM chs.scorecard_versions WHERE version = 1), NULL, now(), '{}');
SELECT chs_activity_history(NULL, (SELECT document FROM chs.scorecard_versions WHERE version = 1), NULL, now(), '{2026-01-01,NULL}');
SELECT count(*) FROM (SELECT document, chs_activity_agg(document, 'login', '{}', '2026-01-02 00:00+00') AS a FROM chs.scorecard_versions WHERE version = 1 GROUP BY document) v,
    chs_activity_history(chs.activity_prune(a, document, '2026-01-05 00:00+00'), document, NULL, now(), '{2026-01-05,2026-01-06}');
SELECT chs_activity_history(chs.activity_prune(a, document, '2026-01-05 00:00+00'), document, NULL, now(), '{2026-01-06,2026-01-04}') FROM
    (SELECT document, chs_activity_agg(document, 'login', '{}', '2026-01-02 00:00+00') AS a FROM chs.scorecard_versions WHERE version = 1 GROUP BY document) v;
-- The wrong way round, too much, no such version, nobody, and who may not see the customer.
SELECT chs_history(1, '2024-01-02', '2024-01-01');
SELECT chs_history(1, '-infinity', '2024-01-01');
SELECT chs_history(1, '1000-01-01', '2024-01-01');
SELECT chs_history(1, by_version => 99);
SELECT chs_history(99);
SELECT count(*) FROM chs_history(NULL);
CREATE ROLE regress_chs_stranger;
SET ROLE regress_chs_stranger;
SELECT chs_history(1);
RESET ROLE;
DROP ROLE regress_chs_stranger;
-- Where events have been deleted, exactly the days that chs_score refuses, too.
CREATE FUNCTION regress_chs_error(query text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE query;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RETURN regexp_replace(sqlstate || ' ' || sqlerrm, '\d{4}-\d\d-\d\d', 'DAY');
END
$$;
SET chs.event_retention = '110d';
SELECT events_deleted > 0 AS deleted FROM chs_apply_retention();
SELECT c, h.error, count(*), count(*) FILTER (WHERE h.error IS DISTINCT FROM s.error) AS differ
FROM unnest('{1,2}'::integer[]) c, generate_series(0, 60) d,
     regress_chs_error(format('SELECT chs_score(%s, %L)', c, regress_chs_ago(d))) s(error),
     regress_chs_error(format('SELECT chs_history(%s, %L, %L)', c, regress_chs_day(d), regress_chs_day(d))) h(error)
GROUP BY c, h.error ORDER BY c, h.error;
SELECT c, d.* FROM unnest('{1,4}'::integer[]) c, regress_chs_differ(c, 3, 0) d;
RESET chs.event_retention;

-- Everyone: what chs_history says, from the first event or creation to the end.
CREATE FUNCTION regress_chs_everyone(days date[], by_version integer DEFAULT NULL, OUT rows bigint, OUT customers bigint, OUT differ bigint, OUT missing bigint) LANGUAGE sql AS $$
    WITH everyone AS MATERIALIZED (
        SELECT e.customer_id, e.segment, e.day, e.score, e.status, e.coverage, e.trend, e.factor_scores, e.scorecard, e.version
        FROM chs.score_history(days, by_version => regress_chs_everyone.by_version) e),
    each AS MATERIALIZED (
        SELECT c.customer_id, c.segment, h.* FROM chs.customers c, unnest(days) d, chs_history(c.customer_id, d, d, regress_chs_everyone.by_version) h
        WHERE d >= (SELECT min(t AT TIME ZONE 'UTC')::date FROM (SELECT c.created_at AS t UNION ALL SELECT e.occurred_at FROM chs.customer_events e WHERE e.customer_id = c.customer_id) b)
          AND (c.churned_at IS NULL OR d <= (c.churned_at AT TIME ZONE 'UTC')::date))
    SELECT (SELECT count(*) FROM everyone), (SELECT count(DISTINCT customer_id) FROM everyone),
           (SELECT count(*) FROM (TABLE everyone EXCEPT ALL TABLE each) d), (SELECT count(*) FROM (TABLE each EXCEPT ALL TABLE everyone) d)
$$;
UPDATE chs.customers SET created_at = regress_chs_ago(6) WHERE customer_id = 4;
SELECT * FROM regress_chs_everyone(ARRAY[regress_chs_day(0), regress_chs_day(3), regress_chs_day(10)]);
SELECT * FROM regress_chs_everyone(ARRAY[regress_chs_day(0), regress_chs_day(7)], 1);
SELECT count(*) FROM chs.score_history(NULL);
SELECT customer_id, count(*), count(version) FROM chs.score_history(ARRAY[regress_chs_day(0), regress_chs_day(1)], (SELECT document FROM chs.scorecard_versions WHERE version = 1), after => 1, upto => 3) GROUP BY 1;

-- The past is stored for the days that have no row, marked, and what was recorded at the time stays as it is.
SELECT chs_process_queue() > 0 AS folded;
UPDATE chs.health_scores SET as_of = regress_chs_day(4), score = 1 WHERE customer_id = 3;
CREATE TABLE regress_chs_recorded AS SELECT * FROM chs.health_scores;
CREATE FUNCTION regress_chs_past(OUT customer_id bigint, OUT days bigint, OUT first_ago integer, OUT last_ago integer, OUT twice bigint, OUT differ bigint) RETURNS SETOF record LANGUAGE sql AS $$
    SELECT s.customer_id, count(DISTINCT s.as_of), regress_chs_day(0) - min(s.as_of), regress_chs_day(0) - max(s.as_of), count(*) - count(DISTINCT s.as_of),
           count(*) FILTER (WHERE (s.score, s.status, s.coverage, s.trend, s.factor_scores, s.scorecard, s.version, s.segment)
               IS DISTINCT FROM (h.score, h.status, h.coverage, h.trend, h.factor_scores, h.scorecard, h.version, c.segment))
    FROM chs.health_scores s JOIN chs.customers c USING (customer_id), chs_history(c.customer_id, s.as_of, s.as_of) h WHERE s.backfilled GROUP BY s.customer_id ORDER BY s.customer_id
$$;
CALL chs_backfill_history(regress_chs_day(8));
SELECT * FROM regress_chs_past();
SELECT count(*) FROM (TABLE regress_chs_recorded EXCEPT SELECT * FROM chs.health_scores) gone;
SELECT customer_id, day = regress_chs_day(4) AS recorded, count(*) FROM chs.daily_scores WHERE NOT backfilled AND customer_id = 3 GROUP BY 1, 2;
SELECT job, state, done, total, percent FROM chs.progress WHERE job = 'history';
-- Views of the past: a change that was computed afterwards was at the end of its day.
SELECT customer_id, days, trend IS NOT NULL AS trend FROM chs.health_trend ORDER BY 1;
SELECT customer_id, count(*), bool_and(started_at = date_trunc('day', started_at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC') AS at_midnight
FROM chs.status_changes c WHERE (started_at AT TIME ZONE 'UTC') <= regress_chs_day(0)
    AND EXISTS (SELECT FROM chs.health_scores s WHERE s.customer_id = c.customer_id AND s.as_of = (c.started_at AT TIME ZONE 'UTC')::date - 1 AND s.backfilled)
GROUP BY 1 ORDER BY 1;
SELECT * FROM chs_verify();
-- Again: nothing is written that is right already; what has become wrong is replaced.
CREATE TABLE regress_chs_before AS SELECT * FROM chs.health_scores;
CALL chs_backfill_history(regress_chs_day(8));
SELECT count(*) FROM (TABLE chs.health_scores EXCEPT TABLE regress_chs_before) n;
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at) VALUES (1, 'support_ticket', '{"priority": "urgent"}', regress_chs_ago(3));
CALL chs_backfill_history(regress_chs_day(8));
SELECT customer_id, regress_chs_day(0) - min(as_of) AS first_ago, regress_chs_day(0) - max(as_of) AS last_ago, count(*) FROM (TABLE chs.health_scores EXCEPT TABLE regress_chs_before) n GROUP BY 1;
SELECT * FROM regress_chs_past();
SELECT count(*) FROM (TABLE regress_chs_recorded EXCEPT SELECT * FROM chs.health_scores) gone;
-- Within a transaction all is that transaction's; and after what was interrupted, with the customers that are left.
BEGIN;
DELETE FROM chs.health_scores WHERE backfilled;
CALL chs_backfill_history(regress_chs_day(2));
SELECT count(*) FROM chs.health_scores WHERE backfilled;
ROLLBACK;
DELETE FROM chs.health_scores WHERE backfilled;
UPDATE chs.jobs SET finished_at = NULL, last_customer_id = 2, done = 2 WHERE job = 'history';
CALL chs_backfill_history(regress_chs_day(8));
SELECT customer_id, days FROM regress_chs_past();
SELECT state, done, total FROM chs.progress WHERE job = 'history';
-- What the history need not keep is not computed, nor what can no longer be.
SET chs.history_retention = '6d';
CALL chs_backfill_history(regress_chs_day(8));
SELECT * FROM regress_chs_past();
RESET chs.history_retention;
SELECT regexp_replace(regress_chs_error(format('CALL chs_backfill_history(%L)', d)), '"from_day"', 'from_day') FROM (VALUES (regress_chs_day(0)), (NULL), ('-infinity')) v(d);
CALL chs_backfill_history(regress_chs_day(40));
SELECT customer_id, days, first_ago, last_ago FROM regress_chs_past();
-- A plug-in that fails for a customer, and knows nothing of some days, leaves out that customer only.
CREATE FUNCTION regress_chs_plugin(customer_id bigint, as_of timestamptz) RETURNS double precision LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN customer_id = 3 THEN 1 / (customer_id - 3) WHEN d.ago % 2 = 0 THEN d.ago END
    FROM (SELECT (now() AT TIME ZONE 'UTC')::date - (as_of AT TIME ZONE 'UTC')::date AS ago) d
$$;
SELECT chs_add_factor('opinion', 0.3, 'regress_chs_plugin', missing => 'missing', curve => '0:0 31:100');
SELECT chs_publish('with an opinion') > 0;
CALL chs_recalculate_all();
ALTER TABLE chs.scorecard_versions DISABLE TRIGGER scorecard_versions_guard;
UPDATE chs.scorecard_versions SET live_at = regress_chs_ago(6) WHERE version = (SELECT max(version) FROM chs.scorecard_versions);
ALTER TABLE chs.scorecard_versions ENABLE TRIGGER scorecard_versions_guard;
SELECT c, d.* FROM unnest('{1,4}'::integer[]) c, regress_chs_differ(c, 9, 0) d;
SELECT * FROM chs_history(3, regress_chs_day(1));
DELETE FROM chs.health_scores WHERE backfilled AND customer_id = 1;
CALL chs_backfill_history(regress_chs_day(8));
SELECT customer_id, count(*) FROM chs.health_scores WHERE backfilled GROUP BY 1 ORDER BY 1;
-- Also among many, who are scored in several slices.
INSERT INTO chs.customers (customer_id, name) OVERRIDING SYSTEM VALUE SELECT n, 'c-' || n FROM generate_series(5, 5010) n;
SELECT count(*) FROM chs.score_history(ARRAY[regress_chs_day(0)]);
DROP TABLE regress_chs_recorded, regress_chs_before;
DROP FUNCTION regress_chs_everyone, regress_chs_past, regress_chs_plugin;
DROP FUNCTION regress_chs_differ, regress_chs_day, regress_chs_ago, regress_chs_error;
DROP EXTENSION chs;
CREATE EXTENSION chs;

-- Versions: a past day is scored by the version that was live then, unless one is named.
INSERT INTO chs.customers (customer_id, created_at) VALUES (1, '2020-01-01');
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT 1, 'login', '{"ip_address": "::1"}', now() - n * interval '1 day' FROM generate_series(0, 60) n;
UPDATE chs.scorecards SET min_coverage = 0;
SELECT chs_publish('always a score');
UPDATE chs.targets SET target = 60 WHERE (scorecard, metric) = ('default', 'logins');
SELECT chs_publish('more logins');
-- No version was live before the first one: such days are scored by the live one.
SELECT chs_score(1) AS now, chs_score(1, now() - interval '5 days') AS before_all,
       chs_score(1, NULL, 2) AS by_2, chs_score(1, now() - interval '5 days', 2) AS before_all_by_2,
       chs_score(1, NULL, 1) AS by_1, chs_status(1, NULL, 1) AS status_by_1;

-- As if the first two had been published three days ago.
ALTER TABLE chs.scorecard_versions DISABLE TRIGGER scorecard_versions_guard;
UPDATE chs.scorecard_versions SET live_at = now() - interval '3 days' WHERE version <= 2;
ALTER TABLE chs.scorecard_versions ENABLE TRIGGER scorecard_versions_guard;
SELECT chs_publish('the same again');
SELECT days_ago, chs_score(1, now() - days_ago * interval '1 day') AS score,
       (SELECT target FROM chs_explain(1, now() - days_ago * interval '1 day') WHERE metric = 'logins') AS target,
       chs_score(1, now() - days_ago * interval '1 day', 3) AS by_3,
       chs_status(1, now() - days_ago * interval '1 day', 2) AS status_by_2
FROM generate_series(0, 4) days_ago;
SELECT target, score FROM chs_explain(1, NULL, 2) WHERE metric = 'logins';
SELECT chs_score(1, NULL, 5);
\echo :LAST_ERROR_SQLSTATE
SELECT chs_score(1, NULL, 0);

-- A version that needs what activities do not count is answered from the raw events.
INSERT INTO chs.metrics (scorecard, factor, metric, position, event_type, aggregate, window_days, curve, weight, missing)
VALUES ('default', 'login_frequency', 'login_days', 4, 'login', 'active_days', 10, '0:0 10:100', 1, 'zero');
SELECT chs_publish('days, too');
SELECT chs_score(1) AS now, chs_score(1, NULL, 4) AS by_4, chs_score(1, NULL, 3) AS by_3, chs_score(1, now() - interval '1 day') AS yesterday;
DELETE FROM chs.metrics WHERE metric = 'login_days';
SELECT chs_publish('without them');
SELECT chs_score(1) AS now, chs_score(1, NULL, 5) AS by_5;
CALL chs_recalculate_all();
SELECT chs_score(1) AS now, chs_score(1, NULL, 5) AS by_5;
SELECT count(*) AS differences FROM chs_verify();

-- A snapshot knows no version that was published after it.
\setenv PGDATABASE :DBNAME
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM chs.scorecard_versions;
\! psql -XAtc "SELECT chs_publish('after the snapshot')"
SELECT chs_score(1, NULL, 6) AS by_6;
SELECT chs_score(1, NULL, 7);
ROLLBACK;
SELECT chs_score(1, NULL, 7) AS by_7;

SET client_min_messages = warning;
DROP EXTENSION chs CASCADE;
CREATE EXTENSION chs;

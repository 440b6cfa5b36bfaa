-- When statuses began, what they were before, and which rows of the history changed them: the same as window
-- functions over the whole history say, whatever happens to customers, on whichever days they are scored, and with
-- the past computed afterwards.

\ir begin.psql
SELECT setseed(0.5) \g /dev/null

-- A score that moves: the logins of three days.
DELETE FROM chs.factors WHERE scorecard = 'default' AND factor <> 'login_frequency';
DELETE FROM chs.targets WHERE scorecard = 'default';
DELETE FROM chs.metrics WHERE scorecard = 'default' AND metric <> 'logins';
UPDATE chs.metrics SET window_days = 3, curve = '0:0 5:100' WHERE (scorecard, metric) = ('default', 'logins');
SELECT chs_publish('logins of three days') \g /dev/null
INSERT INTO chs.customers (customer_id, created_at) SELECT i, now() - (100 - i) * interval '1 day' FROM generate_series(1, 40) i;

CREATE FUNCTION pg_temp.logins() RETURNS void LANGUAGE sql AS $$
    DELETE FROM chs.customer_events WHERE random() < 0.2;
    INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
    SELECT i, 'login', '{"ip_address": "::1"}', now() - day * interval '1 day'
    FROM generate_series(1, 38) i, generate_series(0, 25) day, generate_series(1, 3) WHERE random() < 0.2;
$$;
-- Instead of waiting: everything that was calculated was calculated earlier.
CREATE FUNCTION pg_temp.pass(days integer) RETURNS void LANGUAGE sql AS $$
    UPDATE chs.health_scores SET as_of = as_of - days, calculated_at = calculated_at - days * interval '1 day';
    UPDATE chs.customer_health SET as_of = as_of - days, calculated_at = calculated_at - days * interval '1 day', status_since = status_since - days * interval '1 day';
$$;
CREATE FUNCTION pg_temp.agree(what text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN NEXT results_eq('SELECT customer_id, previous_status, status, score, started_at, ended_at FROM chs.status_changes WHERE customer_id <= 30 ORDER BY 1, 5',
        $q$SELECT customer_id, previous, status, score, started_at, lead(started_at) OVER (PARTITION BY customer_id ORDER BY as_of, health_score_id)
           FROM (SELECT *, lag(status) OVER w AS previous, least(calculated_at, (as_of + 1)::timestamp AT TIME ZONE 'UTC') AS started_at
                 FROM chs.health_scores WINDOW w AS (PARTITION BY customer_id ORDER BY as_of, health_score_id)) s
           WHERE status IS DISTINCT FROM previous AND customer_id <= 30 ORDER BY customer_id, as_of, health_score_id$q$, 'status_changes ' || what);
    RETURN NEXT results_eq('SELECT customer_id, status, status_since, previous_status FROM chs.customer_health ORDER BY 1',
        $q$SELECT DISTINCT ON (customer_id) customer_id, status, started_at, previous
           FROM (SELECT s.*, lag(s.status) OVER w AS previous, least(s.calculated_at, (s.as_of + 1)::timestamp AT TIME ZONE 'UTC') AS started_at
                 FROM chs.health_scores s JOIN chs.customer_health h USING (customer_id) WHERE s.as_of <= h.as_of
                 WINDOW w AS (PARTITION BY customer_id ORDER BY s.as_of, s.health_score_id)) s
           WHERE status IS DISTINCT FROM previous ORDER BY customer_id, as_of DESC, health_score_id DESC$q$, 'status_since ' || what);
    RETURN NEXT is_empty('SELECT * FROM chs_verify()', 'chs_verify ' || what);
END $$;

SELECT pg_temp.logins(), chs_process_queue() \g /dev/null
SELECT pg_temp.agree('at first');
SELECT is((SELECT count(*) FROM chs.customer_health WHERE status_since IS NULL OR previous_status IS NOT NULL), 0::bigint, 'a first status has none before');
-- Not everybody on every day, sometimes several times a day; some leave, in the past or now, and come back.
DO $$ BEGIN
    FOR i IN 1 .. 12 LOOP
        PERFORM pg_temp.pass(i % 3), pg_temp.logins();
        UPDATE chs.customers SET churned_at = CASE WHEN random() < 0.5 THEN now() - i % 4 * interval '1 day' END WHERE customer_id > 30 AND random() < 0.3;
        UPDATE chs.customers SET churned_at = CASE WHEN churned_at IS NULL THEN now() END WHERE customer_id BETWEEN 25 AND 30 AND random() < 0.2;
        PERFORM CASE WHEN i % 4 = 0 THEN public.chs_process_queue(10) ELSE public.chs_process_queue() END, public.chs_recalculate(1 + i);
    END LOOP;
END $$;
SELECT chs_recalculate(customer_id) FROM chs.customers \g /dev/null
SELECT pg_temp.agree('after some days');
SELECT cmp_ok((SELECT count(*) FROM chs.status_changes WHERE previous_status IS NOT NULL), '>', 60::bigint, 'on which much changed');
SELECT cmp_ok((SELECT count(*) FROM chs.health_scores WHERE NOT may_change), '>', 50::bigint, 'and rows that certainly change nothing are known');
SELECT max(health_score_id) AS recorded FROM chs.health_scores \gset

SELECT md5(string_agg(h::text, '' ORDER BY health_score_id)) AS before FROM chs.health_scores h \gset
SELECT chs.backfill_history((now() AT TIME ZONE 'UTC')::date - 20, 0) \g /dev/null
SELECT pg_temp.agree('with the past computed afterwards');
SELECT cmp_ok((SELECT count(*) FROM chs.health_scores WHERE backfilled AND NOT may_change), '>', 50::bigint, 'of which as much is known');
SELECT is((SELECT md5(string_agg(h::text, '' ORDER BY health_score_id)) FROM chs.health_scores h WHERE health_score_id <= :recorded), :'before', 'what was recorded stays as it is');
SELECT pg_temp.logins(), chs_process_queue() \g /dev/null
SELECT chs.backfill_history((now() AT TIME ZONE 'UTC')::date - 25, 0) \g /dev/null
SELECT pg_temp.agree('and once more, with other events');

-- One who was healthy for a while, after the day on which it left, as was thought at first.
INSERT INTO chs.customers (customer_id, created_at) VALUES (50, '2020-01-01');
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at) SELECT 50, 'login', '{"ip_address": "::1"}', now() - interval '3 days' FROM generate_series(1, 5);
SELECT chs_process_queue(), chs.backfill_history((now() AT TIME ZONE 'UTC')::date - 20, 49) \g /dev/null
UPDATE chs.customers SET churned_at = now() - interval '10 days' WHERE customer_id = 50;
SELECT chs_process_queue() \g /dev/null
UPDATE chs.customers SET churned_at = now() WHERE customer_id = 50;
SELECT chs_process_queue() \g /dev/null
SELECT is((SELECT previous_status FROM chs.customer_health WHERE customer_id = 50), 'healthy', 'a last day that moves on is dated by the days between');
SELECT pg_temp.agree('then');

-- Health that is lost, as after a restore, or removed with a customer's number, is dated by the history.
CREATE TEMP TABLE dated AS SELECT customer_id, status, status_since, previous_status FROM chs.customer_health;
DELETE FROM chs.customer_health;
SELECT chs_recalculate(customer_id) FROM chs.customers \g /dev/null
SELECT results_eq('SELECT customer_id, status, status_since, previous_status FROM chs.customer_health ORDER BY 1', 'SELECT * FROM dated ORDER BY 1', 'health that is made again is dated as it was');
UPDATE chs.customers SET customer_id = 1003 WHERE customer_id = 3;
SELECT chs_process_queue() \g /dev/null
SELECT results_eq('SELECT status_since, previous_status FROM chs.customer_health WHERE customer_id = 1003', 'SELECT status_since, previous_status FROM dated WHERE customer_id = 3', 'a customer with another number, too');

-- What is remembered outlives the history that told it.
DELETE FROM chs.health_scores WHERE as_of < (now() AT TIME ZONE 'UTC')::date;
SELECT results_eq('SELECT status_since, previous_status FROM chs.customer_health WHERE customer_id <= 50 ORDER BY customer_id', 'SELECT status_since, previous_status FROM dated WHERE customer_id <> 3 ORDER BY customer_id', 'retention takes nothing of it');
SELECT is_empty('SELECT * FROM chs_verify()', 'and is no difference');
SELECT is_empty('SELECT customer_id FROM chs.customer_list WHERE (status_since, previous_status) IS DISTINCT FROM (SELECT (h.status_since, h.previous_status) FROM chs.customer_health h WHERE h.customer_id = customer_list.customer_id)', 'lists show it');

-- The latest changes are found by an index.
ANALYZE chs.health_scores, chs.customers;
CREATE TEMP TABLE plan (line text);
DO $$ DECLARE l text; BEGIN
    SET LOCAL enable_seqscan = off;
    FOR l IN EXPLAIN (COSTS off) SELECT * FROM chs.status_changes WHERE started_at > now() - interval '7 days' ORDER BY started_at DESC LIMIT 50 LOOP
        INSERT INTO plan VALUES (l);
    END LOOP;
END $$;
SELECT is((SELECT count(*) FROM plan WHERE line ~ 'health_scores_may_change_idx|Index Cond: \(\(?LEAST'), 2::bigint, 'a week''s changes are found by an index');

SELECT * FROM finish();
ROLLBACK;

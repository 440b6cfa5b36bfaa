-- Plug-in factors: functions of users give values to metrics, with the rights of
-- whoever registered them, and whatever they do harms their own customer only.
\pset format unaligned
\pset tuples_only on
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE ROLE regress_chs_analyst;
CREATE ROLE regress_chs_other;
CREATE ROLE regress_chs_reader;
CREATE ROLE regress_chs_boss SUPERUSER;
GRANT ALL ON chs.scorecards, chs.factors, chs.metrics, chs.targets, chs.plugins TO regress_chs_analyst, regress_chs_other;
GRANT SELECT ON chs.customers TO regress_chs_analyst, regress_chs_reader;
GRANT EXECUTE ON FUNCTION chs_add_factor, chs_drop_factor, chs.add_factor, chs.add_metrics, chs.register_plugin, chs.scale_weights
    TO regress_chs_analyst, regress_chs_other;
INSERT INTO chs.customers (customer_id, name, segment, created_at) OVERRIDING SYSTEM VALUE
SELECT n, 'p-' || n, 'smb', '2020-01-01 00:00+00' FROM generate_series(1, 5) n;

-- What the analyst may read, and others may not.
CREATE SCHEMA regress_chs_crm;
CREATE TABLE regress_chs_crm.satisfaction (customer_id bigint, since date, value double precision);
INSERT INTO regress_chs_crm.satisfaction
SELECT n, '2020-01-01', 10 * n FROM generate_series(1, 4) n UNION ALL SELECT 1, (now() AT TIME ZONE 'UTC')::date - 2, 90;
GRANT USAGE, CREATE ON SCHEMA regress_chs_crm TO regress_chs_analyst;
GRANT USAGE ON SCHEMA regress_chs_crm TO regress_chs_other;
GRANT SELECT ON regress_chs_crm.satisfaction TO regress_chs_analyst;
CREATE TABLE regress_chs_crm.secret (word text);
INSERT INTO regress_chs_crm.secret VALUES ('hush');

SET ROLE regress_chs_analyst;
SET search_path = regress_chs_crm, public;
-- The latest value of that day.
CREATE FUNCTION satisfied(customer_id bigint, as_of timestamptz) RETURNS double precision LANGUAGE sql AS $$
    SELECT s.value FROM satisfaction s WHERE s.customer_id = $1 AND s.since <= $2::date ORDER BY s.since DESC LIMIT 1
$$;
-- A name without its schema is not found in scoring, whatever the caller's search_path, and one knows at once.
SELECT chs_add_factor('sentiment', 0.2, 'satisfied');
SELECT count(*) FROM chs.plugins;
CREATE OR REPLACE FUNCTION satisfied(customer_id bigint, as_of timestamptz) RETURNS double precision LANGUAGE sql AS $$
    SELECT s.value FROM regress_chs_crm.satisfaction s WHERE s.customer_id = $1 AND s.since <= $2::date ORDER BY s.since DESC LIMIT 1
$$;
SELECT chs_add_factor('sentiment', 0.2, 'satisfied', description => 'what they say');
RESET search_path;
SELECT factor, position, weight, description FROM chs.factors WHERE scorecard = 'default' ORDER BY position;
SELECT metric, aggregate, function, event_type, window_days, curve, weight, missing FROM chs.metrics WHERE factor = 'sentiment';
SELECT function, registered_by, role = registered_by::regrole FROM chs.plugins;
RESET ROLE;
SELECT chs_publish('with sentiment') > 1;
SELECT FROM chs_process_queue();
CALL chs_recalculate_all();

-- In scores, explanation, history and views like a shipped factor; customer 5 has no data.
SELECT customer_id, score = chs_score(customer_id), factor_scores[6] FROM chs.customer_health ORDER BY 1;
SELECT customer_id, factor, metric, value, score, weight, round(effective_weight::numeric, 6) AS effective_weight, trend, sparkline, details - 'to' AS details
FROM generate_series(1, 5, 2) customer_id, chs_explain(customer_id) WHERE factor = 'sentiment';
SELECT customer_id, score, weight, round(effective_weight::numeric, 6) AS effective_weight FROM chs.factor_breakdown WHERE factor_name = 'sentiment' ORDER BY 1;
SELECT customer_id, score, weight FROM chs.factor_scores WHERE factor_name = 'sentiment' ORDER BY 1;
SELECT customer_id, round(sum(contribution)::numeric, 6) = chs_score(customer_id)::numeric FROM generate_series(1, 5) customer_id, chs_explain(customer_id)
WHERE metric IS NULL GROUP BY 1 ORDER BY 1;
SELECT * FROM chs_verify();
-- A past day is asked for as that day; the pure function is given what the function returned.
SELECT value FROM chs_explain(1, now() - interval '3 days', (SELECT max(version) FROM chs.scorecard_versions)) WHERE metric = 'satisfied';
SELECT as_of, c.value FROM unnest(ARRAY[2, 3]) as_of, LATERAL (SELECT chs.plugin_value('regress_chs_crm.satisfied(bigint,timestamp with time zone)', 1, now() - as_of * interval '1 day') AS value) c;
SELECT (SELECT jsonb_object_agg(d.key::date - (now() AT TIME ZONE 'UTC')::date, d.value) FROM jsonb_each(v -> 'regress_chs_crm.satisfied(bigint,timestamp with time zone)') d) AS days,
       p = (SELECT ROW(h.*)::text FROM chs.health_now(1) n, LATERAL (SELECT n.score, n.status, n.coverage, n.trend, n.factor_scores) h) AS same,
       (SELECT factor_scores[6] FROM chs_activity_score(NULL, document, 'smb', '2020-01-01', now())) AS without
FROM chs.scorecard_versions s, chs.plugin_values(1, document, 'smb', now()) v,
     LATERAL (SELECT ROW(x.*)::text AS p FROM chs_activity_score(NULL, document, 'smb', '2020-01-01', now(), v) x) p
WHERE s.version = (SELECT max(version) FROM chs.scorecard_versions);
SELECT chs.plugin_values(1, document, 'smb', now()) IS NULL AS none FROM chs.scorecard_versions WHERE version = 1;
SELECT chs_activity_score(NULL, document, 'smb', '2020-01-01', now(), '[]') FROM chs.scorecard_versions WHERE version = (SELECT max(version) FROM chs.scorecard_versions);
SELECT chs_activity_score(NULL, document, 'smb', '2020-01-01', now(), '{"regress_chs_crm.satisfied(bigint,timestamp with time zone)": 1}')
FROM chs.scorecard_versions WHERE version = (SELECT max(version) FROM chs.scorecard_versions);
SELECT chs_activity_score(NULL, document, 'smb', '2020-01-01', now(), '{"regress_chs_crm.satisfied(bigint,timestamp with time zone)": {"today": 1}}')
FROM chs.scorecard_versions WHERE version = (SELECT max(version) FROM chs.scorecard_versions);
SELECT chs_activity_score(NULL, document, 'smb', '2020-01-01', now(), '{"regress_chs_crm.satisfied(bigint,timestamp with time zone)": {"2024-01-01": "1"}}')
FROM chs.scorecard_versions WHERE version = (SELECT max(version) FROM chs.scorecard_versions);
-- A value that changed by itself is no fault of what is stored; but a stored score that is not made of its factors is.
UPDATE regress_chs_crm.satisfaction SET value = 55 WHERE customer_id = 2;
SELECT * FROM chs_verify();
-- Told of it, the worker scores the customer again.
SELECT chs_refresh(2), chs_refresh(99) AS nobody, chs_refresh(NULL);
SELECT customer_id, delta, rebuild FROM chs.queue;
SELECT chs_process_queue();
SELECT customer_id, factor_scores[6] FROM chs.customer_health WHERE customer_id = 2;
UPDATE chs.customer_health SET score = 99.5 WHERE customer_id = 2;
SELECT customer_id, difference, stored FROM chs_verify();
SELECT round(chs_recalculate(2)::numeric, 2) = chs_score(2)::numeric, value FROM chs_explain(2) WHERE metric = 'satisfied';
SELECT * FROM chs_verify();

-- Whoever may see the customer gets the score, without any right on the function or what it reads.
SET ROLE regress_chs_reader;
SELECT value FROM chs_explain(4) WHERE metric = 'satisfied';
SELECT regress_chs_crm.satisfied(4, now());
SELECT chs.plugin_value('regress_chs_crm.satisfied(bigint,timestamp with time zone)', 4);
RESET ROLE;
SET ROLE regress_chs_other;
SELECT chs.plugin_value('regress_chs_crm.satisfied(bigint,timestamp with time zone)', 4);
SELECT chs.plugin_values(4, document, 'smb', now()) FROM chs.scorecard_versions WHERE version = 1;
RESET ROLE;

-- Nobody registers a function for somebody else, nor changes whose rights one gets.
SET ROLE regress_chs_other;
INSERT INTO chs.plugins (function, registered_by) VALUES ('regress_chs_crm.satisfied(bigint,timestamp with time zone)', 'regress_chs_boss');
INSERT INTO chs.plugins (function, registered_by, role) VALUES ('pg_catalog.nothing', 'regress_chs_boss', 'regress_chs_boss'::regrole);
UPDATE chs.plugins SET registered_by = 'regress_chs_boss';
UPDATE chs.plugins SET role = 'regress_chs_boss'::regrole;
SET check_function_bodies = off;
UPDATE chs.plugins SET registered_by = 'regress_chs_boss', role = 'regress_chs_boss'::regrole;
RESET check_function_bodies;
SELECT chs_add_factor('again', 0.1, 'regress_chs_crm.satisfied');
-- A role that may not execute a function cannot register it, ...
RESET ROLE;
CREATE FUNCTION regress_chs_crm.peek(bigint, timestamptz) RETURNS double precision LANGUAGE sql AS 'SELECT length(word) FROM regress_chs_crm.secret';
REVOKE EXECUTE ON FUNCTION regress_chs_crm.peek FROM PUBLIC;
SET ROLE regress_chs_other;
SELECT chs_add_factor('peek', 0.1, 'regress_chs_crm.peek');
RESET ROLE;
-- ... and one that may has it run with its own rights, not those of the function's owner.
GRANT EXECUTE ON FUNCTION regress_chs_crm.peek TO regress_chs_analyst;
SET ROLE regress_chs_analyst;
SELECT chs_add_factor('peek', 0.1, 'regress_chs_crm.peek');
RESET ROLE;
-- A superuser's rights are lent to no function of others, now or later.
SET ROLE regress_chs_boss;
SELECT chs_add_factor('again', 0.1, 'regress_chs_crm.peek(bigint,timestamptz)');
SELECT chs_drop_factor('again');
ALTER FUNCTION regress_chs_crm.peek OWNER TO regress_chs_analyst;
SELECT chs.plugin_value('regress_chs_crm.peek(bigint,timestamp with time zone)', 1);
DELETE FROM chs.plugins WHERE function LIKE '%peek%';
SELECT chs_add_factor('again', 0.1, 'regress_chs_crm.peek');
RESET ROLE;
DROP FUNCTION regress_chs_crm.peek;

-- What cannot be a factor, and what is said about it.
SELECT chs_add_factor('x', 0.1, 'nowhere.nothing');
SELECT chs_add_factor('x', 0.1, 'nothing(bigint,timestamptz)');
SELECT chs_add_factor('x', 0.1, 'pg_catalog.abs(bigint)');
SELECT chs_add_factor('sentiment', 0.1);
SELECT chs_add_factor('x', 1);
SELECT chs_add_factor('x', -0.1);
SELECT chs_add_factor('x', 'NaN');
SELECT chs_add_factor('x', -1, scale => false);
SELECT chs_add_factor(NULL, 0.1);
SELECT chs_add_factor('x', NULL);
SELECT chs_add_factor('x', 0.1, scorecard => 'none');
SELECT chs_add_factor('x', 0.1, 'regress_chs_crm.satisfied', metrics => '[]');
SELECT chs_add_factor('x', 0.1, metrics => '{}');
SELECT chs_add_factor('x', 0.1, metrics => '[{"metric": "m", "colour": "red"}]');
SELECT chs_add_factor('x', 0.1, metrics => '[{"metric": "m", "aggregate": "function", "function": "pg_catalog.nothing", "curve": "0:0 1:1"}]');
SELECT chs_drop_factor('x');
SELECT chs_drop_factor('sentiment', 'none');
SELECT count(*) FROM chs.factors WHERE factor = 'x';

-- Weights: scaled, or as asked; and back.
SELECT chs_add_factor('plain', 0.5, scale => false);
SELECT factor, weight FROM chs.factors WHERE scorecard = 'default' ORDER BY position;
SELECT chs_drop_factor('plain', scale => false);
SELECT chs_drop_factor('sentiment');
SELECT factor, weight FROM chs.factors WHERE scorecard = 'default' ORDER BY position;
-- A declared factor needs no function.
SELECT chs_add_factor('surveys', 0.1, scorecard => 'volume_only', metrics => '[
    {"metric": "rating", "event_type": "survey", "aggregate": "avg", "field": "rating", "window_days": 90, "curve": "0:0 1:100", "target": 10, "targets": {"smb": 8}},
    {"metric": "complaints", "event_type": "survey", "aggregate": "count", "filter": "$.rating < 3", "window_days": 90, "penalty": 10}]');
SELECT m.metric, m.position, m.aggregate, m.weight, m.missing, m.penalty, t.segment, t.target FROM chs.metrics m LEFT JOIN chs.targets t USING (scorecard, factor, metric)
WHERE factor = 'surveys' ORDER BY position, segment;
SELECT chs_drop_factor('surveys', 'volume_only');
SELECT factor, weight FROM chs.factors WHERE scorecard = 'volume_only' ORDER BY position;

-- Functions that misbehave, each for one customer.  The others flow on.
SET ROLE regress_chs_analyst;
CREATE FUNCTION regress_chs_crm.naughty(customer_id bigint, as_of timestamptz) RETURNS double precision LANGUAGE plpgsql AS 'BEGIN RETURN 50; END';
SELECT chs_add_factor('naughty', 0.1, 'regress_chs_crm.naughty');
RESET ROLE;
SELECT chs_publish('naughty') > 1;
CREATE PROCEDURE regress_chs_crm.misbehave(how text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE OR REPLACE FUNCTION regress_chs_crm.naughty(customer_id bigint, as_of timestamptz)
        RETURNS double precision LANGUAGE plpgsql AS %L',
        format('DECLARE n bigint; BEGIN IF customer_id <> 3 THEN RETURN 10 * customer_id; END IF; %s RETURN 50; END', how));
    UPDATE chs.failures SET next_attempt = failed_at;
    INSERT INTO chs.customer_events (customer_id, event_type) SELECT n, 'support_ticket' FROM generate_series(1, 5) n;
    PERFORM FROM chs_process_queue();
END
$$;
CREATE FUNCTION regress_chs_crm.outcome() RETURNS TABLE (sqlstate text, message text, detail text, others text, stored boolean) LANGUAGE sql AS $$
    SELECT (SELECT f.sqlstate FROM chs.failures f WHERE f.customer_id = 3), (SELECT f.message FROM chs.failures f WHERE f.customer_id = 3),
           (SELECT f.detail FROM chs.failures f WHERE f.customer_id = 3),
           (SELECT string_agg(h.factor_scores[6]::text, ' ' ORDER BY h.customer_id) FROM chs.customer_health h WHERE h.customer_id <> 3),
           (SELECT h.score = chs_score(3) FROM chs.customer_health h WHERE h.customer_id = 3 AND NOT EXISTS (SELECT FROM chs.failures))
$$;
SET chs.plugin_timeout = '400ms';
CALL regress_chs_crm.misbehave('');                                             SELECT * FROM regress_chs_crm.outcome();
CALL regress_chs_crm.misbehave('RETURN 1 / (customer_id - 3);');                SELECT * FROM regress_chs_crm.outcome();
CALL regress_chs_crm.misbehave('RETURN ''NaN'';');                              SELECT * FROM regress_chs_crm.outcome();
CALL regress_chs_crm.misbehave('RETURN ''-infinity'';');                        SELECT * FROM regress_chs_crm.outcome();
CALL regress_chs_crm.misbehave('RETURN NULL;');                                 SELECT * FROM regress_chs_crm.outcome();
CALL regress_chs_crm.misbehave('RETURN 1e300;');                                SELECT * FROM regress_chs_crm.outcome();
CALL regress_chs_crm.misbehave('RETURN -7;');                                   SELECT * FROM regress_chs_crm.outcome();
CALL regress_chs_crm.misbehave('SET ROLE regress_chs_boss;');                   SELECT * FROM regress_chs_crm.outcome();
CALL regress_chs_crm.misbehave('RESET ROLE;');                                  SELECT * FROM regress_chs_crm.outcome();
CALL regress_chs_crm.misbehave('SET SESSION AUTHORIZATION regress_chs_boss;');  SELECT * FROM regress_chs_crm.outcome();
CALL regress_chs_crm.misbehave('PERFORM set_config(''role'', ''regress_chs_boss'', false);'); SELECT * FROM regress_chs_crm.outcome();
CALL regress_chs_crm.misbehave('IF current_user <> ''regress_chs_analyst'' THEN RAISE ''runs as %'', current_user; END IF;'); SELECT * FROM regress_chs_crm.outcome();
CALL regress_chs_crm.misbehave('PERFORM FROM regress_chs_crm.secret;');         SELECT * FROM regress_chs_crm.outcome();
CALL regress_chs_crm.misbehave('INSERT INTO regress_chs_crm.satisfaction VALUES (3, ''today'', 1);'); SELECT * FROM regress_chs_crm.outcome();
CALL regress_chs_crm.misbehave('UPDATE chs.plugins SET registered_at = now();'); SELECT * FROM regress_chs_crm.outcome();
CALL regress_chs_crm.misbehave('CREATE TABLE regress_chs_crm.mine ();');        SELECT * FROM regress_chs_crm.outcome();
CALL regress_chs_crm.misbehave('CREATE TEMP TABLE mine ();');                   SELECT * FROM regress_chs_crm.outcome();
CALL regress_chs_crm.misbehave('SET transaction_read_only = off;');             SELECT * FROM regress_chs_crm.outcome();
CALL regress_chs_crm.misbehave('PERFORM public.chs_score(4);');                        SELECT * FROM regress_chs_crm.outcome();
CALL regress_chs_crm.misbehave('PERFORM satisfied(3, as_of);');                 SELECT * FROM regress_chs_crm.outcome();
-- Errors that would stop a batch are known not to be the server's.
CALL regress_chs_crm.misbehave('RAISE ''pretended'' USING ERRCODE = ''query_canceled'';');          SELECT * FROM regress_chs_crm.outcome();
CALL regress_chs_crm.misbehave('RAISE ''pretended'' USING ERRCODE = ''serialization_failure'';');   SELECT * FROM regress_chs_crm.outcome();
-- Whatever is set ends with the call.
CALL regress_chs_crm.misbehave('SET search_path = regress_chs_crm; SET timezone = ''Asia/Tokyo''; PERFORM satisfied(3, as_of);'); SELECT * FROM regress_chs_crm.outcome();
-- It may take its time, but no longer than that; catching the end does not help.
CALL regress_chs_crm.misbehave('LOOP END LOOP;');                               SELECT * FROM regress_chs_crm.outcome();
CALL regress_chs_crm.misbehave('PERFORM pg_sleep(600);');                       SELECT * FROM regress_chs_crm.outcome();
CALL regress_chs_crm.misbehave('');                                             SELECT * FROM regress_chs_crm.outcome();
CALL regress_chs_crm.misbehave('LOOP BEGIN LOOP BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP;');
SELECT * FROM regress_chs_crm.outcome();
CALL regress_chs_crm.misbehave('BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN RETURN 12; END;');
SELECT * FROM regress_chs_crm.outcome();
-- Too slow for everybody: after three times it is not called for a while, so that nobody waits long.
CALL regress_chs_crm.misbehave('');
CREATE OR REPLACE FUNCTION regress_chs_crm.naughty(customer_id bigint, as_of timestamptz) RETURNS double precision LANGUAGE sql AS 'SELECT 1.0::double precision FROM pg_sleep(600)';
SET chs.plugin_timeout = '400ms';
UPDATE chs.failures SET next_attempt = failed_at;
INSERT INTO chs.customer_events (customer_id, event_type) SELECT n, 'support_ticket' FROM generate_series(1, 5) n;
SELECT FROM chs_process_queue();
SELECT customer_id, regexp_replace(message, ' before .*', ' before ...') AS message, detail FROM chs.failures ORDER BY 1;
-- Another session knows nothing of that.
\c -
\set VERBOSITY terse
SET client_min_messages = warning;
SET chs.plugin_timeout = '400ms';
CALL regress_chs_crm.misbehave('');
SELECT customer_id, score = chs_score(customer_id) FROM chs.customer_health ORDER BY 1;

-- What the caller of chs_score gets is the error; a cancel of its own is that.
CALL regress_chs_crm.misbehave('RETURN 1 / (customer_id - 3);');
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT chs_score(3);
SELECT chs_score(4) > 0;
SELECT chs_recalculate(3);
\set VERBOSITY terse
CALL regress_chs_crm.misbehave('PERFORM pg_sleep(600);');
RESET chs.plugin_timeout;
SET statement_timeout = '200ms';
SELECT chs_score(3);
RESET statement_timeout;
-- The time is that of one call: two functions, neither of which is too slow, may take longer together.
CALL regress_chs_crm.misbehave('');
BEGIN;
CREATE FUNCTION regress_chs_crm.patient(customer_id bigint, as_of timestamptz) RETURNS double precision LANGUAGE sql STABLE AS 'SELECT 50::double precision FROM pg_sleep(1.1)';
CREATE FUNCTION regress_chs_crm.calm(customer_id bigint, as_of timestamptz) RETURNS double precision LANGUAGE sql STABLE AS 'SELECT 60::double precision FROM pg_sleep(1.1)';
SELECT chs_add_factor('patient', 0.1, 'regress_chs_crm.patient'), chs_add_factor('calm', 0.1, 'regress_chs_crm.calm');
SELECT FROM chs_publish('slow ones');
SET chs.plugin_timeout = '2s';
SELECT chs_score(4) > 0 AS scored;
ROLLBACK;
-- In a parallel query it is the leader that calls them; before PostgreSQL 17 they can start no subtransaction there.
CREATE TABLE regress_chs_crm.many WITH (parallel_workers = 2) AS SELECT n FROM generate_series(1, 10) n;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT count(*), chs_score(3) > 0 AS scored FROM regress_chs_crm.many;
CALL regress_chs_crm.misbehave('BEGIN PERFORM 1 / (customer_id - 3); EXCEPTION WHEN division_by_zero THEN RETURN 9; END;');
SELECT count(*), chs_score(4) > 0 AS scored FROM regress_chs_crm.many;
SET max_parallel_workers_per_gather = 0;
SELECT count(*), chs_score(3) > 0 AS scored FROM regress_chs_crm.many;
RESET max_parallel_workers_per_gather;
RESET min_parallel_table_scan_size;
RESET parallel_tuple_cost;
RESET parallel_setup_cost;
DROP TABLE regress_chs_crm.many;

-- Dropped, taken back, renamed, without its rights, without its role: each is said.
SELECT chs.plugin_value('regress_chs_crm.satisfied(bigint,timestamp with time zone)', 1);
REVOKE USAGE ON SCHEMA regress_chs_crm FROM regress_chs_analyst;
SELECT chs.plugin_value('regress_chs_crm.satisfied(bigint,timestamp with time zone)', 1);
GRANT USAGE ON SCHEMA regress_chs_crm TO regress_chs_analyst;
ALTER ROLE regress_chs_analyst RENAME TO regress_chs_analyst2;
SELECT chs.plugin_value('regress_chs_crm.satisfied(bigint,timestamp with time zone)', 1);
ALTER ROLE regress_chs_other RENAME TO regress_chs_analyst;
SELECT chs.plugin_value('regress_chs_crm.satisfied(bigint,timestamp with time zone)', 1);
ALTER ROLE regress_chs_analyst RENAME TO regress_chs_other;
ALTER ROLE regress_chs_analyst2 RENAME TO regress_chs_analyst;
SELECT chs.plugin_value('regress_chs_crm.satisfied(bigint,timestamp with time zone)', 1);
ALTER FUNCTION regress_chs_crm.satisfied RENAME TO content;
SELECT chs.plugin_value('regress_chs_crm.satisfied(bigint,timestamp with time zone)', 1);
DELETE FROM chs.plugins WHERE function LIKE '%satisfied%';
SELECT chs.plugin_value('regress_chs_crm.satisfied(bigint,timestamp with time zone)', 1);
-- The draft can name registered functions only.
INSERT INTO chs.metrics (scorecard, factor, metric, aggregate, function, curve, weight, missing)
VALUES ('default', 'naughty', 'unknown', 'function', 'regress_chs_crm.satisfied(bigint,timestamp with time zone)', '0:0 100:100', 1, 'missing');
-- Restored by a superuser, a registration is as it was; of a role that is not here it says nothing.
SET check_function_bodies = off;
INSERT INTO chs.plugins VALUES ('a.b(bigint,timestamp with time zone)', 'regress_chs_analyst', 1), ('a.c(bigint,timestamp with time zone)', 'regress_chs_nobody', 10);
RESET check_function_bodies;
SELECT function, registered_by, role::regrole FROM chs.plugins WHERE function LIKE 'a.%' ORDER BY 1;
DELETE FROM chs.plugins WHERE function LIKE 'a.%';

-- Without its registration nobody is scored by the live version; without its factor in the draft they are again, once that is published.
DELETE FROM chs.plugins;
SELECT chs_score(1);
SELECT chs_drop_factor('naughty');
SELECT chs_publish('without') > 1;
UPDATE chs.failures SET next_attempt = failed_at;
CALL chs_recalculate_all();
SELECT customer_id, score = chs_score(customer_id) FROM chs.customer_health ORDER BY 1;
SELECT * FROM chs.failures;
SELECT * FROM chs_verify();

-- Two functions of one scorecard, each with its own values.
BEGIN;
CREATE FUNCTION regress_chs_crm.ones(customer_id bigint, as_of timestamptz) RETURNS double precision LANGUAGE sql AS 'SELECT 20 + $1';
CREATE FUNCTION regress_chs_crm.tens(customer_id bigint, as_of timestamptz) RETURNS double precision LANGUAGE sql AS 'SELECT 10.0 * $1 WHERE $1 < 3';
SELECT chs_add_factor('ones', 0.1, 'regress_chs_crm.ones'), chs_add_factor('tens', 0.1, 'regress_chs_crm.tens');
SELECT chs_publish('two functions') > 1;
SELECT customer_id, metric, value FROM generate_series(2, 3) customer_id, chs_explain(customer_id) WHERE factor IN ('ones', 'tens') AND metric IS NOT NULL ORDER BY 1, 2;
SELECT f.key AS function, d.value FROM chs.scorecard_versions, chs.plugin_values(2, document, 'smb', now()) v, jsonb_each(v) f, jsonb_each(f.value) d
WHERE version = (SELECT max(version) FROM chs.scorecard_versions) ORDER BY d.key DESC, 1 LIMIT 2;
SELECT factor_scores[6:] AS of_both, (chs_activity_score(NULL, document, 'smb', '2020-01-01', now(), v - 'regress_chs_crm.ones(bigint,timestamp with time zone)')).factor_scores[6:] AS of_one
FROM chs.scorecard_versions, chs.plugin_values(2, document, 'smb', now()) v, chs_activity_score(NULL, document, 'smb', '2020-01-01', now(), v)
WHERE version = (SELECT max(version) FROM chs.scorecard_versions);
SELECT chs.plugin_value(NULL, 2), chs.plugin_value('regress_chs_crm.ones(bigint,timestamp with time zone)', NULL);
ROLLBACK;

DROP SCHEMA regress_chs_crm CASCADE;
DROP OWNED BY regress_chs_analyst, regress_chs_other, regress_chs_reader, regress_chs_boss;
DROP ROLE regress_chs_analyst, regress_chs_other, regress_chs_reader, regress_chs_boss;
DROP EXTENSION chs;
CREATE EXTENSION chs;

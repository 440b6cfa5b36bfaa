-- Old events and history are deleted; scores stay what they are, or it is said that they cannot be told any more.
\pset format unaligned
\pset tuples_only on

SET datestyle TO iso;

-- Days ago, so that the day of the test does not matter.
CREATE FUNCTION ago(day date) RETURNS integer LANGUAGE sql AS $$SELECT (now() AT TIME ZONE 'UTC')::date - day$$;
CREATE FUNCTION error_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detail text;
BEGIN
    EXECUTE query;
    RETURN 'none';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RETURN sqlstate || regexp_replace(' ' || sqlerrm || ' | ' || detail, '\d{4}-\d\d-\d\d', 'DAY', 'g');
END
$$;

-- Customer 2 has left, customer 4 came lately.
INSERT INTO chs.customers (customer_id, name, segment, created_at, churned_at) OVERRIDING SYSTEM VALUE
VALUES (1, 'r-1', 'smb', '2020-01-01 00:00+00', NULL), (2, 'r-2', 'smb', '2020-01-01 00:00+00', now() - interval '200 days'),
       (3, 'r-3', 'startup', '2020-01-01 00:00+00', NULL), (4, 'r-4', NULL, now(), NULL);
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT c, 'login', jsonb_build_object('ip_address', c, 'user_id', d), now() - d * interval '1 day'
FROM generate_series(1, 3) c, generate_series(0, 400, 5) d;
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
VALUES (4, 'support_ticket', '{}', now() - interval '300 days');
SELECT FROM chs_process_queue();
CREATE TABLE before AS
SELECT customer_id, d, chs_score(customer_id, now() - d * interval '1 day') AS score, e.explained
FROM chs.customers, (VALUES (0), (1), (3), (10), (150), (250)) v (d),
     LATERAL (SELECT jsonb_agg(to_jsonb(x) ORDER BY factor, metric) AS explained
              FROM chs_explain(customer_id, now() - d * interval '1 day') x) e;
INSERT INTO chs.health_scores (customer_id, score, status, coverage, factor_scores, scorecard, version, as_of, calculated_at)
SELECT c, 50, 'at_risk', 1, '{}', 'default', 1, (now() AT TIME ZONE 'UTC')::date - d, now() - d * interval '1 day'
FROM generate_series(1, 3) c, generate_series(10, 100, 10) d;
DO $$ BEGIN PERFORM chs.date_statuses(1, 3); END $$;

-- Off by default: nothing is deleted.
SELECT kind, setting, needed_days, ago(delete_before) AS delete_before, kept_from, complete, warning FROM chs.retention_status;
SELECT * FROM chs_apply_retention() \gdesc
SELECT * FROM chs_apply_retention();
SELECT deleted FROM chs.delete_old('events', 1000, true);
SELECT count(*) FROM chs.customer_events;

-- Less than scores need: what they need is kept, and that is said.
SET chs.event_retention = '30d';
SELECT kind, setting, needed_days, ago(asked_before) AS asked, ago(delete_before) AS delete_before, warning FROM chs.retention_status;
SELECT * FROM chs_apply_retention(7);
SELECT kind, deleted, ago(kept_from) AS kept_from, complete FROM chs.retention_status;
SELECT * FROM chs_apply_retention();
SELECT * FROM chs_apply_retention();
SELECT customer_id, count(*), max(ago((occurred_at AT TIME ZONE 'UTC')::date)) FROM chs.customer_events GROUP BY 1 ORDER BY 1;
SELECT kind, deleted, ago(kept_from) AS kept_from, complete FROM chs.retention_status;

-- No customer is rebuilt, and no score of today moves, nor after a rebuild.
SELECT count(*) FROM chs.queue;
SELECT customer_id, chs_score(customer_id) = score AS same FROM before WHERE d = 0 ORDER BY 1;
SELECT * FROM chs_verify();
CALL chs_rebuild();
SELECT * FROM chs_verify();
SELECT customer_id, h.score = b.score AS same FROM chs.customer_health h JOIN before b USING (customer_id) WHERE d = 0 ORDER BY 1;

-- Of the past there is either the same answer or none.
SELECT customer_id, d, error_of(format('SELECT chs_score(%s, now() - %L::interval)', customer_id, d || ' days'))
FROM before WHERE d > 0 ORDER BY 1, 2;
SELECT DISTINCT error_of(format('SELECT chs_explain(%s, now() - %L::interval)', customer_id, d || ' days')) AS explain,
       error_of(format('SELECT chs_status(%s, now() - %L::interval)', customer_id, d || ' days')) AS status
FROM before WHERE d = 10 AND customer_id = 1;
SELECT customer_id, d FROM before b
WHERE error_of(format('SELECT chs_score(%s, now() - %L::interval)', customer_id, d || ' days')) = 'none'
  AND (chs_score(customer_id, now() - d * interval '1 day'),
       (SELECT jsonb_agg(to_jsonb(x) ORDER BY factor, metric)
        FROM chs_explain(customer_id, now() - d * interval '1 day') x)) IS DISTINCT FROM (score, explained);
SET chs.event_retention = '110d';
DELETE FROM chs.retention;

-- Events are counted all the same, late ones too, and those are deleted by the next pass.
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT 1, 'login', '{"ip_address": 1}', now() - d * interval '1 day' FROM unnest('{0,20,105,115,300}'::integer[]) d;
SELECT * FROM chs_apply_retention();
SELECT count(*) FROM chs.customer_events WHERE customer_id = 1 AND occurred_at < now() - interval '99 days';
SELECT * FROM chs_verify();
SELECT FROM chs_process_queue();
SELECT * FROM chs_verify();

-- A user's own delete of an old event is captured as ever.
DELETE FROM chs.customer_events WHERE customer_id = 1 AND occurred_at < now() - interval '90 days';
SELECT customer_id, rebuild FROM chs.queue;
SELECT FROM chs_process_queue();
SELECT * FROM chs_verify();

-- The draft counts, too; and publishing tells what is missing.
UPDATE chs.metrics SET window_days = 180 WHERE (scorecard, metric) = ('default', 'logins');
SELECT needed_days, ago(asked_before) AS asked, ago(delete_before) AS delete_before, warning FROM chs.retention_status WHERE kind = 'events';
\set VERBOSITY terse
SELECT FROM chs_publish('longer');
\set VERBOSITY default
SELECT FROM chs_process_queue();
CALL chs_recalculate_all();
SELECT * FROM chs_verify();

-- The history goes by its own setting.
RESET chs.event_retention;
SET chs.history_retention = '60d';
SELECT * FROM chs_apply_retention(4);
SELECT * FROM chs_apply_retention();
SELECT max(ago(as_of)), count(*) FROM chs.health_scores WHERE score = 50;
SELECT kind, setting, ago(kept_from) AS kept_from, deleted, complete, warning FROM chs.retention_status ORDER BY 1;

-- What cannot be.
SELECT * FROM chs_apply_retention(-1);
SET chs.event_retention = '1 fortnight';
\set VERBOSITY sqlstate
SET chs.event_retention = -1;
\set VERBOSITY default

RESET chs.history_retention;
DELETE FROM chs.customers;
DELETE FROM chs.retention;
UPDATE chs.metrics SET window_days = 30 WHERE (scorecard, metric) = ('default', 'logins');
SELECT FROM chs_publish('as it was');
SELECT FROM chs_process_queue();
DROP TABLE before;
DROP FUNCTION ago(date), error_of(text);

-- Rows that were put aside; the rows themselves stay.
CREATE TABLE mine (customer bigint, ip_address text, at timestamptz);
CREATE INDEX ON mine (customer);
SELECT chs_attach('mine', 'customer', 'login', 'at') > 1 AS attached;
INSERT INTO mine SELECT n, NULL, now() FROM generate_series(1, 5) n;
UPDATE chs.rejected_events SET rejected_at = now() - interval '40 days' WHERE rejected_id IN (SELECT rejected_id FROM chs.rejected_events ORDER BY 1 LIMIT 3);
SET chs.rejected_retention = '30d';
SELECT * FROM chs_apply_retention(2);
SELECT * FROM chs_apply_retention();
SELECT kind, setting, kept_from IS NOT NULL AS deleted_some, deleted, complete FROM chs.retention_status WHERE kind = 'rejected';
SELECT (SELECT count(*) FROM chs.rejected_events) AS listed, (SELECT count(*) FROM mine) AS there;
RESET chs.rejected_retention;
DROP TABLE mine;

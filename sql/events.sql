-- What is refused as an event, and how it is said; nothing of the statement stays.
\set ECHO none \i test/refusal.sql \set ECHO all
SET timezone = 'UTC';
SET datestyle = 'ISO';
INSERT INTO chs.customers (customer_id, name, created_at) VALUES (42, 'Deep Thought', '2020-01-01'), (43, 'Next', '2020-01-01');
SELECT FROM chs_process_queue();
CREATE VIEW left_over AS
    SELECT (SELECT count(*) FROM chs.customer_events) AS events, (SELECT count(*) FROM chs.queue) AS queued,
           (SELECT count(*) FROM chs_verify()) AS differences;

-- Required fields.
SELECT refusal(s) FROM unnest(ARRAY[
    $$INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (42, 'api_call', '{}')$$,
    $$INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (42, 'api_call', '{"endpoint": null}')$$,
    $$INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (42, 'login', '{"user_id": 7}')$$,
    $$INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (42, 'feature_use', '{"Feature_name": "x"}')$$,
    $$INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (42, 'feature_use', '{"nested": {"feature_name": "x"}}')$$,
    $$INSERT INTO chs.customer_events (customer_id, event_type) VALUES (42, 'login')$$,
    -- Numbers above 0.
    $$INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (42, 'payment', '{}')$$,
    $$INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (42, 'payment', '{"amount": null}')$$,
    $$INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (42, 'payment', '{"amount": -5}')$$,
    $$INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (42, 'payment', '{"amount": 0}')$$,
    $$INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (42, 'payment', '{"amount": -0.000}')$$,
    $$INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (42, 'payment', '{"amount": "5"}')$$,
    $$INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (42, 'payment', '{"amount": true}')$$,
    $$INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (42, 'payment', '{"amount": [5]}')$$,
    $$INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (42, 'payment', '{"amount": {"value": 5}}')$$,
    -- event_data is an object.
    $$INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (42, 'support_ticket', '[]')$$,
    $$INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (42, 'support_ticket', 'null')$$,
    $$INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (42, 'support_ticket', '"text"')$$,
    $$INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (42, 'api_call', '["endpoint"]')$$,
    $$INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (42, 'api_call', '"endpoint"')$$,
    $$INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (42, 'payment', '5')$$,
    -- Who and what must be known.
    $$INSERT INTO chs.customer_events (customer_id, event_type) VALUES (4711, 'support_ticket')$$,
    $$INSERT INTO chs.customer_events (customer_id, event_type) VALUES (42, 'foo')$$,
    $$INSERT INTO chs.customer_events (customer_id, event_type) VALUES (42, '')$$,
    $$INSERT INTO chs.customer_events (customer_id, event_type) VALUES (42, 'Login')$$,
    $$INSERT INTO chs.customer_events (customer_id, event_type) VALUES (4711, 'foo')$$]) s \g (format=unaligned tuples_only=on)

-- A message does not grow with the value that it shows.
DO $$
BEGIN
    INSERT INTO chs.customer_events (customer_id, event_type) VALUES (42, repeat('long', 1000));
EXCEPTION WHEN foreign_key_violation THEN
    RAISE NOTICE 'short: %', length(SQLERRM) < 300;
END
$$;
DO $$
BEGIN
    INSERT INTO chs.customer_events (customer_id, event_type, event_data)
    VALUES (42, 'payment', jsonb_build_object('amount', repeat('a long text ', 1000)));
EXCEPTION WHEN check_violation THEN
    RAISE NOTICE 'short: %', length(SQLERRM) < 300;
END
$$;

-- NULLs.
SELECT refusal(s) FROM unnest(ARRAY[
    $$INSERT INTO chs.customer_events (customer_id, event_type, event_id, occurred_at, recorded_at)
    VALUES (NULL, 'support_ticket', 1, '2024-01-01', '2024-01-01')$$,
    $$INSERT INTO chs.customer_events (customer_id, event_type, event_id, occurred_at, recorded_at)
    VALUES (42, NULL, 1, '2024-01-01', '2024-01-01')$$,
    $$INSERT INTO chs.customer_events (customer_id, event_type, event_data, event_id, occurred_at, recorded_at)
    VALUES (42, 'support_ticket', NULL, 1, '2024-01-01', '2024-01-01')$$,
    $$INSERT INTO chs.customer_events (customer_id, event_type, occurred_at, event_id, recorded_at)
    VALUES (42, 'support_ticket', NULL, 1, '2024-01-01')$$,
    -- Times ahead: a day is forgiven, for clocks and zones that are wrong.
    $$INSERT INTO chs.customer_events (customer_id, event_type, occurred_at) VALUES (42, 'support_ticket', '2999-01-01 12:00+00')$$,
    $$INSERT INTO chs.customer_events (customer_id, event_type, occurred_at) VALUES (42, 'support_ticket', 'infinity')$$,
    $$INSERT INTO chs.customer_events (customer_id, event_type, occurred_at) VALUES (42, 'support_ticket', '-infinity')$$,
    $$INSERT INTO chs.customer_events (customer_id, event_type, occurred_at) VALUES (42, 'support_ticket', '294276-12-31 23:59:59+00')$$]) s \g (format=unaligned tuples_only=on)
BEGIN;
INSERT INTO chs.customer_events (customer_id, event_type, occurred_at)
VALUES (42, 'support_ticket', now() + interval '23 hours 59 minutes'), (42, 'support_ticket', '1970-01-01'),
       (42, 'support_ticket', '4713-11-24 00:00+00 BC');
SELECT count(*) FROM chs.customer_events;
SELECT count(*) FROM chs_verify();
ROLLBACK;
\set VERBOSITY sqlstate
INSERT INTO chs.customer_events (customer_id, event_type, occurred_at) VALUES (42, 'support_ticket', now() + interval '24 hours 1 minute');
\set VERBOSITY default

-- One bad row of many, in every kind of statement.
TABLE left_over;
INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES
    (42, 'login', '{"ip_address": "::1"}'), (43, 'api_call', '{"endpoint": "/"}'), (42, 'payment', '{"amount": 3}'), (43, 'login', '{}');
INSERT INTO chs.customer_events (customer_id, event_type)
SELECT CASE WHEN i < 1000 THEN 42 ELSE 44 END, 'support_ticket' FROM generate_series(1, 1000) i;
COPY chs.customer_events (customer_id, event_type, event_data) FROM stdin;
42	login	{"ip_address": "::1"}
43	feature_use	{"feature_name": "x"}
42	feature_use	{}
43	feature_use	{"feature_name": "y"}
\.
WITH good AS (INSERT INTO chs.customer_events (customer_id, event_type) VALUES (42, 'support_ticket') RETURNING 1)
INSERT INTO chs.customer_events (customer_id, event_type) SELECT 43, 'login' FROM good;
TABLE left_over;

-- In a transaction the rest stays.
BEGIN;
INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (42, 'payment', '{"amount": 0.01}');
SAVEPOINT s;
INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (42, 'payment', '{"amount": 10}'), (42, 'payment', '{"amount": 0}');
ROLLBACK TO s;
INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (43, 'api_call', '{"endpoint": 5}');
COMMIT;
SELECT customer_id, event_type, event_data FROM chs.customer_events ORDER BY event_id;
SELECT FROM chs_process_queue();
TABLE left_over;

-- Updates follow the same rules.
SELECT refusal(s) FROM unnest(ARRAY[
    $$UPDATE chs.customer_events SET event_data = '{}' WHERE customer_id = 43$$,
    $$UPDATE chs.customer_events SET event_data = '{"amount": -1}' WHERE customer_id = 42$$,
    $$UPDATE chs.customer_events SET customer_id = 4711 WHERE customer_id = 43$$,
    $$UPDATE chs.customer_events SET event_type = 'login' WHERE customer_id = 43$$,
    $$UPDATE chs.customer_events SET event_type = 'foo' WHERE customer_id = 43$$,
    $$UPDATE chs.customer_events SET occurred_at = 'infinity' WHERE customer_id = 43$$]) s \g (format=unaligned tuples_only=on)
TABLE left_over;

-- Rules are rows; changes hold at once, and not when they are rolled back.
INSERT INTO chs.event_types (event_type, required, positive) VALUES ('refund', '{reason, "by whom"}', '{amount,days}');
INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (42, 'refund', '{"reason": "x", "amount": 1, "days": 2}');
INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (42, 'refund', '{"reason": "x", "by whom": "y", "amount": 1, "days": 0}');
INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (42, 'refund', '{"reason": "x", "by whom": "y", "amount": 1, "days": 2}');
BEGIN;
UPDATE chs.event_types SET required = '{}', positive = '{}' WHERE event_type = 'refund';
INSERT INTO chs.customer_events (customer_id, event_type) VALUES (42, 'refund');
ROLLBACK;
INSERT INTO chs.customer_events (customer_id, event_type) VALUES (42, 'refund');
UPDATE chs.event_types SET required = '{}', positive = '{}' WHERE event_type = 'refund';
INSERT INTO chs.customer_events (customer_id, event_type) VALUES (42, 'refund');
-- PostgreSQL 18 has words and an SQLSTATE of its own for it
DO $$
BEGIN
    DELETE FROM chs.event_types WHERE event_type = 'refund';
EXCEPTION WHEN foreign_key_violation OR restrict_violation THEN
    RAISE NOTICE 'refused: %', SQLERRM ~ 'customer_events_event_type_fkey';
END
$$;
DO $$
BEGIN
    UPDATE chs.event_types SET event_type = 'money_back' WHERE event_type = 'refund';
EXCEPTION WHEN foreign_key_violation OR restrict_violation THEN
    RAISE NOTICE 'refused: %', SQLERRM ~ 'customer_events_event_type_fkey';
END
$$;
BEGIN;
DELETE FROM chs.customer_events WHERE event_type = 'refund';
DELETE FROM chs.event_types WHERE event_type = 'refund';
INSERT INTO chs.customer_events (customer_id, event_type) VALUES (42, 'refund');
ROLLBACK;
SELECT count(*) FROM chs.customer_events WHERE event_type = 'refund';
INSERT INTO chs.event_types (event_type, required) VALUES ('bad', '{a,NULL}');
INSERT INTO chs.event_types (event_type) VALUES ('');

-- Keys.
INSERT INTO chs.customer_events (customer_id, event_type, idempotency_key) VALUES (42, 'support_ticket', 'k'), (43, 'support_ticket', 'k');
INSERT INTO chs.customer_events (customer_id, event_type, idempotency_key) VALUES (43, 'support_ticket', 'l'), (42, 'support_ticket', 'k');
\echo :LAST_ERROR_SQLSTATE
SELECT FROM chs_process_queue();
TABLE left_over;

-- Customers.
SELECT refusal(s) FROM unnest(ARRAY[
    $$INSERT INTO chs.customers (customer_id, created_at) VALUES (44, 'infinity')$$,
    $$INSERT INTO chs.customers (customer_id, segment) VALUES (44, 'none')$$,
    $$INSERT INTO chs.customers (customer_id, created_at, churned_at) VALUES (44, '2024-01-01', '-infinity')$$,
    $$INSERT INTO chs.customers (customer_id, parent_id) VALUES (44, 4711)$$]) s \g (format=unaligned tuples_only=on)

DROP VIEW left_over;
DELETE FROM chs.customers;
DELETE FROM chs.event_types WHERE event_type = 'refund';
SELECT FROM chs_process_queue();
SELECT count(*) FROM chs.customer_events;

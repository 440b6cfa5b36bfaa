-- chs_record_event: one event by a function, once per idempotency key.
\pset format unaligned
\pset tuples_only on
\set ECHO none \i test/refusal.sql \set ECHO all
SET timezone = 'UTC';
SET datestyle = 'ISO';
INSERT INTO chs.customers (customer_id, created_at) VALUES (42, '2020-01-01'), (43, '2020-01-01');
CREATE VIEW recorded AS
    SELECT e.customer_id, e.event_type, e.event_data, e.occurred_at = e.recorded_at AS at_once, e.idempotency_key
    FROM chs.customer_events e ORDER BY e.event_id;

SELECT chs_record_event(42, 'login', '{"ip_address": "10.0.0.1", "user_id": 1}') AS first \gset
SELECT chs_record_event(42, 'support_ticket') > :first AS counts_on;
SELECT chs_record_event(42, 'support_ticket', NULL, NULL, NULL) > :first AS counts_on;
SELECT FROM chs_record_event(42, 'support_ticket', '{"priority": "low"}', '2024-05-06 07:08:09+02');
SELECT occurred_at, event_data FROM chs.customer_events WHERE occurred_at < '2025-01-01';

-- The key makes it once; the event of the first call stays as it is.
SELECT chs_record_event(42, 'payment', '{"amount": 10}', '2024-05-06', 'invoice 1') AS paid \gset
SELECT chs_record_event(42, 'payment', '{"amount": 10}', '2024-05-06', 'invoice 1') = :paid AS same;
SELECT chs_record_event(42, 'login', '{"ip_address": "10.0.0.2"}', idempotency_key => 'invoice 1') = :paid AS same;
SELECT chs_record_event(43, 'payment', '{"amount": 10}', '2024-05-06', 'invoice 1') = :paid AS same;
SELECT chs_record_event(customer_id => 42, event_type => 'payment', event_data => '{"amount": 10}', idempotency_key => 'invoice 2') = :paid AS same;
TABLE recorded;

-- The score follows at once.
SELECT (SELECT value FROM chs_explain(42) WHERE metric = 'logins') AS logins;
BEGIN;
SELECT FROM chs_record_event(42, 'login', '{"ip_address": "10.0.0.1", "user_id": 2}', NULL, 'in a transaction');
SELECT (SELECT value FROM chs_explain(42) WHERE metric = 'logins') AS logins;
ROLLBACK;
SELECT FROM chs_record_event(42, 'login', '{"ip_address": "10.0.0.1", "user_id": 2}', NULL, 'in a transaction');
SELECT (SELECT value FROM chs_explain(42) WHERE metric = 'logins') AS logins,
       (SELECT value FROM chs_explain(42) WHERE metric = 'active_users') AS users;

-- What is refused is refused here, too.
\set SHOW_CONTEXT never
SELECT refusal(s) FROM unnest(ARRAY[
    $$SELECT chs_record_event(4711, 'support_ticket')$$,
    $$SELECT chs_record_event(42, 'foo')$$,
    $$SELECT chs_record_event(42, 'payment', '{"amount": 0}')$$,
    $$SELECT chs_record_event(42, 'login')$$,
    $$SELECT chs_record_event(42, 'support_ticket', '{}', 'infinity')$$]) s \g (format=unaligned tuples_only=on)
\set VERBOSITY sqlstate
SELECT chs_record_event(NULL, 'support_ticket');
SELECT chs_record_event(42, NULL);
\set VERBOSITY default
-- A refused event does not use up its key.
SELECT chs_record_event(42, 'payment', '{"amount": 0}', NULL, 'invoice 3');
SELECT FROM chs_record_event(42, 'payment', '{"amount": 1}', NULL, 'invoice 3');

SELECT count(*) FROM recorded;
SELECT * FROM chs_verify();
SELECT FROM chs_process_queue();
SELECT * FROM chs_verify();

-- Scores and their functions for nobody.
SELECT refusal(s) FROM unnest(ARRAY[
    $$SELECT chs_score(4711)$$,
    $$SELECT chs_status(4711)$$,
    $$SELECT * FROM chs_explain(4711)$$,
    $$SELECT chs_health(4711)$$,
    $$SELECT chs_recalculate(4711)$$,
    $$SELECT chs_rebuild(4711)$$]) s \g (format=unaligned tuples_only=on)
SELECT chs_score(NULL), chs_status(NULL), chs_health(NULL) IS NULL AS no_health, chs_recalculate(NULL);
SELECT count(*) FROM chs_explain(NULL);
SELECT chs_score(42, 'infinity');
SELECT chs_score(42, '-infinity');
SELECT chs_score(42, '4713-11-24 00:00+00 BC');

DROP VIEW recorded;
DELETE FROM chs.customers;
SELECT FROM chs_process_queue();

-- Long jobs, and what can be seen of them.

INSERT INTO chs.customers (customer_id, name, segment, created_at) OVERRIDING SYSTEM VALUE
SELECT n, 'o-' || n, 'smb', '2020-01-01 00:00+00' FROM generate_series(1, 5) n;
INSERT INTO chs.customer_events (customer_id, event_type, event_data)
SELECT n, 'login', '{"ip_address": "203.0.113.1"}' FROM generate_series(1, 4) n, generate_series(1, 5);
DELETE FROM chs.jobs;

-- Both take what is queued, and tell afterwards what they did.
CALL chs_recalculate_all();
SELECT job, state, phase, done, total, percent, rate > 0 AS rate, estimated_end, pid, finished_at >= started_at AS finished
FROM chs.progress;
SELECT customer_id, score FROM chs.customer_health ORDER BY 1;
SELECT count(*) FROM chs.queue;

-- A rebuild makes good what was damaged, also of who has no events (any more).
ALTER EVENT TRIGGER chs_source_altered DISABLE;
ALTER TABLE chs.customer_events DISABLE TRIGGER "00_chs_capture";
DELETE FROM chs.customer_events WHERE customer_id = 4;
ALTER TABLE chs.customer_events ENABLE ALWAYS TRIGGER "00_chs_capture";
ALTER EVENT TRIGGER chs_source_altered ENABLE ALWAYS;
UPDATE chs.activity SET activity = chs_activity_merge(activity, activity) WHERE customer_id = 1;
DELETE FROM chs.activity WHERE customer_id = 2;
SELECT customer_id, difference FROM chs_verify();
CALL chs_rebuild();
SELECT * FROM chs_verify();
SELECT customer_id, score FROM chs.customer_health ORDER BY 1;
SELECT job, state, phase, done, total FROM chs.progress ORDER BY 1;

-- In whatever order customers come, they are found.
BEGIN;
SELECT sum(n_tup_ins) AS inserted FROM pg_stat_xact_user_tables WHERE schemaname = 'chs' AND relname IN ('activity', 'customer_health') \gset
UPDATE chs.customers SET name = name || '!' WHERE customer_id = 2;
SET LOCAL enable_indexscan = off;
SET LOCAL enable_bitmapscan = off;
SET LOCAL enable_mergejoin = off;
CALL chs_rebuild();
SELECT sum(n_tup_ins) - :inserted AS inserted FROM pg_stat_xact_user_tables WHERE schemaname = 'chs' AND relname IN ('activity', 'customer_health');
ROLLBACK;

-- In a transaction block all is that transaction's.
BEGIN;
INSERT INTO chs.customer_events (customer_id, event_type, event_data)
SELECT 5, 'login', '{"ip_address": "203.0.113.1"}' FROM generate_series(1, 5);
CALL chs_rebuild();
CALL chs_recalculate_all();
SELECT customer_id, score FROM chs.customer_health WHERE customer_id = 5;
SELECT count(*) FROM chs.queue;
ROLLBACK;
SELECT customer_id, score FROM chs.customer_health WHERE customer_id = 5;
DO $$
BEGIN
    CALL chs_rebuild();
    RAISE NOTICE 'done';
EXCEPTION WHEN division_by_zero THEN
    NULL;
END
$$;
SELECT * FROM chs_verify();

-- One that cannot be rebuilt is stepped over; its rebuild waits in the queue.
CREATE INDEX poison ON chs.customer_health ((CASE WHEN score > 22 THEN 1 / (customer_id - 3) END));
UPDATE chs.activity SET activity = chs_activity_merge(activity, activity);
INSERT INTO chs.customer_events (customer_id, event_type, event_data)
SELECT n, 'login', '{"ip_address": "203.0.113.1"}' FROM generate_series(1, 5) n, generate_series(1, 5);
CALL chs_rebuild();
SELECT customer_id, sqlstate, attempts FROM chs.failures;
SELECT customer_id, rebuild FROM chs.queue ORDER BY 2;
SELECT DISTINCT customer_id, difference FROM chs_verify();
SELECT customer_id, chs_score(customer_id) FROM chs.customers ORDER BY 1;
DROP INDEX chs.poison;
UPDATE chs.failures SET next_attempt = failed_at;
SELECT FROM chs_process_queue();
SELECT customer_id, score FROM chs.customer_health ORDER BY 1;
SELECT customer_id FROM chs.failures;
SELECT * FROM chs_verify();

-- What cannot be.
BEGIN ISOLATION LEVEL SERIALIZABLE;
CALL chs_rebuild();
ROLLBACK;
BEGIN READ ONLY;
CALL chs_recalculate_all();
ROLLBACK;
SELECT chs_rebuild();
CALL chs_rebuild(1);
SELECT job, state FROM chs.progress ORDER BY 1;

-- One that was interrupted is gone on with, if what it rests on is the same.
UPDATE chs.jobs SET finished_at = NULL, last_customer_id = 3, done = 3, started_at = '2026-01-01 00:00+00', pid = 1;
SELECT job, state, pid, estimated_end FROM chs.progress ORDER BY 1;
UPDATE chs.activity SET activity = chs_activity_merge(activity, activity) WHERE customer_id = 2;
SET timezone = 'UTC';
CALL chs_rebuild();
RESET timezone;
SELECT job, state, done, total FROM chs.progress WHERE job = 'rebuild';
SELECT customer_id, difference FROM chs_verify();
UPDATE chs.jobs SET finished_at = NULL, last_customer_id = 3, done = 3, basis = 'version 0';
CALL chs_rebuild();
SELECT * FROM chs_verify();
UPDATE chs.jobs SET finished_at = NULL, last_customer_id = 3, done = 3;
DELETE FROM chs.jobs WHERE job = 'rebuild';
CALL chs_rebuild();

-- Whose stored health nobody has brought up to date.
SELECT * FROM chs.stale_health;
BEGIN;
SELECT FROM chs_publish('nobody is scored by it yet');
SELECT reason, count(*) FROM chs.stale_health GROUP BY 1;
CALL chs_recalculate_all();
SELECT * FROM chs.stale_health;
UPDATE chs.customer_health SET as_of = as_of - 1 WHERE customer_id = 1;
UPDATE chs.customer_health SET active = false WHERE customer_id = 2;
UPDATE chs.activity SET series_version = 0 WHERE customer_id = 3;
DELETE FROM chs.customer_health WHERE customer_id = 4;
-- whoever has churned stays as he is
UPDATE chs.customers SET churned_at = now() - interval '5 days' WHERE customer_id = 5;
SELECT chs_recalculate(5) IS NOT NULL AS scored;
SELECT customer_id, name, reason FROM chs.stale_health ORDER BY 1;
-- all of that is made good
CALL chs_recalculate_all();
SELECT customer_id, reason FROM chs.stale_health;
ROLLBACK;

DELETE FROM chs.customers;
CALL chs_recalculate_all();
SELECT job, done, total, percent FROM chs.progress ORDER BY 1;
SELECT count(*) FROM chs.queue;

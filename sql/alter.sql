-- What users add to the tables of chs: columns and indexes of their own.
SET timezone = 'UTC';
CREATE EXTENSION amcheck;
ALTER TABLE chs.customers ADD COLUMN note text NOT NULL DEFAULT 'none';
ALTER TABLE chs.customer_events ADD COLUMN extra integer NOT NULL DEFAULT 5;
ALTER TABLE chs.customer_health ADD COLUMN comment text;
CREATE INDEX critical ON chs.customer_health (score) WHERE status = 'critical';
CREATE INDEX upper_status ON chs.customer_health (upper(status)) INCLUDE (coverage);
CREATE INDEX recorded ON chs.health_scores (score) WHERE status <> 'critical';
CREATE INDEX rebuilds ON chs.queue (enqueued_at) WHERE rebuild;
CREATE INDEX queue_tenth ON chs.queue ((customer_id % 10));
CREATE INDEX activity_tenth ON chs.activity ((customer_id % 10));
CREATE INDEX customers_tenth ON chs.customers ((customer_id % 10));

INSERT INTO chs.customers (customer_id, created_at) SELECT i, '2020-01-01' FROM generate_series(1, 60) i;
SELECT FROM chs_process_queue();
UPDATE chs.customer_health SET comment = 'of the user' WHERE customer_id <= 30;
-- Enough for half of them to be healthy.
INSERT INTO chs.customer_events (customer_id, event_type, event_data)
SELECT c, t, jsonb_build_object('endpoint', i, 'ip_address', '::1', 'amount', 5, 'feature_name', i)
FROM generate_series(1, 30) c, unnest('{api_call,login,payment,feature_use}'::text[]) t, generate_series(1, 100) i;
SELECT FROM chs_process_queue();
DELETE FROM chs.customer_events WHERE customer_id <= 10;
SELECT FROM chs_process_queue();
SELECT status, comment, count(*) FROM chs.customer_health GROUP BY 1, 2 ORDER BY 1, 2;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS off) SELECT count(*) FROM chs.customer_health WHERE status = 'critical' AND score >= 0;
SELECT count(*) FROM chs.customer_health WHERE status = 'critical' AND score >= 0;
SELECT count(*) FROM chs.customer_health WHERE upper(status) = 'CRITICAL';
RESET enable_seqscan;
RESET enable_bitmapscan;
SELECT i, bt_index_check(i::regclass, true)
FROM unnest('{chs.critical,chs.upper_status,chs.recorded,chs.rebuilds,chs.queue_tenth,chs.activity_tenth,chs.customers_tenth,chs.queue_customer_id_idx,chs.customer_health_pkey,chs.activity_pkey}'::text[]) i;
VACUUM FULL chs.queue, chs.activity, chs.customer_health;
INSERT INTO chs.customer_events (customer_id, event_type) SELECT i, 'support_ticket' FROM generate_series(1, 60) i;
SELECT * FROM chs_verify();
SELECT FROM chs_process_queue();
SELECT * FROM chs_verify();

DROP INDEX chs.critical, chs.upper_status, chs.recorded, chs.rebuilds, chs.queue_tenth, chs.activity_tenth, chs.customers_tenth;
ALTER TABLE chs.customer_health DROP COLUMN comment;
ALTER TABLE chs.customer_events DROP COLUMN extra;
ALTER TABLE chs.customers DROP COLUMN note;
DROP EXTENSION amcheck;
-- Dropped columns stay in the rows' layout.
DELETE FROM chs.customer_events WHERE customer_id = 20;
INSERT INTO chs.customers (customer_id, created_at) VALUES (61, '2020-01-01');
INSERT INTO chs.customer_events (customer_id, event_type) SELECT i, 'support_ticket' FROM generate_series(50, 61) i;
SELECT FROM chs_process_queue();
SELECT * FROM chs_verify();
DELETE FROM chs.customers;
SELECT FROM chs_process_queue();

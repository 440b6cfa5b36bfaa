-- Whatever is stored and not what it should be is found, by name, and mended.

INSERT INTO chs.customers (customer_id, name, segment, created_at) OVERRIDING SYSTEM VALUE
SELECT n, 'v-' || n, CASE WHEN n < 9 THEN 'smb' END, '2020-01-01 00:00+00' FROM generate_series(1, 9) n;
INSERT INTO chs.customer_events (customer_id, event_type, event_data)
SELECT n, t.event_type, t.event_data
FROM generate_series(1, 9) n
CROSS JOIN (VALUES ('login', '{"ip_address": "203.0.113.1"}'::jsonb), ('api_call', '{"endpoint": "/"}'), ('payment', '{"amount": 1, "status": "paid_on_time"}')) t(event_type, event_data);
SELECT FROM chs_process_queue();
SELECT * FROM chs_verify();

UPDATE chs.customer_health SET score = score + 0.01 WHERE customer_id = 1;
UPDATE chs.customer_health SET score = NULL WHERE customer_id = 2;
UPDATE chs.customer_health SET status = 'healthy' WHERE customer_id = 3;
UPDATE chs.customer_health SET coverage = 0.5 WHERE customer_id = 4;
UPDATE chs.customer_health SET trend = 'declining' WHERE customer_id = 5;
UPDATE chs.customer_health SET factor_scores[1] = 100 WHERE customer_id = 6;
UPDATE chs.customer_health SET as_of = as_of - 1 WHERE customer_id = 7;
DELETE FROM chs.customer_health WHERE customer_id = 8;
SELECT customer_id, difference, CASE WHEN difference <> 'as_of' THEN stored END AS stored,
       CASE WHEN difference <> 'as_of' THEN expected END AS expected
FROM chs_verify();
SELECT chs_recalculate(n) FROM generate_series(1, 8) n;
CALL chs_recalculate_all();
SELECT * FROM chs_verify();

-- The counters of dashboards.
UPDATE chs.health_counts SET critical = critical + 1
WHERE ctid = (SELECT min(ctid) FROM chs.health_counts WHERE segment IS NULL);
UPDATE chs.health_counts SET score_hundredths = score_hundredths - 1
WHERE ctid = (SELECT min(ctid) FROM chs.health_counts WHERE segment = 'smb');
SELECT customer_id, difference, stored, expected FROM chs_verify();
CALL chs_rebuild();
SELECT * FROM chs_verify();

-- What is left of a customer who is gone.
SET session_replication_role = replica;
DELETE FROM chs.customers WHERE customer_id = 9;
RESET session_replication_role;
INSERT INTO chs.activity SELECT 9, folded_to, series_version, activity FROM chs.activity WHERE customer_id = 1;
SELECT customer_id, difference, stored, expected FROM chs_verify();
DELETE FROM chs.customer_events WHERE customer_id = 9;
DELETE FROM chs.activity WHERE customer_id = 9;
DELETE FROM chs.customer_health WHERE customer_id = 9;
DELETE FROM chs.health_scores WHERE customer_id = 9;
SELECT FROM chs_process_queue();
SELECT * FROM chs_verify();

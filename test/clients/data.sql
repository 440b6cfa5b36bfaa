-- What the clients read: a company with a past, and of every kind of value some.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION chs;
INSERT INTO chs.customers (customer_id, external_id, name, email, segment, created_at, churned_at)
SELECT i, 'x' || i, CASE WHEN i % 7 > 0 THEN E'Zo\u00eb & S\u00f8ren ' || i END, CASE WHEN i % 5 > 0 THEN i || '@example.com' END,
       (ARRAY['smb', 'enterprise', 'startup', NULL])[1 + i % 4], '2020-01-01', CASE WHEN i % 50 = 0 THEN now() - interval '2 days' END
FROM generate_series(1, 120) i;
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT 1 + (i * 7919) % 115, t.type, '{"endpoint": "/", "ip_address": "::1", "amount": 5, "feature_name": "f"}', now() - i % 50 * interval '1 day'
FROM generate_series(1, 1500) i, LATERAL (SELECT (ARRAY['api_call', 'login', 'payment', 'feature_use', 'support_ticket'])[1 + i % 5] AS type) t;
SELECT chs_process_queue() \g /dev/null
UPDATE chs.factors SET weight = 0.4 WHERE (scorecard, factor) = ('default', 'api_usage');
SELECT chs_publish('calls weigh more') \g /dev/null
UPDATE chs.factors SET weight = 0.35 WHERE (scorecard, factor) = ('default', 'api_usage');
INSERT INTO chs.health_scores (customer_id, score, status, coverage, trend, factor_scores, scorecard, version, as_of, calculated_at)
SELECT h.customer_id, 90 - h.customer_id % 60, CASE WHEN h.customer_id % 60 <= 15 THEN 'healthy' ELSE 'at_risk' END, 1, 'stable', h.factor_scores, h.scorecard, h.version,
       (now() AT TIME ZONE 'UTC')::date - d, now() - d * interval '1 day'
FROM chs.customer_health h, generate_series(1, 12) d;
CALL chs_recalculate_all();
INSERT INTO chs.failures SELECT i, 'XX000', 'failed', NULL, 1, now(), now(), 1 FROM generate_series(1, 5) i;
CREATE ROLE bi LOGIN;
SELECT chs_grant('bi', a) FROM unnest('{read,operate,administer}'::text[]) a \g /dev/null
ANALYZE;

-- What a client has to find: each view it may read, its columns and their types.
CREATE VIEW public.expected WITH (security_invoker) AS
SELECT c.relname::text AS view_name, a.attname::text AS column_name, format_type(a.atttypid, NULL) AS type
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'chs'::regnamespace AND c.relkind = 'v' ORDER BY c.relname, a.attnum;
GRANT SELECT ON public.expected TO bi;

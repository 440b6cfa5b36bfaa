-- What a database has that is updated: customers, events, health, a version of its
-- own, and a queue that is not folded.
INSERT INTO chs.segments (segment, description, scorecard) VALUES ('edu', 'schools', 'volume_only');
UPDATE chs.targets SET target = 7 WHERE (metric, scorecard) = ('logins', 'default');
SELECT chs_publish('ours');
INSERT INTO chs.customers (customer_id, name, segment, created_at)
SELECT n, 'c' || n, (ARRAY['smb', 'edu', NULL])[1 + n % 3], '2020-01-01' FROM generate_series(1, 20) n;
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT 1 + n % 20, t, jsonb_build_object('endpoint', n % 5, 'ip_address', n, 'amount', n + 1, 'feature_name', n % 3), now() - n * interval '7 hours'
FROM generate_series(1, 200) n, unnest('{api_call,login,payment,feature_use}'::text[]) t;
SELECT chs_process_queue();
INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (3, 'login', '{"ip_address": "x"}'), (4, 'support_ticket', '{}');
DELETE FROM chs.customer_events WHERE customer_id = 5 AND event_type = 'login';

-- The company that README.md begins with: one customer who drifts away, two who are nearly gone, and some who are fine.
INSERT INTO chs.customers (customer_id, name, segment, created_at) VALUES
    (42, 'Aldridge Electric', 'enterprise', now() - interval '3 years'),
    (7, 'Mosscart', 'startup', now() - interval '2 years'),
    (15, 'Bellamy Toys', 'smb', now() - interval '2 years'),
    (16, 'Petrovic Chemicals', 'enterprise', now() - interval '1 year'),
    (23, 'Three Rivers Wines', 'smb', now() - interval '1 year');

-- For each customer: calls, logins and uses of features a day, until some days ago and since.
WITH habit (customer_id, kind, before, days_ago, since) AS (VALUES
    (42, 'api_call', 40, 24, 10), (42, 'login', 2, 27, 0), (42, 'feature_use', 2, 28, 0),
    (7, 'api_call', 5, 27, 1), (7, 'login', 1, 28, 0), (7, 'feature_use', 1, 26, 0),
    (15, 'api_call', 15, 32, 0), (15, 'login', 2, 32, 0), (15, 'feature_use', 1, 32, 0),
    (16, 'api_call', 40, 0, 0), (16, 'login', 2, 0, 0), (16, 'feature_use', 3, 0, 0),
    (23, 'api_call', 18, 0, 0), (23, 'login', 1, 0, 0), (23, 'feature_use', 2, 0, 0))
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT h.customer_id, h.kind,
       CASE h.kind
           WHEN 'api_call' THEN jsonb_build_object('endpoint', '/v1/' || n % 6, 'status_code', CASE WHEN (day * 7 + n) % 25 = 0 THEN 500 ELSE 200 END)
           WHEN 'login' THEN jsonb_build_object('ip_address', '203.0.113.5', 'user_id', (day * 3 + n) % 11, 'session_duration', 600 + 60 * n)
           ELSE jsonb_build_object('feature_name', 'feature ' || (day * 3 + n) % 9, 'tier', CASE (day + n) % 3 WHEN 0 THEN 'advanced' ELSE 'basic' END)
       END,
       now() - day * interval '1 day'
FROM habit h, generate_series(0, 90) day, generate_series(1, CASE WHEN day >= h.days_ago THEN h.before ELSE h.since END) n;

INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT c.customer_id, 'payment',
       jsonb_build_object('amount', 900, 'status', CASE WHEN c.customer_id = 7 AND month = 0 THEN 'overdue' ELSE 'paid_on_time' END),
       now() - (month * 30 + 5) * interval '1 day'
FROM chs.customers c, generate_series(0, 2) month;

CALL chs_recalculate_all();

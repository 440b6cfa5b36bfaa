-- The customers of doc/scorecards.md, and the draft as that page leaves it.
INSERT INTO chs.customers (customer_id, name, segment, created_at) VALUES
    (1, 'Copper Kettle Toys', 'startup', '2024-01-15'), (2, 'Bellamy & Sons', 'smb', '2024-06-01'), (3, 'Nordwind AG', 'enterprise', '2023-09-01');
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT c, t, jsonb_build_object('endpoint', '/v1/' || n % 6, 'ip_address', '203.0.113.' || n % 9, 'user_id', n % (3 * c), 'amount', 49, 'status', 'completed',
                                'feature_name', 'f' || n % (3 + c)), now() - n * interval '1 day'
FROM generate_series(1, 3) c, unnest('{api_call,login,payment,feature_use}'::text[]) t, generate_series(0, 20) n, generate_series(1, 4 * c) m;
CALL chs_recalculate_all();
UPDATE chs.targets SET target = 350 WHERE (scorecard, metric, segment) = ('default', 'api_calls', 'smb');
UPDATE chs.factors SET weight = 0.4 WHERE (scorecard, factor) = ('default', 'login_frequency');
UPDATE chs.metrics SET filter = '!($.trial == true)' WHERE (scorecard, metric) = ('default', 'logins');

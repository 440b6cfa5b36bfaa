-- The oracle against cases worked out by hand, as of 2026-01-31: 30 days begin
-- on 2026-01-02, 90 days on 2025-11-03.  Leaves nothing behind.
\ir ../property/tap.sql
SET TimeZone = 'America/New_York';
BEGIN;
INSERT INTO chs.customers (customer_id, segment, created_at, churned_at) VALUES
    (901, 'smb',        '2025-01-01 00:00Z', NULL),
    (902, 'enterprise', '2025-01-01 00:00Z', NULL),
    (903, 'startup',    '2026-01-03 00:00Z', NULL),
    (904, 'startup',    '2026-01-02 23:59:59.999999Z', NULL),
    (905, NULL,         '2025-01-01 00:00Z', NULL),
    (906, 'smb',        '2025-01-01 00:00Z', '2026-01-05 12:00Z'),
    (907, 'startup',    '2025-01-01 00:00Z', NULL);
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
-- 901, a bit of everything.
-- API: 250 calls of 500 are 50, 3 endpoints of 5 are 60, 25 errors of 250 are 0.1 and so 60:
--     0.7 x 50 + 0.15 x 60 + 0.15 x 60 = 53
SELECT 901, 'api_call', jsonb_build_object('endpoint', i % 3, 'status_code', CASE WHEN i <= 25 THEN 400 + i ELSE 399 END),
       timestamptz '2026-01-02 00:00Z' FROM generate_series(1, 250) i
UNION ALL VALUES (901, 'api_call', jsonb '{"endpoint": "yesterday"}', timestamptz '2026-01-01 23:59:59.999999Z')
-- Logins: 10 of 20 are 50, mean session of the 4 known ones 300 of 600 is 50, 2 users of 5 are 40:
--     0.7 x 50 + 0.15 x 50 + 0.15 x 40 = 48.5
UNION ALL SELECT 901, 'login', '{"ip_address": 1}' || CASE WHEN i <= 4
    THEN jsonb_build_object('session_duration', 150 + 60 * i, 'user_id', i % 2)
    ELSE '{"session_duration": "9999", "user_id": null}' END, '2026-01-31 23:59:59.999999Z' FROM generate_series(1, 10) i
-- Payments: 2 of 4 on time are 50, (0 + 6) / 2 days late are 90, 200 of 500 outstanding are 20,
--     0.7 x 50 + 0.15 x 90 + 0.15 x 20 = 51.5, less 20 for overdue and 5 for late = 26.5
UNION ALL VALUES
    (901, 'payment', jsonb '{"amount": 100, "status": "completed", "days_late": 0}', timestamptz '2025-11-03 00:00Z'),
    (901, 'payment', '{"amount": 100, "status": "paid_late", "days_late": 6}', '2025-12-01 00:00Z'),
    (901, 'payment', '{"amount": 200, "status": "overdue", "days_late": "30"}', '2026-01-10 00:00Z'),
    (901, 'payment', '{"amount": 100, "status": null}', '2026-01-31 23:59:59.999999Z'),
    (901, 'payment', '{"amount": 999, "status": "failed"}', '2025-11-02 23:59:59.999999Z'),
    (901, 'payment', '{"amount": 999, "status": "failed"}', '2026-02-01 00:00Z'),
-- Features: 4 of 8 are 50; 2 advanced of 3 with a tier are far above 0.3, 100:  0.8 x 50 + 0.2 x 100 = 60
    (901, 'feature_use', '{"feature_name": "a", "tier": "advanced"}', '2026-01-15 00:00Z'),
    (901, 'feature_use', '{"feature_name": "b", "tier": "basic"}', '2026-01-15 00:00Z'),
    (901, 'feature_use', '{"feature_name": "c", "tier": null}', '2026-01-15 00:00Z'),
    (901, 'feature_use', '{"feature_name": "d", "tier": "advanced"}', '2026-01-15 00:00Z'),
    (901, 'feature_use', '{"feature_name": "d", "tier": "advanced"}', '2026-01-16 00:00Z'),
-- Tickets: 2 are 80, 3 days where 2 are expected are 75, satisfaction 4 is 75:
--     0.6 x 80 + 0.2 x 75 + 0.2 x 75 = 78, less 10 for the urgent one = 68
    (901, 'support_ticket', '{"priority": "urgent", "resolution_time": 259200}', '2026-01-15 00:00Z'),
    (901, 'support_ticket', '{"priority": ["low"], "satisfaction": 4}', '2026-01-15 00:00Z'),
-- 901: 0.3 x 53 + 0.2 x 48.5 + 0.25 x 26.5 + 0.15 x 60 + 0.1 x 68 = 48.025, which rounds up
--      volume_only: 0.3 x 50 + 0.2 x 50 + 0.25 x (50 - 20 - 5) + 0.15 x 50 + 0.1 x (80 - 10) = 45.75
--      The day before and a week earlier: 251 calls, no login, 1 on-time payment of 4 (the failed one is
--      in the window).  Lower by more than 2 points, but both by the same, as the trend leaves the day out.

-- 905, no segment: 6 overdue payments cannot take more than all points; active_users has no target for it.
--      0.3 x 0 + 0.2 x 100 + 0.25 x 0 + 0.15 x 0 + 0.1 x 100 = 30.  A week before that day: logins 0, so 10.
--      volume_only: 0.2 x 100 + 0.25 x 0 + 0.1 x 100 = 30
    (905, 'payment', '{"amount": 10, "status": ["overdue", "x"]}', '2026-01-01 00:00Z')
UNION ALL SELECT 905, 'payment', '{"amount": 10, "status": "overdue"}', '2026-01-01 00:00Z' FROM generate_series(2, 6)
UNION ALL SELECT 905, 'login', jsonb_build_object('ip_address', 'x', 'user_id', i), '2026-01-25 00:00Z' FROM generate_series(1, 25) i
-- 906 churned on 2026-01-05, what came later does not count: as 902.
UNION ALL SELECT 906, 'login', '{"ip_address": "x"}', '2026-01-06 00:00Z' FROM generate_series(1, 20)
-- 907: API 100 for the calls, 20 for one endpoint of 5, 100 for no error: 0.7 x 100 + 0.15 x 20 + 0.15 x 100 = 88,
--      (0.3 x 88 + 0.1 x 100) / 0.75 = 48.53; a week before there was nothing, 13.33.
--      volume_only: 0.3 x 100 + 0.25 x 70 + 0.1 x 100 = 57.5
UNION ALL SELECT 907, 'api_call', '{"endpoint": "x"}', '2026-01-25 00:00Z' FROM generate_series(1, 200);
-- 902, nothing at all: api, logins, features 0, payments unknown, tickets 100: 0.1 x 100 / 0.75 = 13.33
--      volume_only: 0.25 x 70 + 0.1 x 100 = 27.5
-- 903 is one day too new to be blamed: coverage 0.1, unknown.  904 is just old enough, but was not a week ago.

CALL oracle.compute('default', '2026-01-31');
CALL oracle.compute('volume_only', '2026-01-31');
SELECT tap.none($$
    SELECT * FROM (VALUES (901, 48.03, 'critical', 1.00, 'stable'),    (902, 13.33, 'critical', 0.75, 'stable'),
                          (903, NULL, 'unknown', 0.10, NULL),          (904, 13.33, 'critical', 0.75, NULL),
                          (905, 30.00, 'critical', 1.00, 'improving'), (906, 13.33, 'critical', 0.75, 'stable'),
                          (907, 48.53, 'critical', 0.75, 'improving')) e(customer_id, score, status, coverage, trend)
    FULL JOIN (SELECT customer_id, score, status, coverage, oracle.trend(moved, 2) AS trend FROM oracle.health
               WHERE scorecard = 'default' AND back = 0 AND customer_id BETWEEN 901 AND 907) o USING (customer_id)
    WHERE (e.score, e.status, e.coverage, e.trend) IS DISTINCT FROM (o.score, o.status, o.coverage, o.trend)$$,
    'the oracle agrees with health worked out by hand');
SELECT tap.none($$
    SELECT * FROM (VALUES ('api_usage', 53.0), ('login_frequency', 48.5), ('payment_timeliness', 26.5),
                          ('feature_adoption', 60.0), ('support_tickets', 68.0)) e(factor, score)
    FULL JOIN (SELECT factor, score FROM oracle.factor
               WHERE scorecard = 'default' AND back = 0 AND customer_id = 901) o USING (factor)
    WHERE round(o.score, 12) IS DISTINCT FROM e.score$$,
    'the oracle agrees with factors worked out by hand');
SELECT tap.none($$
    SELECT * FROM (VALUES (901, 45.75), (902, 27.5), (903, 27.5), (904, 27.5), (905, 30.0), (906, 27.5), (907, 57.5)) e(customer_id, score)
    FULL JOIN (SELECT customer_id, o.score, v.score AS formula
               FROM oracle.health o JOIN oracle.volume_only('2026-01-31') v USING (customer_id)
               WHERE scorecard = 'volume_only' AND back = 0 AND customer_id BETWEEN 901 AND 907) o USING (customer_id)
    WHERE (o.score, o.formula) IS DISTINCT FROM (e.score, e.score)$$,
    'the oracle and the short formula agree with volume_only worked out by hand');
ROLLBACK;
SELECT tap.plan();

-- What chs_explain and chs_health print, for a few customers on fixed days.
SET timezone = 'America/New_York';
SET datestyle = 'ISO';
SET extra_float_digits = 0;
INSERT INTO chs.customers (customer_id, external_id, name, segment, created_at, churned_at) VALUES
    (1, 'x-1', 'Old and well', 'startup', '2023-01-01 00:00+00', NULL),
    (2, 'x-2', 'New, nothing yet', 'smb', '2024-03-25 00:00+00', NULL),
    (3, 'x-3', 'Old, went silent', 'enterprise', '2023-01-01 00:00+00', NULL),
    (4, 'x-4', 'Left', NULL, '2023-01-01 00:00+00', '2024-03-31 10:00+00'),
    (5, 'x-5', 'Never did anything', NULL, '2023-01-01 00:00+00', NULL);

-- Customer 1 as of 2024-03-31, whose 30 days begin on 2024-03-02, its 90 days on 2024-01-02.
-- api_calls: 100 calls of 200 expected: 50.  endpoint_diversity: 4 of 5: 80.
-- api_error_rate: 10 of 100 at 400 or more, 0.10 on 0:100 0.25:0: 60.
-- api_usage = 50 * 0.7 + 80 * 0.15 + 60 * 0.15 = 56.
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT 1, 'api_call', jsonb_build_object('endpoint', '/' || i % 4, 'status_code', CASE WHEN i % 10 = 0 THEN 404 ELSE 200 END),
       '2024-03-02 00:00+00'::timestamptz + i * interval '7 hours'
FROM generate_series(0, 99) i;
-- One instant too early, by the UTC day, although the day in New York is the same.
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
VALUES (1, 'api_call', '{"endpoint": "/early"}', '2024-03-01 23:59:59.999999+00');
-- The last instant of the day, and the first of the next.
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at) VALUES
    (1, 'login', '{"ip_address": "::1", "user_id": "a", "session_duration": 300}', '2024-03-31 23:59:59.999999+00'),
    (1, 'login', '{"ip_address": "::1", "user_id": "b", "session_duration": 600}', '2024-04-01 00:00+00');
-- logins: 10 of 20: 50.  session_duration: 300 of 600: 50.  active_users: a alone, of 2: 50.  login_frequency = 50.
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT 1, 'login', '{"ip_address": "::1", "user_id": "a", "session_duration": 300}', '2024-03-10 12:00+00'::timestamptz + i * interval '1 day'
FROM generate_series(1, 9) i;
-- on_time_rate: 3 of 4: 75.  payment_delay: mean of 0 and 6 is 3, 3 of 30: 90.  outstanding_share: 0: 100.  One paid late: -5.
-- payment_timeliness = 75 * 0.7 + 90 * 0.15 + 100 * 0.15 - 5 = 76.
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at) VALUES
    (1, 'payment', '{"amount": 100, "status": "paid_on_time"}', '2024-01-15 00:00+00'),
    (1, 'payment', '{"amount": 100, "status": "completed", "days_late": 0}', '2024-02-15 00:00+00'),
    (1, 'payment', '{"amount": 100}', '2024-03-01 00:00+00'),
    (1, 'payment', '{"amount": 100, "status": "paid_late", "days_late": 6}', '2024-03-15 00:00+00');
-- features_used: 6 of 8: 75.  advanced_share: 1 of 4 with a tier is 0.25 of 0.3: 83.33.  feature_adoption = 76.67.
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at) VALUES
    (1, 'feature_use', '{"feature_name": "a", "tier": "advanced"}', '2024-03-20 00:00+00'),
    (1, 'feature_use', '{"feature_name": "a", "tier": "advanced"}', '2024-03-21 00:00+00'),
    (1, 'feature_use', '{"feature_name": "b", "tier": "basic"}', '2024-03-20 00:00+00'),
    (1, 'feature_use', '{"feature_name": "c", "tier": "basic"}', '2024-03-20 00:00+00'),
    (1, 'feature_use', '{"feature_name": "d", "tier": "basic"}', '2024-03-20 00:00+00'),
    (1, 'feature_use', '{"feature_name": "e"}', '2024-03-20 00:00+00'),
    (1, 'feature_use', '{"feature_name": "f", "tier": null}', '2024-03-20 00:00+00');
-- ticket_volume: 2: 80.  resolution_time: 2 of the 3 days of a startup: 100, no satisfaction.  One urgent: -10.
-- support_tickets = (80 * 0.6 + 100 * 0.2) / 0.8 - 10 = 75.
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at) VALUES
    (1, 'support_ticket', '{"priority": "urgent", "resolution_time": 172800}', '2024-03-12 00:00+00'),
    (1, 'support_ticket', '{"priority": "low"}', '2024-03-22 00:00+00');
-- 56 * 0.3 + 50 * 0.2 + 76 * 0.25 + 76.667 * 0.15 + 75 * 0.1 = 64.80
SELECT chs_score(1, '2024-03-31 12:00+00'), chs_status(1, '2024-03-31 12:00+00');
SELECT factor, metric, value, target, score, weight, effective_weight AS effective, contribution, trend
FROM chs_explain(1, '2024-03-31 12:00+00');
\pset format unaligned
SELECT factor, metric, '|' || sparkline || '|' AS sparkline, details FROM chs_explain(1, '2024-03-31 12:00+00');
\pset format aligned

-- The same day, whatever its hour; the next day another.
SELECT chs_score(1, '2024-03-31 00:00+00'), chs_score(1, '2024-03-31 23:59:59+00'), chs_score(1, '2024-04-01 00:00+00'),
       chs_score(1, '2024-03-30 20:00-04');
SELECT metric, value FROM chs_explain(1, '2024-04-01 00:00+00') WHERE metric IN ('api_calls', 'logins', 'active_users');

-- New: what it does not have yet says nothing about it, coverage is too low.
SELECT chs_score(2, '2024-03-31 12:00+00'), chs_status(2, '2024-03-31 12:00+00');
SELECT factor, metric, value, target, score, weight, effective_weight AS effective, contribution, trend, sparkline
FROM chs_explain(2, '2024-03-31 12:00+00');
-- The first day on which it is old enough is when its first day is the window's.
SELECT d AT TIME ZONE 'UTC' AS d, chs_score(2, d), chs_status(2, d) FROM unnest('{2024-04-22 00:00+00, 2024-04-23 00:00+00}'::timestamptz[]) d;

-- Silent: no call, login or feature of a customer that old is zero.
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT 3, t, '{"endpoint": "/", "ip_address": "::1", "feature_name": "x", "amount": 1}', '2024-02-01 00:00+00'
FROM unnest('{api_call,login,feature_use,payment,support_ticket}'::text[]) t;
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT 3, 'payment', jsonb_build_object('amount', 50, 'status', s), '2024-03-01 00:00+00'
FROM unnest('{overdue,overdue,failed,pending,paid_late}'::text[]) s;
SELECT chs_score(3, '2024-03-31 12:00+00'), chs_status(3, '2024-03-31 12:00+00');
SELECT factor, metric, value, target, score, weight, effective_weight AS effective, contribution, trend, sparkline
FROM chs_explain(3, '2024-03-31 12:00+00');

-- Nothing at all, and before its first day.
SELECT factor, metric, value, score, effective_weight AS effective, contribution FROM chs_explain(5, '2024-03-31 12:00+00') WHERE metric IS NULL;
SELECT chs_score(5, '2024-03-31 12:00+00'), chs_status(5, '2024-03-31 12:00+00'), chs_score(1, '2022-01-01 00:00+00'), chs_status(1, '2022-01-01 00:00+00');

-- Whole, for every customer and a year of days.
SELECT count(*) AS days,
       count(*) FILTER (WHERE round(factors::numeric, 6) IS DISTINCT FROM round(score::numeric, 6)) AS factors_differ,
       count(*) FILTER (WHERE parts_differ) AS parts_differ
FROM chs.customers c, generate_series('2023-06-01 00:00+00'::timestamptz, '2024-06-01 00:00+00', '1 day') d,
     LATERAL (SELECT chs_score(c.customer_id, d) AS score) s,
     LATERAL (SELECT sum(contribution) FILTER (WHERE metric IS NULL) AS factors FROM chs_explain(c.customer_id, d)) f,
     LATERAL (SELECT bool_or(abs(difference) > 1e-6) AS parts_differ
              FROM (SELECT sum(CASE WHEN metric IS NULL THEN contribution ELSE -contribution END) AS difference
                    FROM chs_explain(c.customer_id, d) GROUP BY factor) x) p;

-- A customer that left is scored as of the day it left, so that the document stays the same.
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT 4, 'login', jsonb_build_object('ip_address', '::1', 'user_id', i % 3), '2024-03-04 12:00+00'::timestamptz + i * interval '1 day'
FROM generate_series(0, 40) i;
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at) VALUES
    (4, 'payment', '{"amount": 20, "status": "overdue"}', '2024-03-31 20:00+00'),
    (4, 'payment', '{"amount": 20, "status": "overdue"}', '2024-04-01 00:00+00');
SELECT chs_score(4), chs_score(4) = chs_score(4, '2024-03-31 00:00+00') AS as_on_its_last_day,
       chs_score(4, '2024-05-01 00:00+00') = chs_score(4) AS later_too, chs_score(4, '2024-03-20 00:00+00') AS earlier;
SET timezone = 'UTC';
\t on
\pset format unaligned
SELECT chs_health(4) - 'factors';
SELECT f - 'metrics' FROM jsonb_array_elements(chs_health(4) -> 'factors') f;
SELECT f -> 'factor', m FROM jsonb_array_elements(chs_health(4) -> 'factors') f, jsonb_array_elements(f -> 'metrics') m;
\t off
\pset format aligned

-- volume_only: plain volumes.
BEGIN;
UPDATE chs.segments SET scorecard = 'volume_only' WHERE segment = 'enterprise';
SELECT chs_publish('volumes for enterprise');
SELECT factor, metric, value, target, score, weight, effective_weight AS effective, contribution FROM chs_explain(3, '2024-03-31 12:00+00');
SELECT chs_score(3, '2024-03-31 12:00+00'), chs_status(3, '2024-03-31 12:00+00');
UPDATE chs.customers SET segment = 'enterprise' WHERE customer_id = 2;
SELECT factor, metric, value, target, score, contribution FROM chs_explain(2, '2024-03-31 12:00+00');
ROLLBACK;

-- What is stored, and the views on it.
SELECT FROM chs_process_queue();
SELECT customer_id, score, status, coverage, trend, factor_scores, scorecard, version, as_of = (now() AT TIME ZONE 'UTC')::date AS as_of_today
FROM chs.customer_health ORDER BY 1;
SELECT customer_id, external_id, name, segment, score, status, coverage, trend, churned_at IS NOT NULL AS churned FROM chs.customer_list ORDER BY 1;
SELECT total, healthy, at_risk, critical, unknown, healthy_percent, at_risk_percent, critical_percent, unknown_percent,
       last_updated >= (SELECT max(calculated_at) - interval '1 second' FROM chs.customer_list WHERE churned_at IS NULL) AS updated FROM chs.dashboard_stats;
SELECT customer_id, factor_name, position, score, weight, effective_weight AS effective, contribution FROM chs.factor_breakdown
WHERE customer_id IN (3, 4) ORDER BY 1, 3;
SELECT s.customer_id, f.factor_name, f.score, f.weight, f.details - 'as_of' AS details
FROM chs.factor_scores f JOIN chs.health_scores s USING (health_score_id)
WHERE health_score_id = (SELECT max(health_score_id) FROM chs.health_scores WHERE customer_id = 4) ORDER BY f.weight DESC, 2;
SELECT * FROM chs_verify();

DELETE FROM chs.customers;
SELECT FROM chs_process_queue();
SELECT total, healthy, at_risk, critical, unknown, healthy_percent FROM chs.dashboard_stats;

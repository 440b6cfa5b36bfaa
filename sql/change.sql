-- Why a score moved: each cause by itself, then what is refused.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE FUNCTION regress_chs_ago(days integer) RETURNS timestamptz LANGUAGE sql STABLE AS $$ SELECT now() - days * interval '1 day' $$;
CREATE FUNCTION regress_chs_change(customer_id bigint, since integer, until integer DEFAULT 0)
    RETURNS TABLE (factor text, since text, until text, change numeric, behaviour numeric, passing numeric, data numeric, scorecard numeric) LANGUAGE sql AS $$
    SELECT factor, score_since::numeric(5, 2)::text, score_until::numeric(5, 2)::text, round(change::numeric, 2),
           round(by_behaviour::numeric, 2), round(by_time::numeric, 2), round(by_data::numeric, 2), round(by_scorecard::numeric, 2)
    FROM chs_explain_change(customer_id, regress_chs_ago(since), regress_chs_ago(until))
    UNION ALL
    SELECT 'all', chs_score(customer_id, regress_chs_ago(since))::text, chs_score(customer_id, regress_chs_ago(until))::text, round(sum(change)::numeric, 2),
           round(sum(by_behaviour)::numeric, 2), round(sum(by_time)::numeric, 2), round(sum(by_data)::numeric, 2), round(sum(by_scorecard)::numeric, 2)
    FROM chs_explain_change(customer_id, regress_chs_ago(since), regress_chs_ago(until))
$$;
INSERT INTO chs.customers (customer_id, name, segment, created_at) OVERRIDING SYSTEM VALUE
SELECT n, 'm-' || n, 'startup', '2020-01-01 00:00+00' FROM generate_series(1, 4) n;
-- Customer 1 logs in every day for 60 days, and pays.  Ten days ago it begins to open tickets.
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT 1, 'login', '{"ip_address": "::1", "user_id": "a"}', regress_chs_ago(n) FROM generate_series(0, 59) n;
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at) SELECT 1, 'payment', '{"amount": 5, "status": "paid_on_time"}', regress_chs_ago(n) FROM unnest('{3,33}'::int[]) n;
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at) SELECT 1, 'support_ticket', '{"priority": "urgent"}', regress_chs_ago(n) FROM generate_series(1, 9, 2) n;
SELECT * FROM regress_chs_change(1, 10);
-- Customer 2 did something 20 to 35 days ago, and nothing since: time has passed.
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT 2, 'api_call', '{"endpoint": "/a"}', regress_chs_ago(n) FROM generate_series(20, 35) n, generate_series(1, 10);
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at) SELECT 2, 'payment', '{"amount": 5, "status": "paid_on_time"}', regress_chs_ago(50);
SELECT * FROM regress_chs_change(2, 15);
-- Of customer 3 the only payment, which was overdue, falls out of its window: data gone missing.  And back.
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at) SELECT 3, 'payment', '{"amount": 5, "status": "overdue"}', regress_chs_ago(92);
SELECT * FROM regress_chs_change(3, 5);
INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (3, 'payment', '{"amount": 5, "status": "completed"}');
SELECT * FROM regress_chs_change(3, 1);
-- Nothing happened to customer 4 but a new scorecard; as if it had been published two days ago.
ALTER TABLE chs.scorecard_versions DISABLE TRIGGER scorecard_versions_guard;
UPDATE chs.scorecard_versions SET live_at = regress_chs_ago(200);
ALTER TABLE chs.scorecard_versions ENABLE TRIGGER scorecard_versions_guard;
UPDATE chs.factors SET weight = 0.5 WHERE (scorecard, factor) = ('default', 'support_tickets');
SELECT chs_drop_factor('feature_adoption');
SELECT chs_add_factor('presence', 0.2, metrics => '[{"metric": "days", "event_type": "login", "aggregate": "active_days", "window_days": 30, "curve": "0:0 30:100", "missing": "zero"}]');
SELECT chs_publish('support counts, features do not') > 1;
SELECT * FROM regress_chs_change(4, 1);
-- All at once.
SELECT * FROM regress_chs_change(1, 10);
SELECT DISTINCT (details ->> 'until')::date - (details ->> 'since')::date AS days, (details ->> 'version_until')::int - (details ->> 'version_since')::int AS versions
FROM chs_explain_change(1, regress_chs_ago(10));
-- Without a score at one end there is nothing to split.
UPDATE chs.scorecards SET min_coverage = 1 WHERE scorecard = 'default';
SELECT chs_publish('all or nothing') > 1;
SELECT * FROM regress_chs_change(4, 1);
-- The same day, NULLs, the wrong way round, nobody, and who may not see the customer.
SELECT DISTINCT change FROM chs_explain_change(1, now(), now());
SELECT count(*) FROM chs_explain_change(1, NULL);
SELECT count(*) FROM chs_explain_change(NULL, now());
SELECT chs_explain_change(1, '2024-01-02 00:00+00', '2024-01-01 00:00+00');
SELECT chs_explain_change(99, now());
CREATE ROLE regress_chs_stranger;
SET ROLE regress_chs_stranger;
SELECT chs_explain_change(1, now());
RESET ROLE;
DROP ROLE regress_chs_stranger;

DROP FUNCTION regress_chs_change, regress_chs_ago;
DROP EXTENSION chs;
CREATE EXTENSION chs;

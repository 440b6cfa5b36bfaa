-- Staging tables for the RavenStack data set (credit: River at Rivalytics), and
-- facts: what the company knows, one typed table per kind of event.  Events are
-- made from the facts (raven.event); the oracle reads the facts themselves, so
-- that it never sees JSON, jsonpath or timestamps.

CREATE SCHEMA raven;

CREATE TABLE raven.accounts (
    account_id text, account_name text, industry text, country text, signup_date date,
    referral_source text, plan_tier text, seats integer, is_trial boolean, churn_flag boolean);
CREATE TABLE raven.subscriptions (
    subscription_id text, account_id text, start_date date, end_date date, plan_tier text, seats integer,
    mrr_amount numeric, arr_amount numeric, is_trial boolean, upgrade_flag boolean, downgrade_flag boolean,
    churn_flag boolean, billing_frequency text, auto_renew_flag boolean);
CREATE TABLE raven.feature_usage (
    usage_id text, subscription_id text, usage_date date, feature_name text, usage_count integer,
    usage_duration_secs integer, error_count integer, is_beta_feature boolean);
CREATE TABLE raven.support_tickets (
    ticket_id text, account_id text, submitted_at date, closed_at timestamp, resolution_time_hours numeric,
    priority text, first_response_time_minutes numeric, satisfaction_score numeric, escalation_flag boolean);
CREATE TABLE raven.churn_events (
    churn_event_id text, account_id text, churn_date date, reason_code text, refund_amount_usd numeric,
    preceding_upgrade_flag boolean, preceding_downgrade_flag boolean, is_reactivation boolean,
    feedback_text text);

-- Facts.  tier, status, days_late, api_call and login have no counterpart in the
-- data set; the test adds such rows itself later.
CREATE TABLE raven.customer (account_id text PRIMARY KEY, name text, segment text, since date);
CREATE TABLE raven.feature_use (
    account_id text, day date, feature text, tier text, uses integer, seconds integer, beta boolean);
CREATE TABLE raven.ticket (
    account_id text, day date, hours numeric, satisfaction numeric, priority text, escalated boolean);
CREATE TABLE raven.payment (account_id text, day date, amount numeric, status text, days_late numeric);
CREATE TABLE raven.api_call (account_id text, day date, endpoint text, status_code integer);
CREATE TABLE raven.login (account_id text, day date, ip text, user_id text, seconds numeric);
CREATE INDEX ON raven.feature_use (account_id, day);
CREATE INDEX ON raven.ticket (account_id, day);
CREATE INDEX ON raven.payment (account_id, day);
CREATE INDEX ON raven.api_call (account_id, day);
CREATE INDEX ON raven.login (account_id, day);

CREATE PROCEDURE raven.make_facts() LANGUAGE sql AS $$
    INSERT INTO raven.customer
    SELECT account_id, account_name,
           CASE plan_tier WHEN 'Enterprise' THEN 'enterprise' WHEN 'Pro' THEN 'smb' WHEN 'Basic' THEN 'startup' END,
           signup_date
    FROM raven.accounts;

    -- Half of it lies before the account's signup: these are events all the same.
    INSERT INTO raven.feature_use
    SELECT s.account_id, u.usage_date, u.feature_name, NULL, u.usage_count, u.usage_duration_secs, u.is_beta_feature
    FROM raven.feature_usage u JOIN raven.subscriptions s USING (subscription_id);

    INSERT INTO raven.ticket
    SELECT account_id, submitted_at, resolution_time_hours, satisfaction_score, priority, escalation_flag
    FROM raven.support_tickets;

    -- A payment on the start date and on the same day of each month after it (or
    -- the month's last), as long as the subscription runs; trials are free.
    INSERT INTO raven.payment
    SELECT s.account_id, d.day, s.mrr_amount
    FROM raven.subscriptions s,
         generate_series(0, 24) month,
         LATERAL (SELECT (s.start_date + month * interval '1 month')::date AS day) d
    WHERE s.mrr_amount > 0 AND d.day <= COALESCE(s.end_date, date '2024-12-31');

    ANALYZE raven.feature_use, raven.ticket, raven.payment;
$$;

-- The data set knows days only.  Uses happen at the first moment of their UTC day
-- and tickets at its last, where a day that is cut in the wrong place shows.
CREATE VIEW raven.event AS
SELECT account_id, day, 'feature_use' AS event_type,
       jsonb_strip_nulls(jsonb_build_object('feature_name', feature, 'tier', tier, 'usage_count', uses,
                                            'duration', seconds, 'beta', beta)) AS event_data,
       day::timestamp AT TIME ZONE 'UTC' AS occurred_at
FROM raven.feature_use
UNION ALL
SELECT account_id, day, 'support_ticket',
       jsonb_strip_nulls(jsonb_build_object('resolution_time', hours * 3600, 'satisfaction', satisfaction,
                                            'priority', priority, 'escalated', escalated)),
       (day + time '23:59:59.999999') AT TIME ZONE 'UTC'
FROM raven.ticket
UNION ALL
SELECT account_id, day, 'payment',
       jsonb_strip_nulls(jsonb_build_object('amount', amount, 'status', status, 'days_late', days_late)),
       (day + time '12:00') AT TIME ZONE 'UTC'
FROM raven.payment
UNION ALL
SELECT account_id, day, 'api_call', jsonb_build_object('endpoint', endpoint, 'status_code', status_code),
       (day + time '00:00:01') AT TIME ZONE 'UTC'
FROM raven.api_call
UNION ALL
SELECT account_id, day, 'login',
       jsonb_strip_nulls(jsonb_build_object('ip_address', ip, 'user_id', user_id, 'session_duration', seconds)),
       day::timestamp AT TIME ZONE 'UTC'
FROM raven.login;

-- churned_at stays NULL: see the part about churn in run.
CREATE PROCEDURE raven.load_customers() LANGUAGE sql AS $$
    INSERT INTO chs.customers (external_id, name, segment, created_at)
    SELECT account_id, name, segment, since::timestamp AT TIME ZONE 'UTC'
    FROM raven.customer ORDER BY account_id;
$$;

CREATE PROCEDURE raven.load_events(from_day date, to_day date) LANGUAGE sql AS $$
    INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
    SELECT c.customer_id, e.event_type, e.event_data, e.occurred_at
    FROM raven.event e JOIN chs.customers c ON c.external_id = e.account_id
    WHERE e.day BETWEEN from_day AND to_day;
$$;

-- Moves the company's whole past by some days.
CREATE PROCEDURE raven.shift(days integer) LANGUAGE sql AS $$
    UPDATE raven.customer SET since = since + days;
    UPDATE raven.feature_use SET day = day + days;
    UPDATE raven.ticket SET day = day + days;
    UPDATE raven.payment SET day = day + days;
$$;

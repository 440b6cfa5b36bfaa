-- The shipped scorecard as a careful person would write it by hand, over the raw events and over a roll-up
-- per day.  For customers of two years; prices and penalties are those of sql/ext/shipped.sql.
SET search_path = bench, public;

-- Payments count for 90 days, all else for 30.
CREATE INDEX customer_events_payment_idx ON chs.customer_events (customer_id, occurred_at) WHERE event_type = 'payment';

CREATE FUNCTION today() RETURNS timestamptz LANGUAGE sql STABLE
    RETURN date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';

-- What both sources are brought to: events of a customer, type and value, counted.  x and y are what
-- a type is measured in.
CREATE VIEW measured AS
SELECT customer_id, event_type, occurred_at,
       CASE event_type WHEN 'api_call' THEN event_data ->> 'endpoint' WHEN 'login' THEN event_data ->> 'user_id'
                       WHEN 'feature_use' THEN event_data ->> 'feature_name' WHEN 'payment' THEN event_data ->> 'status'
                       ELSE event_data ->> 'priority' END AS value,
       CASE event_type WHEN 'login' THEN event_data -> 'session_duration' WHEN 'payment' THEN event_data -> 'days_late'
                       WHEN 'support_ticket' THEN event_data -> 'resolution_time' END::double precision AS x,
       CASE event_type WHEN 'payment' THEN event_data -> 'amount'
                       WHEN 'support_ticket' THEN event_data -> 'satisfaction' END::double precision AS y,
       CASE event_type WHEN 'api_call' THEN (event_data -> 'status_code')::integer >= 400
                       WHEN 'feature_use' THEN event_data ->> 'tier' = 'advanced' END AS mark
FROM chs.customer_events;

CREATE VIEW raw_events AS
SELECT customer_id, event_type, value, count(*) AS n, sum(x) AS x, count(x) AS xs, sum(y) AS y, count(y) AS ys,
       count(*) FILTER (WHERE mark) AS marks
FROM (SELECT * FROM measured
      WHERE event_type <> 'payment' AND occurred_at >= today() - interval '29 days' AND occurred_at < today() + interval '1 day'
      UNION ALL
      SELECT * FROM measured
      WHERE event_type = 'payment' AND occurred_at >= today() - interval '89 days' AND occurred_at < today() + interval '1 day') e
GROUP BY customer_id, event_type, value;

CREATE TABLE roll_up_days (customer_id bigint, event_type text, day date, value text,
    n bigint, x double precision, xs bigint, y double precision, ys bigint, marks bigint);
CREATE VIEW roll_up AS
SELECT customer_id, event_type, value, sum(n)::bigint AS n, sum(x) AS x, sum(xs)::bigint AS xs,
       sum(y) AS y, sum(ys)::bigint AS ys, sum(marks)::bigint AS marks
FROM roll_up_days
WHERE day >= today()::date - CASE event_type WHEN 'payment' THEN 89 ELSE 29 END AND day <= today()::date
GROUP BY customer_id, event_type, value;

CREATE FUNCTION fill_roll_up() RETURNS void LANGUAGE sql AS $$
    INSERT INTO bench.roll_up_days
    SELECT customer_id, event_type, (occurred_at AT TIME ZONE 'UTC')::date, value,
           count(*), sum(x), count(x), sum(y), count(y), count(*) FILTER (WHERE mark)
    FROM bench.measured GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4;
    ALTER TABLE bench.roll_up_days ADD PRIMARY KEY (customer_id, event_type, day, value);
    ANALYZE bench.roll_up_days;
$$;

CREATE FUNCTION bounded(double precision) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN $1 < 0 THEN 0 WHEN $1 > 100 THEN 100 ELSE $1 END;

\set source raw_events
\set view plain_health
\ir health.sql
\set source roll_up
\set view roll_up_health
\ir health.sql

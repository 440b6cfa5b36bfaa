-- Data of the benchmark, the same in every run but for the clock: events end now.

CREATE SCHEMA bench;
SET search_path = bench, public;

-- What this session has spent on the processor so far; also for roles that may not read files.
CREATE FUNCTION processor_seconds() RETURNS double precision LANGUAGE sql VOLATILE SECURITY DEFINER
    RETURN split_part(pg_read_file('/proc/self/schedstat'), ' ', 1)::double precision / 1e9;

-- A number from 0 up to 1 that a seed and a salt decide.
CREATE FUNCTION u(seed bigint, salt integer) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (hashint8extended(seed, salt) & 4294967295)::double precision / 4294967296;

-- Kinds of events, from which all events are picked: of 100 about 70 API calls, 12 logins, 15 uses of
-- features, 1 payment and 2 tickets.
CREATE TABLE template (n bigint PRIMARY KEY, event_type text NOT NULL, event_data jsonb NOT NULL);
INSERT INTO template
SELECT n, event_type, CASE event_type
    WHEN 'api_call' THEN jsonb_build_object(
        'endpoint', '/v1/' || (ARRAY['rates', 'labels', 'tracking', 'orders', 'users', 'reports', 'items', 'hooks'])[1 + (8 * a * b)::integer % 8],
        'status_code', CASE WHEN c < 0.97 THEN 200 WHEN c < 0.99 THEN 404 ELSE 503 END, 'ms', 20 + (b * 400)::integer)
    WHEN 'login' THEN jsonb_build_object(
        'user_id', 'u' || 1 + floor(9 * a), 'ip_address', '203.0.113.' || 1 + floor(200 * b), 'session_duration', 100 + (c * 1000)::integer)
    WHEN 'feature_use' THEN jsonb_build_object(
        'feature_name', 'feature_' || 1 + floor(10 * a * b), 'tier', CASE WHEN (10 * a * b)::integer % 3 = 2 THEN 'advanced' ELSE 'basic' END)
    WHEN 'payment' THEN jsonb_build_object(
        'amount', 49 + (a * 900)::integer, 'status', CASE WHEN c < 0.9 THEN 'paid_on_time' WHEN c < 0.95 THEN 'paid_late'
                                                          WHEN c < 0.98 THEN 'pending' ELSE 'overdue' END,
        'days_late', CASE WHEN c < 0.9 THEN 0 ELSE 1 + (b * 20)::integer END)
    ELSE jsonb_build_object(
        'priority', CASE WHEN a < 0.9 THEN 'normal' WHEN a < 0.97 THEN 'high' ELSE 'urgent' END,
        'resolution_time', (b * 100000)::integer, 'satisfaction', 1 + floor(c * 5)) END
FROM (SELECT n, u(n, 2) AS a, u(n, 3) AS b, u(n, 4) AS c,
             CASE WHEN k < 0.70 THEN 'api_call' WHEN k < 0.82 THEN 'login' WHEN k < 0.97 THEN 'feature_use'
                  WHEN k < 0.98 THEN 'payment' ELSE 'support_ticket' END AS event_type
      FROM (SELECT n, u(n, 1) AS k FROM generate_series(0, 4095) n) t) t;
ANALYZE template;

-- Without owners, or with so many.
CREATE FUNCTION fill_customers(first bigint, last bigint, owners integer DEFAULT NULL) RETURNS void LANGUAGE sql AS $$
    INSERT INTO chs.customers (customer_id, external_id, name, segment, created_at, owner)
    SELECT i, 'C' || i, 'customer ' || i, (ARRAY['enterprise', 'smb', 'startup', NULL])[1 + i % 4], now() - interval '2 years', 'owner_' || i % owners
    FROM generate_series(first, last) i;
    ANALYZE chs.customers;
$$;

-- So many events, the last one now, the first one so many days ago, of the customers 1 to this.
CREATE FUNCTION events(total bigint, customers bigint, days double precision, seed bigint DEFAULT 0)
    RETURNS TABLE (customer_id bigint, event_type text, event_data jsonb, occurred_at timestamptz)
    LANGUAGE sql STABLE AS $$
    SELECT 1 + (hashint8extended(seed + i, 11) & 2147483647) % customers, t.event_type, t.event_data,
           now() - (total - i) * (days / total) * interval '1 day'
    FROM generate_series(1, total) i JOIN bench.template t ON t.n = hashint8extended(seed + i, 12) & 4095
$$;

-- A loop, for in a procedure every statement has a new snapshot.
CREATE PROCEDURE wait_for_queue() LANGUAGE plpgsql AS $$
BEGIN
    WHILE EXISTS (SELECT FROM chs.queue) LOOP
        PERFORM pg_sleep(0.005);
        COMMIT;
    END LOOP;
END
$$;

CREATE PROCEDURE wait_for_version() LANGUAGE plpgsql AS $$
BEGIN
    WHILE EXISTS (SELECT FROM chs.customer_health WHERE version < (SELECT max(version) FROM chs.scorecard_versions)) LOOP
        PERFORM pg_sleep(0.005);
        COMMIT;
    END LOOP;
END
$$;

-- Milliseconds of a query that is planned once: the mean of the runs of a fifth of a second.
CREATE PROCEDURE time_query(query text, INOUT clock double precision, INOUT processor double precision) LANGUAGE plpgsql AS $$
DECLARE
    began timestamptz;
    runs integer := 0;
BEGIN
    EXECUTE 'PREPARE query AS ' || query;
    EXECUTE 'EXECUTE query';
    began := clock_timestamp();
    processor := bench.processor_seconds();
    LOOP
        EXECUTE 'EXECUTE query';
        runs := runs + 1;
        EXIT WHEN clock_timestamp() > began + interval '0.2 s';
    END LOOP;
    clock := extract(epoch FROM clock_timestamp() - began)::double precision * 1000 / runs;
    processor := (bench.processor_seconds() - processor) * 1000 / runs;
    DEALLOCATE query;
END
$$;

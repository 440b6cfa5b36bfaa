-- Dropped and made again in one session, and in a schema of its own.
\pset format unaligned
\pset tuples_only on
SET timezone = 'UTC';
CREATE FUNCTION logins() RETURNS TABLE (logins float8, verified boolean) LANGUAGE plpgsql AS $$
BEGIN
    -- Plans of plpgsql stay from one incarnation of the extension to the next.
    INSERT INTO chs.customers (customer_id, created_at) VALUES (1, '2020-01-01') ON CONFLICT DO NOTHING;
    INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (1, 'login', '{"ip_address": "::1"}');
    RETURN QUERY SELECT e.value, NOT EXISTS (SELECT FROM chs_verify()) FROM chs_explain(1) e WHERE e.metric = 'logins';
END
$$;
SELECT * FROM logins();
DROP EXTENSION chs;
SELECT * FROM logins();
CREATE EXTENSION chs;
SELECT * FROM logins();
SELECT * FROM logins();
SELECT FROM chs_process_queue();
BEGIN;
DROP EXTENSION chs;
ROLLBACK;
SELECT * FROM logins();
BEGIN;
SELECT * FROM logins();
DROP EXTENSION chs;
CREATE EXTENSION chs;
SELECT * FROM logins();
ROLLBACK;
SELECT * FROM logins();
BEGIN;
DROP EXTENSION chs;
CREATE EXTENSION chs;
SELECT * FROM logins();
SAVEPOINT s;
DROP EXTENSION chs;
ROLLBACK TO s;
SELECT * FROM logins();
COMMIT;
SELECT * FROM logins();
SELECT * FROM chs_verify();
SELECT FROM chs_process_queue();
SELECT * FROM chs_verify();

DROP EXTENSION chs;
SELECT nspname FROM pg_namespace WHERE nspname = 'chs';
SELECT proname FROM pg_proc WHERE proname LIKE 'chs%';
CREATE SCHEMA health;
CREATE EXTENSION chs SCHEMA health;
SELECT chs_score(1);
SET search_path = health, public;
SELECT * FROM logins();
RESET search_path;
SELECT health.chs_score(1) IS NOT NULL AS has_score, jsonb_typeof(health.chs_health(1) -> 'factors') AS factors;
SELECT health.chs_record_event(1, 'support_ticket') > 0 AS recorded;
SELECT FROM health.chs_process_queue();
SELECT * FROM health.chs_verify();
ALTER EXTENSION chs SET SCHEMA public;
DROP EXTENSION chs;
DROP SCHEMA health;

-- A schema chs that is there already is an error: whatever is in it was not made by the extension.
CREATE SCHEMA chs;
\set VERBOSITY terse
CREATE EXTENSION chs;
\set VERBOSITY default
DROP SCHEMA chs;
CREATE EXTENSION chs;
DROP FUNCTION logins();

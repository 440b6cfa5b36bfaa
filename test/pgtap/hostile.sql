-- Hostile names: whatever is on the search_path, chs uses its own tables and
-- PostgreSQL's own functions and operators.

\ir begin.psql
SET LOCAL search_path = tap, public;

INSERT INTO chs.customers (customer_id, name, segment, created_at) VALUES (1, 'One', 'smb', '2020-01-01'), (2, 'Two', NULL, '2020-01-01');
INSERT INTO chs.customer_events (customer_id, event_type, event_data)
SELECT 1 + i % 2, t, '{"endpoint": "/", "ip_address": "::1", "amount": 5, "feature_name": "f", "status_code": 500}'
FROM generate_series(1, 9) i, unnest('{api_call,login,payment,feature_use,support_ticket}'::text[]) t;
SELECT chs_process_queue() \g /dev/null

CREATE TEMP TABLE answers AS
SELECT 'score' AS what, chs_score(1)::text AS answer UNION ALL SELECT 'status', chs_status(1)
UNION ALL SELECT 'past', chs_score(1, now() - interval '1 day')::text
UNION ALL SELECT 'health', chs_health(1)::text UNION ALL SELECT 'explain', string_agg(e::text, '|') FROM chs_explain(1) e;

-- Everything exists with another meaning, too.
CREATE SCHEMA evil;
CREATE FUNCTION evil.trap() RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE 'trapped'; END$$;
DO $$
DECLARE
    r record;
BEGIN
    FOR r IN SELECT relname FROM pg_class WHERE relnamespace = 'chs'::regnamespace AND relkind IN ('r', 'v') LOOP
        EXECUTE format('CREATE VIEW evil.%I AS SELECT evil.trap()', r.relname);
        EXECUTE format('CREATE VIEW pg_temp.%I AS SELECT evil.trap()', r.relname);
    END LOOP;
    FOR r IN SELECT * FROM (VALUES ('now', ''), ('count', 'bigint'), ('jsonb_build_object', 'variadic text[]'), ('to_regclass', 'text'),
                           ('least', ''), ('jsonb_typeof', 'jsonb'), ('format', 'text'), ('activity_in', 'cstring'),
                           ('chs_explain', 'bigint'), ('health_now', 'bigint'), ('draft_document', '')) f(name, args) LOOP
        CONTINUE WHEN r.args = 'cstring';
        EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS text LANGUAGE sql AS ''SELECT evil.trap()''', r.name, r.args);
    END LOOP;
    FOR r IN SELECT * FROM (VALUES ('bigint'), ('text'), ('integer'), ('jsonb'), ('date'), ('timestamptz'), ('double precision'), ('xid8'), ('boolean')) t(type) LOOP
        EXECUTE format('CREATE FUNCTION evil.same(%s, %s) RETURNS boolean LANGUAGE plpgsql AS $f$BEGIN RAISE ''trapped''; END$f$', r.type, r.type);
        EXECUTE format('CREATE OPERATOR evil.= (LEFTARG = %s, RIGHTARG = %s, FUNCTION = evil.same)', r.type, r.type);
        EXECUTE format('CREATE OPERATOR evil.< (LEFTARG = %s, RIGHTARG = %s, FUNCTION = evil.same)', r.type, r.type);
        EXECUTE format('CREATE OPERATOR evil.>= (LEFTARG = %s, RIGHTARG = %s, FUNCTION = evil.same)', r.type, r.type);
    END LOOP;
END
$$;

SET LOCAL search_path = evil, public, pg_catalog, pg_temp;
SAVEPOINT s;
\set ON_ERROR_STOP off
SELECT 1::bigint = 1::bigint;
\set trapped :LAST_ERROR_SQLSTATE
\set ON_ERROR_STOP on
ROLLBACK TO s;
SET LOCAL search_path = evil, public, pg_catalog, pg_temp;
CREATE TEMP TABLE hostile AS
SELECT 'score' AS what, public.chs_score(1)::text AS answer UNION ALL SELECT 'status', public.chs_status(1)
UNION ALL SELECT 'past', public.chs_score(1, pg_catalog.now() OPERATOR(pg_catalog.-) interval '1 day')::text
UNION ALL SELECT 'health', public.chs_health(1)::text UNION ALL SELECT 'explain', string_agg(e::text, '|') FROM public.chs_explain(1) e;

-- All ways to write, and all manual work.
INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (2, 'login', '{"ip_address": "::1"}');
UPDATE chs.customer_events SET occurred_at = occurred_at OPERATOR(pg_catalog.-) interval '1 day';
SELECT public.chs_record_event(2, 'login', '{"ip_address": "::1"}', NULL, 'key') \g /dev/null
SELECT public.chs_record_event(2, 'login', '{"ip_address": "::1"}', NULL, 'key') \g /dev/null
INSERT INTO chs.customers (customer_id, created_at) VALUES (3, '2020-01-01');
UPDATE chs.customers SET customer_id = 4, segment = 'startup' WHERE customer_id OPERATOR(pg_catalog.=) 3;
SELECT public.chs_process_queue() \g /dev/null
SELECT public.chs_recalculate(2) \g /dev/null
UPDATE chs.factors SET weight = 1;
SELECT public.chs_publish('by hostile names') \g /dev/null
CALL public.chs_recalculate_all();
CALL public.chs_rebuild();
SELECT count(*) AS differences FROM public.chs_verify() \gset
DELETE FROM chs.customers WHERE customer_id OPERATOR(pg_catalog.=) 1;
SELECT public.chs_process_queue() \g /dev/null
TABLE chs.dashboard_stats \g /dev/null
TABLE chs.factor_breakdown \g /dev/null
SELECT count(*) AS differences_too FROM public.chs_verify() \gset

SET LOCAL search_path = tap, public;
SELECT is(:'trapped'::text, 'P0001', 'the traps work');
SELECT is(h.answer, a.answer, a.what || ' is the same under hostile names')
FROM answers a LEFT JOIN hostile h ON h.what = a.what;
SELECT is(:differences + :differences_too, 0, 'chs_verify finds nothing');
SELECT results_eq('SELECT customer_id, (SELECT value FROM chs_explain(customer_id) WHERE metric = ''logins'') FROM chs.customers ORDER BY 1',
    'SELECT c.customer_id, (SELECT count(*)::float8 FROM chs.customer_events e WHERE e.customer_id = c.customer_id AND event_type = ''login'') FROM chs.customers c ORDER BY 1',
    'what was written under hostile names counts');
SELECT is((SELECT count(*) FROM chs.customer_health), 2::bigint, 'and is stored');

SELECT * FROM finish();
ROLLBACK;

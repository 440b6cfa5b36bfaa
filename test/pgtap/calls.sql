-- Every routine of the extension is called in all the wrong ways: with NULLs and
-- extreme values, in a read-only transaction, by a role without privileges, triggers
-- as functions and on the wrong tables.  It may refuse, with an error that says
-- what is wrong; it must not crash, nor fail in a way that only a defect explains.

\ir begin.psql
SET client_min_messages = error;
SET LOCAL statement_timeout = '20min';   -- a call that never ends

INSERT INTO chs.customers (customer_id, name, segment, created_at) VALUES (1, 'One', 'smb', '2020-01-01'), (2, 'Two', NULL, '2020-01-01');
INSERT INTO chs.customer_events (customer_id, event_type, event_data)
SELECT 1, t, '{"endpoint": "/", "ip_address": "::1", "amount": 5, "feature_name": "f"}'
FROM unnest('{api_call,login,payment,feature_use,support_ticket}'::text[]) t;
SELECT chs_process_queue() \g /dev/null
INSERT INTO chs.customer_events (customer_id, event_type) VALUES (1, 'support_ticket');

-- what the figures of a back-test are calculated from
SELECT chs.backtest_begin() \g /dev/null

CREATE TEMP VIEW routines AS
SELECT p.oid, p.oid::regprocedure AS name, p.prokind, p.proretset, p.provolatile, p.prorettype,
       p.pronargs::integer AS n, (SELECT array_agg(t.type::regtype ORDER BY t.i) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY t(type, i)) AS types,
       format('%I.%I', s.nspname, p.proname) AS qualified, p.proargtypes::oid[] && ARRAY['internal'::regtype::oid, 'cstring'::regtype::oid] AS from_c_only,
       p.prorettype IN ('trigger'::regtype, 'event_trigger'::regtype) AS is_trigger
FROM pg_depend d JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid JOIN pg_namespace s ON s.oid = p.pronamespace
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND d.refobjid = (SELECT e.oid FROM pg_extension e WHERE e.extname = 'chs');

-- Values of each type, from harmless to absurd.
CREATE TEMP TABLE extremes (type regtype, value text);
INSERT INTO extremes SELECT type::regtype, value FROM (
SELECT 'bigint' AS type, unnest(ARRAY['1', '0', '-1', '4711', '9223372036854775807', '-9223372036854775808']) AS value
UNION ALL SELECT 'integer', unnest(ARRAY['1', '0', '-1', '2147483647', '-2147483648'])
UNION ALL SELECT 'text', unnest(ARRAY['login', '', 'events', 'churned', '0:0 1:100', repeat('x', 3000), '''; SELECT 1; --', E'\u20ac\n'])
UNION ALL SELECT 'name', unnest(ARRAY['postgres', '', 'pg_monitor', 'nobody of that name'])
UNION ALL SELECT 'jsonb', unnest(ARRAY['{}', '[]', 'null', '1', '"x"', '[[{"a": []}]]', '{"scorecards": 1}', '{"scorecards": {"default": {}}, "segments": {}, "default": "default"}',
    '{"metric": null}', '[{"metric": 1}]', (SELECT document::text FROM chs.scorecard_versions WHERE version = 1),
    (SELECT jsonb_set(document, '{scorecards,default,factors,0,metrics,0,window_days}', '-1')::text FROM chs.scorecard_versions WHERE version = 1),
    (SELECT jsonb_set(document, '{scorecards,default,factors,0,metrics,0,window_days}', '1e9')::text FROM chs.scorecard_versions WHERE version = 1)])
UNION ALL SELECT 'timestamptz', unnest(ARRAY['now', 'infinity', '-infinity', '4714-11-24 00:00:00+00 BC', '294276-12-31 23:59:59+00', '2020-02-29'])
UNION ALL SELECT 'date', unnest(ARRAY['today', 'infinity', '-infinity', '4714-11-24 BC', '5874897-12-31'])
UNION ALL SELECT 'double precision', unnest(ARRAY['0', '1', '-1', 'NaN', 'Infinity', '-Infinity', '1e308', '5e-324'])
UNION ALL SELECT 'boolean', unnest(ARRAY['true', 'false'])
UNION ALL SELECT 'chs_activity', unnest(ARRAY[(SELECT activity::text FROM chs.activity LIMIT 1), (SELECT chs_activity_agg(document, 'login', '{"ip_address": 1}', now())::text FROM chs.scorecard_versions)])
UNION ALL SELECT 'oid', unnest(ARRAY['1', '0', '4294967295'])
UNION ALL SELECT 'pg_snapshot', unnest(ARRAY['1:1:', '3:9:5', '1:9223372036854775806:'])
UNION ALL SELECT 'regclass', unnest(ARRAY['0', '1', 'pg_class', 'chs.customers', 'chs.customer_events', 'chs.dashboard_stats', 'chs.customers_pkey', 'chs.customers_customer_id_seq'])
UNION ALL SELECT 'bytea', unnest(ARRAY['', '\x00', '\x7fffffff00000000'])
UNION ALL SELECT 'bigint[]', unnest(ARRAY['{}', '{NULL}', '{1,1}'])
UNION ALL SELECT 'boolean[]', unnest(ARRAY['{}', '{NULL}', '{t,f}'])
UNION ALL SELECT 'numeric[]', unnest(ARRAY['{1}', '{}', '{NULL}', '{NaN,-1}', '{{1,2},{3,4}}'])
UNION ALL SELECT 'double precision[]', unnest(ARRAY['{}', '{NULL}', '{NaN,Infinity}'])
UNION ALL SELECT 'text[]', unnest(ARRAY['{}', '{NULL}', '{{a,b},{c,d}}'])
UNION ALL SELECT 'date[]', unnest(ARRAY['{}', '{NULL}', '{today,today}', '{4714-11-24 BC,294276-12-31}', '{5874897-12-31}', '{infinity}'])
UNION ALL SELECT 'integer[]', unnest(ARRAY['{1}', '{}', '{NULL}', '{-2147483648,2147483647}', '{{1,2},{3,4}}'])
UNION ALL SELECT 'numeric[]', unnest(ARRAY['{1}', '{}', '{NULL}', '{NaN,-1}', '{{1,2},{3,4}}'])
UNION ALL SELECT 'double precision[]', unnest(ARRAY['{1}', '{}', '{NULL}', '{NaN,Infinity,-1}', '{{1,2},{3,4}}'])
UNION ALL SELECT 'interval', unnest(ARRAY['0', '-1 day', '178000000 years'])
UNION ALL SELECT 'chs.recommendations', unnest(ARRAY[(SELECT r::text FROM chs.recommendations r LIMIT 1)])) e;

-- A call of a routine as SQL.
CREATE FUNCTION pg_temp.call(r routines, arguments text[]) RETURNS text LANGUAGE sql AS $$
    SELECT CASE WHEN r.prokind = 'p' THEN 'CALL ' WHEN r.prokind = 'a' OR r.prorettype = 'void'::regtype THEN 'SELECT ' ELSE 'SELECT * FROM ' END
           || r.qualified || '(' || COALESCE(string_agg(COALESCE(quote_literal(a.value), 'NULL') || '::' || r.types[a.i]::text, ', ' ORDER BY a.i), '') || ')'
    FROM unnest(arguments) WITH ORDINALITY a(value, i)
$$;
-- Runs it, rolls it back, and returns how it ended.
CREATE FUNCTION pg_temp.outcome(call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        EXECUTE call;
        RAISE EXCEPTION USING ERRCODE = 'CHS00';
    EXCEPTION WHEN OTHERS THEN
        RETURN CASE SQLSTATE WHEN 'CHS00' THEN 'ok' ELSE SQLSTATE || ' ' || SQLERRM END;
    END;
END $$;
-- What only a defect explains: internal errors, and those of SQL that chs wrote itself.
CREATE FUNCTION pg_temp.is_defect(outcome text) RETURNS boolean LANGUAGE sql AS $$
    SELECT outcome ~ '^(XX|42601|42703|42804|42P08|42725|39)' AND outcome !~ '^39P0[13]|^XX001'
$$;

-- Each argument with each of its extremes, the others harmless; all of them NULL; and
-- each of them NULL.
CREATE TEMP TABLE calls AS
SELECT DISTINCT r.name, pg_temp.call(r.*::routines, v.arguments) AS call
FROM routines r
CROSS JOIN LATERAL (
    SELECT ARRAY(SELECT (SELECT e.value FROM extremes e WHERE e.type = r.types[i] LIMIT 1) FROM generate_series(1, r.n) i) AS arguments) harmless
CROSS JOIN LATERAL (
    SELECT array_fill(NULL::text, ARRAY[r.n]) AS arguments
    UNION ALL SELECT harmless.arguments
    UNION ALL SELECT harmless.arguments[:i - 1] || x.value || harmless.arguments[i + 1:]
    FROM generate_series(1, r.n) i
    CROSS JOIN LATERAL (SELECT e.value FROM extremes e WHERE e.type = r.types[i] UNION ALL SELECT NULL) x) v
WHERE NOT r.from_c_only AND NOT r.is_trigger;
SELECT is_empty($$SELECT DISTINCT t.type FROM routines r, unnest(r.types) t(type)
    WHERE NOT r.from_c_only AND NOT EXISTS (SELECT FROM extremes e WHERE e.type = t.type)$$, 'there are extreme values of every type');
SELECT cmp_ok((SELECT count(*) FROM calls), '>', 300::bigint, 'there are many ways to call');

CREATE TEMP TABLE outcomes AS SELECT name, call, pg_temp.outcome(call) AS outcome FROM calls;
SELECT is_empty('SELECT DISTINCT ON (name, outcome) name, left(call, 200), outcome FROM outcomes WHERE pg_temp.is_defect(outcome)', 'no call fails by a defect');
SELECT is_empty($$SELECT name FROM outcomes GROUP BY name HAVING NOT bool_or(outcome = 'ok')
    AND name NOT IN (SELECT name FROM routines WHERE prokind = 'p'
                     OR name::text ~ 'attach|detach|activity_(transition|combine)|record_event|grant|revoke|rollback|plugin|add_factor|add_metrics|drop_factor|import|follow_(alter|drop|rewrite)|chs_backtest|backtest_(origins|calm)|chs_fit|fit_agg')$$,
    'every function can be called rightly');
SELECT lives_ok('SELECT 1', 'the server is there');

-- By a role without privileges: nothing is revealed, nothing is done.
CREATE ROLE chs_tap_stranger;
GRANT USAGE ON SCHEMA chs TO chs_tap_stranger;
GRANT USAGE ON SCHEMA tap TO PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA pg_temp TO PUBLIC;
CREATE TEMP TABLE strangers (name regprocedure, call text, outcome text);
GRANT ALL ON strangers TO PUBLIC;
SET LOCAL ROLE chs_tap_stranger;
INSERT INTO strangers SELECT name, call, pg_temp.outcome(call) FROM calls;
RESET ROLE;
SELECT is_empty('SELECT DISTINCT ON (name, outcome) name, left(call, 200), outcome FROM strangers WHERE pg_temp.is_defect(outcome)', 'nor of a stranger''s');
SELECT is_empty($$
    SELECT DISTINCT name FROM strangers JOIN routines USING (name) WHERE outcome = 'ok' AND provolatile = 'v' AND call !~ 'NULL::'$$, 'a stranger gets nothing done');

-- In a read-only transaction.
SAVEPOINT before;
CREATE TEMP TABLE read_only (name regprocedure, call text, outcome text);
SET LOCAL transaction_read_only = on;
INSERT INTO read_only SELECT name, call, pg_temp.outcome(call) FROM calls JOIN routines USING (name) WHERE provolatile = 'v';
SELECT is_empty('SELECT DISTINCT ON (name, outcome) name, left(call, 200), outcome FROM read_only WHERE pg_temp.is_defect(outcome)',
    'nor of those in a read-only transaction');
SELECT is_empty($$SELECT DISTINCT name, left(call, 200) FROM read_only r JOIN outcomes o USING (name, call) WHERE r.outcome = 'ok' AND o.outcome = 'ok'
    AND call !~ 'NULL::' AND name::text !~ 'status|verify|wake|warn_of|follow_customers|add_metrics|delete_old|apply_retention|day_count|count_days|chs_process_queue|chs_refresh'$$,
    'what writes refuses to (those aside that had nothing to write)');
ROLLBACK TO before;

-- Triggers, as functions and where they do not belong.
SELECT is_empty($$SELECT name FROM routines WHERE is_trigger AND pg_temp.outcome(format('SELECT %s()', qualified)) !~ '^(0A000|39P0[13])'$$,
    'trigger functions cannot be called');
CREATE TABLE public.wrong (customer_id text, event_type integer, z text, version integer, function text);
INSERT INTO public.wrong VALUES ('1', 1, 'x', 1, 'f');
CREATE VIEW public.wrong_view AS TABLE public.wrong;
CREATE TEMP TABLE triggers AS
SELECT r.name, w.timing, e.event, l.level, CASE w.timing WHEN 'INSTEAD OF' THEN 'wrong_view' ELSE 'wrong' END AS relation,
       r.qualified, v.statement
FROM routines r,
     (VALUES ('BEFORE'), ('AFTER'), ('INSTEAD OF')) w(timing),
     (VALUES ('INSERT'), ('UPDATE'), ('DELETE'), ('TRUNCATE')) e(event),
     (VALUES ('ROW'), ('STATEMENT')) l(level),
     LATERAL (SELECT CASE e.event WHEN 'INSERT' THEN 'INSERT INTO public.%1$I VALUES (''2'', 2, ''y'', 2, ''g'')' WHEN 'UPDATE' THEN 'UPDATE public.%1$I SET z = ''w'''
                  WHEN 'DELETE' THEN 'DELETE FROM public.%1$I' ELSE 'TRUNCATE public.%1$I' END) v(statement)
WHERE r.is_trigger AND r.prorettype = 'trigger'::regtype
  AND NOT (e.event = 'TRUNCATE' AND (l.level = 'ROW' OR w.timing = 'INSTEAD OF')) AND NOT (w.timing = 'INSTEAD OF' AND l.level = 'STATEMENT');
CREATE FUNCTION pg_temp.fired(t triggers) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN pg_temp.outcome(format('DO %L', format(
        'BEGIN CREATE TRIGGER wrong %s %s ON public.%I FOR EACH %s EXECUTE FUNCTION %s(); %s; END',
        t.timing, t.event, t.relation, t.level, t.qualified, format(t.statement, t.relation))));
END $$;
SELECT is_empty($$SELECT t.name, t.timing, t.event, t.level, o FROM triggers t, pg_temp.fired(t) o WHERE pg_temp.is_defect(o) AND o !~ '^XX000 could not determine|^42703 record "(new|old)" has no field'$$,
    'a trigger function on another table does not fail by a defect');
SELECT is((SELECT count(*) FROM chs.queue), (SELECT count(*) FROM chs.queue WHERE customer_id IN (1, 2)), 'and nothing of it is queued');

-- The server is unharmed.
SELECT is_empty('SELECT * FROM chs_verify()', 'in the end all is right');
SELECT * FROM finish();
ROLLBACK;

-- Hostile values for everything that the extension has, in a server.  Variables of
-- psql: seed, rounds.  Whatever is refused must be refused with an error that says
-- what is wrong: an internal error (SQLSTATE XX...) is a failure, as are a crash and
-- a statement without end.  Prints TAP.

SET statement_timeout = '20min';   -- a statement without end
SET client_min_messages = error;
SELECT setseed((:seed % 1000000) / 1000000.0) \g /dev/null
\set ON_ERROR_STOP 1

CREATE SCHEMA fuzz;
SET search_path = fuzz, public;

INSERT INTO chs.customers (customer_id, name, segment, created_at) VALUES (1, 'a', 'smb', '2020-01-01'), (2, 'b', NULL, now());
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT 1 + n % 2, t, jsonb_build_object('endpoint', n % 5, 'ip_address', n, 'amount', n, 'feature_name', n % 3, 'user_id', n % 4, 'status', 'overdue'),
       now() - n * interval '1 day'
FROM generate_series(1, 40) n, unnest('{api_call,login,payment,feature_use,support_ticket}'::text[]) t;
SELECT chs_process_queue() \g /dev/null
CREATE TABLE fuzz.customers_of_our_own (id bigint PRIMARY KEY, happened timestamptz, what text, "odd ""name""" jsonb);
CREATE FUNCTION fuzz.plugin(bigint, timestamptz) RETURNS double precision LANGUAGE sql AS 'SELECT 1.0';

CREATE TABLE failed (what text, sqlstate text, message text);
CREATE TABLE seen (what text, sqlstate text, n bigint DEFAULT 1, PRIMARY KEY (what, sqlstate));

-- Runs a query and undoes it; notes how it ended.
CREATE FUNCTION attempt(what text, query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    state text := '00000';
    message text;
BEGIN
    BEGIN
        EXECUTE query;
        RAISE EXCEPTION USING ERRCODE = 'FUZZ0';
    EXCEPTION WHEN OTHERS THEN
        state := SQLSTATE;
        message := SQLERRM;
    END;
    -- of a command that can only be run by itself, or a setting that such a call has
    IF state LIKE 'XX%' OR state = '57014' THEN
        INSERT INTO failed VALUES (query, state, message);
    END IF;
    INSERT INTO seen VALUES (what, state) ON CONFLICT ON CONSTRAINT seen_pkey DO UPDATE SET n = seen.n + 1;
    RETURN state;
END
$$;

CREATE FUNCTION pick(VARIADIC text[]) RETURNS text LANGUAGE sql VOLATILE AS
$$ SELECT $1[1 + floor(random() * cardinality($1))::integer] $$;

-- Documents: the live one with something wrong somewhere.
CREATE TABLE paths AS
WITH RECURSIVE tree (path, value) AS (
    SELECT '{}'::text[], document FROM chs.scorecard_versions WHERE version = 1
    UNION ALL
    SELECT t.path || c.key, c.value
    FROM tree t, LATERAL (
        SELECT e.key, e.value FROM jsonb_each(CASE WHEN jsonb_typeof(t.value) = 'object' THEN t.value END) e
        UNION ALL
        SELECT (a.ordinality - 1)::text, a.value
        FROM jsonb_array_elements(CASE WHEN jsonb_typeof(t.value) = 'array' THEN t.value END) WITH ORDINALITY a) c)
SELECT path FROM tree WHERE path <> '{}';

CREATE FUNCTION some_json() RETURNS jsonb LANGUAGE sql VOLATILE AS $$
    SELECT pick('null', 'true', '-1', '0', '1', '0.5', '731', '1e400', '1e-400', '-1e308', '2147483648', '9223372036854775808', '""', '"x"',
        '"NaN"', '"0:0 1:100"', '"0:0 0:1"', '"count"', '"ratio"', '"sum"', '"distinct"', '"growth"', '"of_usual"', '"function"', '"$.a > 1"', '"$ ? (@.b == 1)"', '"strict $.x"', '"$["', '"@"',
        '"missing"', '"default"', '"nobody"', '[]', '{}', '[[]]', '[null]', '{"a": null}', '{"": ""}', '[1, "a", {"b": []}]', '{"smb": 0, "x": -1}', '{"smb": "x"}', '"\ud83d\ude00"',
        to_json(repeat('y', 3000))::text, to_json(repeat('1:1 ', 500))::text)::jsonb
$$;

CREATE FUNCTION some_document() RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    document jsonb := (SELECT v.document FROM chs.scorecard_versions v WHERE version = 1);
BEGIN
    FOR i IN 1 .. 1 + floor(random() * 3) LOOP
    BEGIN
        document := CASE floor(random() * 5)
            WHEN 0 THEN document #- (SELECT path FROM paths ORDER BY random() LIMIT 1)
            ELSE jsonb_set(document, (SELECT path FROM paths ORDER BY random() LIMIT 1), some_json()) END;
    EXCEPTION WHEN invalid_text_representation THEN
        -- what is at the path's beginning is no array any more
    END;
    END LOOP;
    RETURN CASE WHEN random() < 0.02 THEN some_json() ELSE document END;
END
$$;

-- Activities: what there is, with something wrong in its text, or nothing.
CREATE FUNCTION some_activity_text() RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    text_form text := (SELECT activity::text FROM chs.activity ORDER BY random() LIMIT 1);
    at integer := 1 + floor(random() * length(text_form));
BEGIN
    RETURN CASE floor(random() * 6)
        WHEN 0 THEN text_form
        WHEN 1 THEN left(text_form, at)
        WHEN 2 THEN left(text_form, 2 * (at / 2))
        WHEN 3 THEN overlay(text_form PLACING pick('ff', '00', '80', '7f', '01', 'FF', 'zz', 'ffffffffffffffff7f') FROM 2 * (at / 2) + 1)
        WHEN 4 THEN text_form || right(text_form, at)
        ELSE overlay(text_form PLACING to_hex(floor(random() * 16)::integer) FROM at) END;
END
$$;

-- A literal or expression of a type, as hostile as its type allows.
CREATE FUNCTION some_value(type regtype) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    value text;
BEGIN
    IF random() < 0.08 THEN
        RETURN format('NULL::%s', type);
    END IF;
    value := CASE type::text
        WHEN 'bigint' THEN pick('1', '1', '2', '0', '-1', '3', '9223372036854775807', '-9223372036854775808')
        WHEN 'integer' THEN pick('1', '1', '0', '-1', '2', '730', '2147483647', '-2147483648')
        WHEN 'smallint' THEN pick('1', '0', '-1', '32767')
        WHEN 'double precision' THEN pick('0', '1', '-1', '50', '1e308', '-1e308', '1e-320', 'NaN', 'Infinity', '-Infinity')
        WHEN 'numeric' THEN pick('0', '1', 'NaN', 'Infinity', '1e300', '-1e-300')
        WHEN 'boolean' THEN pick('true', 'false')
        WHEN 'text' THEN pick('', 'default', 'volume_only', 'api_usage', 'api_calls', 'smb', 'login', 'support_ticket', 'nobody', '0:0 1:100', '1:1 1:2', ':', '0:',
                              '$.a > 1', '$[', '%s %n %999999d', repeat('long', 2000), E'\\x', '''"; --', 'chs_score', 'fuzz.plugin', '😀', '1 day', 'month', '{}', '[{"metric": 5}]')
        WHEN 'name' THEN pick('customers', '', 'x')
        WHEN 'timestamp with time zone' THEN pick('now', 'now', '2020-01-01', '2000-01-01', '4713-01-01 BC', '294276-12-31 23:59:59Z', 'infinity', '-infinity', 'tomorrow', 'epoch')
        WHEN 'date' THEN pick('today', '4713-01-01 BC', '5874897-12-31', 'infinity', '-infinity', '2020-02-29')
        WHEN 'interval' THEN pick('1 day', '0', '-1 day', '178000000 years', '-178000000 years', '1 month', '1 microsecond', '13 months -400 days')
        WHEN 'jsonb' THEN CASE WHEN random() < 0.6 THEN some_document() ELSE some_json() END::text
        WHEN 'json' THEN some_json()::text
        WHEN 'jsonpath' THEN pick('$', '$.a == 1', 'strict $.a', '$.**', '$ ? (@ > 1)', '$.x like_regex "("')
        WHEN 'chs_activity' THEN some_activity_text()
        WHEN 'regclass' THEN pick('chs.customer_events', 'chs.customers', 'pg_class', 'pg_stat_activity', 'pg_class_oid_index', 'fuzz.customers_of_our_own', 'fuzz.failed', '0', '4294967295',
                                  'chs.customers_customer_id_seq')
        WHEN 'regprocedure' THEN pick('fuzz.plugin(bigint,timestamptz)', 'now()', '0', '4294967295')
        WHEN 'regproc' THEN pick('fuzz.plugin', 'pg_sleep', '0', '4294967295')
        WHEN 'regrole' THEN pick('postgres', '0', '4294967295')
        WHEN 'oid' THEN pick('0', '1259', '4294967295')
        WHEN 'xid8' THEN pick('0', '1', '18446744073709551615')
        ELSE NULL END;
    IF value IS NULL AND type::text LIKE '%[]' THEN
        value := pick('{}', '{NULL}', '{1}', '{1,2,3}', '{{1,2},{3,4}}', '[5:6]={1,2}');
    END IF;
    RETURN format('%L::%s', value, type);
END
$$;

-- 1. Every function, procedure and aggregate of the extension, with whatever.
CREATE TABLE calls AS
SELECT p.oid, p.prokind, p.proname, p.oid::regprocedure::text AS signature, p.pronargs, p.proargtypes::oid[] AS types,
       format('%I.%I', n.nspname, p.proname) AS name, row_number() OVER (ORDER BY p.oid::regprocedure::text COLLATE "C") AS number
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND e.extname = 'chs'
WHERE NOT p.proargtypes::oid[] && ARRAY['internal', 'cstring']::regtype[]::oid[];

CREATE FUNCTION call_one(turn integer) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    f calls := (SELECT c FROM calls c WHERE number = 1 + turn % (SELECT max(number) FROM calls));
    arguments text := COALESCE((SELECT string_agg(some_value(t::regtype), ', ' ORDER BY ordinality)
                                FROM unnest(f.types) WITH ORDINALITY u (t, ordinality)), '');
BEGIN
    RETURN attempt(f.signature, CASE f.prokind
        WHEN 'p' THEN format('CALL %s(%s)', f.name, arguments)
        WHEN 'a' THEN format('SELECT %s(%s) FROM generate_series(1, 3)', f.name, arguments)
        ELSE format('SELECT * FROM %s(%s)', f.name, arguments) END);
END
$$;
SELECT call_one(turn) FROM generate_series(1, :rounds) turn \g /dev/null

-- 2. What takes a document, with nothing wrong but the document.
SELECT attempt(what, replace(query, 'DOCUMENT', quote_literal(some_document()) || '::jsonb'))
FROM generate_series(1, :rounds / 5), (VALUES
    ('series of a document', 'SELECT chs.document_series(DOCUMENT)'),
    ('aggregate by a document', 'SELECT chs_activity_agg(DOCUMENT, event_type, event_data, occurred_at) FROM chs.customer_events'),
    ('score by a document', 'SELECT chs_activity_score(activity, DOCUMENT, ''smb'', now(), now()) FROM chs.activity'),
    ('explanation by a document', 'SELECT count(*) FROM chs.activity, chs.activity_explain(activity, DOCUMENT, NULL, now(), now())'),
    ('pruning by a document', 'SELECT chs.activity_prune(activity, DOCUMENT, now()) FROM chs.activity')) t (what, query) \g /dev/null

-- 3. Text of an activity.
SELECT attempt('text of an activity', format('SELECT chs_activity_merge(a, a), (SELECT count(*) FROM chs.activity_cells(a)) FROM (SELECT %L::chs_activity) t (a)', some_activity_text()))
FROM generate_series(1, :rounds / 2) \g /dev/null

-- 4. Curves.
SELECT attempt('curve', format('SELECT chs.curve(c, 0.3) FROM (SELECT %L::text) t (c) WHERE chs.curve_is_valid(c)', curve))
FROM (SELECT n, string_agg(pick('0', '1', '7', '100', ':', ':', ' ', '-', '.', 'e', 'e5', '1:1', '2:50', 'nan', 'inf', '0x1', E'\t', '٣', '1e400', '5e-324'), '') AS curve
      FROM generate_series(1, :rounds / 2) n, generate_series(1, 1 + (n % 9)) GROUP BY n) c \g /dev/null

-- 5. Filters: the count by a filter is that of PostgreSQL's own operator.
CREATE FUNCTION some_filter() RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    field text := pick('$.status', '$.amount', '$.n', '$."odd name"', '$', '$.list', '$.list[0]', '$.deep.er', '$.*');
    constant text := pick('1', '0', '-1.5', '"overdue"', '""', 'true', 'false', 'null', '1e3', '"1"');
    comparison text := format('%s %s %s', field, pick('==', '!=', '<', '>', '<=', '>=', '<>'), constant);
BEGIN
    RETURN CASE floor(random() * 9)
        WHEN 0 THEN some_filter() || pick(' && ', ' || ') || some_filter()
        WHEN 1 THEN '!(' || some_filter() || ')'
        WHEN 2 THEN format('exists(%s ? (@ %s %s))', field, pick('==', '>', '<'), constant)
        WHEN 3 THEN format('(%s) is unknown', comparison)
        WHEN 4 THEN format('%s %s %s', constant, pick('==', '>'), field)
        ELSE comparison END;
END
$$;
CREATE TABLE some_events AS
SELECT n, (SELECT COALESCE(jsonb_object_agg(k, v), '{}') FROM (
    SELECT pick('status', 'amount', 'n', 'odd name', 'list', 'deep') AS k,
           pick('1', '0', '-1.5', '"overdue"', '""', 'true', 'false', 'null', '1000', '1.0', '"1"', '[]', '[1]', '[1, "overdue"]', '{"er": 1}', '{"er": null}')::jsonb AS v
    FROM generate_series(1, 1 + n % 4)) e) AS event_data
FROM generate_series(1, 60) n;
CREATE FUNCTION compare_filter(filter text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    printed text := filter::jsonpath::text;
    document jsonb := jsonb_build_object('segments', '{}'::jsonb, 'default', 's', 'scorecards', jsonb_build_object('s', jsonb_build_object(
        'min_coverage', 0, 'healthy_from', 75, 'at_risk_from', 50, 'grace', false, 'trend_days', 7, 'trend_band', 2,
        'factors', jsonb_build_array(jsonb_build_object('factor', 'f', 'weight', 1, 'metrics', jsonb_build_array(jsonb_build_object(
            'metric', 'm', 'event_type', 'e', 'aggregate', 'count', 'filter', printed, 'window_days', 30, 'curve', '0:0 1:100', 'weight', 1, 'missing', 'zero')))))));
    counted bigint := COALESCE((SELECT sum(c.n) FROM (SELECT chs_activity_agg(document, 'e', event_data, now()) AS activity FROM some_events) a, chs.activity_cells(a.activity) c), 0);
    expected bigint := (SELECT count(*) FROM some_events e WHERE e.event_data @@ printed::jsonpath);
BEGIN
    IF counted <> expected THEN
        INSERT INTO failed VALUES (format('filter %s', printed), 'count', format('%s instead of %s', counted, expected));
    END IF;
    INSERT INTO seen VALUES ('filter', CASE WHEN expected > 0 THEN 'holds' ELSE 'never' END) ON CONFLICT ON CONSTRAINT seen_pkey DO UPDATE SET n = seen.n + 1;
END
$$;
SELECT compare_filter(some_filter()) FROM generate_series(1, :rounds / 5) \g /dev/null

-- What came of it.
SELECT CASE WHEN count(*) = 0 THEN 'ok' ELSE 'not ok' END || ' 1 - nothing hostile ends in an internal error, and filters count as PostgreSQL''s operator does' FROM failed;
SELECT '# ' || sqlstate || ' ' || message || ': ' || left(what, 2000) FROM failed LIMIT 20;
SELECT CASE WHEN count(*) = (SELECT count(*) FROM calls) OR count(*) >= :rounds THEN 'ok' ELSE 'not ok' END || ' 2 - every function was called' FROM (SELECT DISTINCT what FROM seen JOIN calls ON signature = what) s;
SELECT CASE WHEN bool_and(good > 0 AND bad > 0) THEN 'ok' ELSE 'not ok' END || ' 3 - some of each kind were taken and some refused'
FROM (SELECT what, count(*) FILTER (WHERE sqlstate IN ('FUZZ0', 'holds')) AS good, count(*) FILTER (WHERE sqlstate NOT IN ('FUZZ0', 'holds')) AS bad
      FROM seen WHERE what NOT IN (SELECT signature FROM calls) GROUP BY what) k;
SELECT '# ' || what || ': ' || string_agg(CASE sqlstate WHEN 'FUZZ0' THEN 'taken' ELSE sqlstate END || ' ' || n, ', ' ORDER BY n DESC)
FROM seen WHERE what NOT IN (SELECT signature FROM calls) GROUP BY what ORDER BY what;
SELECT CASE WHEN count(*) = 0 THEN 'ok' ELSE 'not ok' END || ' 4 - and the scores are right' FROM chs_verify();
-- For copy.pl: real activities to damage.
CREATE TABLE public.activities AS SELECT activity FROM chs.activity;

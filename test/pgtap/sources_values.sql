-- Values of all sorts in attached tables, and what goes wrong with single rows among many.
-- Commits, and makes the extension anew.

\set own_schema vals
\ir anew.psql
SELECT no_plan();

CREATE FUNCTION tap.metric(key text, which text) RETURNS double precision LANGUAGE sql AS $$
    SELECT e.value FROM chs.customers c, chs_explain(c.customer_id) e WHERE c.external_id = key AND e.metric = which
$$;
CREATE FUNCTION tap.wrong() RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(v::text, E'\n') FROM (SELECT * FROM chs_verify() LIMIT 10) v
$$;
\set settle 'SELECT chs_process_queue() \\g /dev/null'

-- Keys ------------------------------------------------------------------------------
-- Of each type: rows count at once, when the customer is read again by itself, and with everyone.

CREATE TABLE vals.keys (type text PRIMARY KEY, key text);
INSERT INTO vals.keys VALUES ('text', 'a key'), ('varchar(10)', 'Varchar'), ('char(10)', 'char'), ('uuid', '3d29e3a0-5a0f-4d9a-9f6f-0c1a2b3c4d5e'),
    ('smallint', '-7'), ('integer', '70000'), ('bigint', '9223372036854775807');
INSERT INTO chs.customers (external_id, created_at) SELECT key, now() - interval '1 year' FROM vals.keys;
-- These are no keys of such types as an output function writes them.
INSERT INTO chs.customers (external_id, created_at) SELECT key, now() - interval '1 year'
FROM unnest('{3D29E3A0-5A0F-4D9A-9F6F-0C1A2B3C4D5E,3d29e3a05a0f4d9a9f6f0c1a2b3c4d5e,3d29e3a0-5a0f-4d9a-9f6f-0c1a2b3c4d5x,+70000,070000," -7",9223372036854775808,"",x}'::text[]) key;
INSERT INTO chs.customers (customer_id, external_id, created_at) VALUES (-5, NULL, now() - interval '1 year');
CREATE PROCEDURE vals.attach() LANGUAGE plpgsql AS $$
DECLARE
    k record;
BEGIN
    FOR k IN SELECT type, key, 'vals.by_' || replace(split_part(type, '(', 1), '"', '') AS t FROM vals.keys LOOP
        EXECUTE format('CREATE TABLE %s (who %s, ip_address text, at timestamptz); CREATE INDEX ON %1$s (who)', k.t, k.type);
        EXECUTE format('INSERT INTO %s VALUES (%L, ''before'', now())', k.t, k.key);
        PERFORM chs_attach(k.t::regclass, 'who', 'login', 'at', customer_key => 'external_id');
        EXECUTE format('INSERT INTO %s VALUES (%L, ''after'', now() - interval ''1 day''), (NULL, ''nobody'', now())', k.t, k.key);
    END LOOP;
END
$$;
CALL vals.attach();
CREATE FUNCTION tap.keys(what text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN NEXT is((SELECT string_agg(type || ': ' || COALESCE(metric(key, 'logins')::text, 'none'), ', ') FROM vals.keys WHERE metric(key, 'logins') IS DISTINCT FROM 2), NULL, what || ': keys of each type');
    RETURN NEXT is((SELECT string_agg(external_id, ', ') FROM chs.customers WHERE COALESCE(metric(external_id, 'logins'), 0) > 0 AND external_id NOT IN (SELECT key FROM vals.keys)), NULL, what || ': and no others');
END
$$;
SELECT * FROM keys('queued');
:settle
SELECT * FROM keys('folded');
SELECT count(chs_rebuild(customer_id)) FROM chs.customers \g /dev/null
SELECT * FROM keys('one by one');
CALL chs_rebuild();
SELECT * FROM keys('all at once');
SELECT is((SELECT count(*) FROM chs.rejected_events WHERE reason = 'event has no customer'), (SELECT count(*) FROM vals.keys), 'a row without a key has no customer');
SELECT is(wrong(), NULL, 'chs_verify finds nothing');
-- Numbers of customers.
CREATE TABLE vals.numbers (who smallint, ip_address text, at timestamptz);
CREATE INDEX ON vals.numbers (who);
SELECT chs_attach('vals.numbers', 'who', 'login', 'at') > 1 \g /dev/null
INSERT INTO vals.numbers VALUES (-5, 'x', now()), (-5, 'x', now());
SELECT is((SELECT value FROM chs_explain(-5) WHERE metric = 'logins'), 2::float8, 'a customer without an external_id');
CALL chs_recalculate_all();
SELECT is((SELECT value FROM chs_explain(-5) WHERE metric = 'logins') || ', ' || COALESCE(wrong(), 'nothing wrong'), '2, nothing wrong', 'folded');

-- Documents ---------------------------------------------------------------------------
-- What columns of each type are in the document of a row, which is not made by to_jsonb(), is what that makes of them.

CREATE TABLE vals.types (type text PRIMARY KEY, vals text[]);
INSERT INTO vals.types VALUES ('boolean', '{t,f,NULL}'), ('smallint', '{-32768,0,32767}'), ('integer', '{-1,2147483647}'), ('bigint', '{-9223372036854775808,1,10}'),
    ('numeric', '{NaN,Infinity,-Infinity,0,0.00,1e30,-2.50,2.5}'), ('text', '{"",a," a","\"","\\\\",ä,NULL}'), ('varchar(3)', '{abc,a}'),
    ('char(3)', '{a,abc}'), ('real', '{1.5,NaN,3.4e38}'), ('double precision', '{0.1,-0,Infinity}'), ('date', '{2026-01-02,infinity}'),
    ('timestamptz', '{2026-01-02 03:04:05+00,2026-01-02 05:04:05+02}'), ('interval', '{1 day,24:00}'), ('bytea', '{"\\\\x00ff"}'), ('uuid', '{3d29e3a0-5a0f-4d9a-9f6f-0c1a2b3c4d5e}'), ('jsonb', '{1,\"1\",[1],NULL}'),
    ('integer[]', '{"{1,2}","{}"}');
CREATE PROCEDURE vals.attach_types() LANGUAGE plpgsql AS $$
DECLARE
    v record;
BEGIN
    FOR v IN SELECT type, vals, row_number() OVER () AS n FROM vals.types LOOP
        INSERT INTO chs.customers (external_id, created_at) VALUES ('type ' || v.type, now() - interval '1 year');
        EXECUTE format('CREATE TABLE vals.type_%s (who text, ip_address text, user_id %s, at timestamptz); CREATE INDEX ON vals.type_%1$s (who)', v.n, v.type);
        PERFORM chs_attach(('vals.type_' || v.n)::regclass, 'who', 'login', 'at', customer_key => 'external_id');
        EXECUTE format('INSERT INTO vals.type_%s SELECT %L, %L, x::%s, now() FROM unnest($1) x', v.n, 'type ' || v.type, v.type, v.type) USING v.vals;
        EXECUTE format('CREATE OR REPLACE VIEW vals.distinct_%s AS SELECT count(DISTINCT NULLIF(to_jsonb(t) -> ''user_id'', ''null'')) AS n FROM vals.type_%1$s t', v.n);
        EXECUTE format('UPDATE vals.expected SET n = (SELECT n FROM vals.distinct_%s) WHERE type = %L', v.n, v.type);
    END LOOP;
END
$$;
CREATE TABLE vals.expected AS SELECT type, 0::bigint AS n FROM vals.types;
SET timezone = 'Asia/Tokyo';
SET datestyle = 'SQL, DMY';
SET intervalstyle = 'iso_8601';
SET bytea_output = 'escape';
SET extra_float_digits = -5;
CALL vals.attach_types();
CREATE FUNCTION tap.types() RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(type || ': ' || COALESCE(metric('type ' || type, 'active_users')::text, 'none') || ', not ' || n, '; ') FROM vals.expected WHERE metric('type ' || type, 'active_users') IS DISTINCT FROM n
$$;
SELECT is(types(), NULL, 'as many distinct values as to_jsonb() makes');
:settle
RESET timezone;
RESET datestyle;
RESET intervalstyle;
RESET bytea_output;
RESET extra_float_digits;
SELECT is(wrong(), NULL, 'which are the same when the rows are read again, with other settings');
CALL chs_rebuild();
SELECT is(types(), NULL, 'and counted again');

-- Many rows that cannot be used, and single ones among many ----------------------------

CREATE TABLE vals.many (id int, who text, ip_address text, at text);
CREATE INDEX ON vals.many (who);
SELECT chs_attach('vals.many', 'who', 'login', '(at || '' UTC'')::timestamptz', customer_key => 'external_id') > 1 \g /dev/null
CREATE FUNCTION tap.many(what text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN NEXT is((SELECT string_agg(event_row ->> 'id', ', ' ORDER BY (event_row ->> 'id')::int) FROM chs.rejected_events WHERE relation = 'vals.many'::regclass),
                   (SELECT string_agg(id::text, ', ' ORDER BY id) FROM vals.many WHERE ip_address IS NULL OR at = 'never'), what || ': each row that cannot be used is listed once');
    RETURN NEXT is(metric('x', 'logins'), (SELECT count(*) FROM vals.many WHERE ip_address IS NOT NULL AND at <> 'never')::float8, what || ': the others count');
END
$$;
INSERT INTO vals.many SELECT n, 'x', CASE WHEN n % 3 > 0 THEN 'x' END, CASE WHEN n % 5 > 0 THEN to_char(now(), 'YYYY-MM-DD') ELSE 'never' END FROM generate_series(1, 1500) n;
SELECT * FROM many('more than are kept');
BEGIN;
INSERT INTO vals.many SELECT n, 'x', NULL, to_char(now(), 'YYYY-MM-DD') FROM generate_series(2001, 2200) n;
SAVEPOINT a;
INSERT INTO vals.many SELECT n, 'x', NULL, to_char(now(), 'YYYY-MM-DD') FROM generate_series(2201, 2400) n;
SAVEPOINT b;
INSERT INTO vals.many SELECT n, 'x', CASE WHEN n % 2 > 0 THEN 'x' END, to_char(now(), 'YYYY-MM-DD') FROM generate_series(2401, 2410) n;
RELEASE b;
SAVEPOINT c;
INSERT INTO vals.many SELECT n, 'x', NULL, to_char(now(), 'YYYY-MM-DD') FROM generate_series(2411, 2420) n;
ROLLBACK TO c;
RELEASE a;
COMMIT;
SELECT * FROM many('in subtransactions');
DELETE FROM vals.many WHERE id IN (2001, 2201, 2401, 2402);
-- No statement trigger fires for rows that are replicated: what is kept is passed on at the ends of subtransactions.
CREATE TABLE vals.parts (LIKE vals.many) PARTITION BY LIST (who);
CREATE TABLE vals.part PARTITION OF vals.parts DEFAULT;
CREATE INDEX ON vals.parts (who);
SELECT chs_attach('vals.parts', 'who', 'login', '(at || '' UTC'')::timestamptz', customer_key => 'external_id') > 1 \g /dev/null
BEGIN;
INSERT INTO vals.part SELECT n, 'x', CASE WHEN n % 2 > 0 THEN 'x' END, to_char(now(), 'YYYY-MM-DD') FROM generate_series(1, 150) n;
SAVEPOINT a;
INSERT INTO vals.part SELECT n, 'x', CASE WHEN n % 2 > 0 THEN 'x' END, to_char(now(), 'YYYY-MM-DD') FROM generate_series(151, 300) n;
SAVEPOINT b;
INSERT INTO vals.part SELECT n, 'x', CASE WHEN n % 2 > 0 THEN 'x' END, to_char(now(), 'YYYY-MM-DD') FROM generate_series(301, 450) n;
RELEASE b;
RELEASE a;
COMMIT;
SELECT is((SELECT count(*) FROM chs.rejected_events WHERE relation = 'vals.part'::regclass), 225::bigint, 'rows of a partition in subtransactions that cannot be used');
SELECT is(metric('x', 'logins'), (SELECT count(*) FROM vals.many WHERE ip_address IS NOT NULL AND at <> 'never')::float8 + 225, 'and that count');
SELECT chs_detach('vals.parts') \g /dev/null
SELECT is(chs_retry_rejected('vals.many'), (SELECT count(*) FROM vals.many WHERE ip_address IS NULL OR at = 'never'), 'deleted rows are not listed anew');
SELECT * FROM many('listed anew');
UPDATE chs.event_types SET required = '{}' WHERE event_type = 'login';
SELECT is(chs_retry_rejected('vals.many'), (SELECT count(*) FROM vals.many WHERE at = 'never'), 'without a rule, rows that break it can be used');
SELECT is((SELECT string_agg(DISTINCT reason, ', ') FROM chs.rejected_events WHERE relation = 'vals.many'::regclass), 'invalid input syntax for type timestamp with time zone: "never UTC"', 'only others are listed');
SELECT is(metric('x', 'logins'), (SELECT count(*) FROM vals.many WHERE at <> 'never')::float8, 'and count, queued');
SELECT chs_process_queue() \g /dev/null
SELECT is(metric('x', 'logins'), (SELECT count(*) FROM vals.many WHERE at <> 'never')::float8, 'and folded');
UPDATE chs.event_types SET required = '{ip_address}' WHERE event_type = 'login';
SELECT chs_detach('vals.many') \g /dev/null
-- A row of which no document can be made is listed without one, the others with theirs.
CREATE TYPE vals.odd AS ENUM ('1', '2', '3');
CREATE FUNCTION vals.odd_as_json(o vals.odd) RETURNS json LANGUAGE plpgsql IMMUTABLE AS $$BEGIN IF o = '2' THEN RAISE 'odd'; END IF; RETURN to_json(o::text); END$$;
CREATE CAST (vals.odd AS json) WITH FUNCTION vals.odd_as_json(vals.odd);
CREATE TABLE vals.odds (who text, at timestamptz, odd vals.odd);
CREATE INDEX ON vals.odds (who);
SELECT chs_attach('vals.odds', 'who', 'support_ticket', 'at', '''{}''::jsonb', customer_key => 'external_id') > 1 \g /dev/null
INSERT INTO vals.odds SELECT 'nobody', now(), n::text::vals.odd FROM generate_series(1, 3) n;
SELECT is((SELECT string_agg(COALESCE(event_row ->> 'odd', 'none'), ', ' ORDER BY rejected_id) FROM chs.rejected_events WHERE relation = 'vals.odds'::regclass), '1, none, 3', 'documents of rows');
SELECT chs_detach('vals.odds') \g /dev/null

-- Triggers, and what cannot be attached ---------------------------------------------------

CREATE TABLE vals.plain (account bigint, at timestamptz);
CREATE INDEX ON vals.plain (account);
SELECT chs_attach('vals.plain', 'account', 'support_ticket', 'at') > 1 \g /dev/null
ALTER TABLE vals.plain ENABLE TRIGGER "00_chs_capture_flush";
SELECT is((SELECT problem FROM chs.source_status WHERE relation = 'vals.plain'), 'trigger "00_chs_capture_flush" is not enabled ALWAYS, so rows of logical replication do not count', 'a trigger for this server''s rows only');
DROP TRIGGER "00_chs_capture_flush" ON vals.plain;
SELECT is((SELECT problem FROM chs.source_status WHERE relation = 'vals.plain'), 'trigger "00_chs_capture_flush" is missing', 'a trigger that is gone');
SELECT chs_attach('vals.plain', 'account', 'support_ticket', 'at') > 1 \g /dev/null
SELECT is((SELECT problem FROM chs.source_status WHERE relation = 'vals.plain'), NULL, 'attaching it again mends that');
CREATE FOREIGN DATA WRAPPER vals_nothing;
CREATE SERVER vals_server FOREIGN DATA WRAPPER vals_nothing;
CREATE FOREIGN TABLE vals.foreign_table (account bigint, at timestamptz) SERVER vals_server;
CREATE TABLE vals.mixed (account bigint, at timestamptz) PARTITION BY LIST (account);
CREATE FOREIGN TABLE vals.mixed_part PARTITION OF vals.mixed DEFAULT SERVER vals_server;
SELECT throws_ok($$SELECT chs_attach('vals.foreign_table', 'account', 'login', 'at')$$, '42809', 'vals.foreign_table cannot be attached because it is not a table', 'a foreign table');
SELECT throws_ok($$SELECT chs_attach('vals.mixed', 'account', 'login', 'at')$$, '42809', 'vals.mixed cannot be attached because its partition mixed_part is a foreign table', 'a partition that is one');
-- PostgreSQL 18 generates columns when they are read; until then, one is said to be such.
SELECT CASE WHEN current_setting('server_version_num')::int < 180000 THEN 'STORED' ELSE 'VIRTUAL' END AS kind \gset
CREATE TABLE vals.virtual (account bigint, at timestamptz, day int GENERATED ALWAYS AS (1) :kind);
SET allow_system_table_mods = on;
UPDATE pg_attribute SET attgenerated = 'v' WHERE attrelid = 'vals.virtual'::regclass AND attname = 'day';
RESET allow_system_table_mods;
CREATE INDEX ON vals.virtual (account);
SELECT throws_ok($$SELECT chs_attach('vals.virtual', 'account', 'support_ticket', 'at', 'jsonb_build_object(''d'', day)')$$, '0A000', 'expression reads column "day", which is not stored', 'a column that rows do not have');
SELECT throws_ok($$SELECT chs_attach('vals.virtual', 'account', 'support_ticket', 'at', 'to_jsonb(virtual)')$$, '0A000', 'expression reads column "day", which is not stored', 'nor the whole row');
SELECT lives_ok($$SELECT chs_detach('vals.virtual') FROM chs_attach('vals.virtual', 'account', 'support_ticket', 'at')$$, 'others can be attached');

-- Customers without much -----------------------------------------------------------------

CREATE TABLE vals.firms (id text, name text);
INSERT INTO vals.firms VALUES ('firm 1', 'One');
SELECT chs_attach_customers('vals.firms', 'id') > 1 \g /dev/null
INSERT INTO vals.firms VALUES ('firm 2', 'Two'), (NULL, 'Nobody');
SELECT is((SELECT string_agg(external_id || ' ' || COALESCE(name, '-'), ', ' ORDER BY external_id) FROM chs.customers WHERE external_id ~ '^firm'), 'firm 1 -, firm 2 -', 'a table that gives nothing but the key');
SELECT is((SELECT sqlstate || ' ' || reason FROM chs.rejected_events WHERE relation = 'vals.firms'::regclass), '23502 customer has no external_id', 'a row without a key is put aside');
UPDATE chs.customers SET name = 'kept' WHERE external_id = 'firm 1';
UPDATE vals.firms SET name = 'other' WHERE id = 'firm 1';
SELECT is((SELECT name FROM chs.customers WHERE external_id = 'firm 1'), 'kept', 'what the table does not give stays');
DELETE FROM vals.firms WHERE id IS NULL;
DELETE FROM chs.customers WHERE external_id = 'firm 2';
SELECT is(chs_retry_rejected('vals.firms'), 0::bigint, 'and is listed no more when it is gone');
SELECT is((SELECT count(*) FROM chs.customers WHERE external_id = 'firm 2'), 0::bigint, 'nobody who was deleted comes back');
-- Rows whose key could not be found out are known by their copies.
CREATE FUNCTION vals.key(id text) RETURNS text LANGUAGE plpgsql STABLE AS $$BEGIN IF id = 'firm 4' THEN RAISE 'odd'; END IF; RETURN id; END$$;
SELECT chs_attach_customers('vals.firms', 'vals.key(id)') > 1 \g /dev/null
DELETE FROM chs.customers WHERE external_id = 'firm 2';
INSERT INTO vals.firms VALUES ('firm 3', 'Three'), ('firm 4', 'Four'), (repeat('firm', 1000), 'Long'), ('firm 5', NULL);
SELECT is((SELECT string_agg(reason, ', ') FROM chs.rejected_events WHERE relation = 'vals.firms'::regclass), 'odd', 'a key that fails');
SELECT is(chs_retry_rejected('vals.firms'), 1::bigint, 'still fails');
CREATE OR REPLACE FUNCTION vals.key(id text) RETURNS text LANGUAGE sql STABLE AS 'SELECT id';
SELECT is(chs_retry_rejected('vals.firms'), 0::bigint, 'and can be used then');
SELECT is((SELECT string_agg(external_id, ', ' ORDER BY external_id) FROM chs.customers WHERE external_id ~ '^firm \d'), 'firm 1, firm 3, firm 4, firm 5', 'by whom it was for, and by nobody else');

:settle
SELECT is(wrong(), NULL, 'chs_verify finds nothing in the end');
SELECT * FROM finish();
DROP EXTENSION chs CASCADE;
DROP SCHEMA vals CASCADE;
DROP FOREIGN DATA WRAPPER vals_nothing CASCADE;

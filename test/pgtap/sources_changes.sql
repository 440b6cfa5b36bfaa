-- What becomes of attached tables otherwise: other columns, partitions, owners, look-ups, future events.
-- Commits, and makes the extension anew.

\set own_schema chg
\ir anew.psql
SELECT no_plan();

INSERT INTO chs.customers (external_id, created_at) SELECT 'c' || n, now() - interval '1 year' FROM generate_series(1, 3) n;
CREATE FUNCTION tap.metric(key text, which text) RETURNS double precision LANGUAGE sql AS $$
    SELECT e.value FROM chs.customers c, chs_explain(c.customer_id) e WHERE c.external_id = key AND e.metric = which
$$;
-- The same, queued and folded, and nothing wrong then.
CREATE FUNCTION tap.metrics(key text, logins double precision, users double precision, what text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 2 LOOP
        RETURN NEXT is(ROW(metric(key, 'logins'), metric(key, 'active_users')), ROW(logins, users), what || CASE i WHEN 1 THEN ', queued' ELSE ', folded' END);
        PERFORM chs_process_queue();
    END LOOP;
    RETURN NEXT is((SELECT string_agg(v::text, '; ') FROM chs_verify() v WHERE customer_id IN (SELECT customer_id FROM chs.customers WHERE external_id = key)), NULL, what || ': chs_verify finds nothing');
END
$$;
\set settle 'SELECT chs_process_queue() \\g /dev/null'

-- The whole row is the data: columns that metrics read come and go.
CREATE TABLE chg.logins (account text, ip_address text, at timestamptz);
CREATE INDEX ON chg.logins (account);
SELECT chs_attach('chg.logins', 'account', 'login', 'at', customer_key => 'external_id') > 1 \g /dev/null
COPY chg.logins FROM stdin;
c1	x	today
c1	y	yesterday
c1	\N	yesterday
\.
SELECT * FROM metrics('c1', 2, NULL, 'COPY');
SELECT is((SELECT count(*) FROM chs.rejected_events), 1::bigint, 'COPY goes on with a row that cannot be used');
ALTER TABLE chg.logins ADD user_id text DEFAULT 'somebody';
SELECT is(metric('c1', 'active_users'), 1::float8, 'a column comes');
CALL chs_recalculate_all();
SELECT * FROM metrics('c1', 2, 1, 'a column came');
ALTER TABLE chg.logins RENAME user_id TO person;
CALL chs_recalculate_all();
SELECT * FROM metrics('c1', 2, NULL, 'a column got another name');
ALTER TABLE chg.logins RENAME person TO user_id;
ALTER TABLE chg.logins ALTER user_id DROP DEFAULT, ALTER user_id TYPE integer USING 7;
UPDATE chg.logins SET user_id = 8 WHERE ip_address = 'y';
CALL chs_recalculate_all();
SELECT * FROM metrics('c1', 2, 2, 'a column of another type');
ALTER TABLE chg.logins DROP user_id;
CALL chs_recalculate_all();
SELECT * FROM metrics('c1', 2, NULL, 'a column went');
-- ALTER TABLE that changes no value that is read has nobody rebuilt.
SELECT max(version) AS version FROM chs.scorecard_versions \gset
ALTER TABLE chg.logins ADD note text, ALTER ip_address SET STATISTICS 10, ALTER at SET DEFAULT now();
ALTER TABLE chg.logins SET UNLOGGED;
ALTER TABLE chg.logins SET LOGGED, DROP note;
SELECT is((SELECT max(version) FROM chs.scorecard_versions), :version, 'what changes no value that is read');
-- An event that lies ahead.
INSERT INTO chg.logins VALUES ('c1', 'x', now() + interval '40 days');
SELECT * FROM metrics('c1', 2, NULL, 'an event that lies ahead');
SELECT is((SELECT count(*) FROM chs.rejected_events), 1::bigint, 'is not rejected');
SELECT is((SELECT max(day) FROM chs.activity a, chs.activity_cells(a.activity) WHERE a.customer_id = 1), ((now() AT TIME ZONE 'UTC') + interval '40 days')::date, 'and is in the activity for its day');
-- A row of nobody, of another customer, of nobody.
UPDATE chg.logins SET account = 'nobody' WHERE ip_address = 'y';
SELECT * FROM metrics('c1', 1, NULL, 'a row leaves');
UPDATE chg.logins SET account = 'c2' WHERE ip_address = 'y';
SELECT * FROM metrics('c2', 1, NULL, 'a row comes');
SELECT is((SELECT string_agg(COALESCE(customer_key, '-'), ', ' ORDER BY rejected_id) FROM chs.rejected_events), 'c1, nobody', 'what was listed in between stays in the log');
SELECT is(chs_retry_rejected(), 1::bigint, 'and is not listed anew');

-- A column that has the name of an event type is that column.
CREATE TABLE chg.mixed (account text, login text, ip_address text, at timestamptz);
CREATE INDEX ON chg.mixed (account);
INSERT INTO chg.mixed VALUES ('c3', 'login', 'x', now()), ('c3', 'support_ticket', NULL, now()), ('c3', NULL, NULL, now());
SELECT chs_attach('chg.mixed', 'account', 'login', 'at', customer_key => 'external_id') > 1 \g /dev/null
SELECT is(ROW(metric('c3', 'logins'), metric('c3', 'ticket_volume')), ROW(1::float8, 1::float8), 'a column that is called login');
CALL chs_recalculate_all();
SELECT chs_retry_rejected() \g /dev/null
SELECT is((SELECT count(*) FROM chs.rejected_events WHERE relation = 'chg.mixed'::regclass), 0::bigint, 'a row without a type is no event');
SELECT chs_detach('chg.mixed') \g /dev/null

-- What is looked up elsewhere is taken as it is when the row is written.
CREATE TABLE chg.contracts (contract int PRIMARY KEY, account text);
INSERT INTO chg.contracts VALUES (1, 'c1');
CREATE TABLE chg.uses (contract int, ip_address text, at timestamptz);
SELECT chs_detach('chg.logins') \g /dev/null
SELECT chs_attach('chg.uses', '(SELECT c.account FROM chg.contracts c WHERE c.contract = uses.contract)', 'login', 'at', customer_key => 'external_id') > 1 \g /dev/null
INSERT INTO chg.uses VALUES (1, 'x', now());
CALL chs_recalculate_all();
UPDATE chg.contracts SET account = 'c2';
SELECT is(ROW(metric('c1', 'logins'), metric('c2', 'logins')), ROW(1::float8, 0::float8), 'what it is now is not known');
SELECT chs_rebuild(1) \g /dev/null
CALL chs_rebuild();
SELECT is(ROW(metric('c1', 'logins'), metric('c2', 'logins')), ROW(0::float8, 1::float8), 'until the activities are made again');
SELECT chs_detach('chg.uses') \g /dev/null

-- Partitions come and go with their rows.
CREATE TABLE chg.parts (account text, ip_address text, at timestamptz) PARTITION BY LIST (ip_address);
CREATE INDEX ON chg.parts (account);
CREATE TABLE chg.part_x PARTITION OF chg.parts FOR VALUES IN ('x');
CREATE TABLE chg.part_y (at timestamptz, account text, ip_address text);
INSERT INTO chg.part_y VALUES (now(), 'c1', 'y'), (now(), 'c1', 'y');
SELECT chs_attach('chg.parts', 'account', 'login', 'at', customer_key => 'external_id') > 1 \g /dev/null
INSERT INTO chg.parts VALUES ('c1', 'x', now());
SELECT * FROM metrics('c1', 1, NULL, 'a partitioned table');
ALTER TABLE chg.parts ATTACH PARTITION chg.part_y FOR VALUES IN ('y');
SELECT is(metric('c1', 'logins'), 3::float8, 'a partition is attached');
CALL chs_recalculate_all();
SELECT * FROM metrics('c1', 3, NULL, 'a partition was attached');
INSERT INTO chg.part_y VALUES (now(), 'c1', 'y');
SELECT * FROM metrics('c1', 4, NULL, 'a row in it');
TRUNCATE chg.part_x;
SELECT * FROM metrics('c1', 3, NULL, 'a partition is truncated');
ALTER TABLE chg.parts DETACH PARTITION chg.part_y;
SELECT is(metric('c1', 'logins'), 0::float8, 'a partition is detached');
INSERT INTO chg.part_y VALUES (now(), 'c1', 'y');
CALL chs_recalculate_all();
SELECT * FROM metrics('c1', 0, NULL, 'a partition was detached, and its rows are nobody''s');
INSERT INTO chg.parts VALUES ('c1', 'x', now());
:settle
DROP TABLE chg.part_x;
SELECT is(metric('c1', 'logins'), 0::float8, 'a partition is dropped');
CALL chs_recalculate_all();
SELECT * FROM metrics('c1', 0, NULL, 'a partition was dropped');
SELECT chs_detach('chg.parts') \g /dev/null

-- The rows of children of plain inheritance are their own.
CREATE TABLE chg.parent (account text, ip_address text, at timestamptz);
CREATE INDEX ON chg.parent (account);
CREATE TABLE chg.child () INHERITS (chg.parent);
INSERT INTO chg.child VALUES ('c1', 'x', now());
SELECT chs_attach('chg.parent', 'account', 'login', 'at', customer_key => 'external_id') > 1 \g /dev/null
INSERT INTO chg.child VALUES ('c1', 'x', now());
INSERT INTO chg.parent VALUES ('c1', 'x', now());
SELECT is(metric('c1', 'logins'), 1::float8, 'children of inheritance');
CALL chs_recalculate_all();
SELECT * FROM metrics('c1', 1, NULL, 'children of inheritance');

-- Values that change by way of a parent, by a conversion that rewrites nothing, and under the name of a column that was dropped.
SELECT chs_detach('chg.parent') \g /dev/null
CREATE TYPE chg.login AS (account text, ip_address text, at timestamptz, user_id text);
CREATE TABLE chg.typed OF chg.login;
CREATE TABLE chg.by_id (LIKE chg.typed) PARTITION BY LIST (account);
CREATE TABLE chg.of_c1 PARTITION OF chg.by_id FOR VALUES IN ('c1');
CREATE TABLE chg.above (LIKE chg.typed);
CREATE TABLE chg.below () INHERITS (chg.above);
SELECT chs_attach(t, 'account', 'login', 'at', customer_key => 'external_id') > 1 FROM unnest('{chg.typed,chg.of_c1,chg.below}'::regclass[]) t \g /dev/null
INSERT INTO chg.typed SELECT 'c1', 'x', now(), '10.0.0.' || i FROM generate_series(1, 3) i;
INSERT INTO chg.of_c1 TABLE chg.typed;
INSERT INTO chg.below TABLE chg.typed;
CALL chs_recalculate_all();
SELECT * FROM metrics('c1', 9, 3, 'three tables');
ALTER TABLE chg.by_id ALTER user_id TYPE text USING account;
SELECT * FROM metrics('c1', 9, 4, 'a partition whose partitioned table is altered');
ALTER TABLE chg.above ALTER user_id TYPE cidr USING NULLIF(user_id, '10.0.0.3')::cidr;
SELECT * FROM metrics('c1', 9, 6, 'a child whose parent is altered');
ALTER TABLE chg.above ALTER user_id TYPE inet;
SELECT * FROM metrics('c1', 9, 4, 'values that look different without having been rewritten');
ALTER TYPE chg.login ALTER ATTRIBUTE user_id TYPE character(9) CASCADE;
SELECT * FROM metrics('c1', 9, 6, 'a table of a type that is altered');
SELECT chs_attach('chg.below', 'account', 'login', 'at', 'jsonb_build_object(''ip_address'', 1, ''user_id'', user_id)', customer_key => 'external_id') > 1 \g /dev/null
CALL chs_recalculate_all();
ALTER TABLE chg.above DROP user_id;
ALTER TABLE chg.above ADD user_id text DEFAULT 'somebody';
SELECT * FROM metrics('c1', 9, 5, 'another column under the name of one that was dropped');
SELECT chs_detach(t) FROM unnest('{chg.typed,chg.of_c1,chg.below}'::regclass[]) t \g /dev/null
SELECT chs_attach('chg.parent', 'account', 'login', 'at', customer_key => 'external_id') > 1 \g /dev/null

-- Another owner attaches it again.
CREATE ROLE chs_tap_new_owner;
GRANT USAGE, CREATE ON SCHEMA chg TO chs_tap_new_owner;
SELECT chs_grant('chs_tap_new_owner', m) FROM unnest('{administer,record}'::text[]) m \g /dev/null
ALTER TABLE chg.parent OWNER TO chs_tap_new_owner;
INSERT INTO chg.parent VALUES ('c1', 'y', now());
SELECT is((SELECT reason FROM chs.rejected_events WHERE event_row ->> 'ip_address' = 'y' AND relation = 'chg.parent'::regclass), (SELECT problem FROM chs.source_status WHERE relation = 'chg.parent'), 'rows wait for the new owner');
SET ROLE chs_tap_new_owner;
SELECT public.chs_attach('chg.parent', 'account', 'login', 'at', customer_key => 'external_id') > 1 \g /dev/null
RESET ROLE;
SELECT is(ROW(metric('c1', 'logins')::text, (SELECT problem FROM chs.source_status WHERE relation = 'chg.parent')), ROW('2'::text, NULL::text), 'who attaches the table again');
SELECT throws_ok('DROP EXTENSION chs', '2BP01', NULL, 'while tables are attached the extension is not dropped without CASCADE');

SELECT * FROM finish();
DROP EXTENSION chs CASCADE;
DROP SCHEMA chg CASCADE;
DROP OWNED BY chs_tap_new_owner;
DROP ROLE chs_tap_new_owner;

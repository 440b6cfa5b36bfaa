-- Attached tables as sources of events and customers.  What should count is
-- expressed a second time, as the view att.events in plain SQL: after each
-- change, queued and folded, scores are those of its rows, and chs_verify() finds
-- nothing.  Commits, and recreates the extension.

\set own_schema att
\ir anew.psql
SET timezone = 'Asia/Kathmandu';
SET datestyle = 'SQL, DMY';
DROP SCHEMA IF EXISTS "att's" CASCADE;

SELECT no_plan();

-- Customers 1 to 6, under their own and the company's keys.
INSERT INTO chs.customers (customer_id, external_id, name, segment, created_at)
SELECT n, (ARRAY['10', 'bee', '3d29e3a0-5a0f-4d9a-9f6f-0c1a2b3c4d5e', '40', 'it''s', '60'])[n], 'customer ' || n,
       (ARRAY['enterprise', 'smb', 'startup', NULL])[1 + n % 4], now() - n * interval '50 days'
FROM generate_series(1, 6) n;
SELECT setval('chs.customers_customer_id_seq', 1000) \g /dev/null

-- Logins by customer_id: columns only, one of them dropped.
CREATE TABLE att.logins (id int GENERATED ALWAYS AS IDENTITY, gone text, account int, ip_address text, user_id int,
                         at timestamptz, session_duration numeric, notes text);
ALTER TABLE att.logins DROP COLUMN gone;
CREATE INDEX ON att.logins (account, at);
-- Tickets by external_id, a local time without a zone, a generated column, types of its own.
CREATE TYPE att.level AS ENUM ('low', 'high', 'urgent');
CREATE TABLE att.tickets (ticket_id bigint PRIMARY KEY, who varchar(60), opened timestamp, level att.level,
                          hours int, resolution_time int GENERATED ALWAYS AS (hours * 3600) STORED, rating text);
-- Usage, partitioned, reaches its customer through another table.
SELECT (now() AT TIME ZONE 'UTC')::date - 1 AS yesterday \gset
CREATE TABLE att.contracts (contract_id uuid PRIMARY KEY DEFAULT gen_random_uuid(), who text);
CREATE TABLE att.usage (contract_id uuid, feature_name text, tier text, day date) PARTITION BY RANGE (day);
CREATE TABLE att.usage_past PARTITION OF att.usage FOR VALUES FROM (MINVALUE) TO ('2025-01-01');
CREATE TABLE att.usage_now (tier text, junk int, day date, feature_name text, contract_id uuid);
ALTER TABLE att.usage_now DROP COLUMN junk;
ALTER TABLE att.usage ATTACH PARTITION att.usage_now FOR VALUES FROM ('2025-01-01') TO (:'yesterday');
-- Calls as documents, in an unlogged table whose name needs quotes; some rows are not events.
CREATE SCHEMA "att's";
CREATE UNLOGGED TABLE "att's"."Calls" (doc jsonb, "When" text);

-- What should count.
CREATE FUNCTION att.whole(t text) RETURNS int LANGUAGE sql IMMUTABLE AS $$SELECT CASE WHEN t ~ '^[0-9]{1,6}$' THEN t::int END$$;
CREATE VIEW att.events AS
SELECT l.account::bigint AS customer_id, 'login' AS event_type,
       jsonb_build_object('ip_address', l.ip_address, 'user_id', l.user_id, 'session_duration', l.session_duration) AS event_data,
       l.at AS occurred_at
FROM att.logins l JOIN chs.customers c ON c.customer_id = l.account
WHERE l.ip_address IS NOT NULL AND l.at IS NOT NULL
UNION ALL
SELECT c.customer_id, 'support_ticket',
       jsonb_build_object('priority', t.level, 'resolution_time', t.hours * 3600, 'satisfaction', att.whole(t.rating)),
       t.opened AT TIME ZONE 'UTC'
FROM att.tickets t JOIN chs.customers c ON c.external_id = t.who
WHERE t.opened IS NOT NULL AND (t.rating IS NULL OR att.whole(t.rating) IS NOT NULL)
UNION ALL
SELECT c.customer_id, 'feature_use', jsonb_build_object('feature_name', u.feature_name, 'tier', u.tier),
       u.day::timestamp AT TIME ZONE 'UTC'
FROM att.usage u JOIN att.contracts k USING (contract_id) JOIN chs.customers c ON c.external_id = k.who
WHERE u.feature_name IS NOT NULL
UNION ALL
SELECT c.customer_id, doc ->> 'type', doc, ("When" || ' UTC')::timestamptz
FROM "att's"."Calls" JOIN chs.customers c ON c.external_id = doc ->> 'account'
WHERE doc ->> 'type' = 'api_call' AND doc ->> 'endpoint' IS NOT NULL AND "When" ~ '^20[0-9-]+$'
UNION ALL
SELECT customer_id, event_type, event_data, occurred_at FROM chs.customer_events;

\set events att.events
\ir agree.psql
\set settle 'SELECT chs_process_queue() \\g /dev/null'

INSERT INTO att.contracts (who) SELECT external_id FROM chs.customers ORDER BY customer_id;
CREATE FUNCTION att.contract(customer bigint) RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT k.contract_id FROM att.contracts k JOIN chs.customers c ON c.external_id = k.who WHERE c.customer_id = customer
$$;
CREATE PROCEDURE att.add(shift integer) LANGUAGE sql AS $$
    INSERT INTO att.logins (account, ip_address, user_id, at, session_duration, notes)
    SELECT 1 + n % 6, '10.0.0.' || n, n % 5, now() - n * interval '7 hours' - shift * interval '1 minute', n * 10.5, 'x'
    FROM generate_series(1, 60) n;
    INSERT INTO att.tickets (ticket_id, who, opened, level, hours, rating)
    SELECT shift * 1000 + n, external_id, (now() AT TIME ZONE 'UTC') - n * interval '3 days',
           (enum_range(NULL::att.level))[1 + n % 3], n * 5, 1 + n % 5
    FROM generate_series(1, 12) n, chs.customers WHERE customer_id = 1 + n % 6;
    INSERT INTO att.usage (contract_id, feature_name, tier, day)
    SELECT att.contract(1 + n % 6), 'f' || n % 11, CASE WHEN n % 4 = 0 THEN 'advanced' ELSE 'basic' END,
           (now() AT TIME ZONE 'UTC')::date - 2 - n % 40
    FROM generate_series(1, 60) n;
    INSERT INTO "att's"."Calls"
    SELECT jsonb_build_object('type', CASE WHEN n % 9 = 0 THEN 'other' ELSE 'api_call' END, 'account', c.external_id::int,
                              'endpoint', '/v' || n % 3, 'status_code', 200 + n % 2 * 300),
           to_char(now() AT TIME ZONE 'UTC' - n * interval '9 hours', 'YYYY-MM-DD')
    FROM generate_series(1, 50) n, chs.customers c WHERE c.customer_id = (ARRAY[1, 4, 6])[1 + n % 3];
$$;
CALL att.add(0);

-- Attaching -------------------------------------------------------------------

SELECT results_eq($$SELECT source_id, relation::text, customer FROM chs.sources$$,
                  $$VALUES (1, 'chs.customer_events', 'customer_id')$$, 'customer_events is the first source');
SELECT lives_ok($$SELECT chs_attach('att.logins', 'account', 'login', 'at')$$, 'columns');
SELECT lives_ok($$SELECT chs_attach('att.tickets', customer => 'who', customer_key => 'external_id',
    event_type => $q$'support_ticket'$q$, occurred_at => 'opened',
    event_data => $q$jsonb_build_object('priority', level, 'resolution_time', resolution_time, 'satisfaction', rating::int)$q$)$$,
    'expressions that may fail');
SELECT lives_ok($$SELECT chs_attach('att.usage', customer => '(SELECT k.who FROM att.contracts k WHERE k.contract_id = usage.contract_id)',
    customer_key => 'external_id', event_type => 'feature_use', occurred_at => 'day')$$, 'a subquery over a partitioned table');
SELECT lives_ok($$SELECT chs_attach('"att''s"."Calls"', customer => $q$doc ->> 'account'$q$, customer_key => 'external_id',
    event_type => $q$CASE doc ->> 'type' WHEN 'api_call' THEN 'api_call' END$q$,
    occurred_at => $q$("When" || ' UTC')::timestamptz$q$, event_data => 'doc')$$, 'documents, some of which are no events');
SELECT * FROM agree('attached');
CALL chs_recalculate_all();
SELECT * FROM agree('attached, folded');
CALL chs_rebuild();
SELECT * FROM agree('attached, rebuilt');
SELECT is((SELECT count(*) FROM chs.rejected_events), 0::bigint, 'no row is put aside');

CALL att.add(1);
SELECT * FROM agree('inserted, queued');
SELECT is((SELECT count(*) FILTER (WHERE rebuild) FROM chs.queue), 0::bigint, 'inserted rows are counted, not read again');
SELECT is((SELECT count(*) FROM chs.rejected_events), 0::bigint, 'still no row is put aside');
:settle
SELECT * FROM agree('inserted, folded');

-- Partitions and parts of transactions ----------------------------------------

INSERT INTO att.usage_now (contract_id, feature_name, day) SELECT att.contract(2), 'direct', (now() AT TIME ZONE 'UTC')::date - 2;
SELECT * FROM agree('into a partition, queued');
CREATE TABLE att.usage_new PARTITION OF att.usage FOR VALUES FROM (:'yesterday') TO (MAXVALUE);
INSERT INTO att.usage_new (contract_id, feature_name, day) SELECT att.contract(4), 'new partition', (now() AT TIME ZONE 'UTC')::date;
SELECT * FROM agree('into a new partition, queued');
BEGIN;
INSERT INTO att.usage_now (contract_id, feature_name, day) SELECT att.contract(3), 'seen at once', (now() AT TIME ZONE 'UTC')::date - 2;
SELECT * FROM agree('within the transaction, before a statement flushes it');
SAVEPOINT s;
CALL att.add(2);
SELECT * FROM agree('within a savepoint');
ROLLBACK TO s;
SELECT * FROM agree('rolled back to it');
SAVEPOINT s;
INSERT INTO att.usage_now (contract_id, feature_name, day) SELECT att.contract(5), 'released', (now() AT TIME ZONE 'UTC')::date - 2;
RELEASE s;
COMMIT;
SELECT * FROM agree('parts of a transaction, queued');
:settle
SELECT * FROM agree('parts of a transaction, folded');
UPDATE att.usage SET day = (now() AT TIME ZONE 'UTC')::date WHERE feature_name = 'direct';
SELECT * FROM agree('moved to another partition, queued');
:settle
SELECT * FROM agree('moved to another partition, folded');

-- Updates, deletes, TRUNCATE ----------------------------------------------------

UPDATE att.logins SET notes = 'y';
SELECT is((SELECT count(*) FROM chs.queue), 0::bigint, 'an update of what does not matter queues nothing');
UPDATE att.logins SET session_duration = 1 WHERE account = 1;
UPDATE att.logins SET account = 3 WHERE account = 2;
UPDATE att.tickets SET rating = '1' WHERE who = '40';
DELETE FROM "att's"."Calls" WHERE doc ->> 'endpoint' = '/v1';
SELECT * FROM agree('updated and deleted, queued');
:settle
SELECT * FROM agree('updated and deleted, folded');
TRUNCATE att.tickets;
SELECT * FROM agree('truncated, queued');
:settle
SELECT * FROM agree('truncated, folded');
CALL att.add(3);
:settle

-- Rows that cannot be used ---------------------------------------------------------

INSERT INTO att.logins (account, ip_address, at) VALUES (77, 'x', now()), (1, NULL, now()), (1, 'x', NULL), (NULL, 'x', now()), (1, 'good', now());
INSERT INTO att.tickets (ticket_id, who, opened, rating)
SELECT 5000 + n, 'bee', now() AT TIME ZONE 'UTC', CASE n % 3 WHEN 0 THEN 'bad' ELSE '3' END FROM generate_series(1, 9) n;
INSERT INTO "att's"."Calls" VALUES ('{"type": "api_call", "account": "7", "endpoint": "/x"}', '2026-01-01'),
    ('{"type": "api_call", "account": "10", "endpoint": "/x"}', 'never'), ('{"type": "api_call", "account": "10"}', '2026-01-01'),
    ('{"type": "none"}', 'never'), ('{"type": "api_call", "account": "10", "endpoint": "/x"}', '2080-01-01');
INSERT INTO att.usage VALUES (gen_random_uuid(), 'f', NULL, (now() AT TIME ZONE 'UTC')::date);
SELECT results_eq($$SELECT relation::text, customer_key, sqlstate, reason FROM chs.rejected_events
    ORDER BY relation::text COLLATE "C", reason COLLATE "C", rejected_id$$, $$VALUES
    ('"att''s"."Calls"', '7', '23503', 'event has an unknown external_id: "7"'),
    ('"att''s"."Calls"', '10', '23514', 'event of customer 1 has an occurred_at too far ahead: 2080-01-01 05:45:00+05:45'),
    ('"att''s"."Calls"', '10', '23514', 'event of customer 1 has no "endpoint"'),
    ('"att''s"."Calls"', NULL, '22007', 'invalid input syntax for type timestamp with time zone: "never UTC"'),
    ('att.logins', '77', '23503', 'event has an unknown customer_id: 77'),
    ('att.logins', NULL, '23502', 'event has no customer'),
    ('att.logins', '1', '23502', 'event has no occurred_at'),
    ('att.logins', '1', '23514', 'event of customer 1 has no "ip_address"'),
    ('att.tickets', NULL, '22P02', 'invalid input syntax for type integer: "bad"'),
    ('att.tickets', NULL, '22P02', 'invalid input syntax for type integer: "bad"'),
    ('att.tickets', NULL, '22P02', 'invalid input syntax for type integer: "bad"'),
    ('att.usage_new', NULL, '23502', 'event has no customer')$$, 'bad rows are put aside with the reason, and do not fail the insert');
SELECT * FROM agree('bad rows, queued');
:settle
SELECT * FROM agree('bad rows, folded');
CALL chs_rebuild();
SELECT * FROM agree('bad rows, rebuilt');
BEGIN;
SAVEPOINT s;
INSERT INTO att.logins (account, ip_address, at) VALUES (78, 'x', now());
ROLLBACK TO s;
COMMIT;
SELECT is((SELECT count(*) FROM chs.rejected_events), 12::bigint, 'what was rolled back is not put aside');

SELECT is(chs_retry_rejected(), 12::bigint, 'the same rows are listed anew while the causes are there');
INSERT INTO chs.customers (customer_id, external_id, segment, created_at) VALUES (77, '7', 'smb', now() - interval '300 days');
SELECT * FROM agree('a customer comes later, queued');
:settle
SELECT * FROM agree('a customer comes later, folded');
UPDATE att.logins SET ip_address = 'known' WHERE ip_address IS NULL;
DELETE FROM att.logins WHERE at IS NULL;
UPDATE att.tickets SET rating = NULL WHERE ticket_id = 5003;
SELECT is(chs_retry_rejected(), 7::bigint, 'what is mended, deleted, or has a customer is not listed anew');
SELECT is((SELECT count(*) FROM chs.rejected_events), 7::bigint, 'but replaced');
SELECT * FROM agree('mended, queued');
:settle
SELECT * FROM agree('mended, folded');
INSERT INTO att.contracts SELECT contract_id, 'bee' FROM att.usage WHERE contract_id NOT IN (SELECT contract_id FROM att.contracts);
SELECT is(chs_retry_rejected('att.usage'), 0::bigint, 'chs_retry_rejected takes in what can be used now');
SELECT * FROM agree('retried, queued');
:settle
SELECT * FROM agree('retried, folded');
SELECT throws_ok($$SELECT chs_retry_rejected('att.contracts')$$, '42704', 'contracts is not attached');

-- Keys of customers ---------------------------------------------------------------

UPDATE chs.customers SET external_id = 'bee 2' WHERE external_id = 'bee';
SELECT * FROM agree('another external_id, queued');
:settle
SELECT * FROM agree('another external_id, folded');
UPDATE chs.customers SET external_id = 'bee' WHERE external_id = 'bee 2';
DELETE FROM chs.customers WHERE customer_id = 1;
SELECT * FROM agree('a customer deleted');
INSERT INTO chs.customers (customer_id, external_id, segment, created_at) VALUES (1, '10', 'smb', now() - interval '200 days');
SELECT * FROM agree('and back, queued');
:settle
SELECT * FROM agree('and back, folded');

-- Columns renamed, triggers off, types changed -------------------------------------------

ALTER TABLE att.logins RENAME at TO login_at;
SELECT lives_ok($$INSERT INTO att.logins (account, ip_address, login_at) VALUES (1, 'x', now())$$, 'the application goes on when a column is renamed');
SELECT is(problem, 'column "at" does not exist', 'and the status says what is wrong')
FROM chs.source_status WHERE relation = 'att.logins';
SELECT is((SELECT string_agg(difference || ': ' || stored, ', ') FROM chs_verify()), 'source att.logins: column "at" does not exist', 'and chs_verify');
SELECT throws_ok($$SELECT chs_score(1, now() - interval '10 days')$$, '55000', 'events of table att.logins cannot be read: column "at" does not exist');
SELECT isnt(chs_score(1), NULL, 'what is known can be scored');
-- Only customers with rows in it cannot be read again.
INSERT INTO chs.customers (customer_id, external_id, created_at) VALUES (88, '88', now() - interval '300 days');
INSERT INTO att.tickets (ticket_id, who, opened) VALUES (7000, '88', now() AT TIME ZONE 'UTC');
:settle
SELECT is((SELECT value FROM chs_explain(88) WHERE metric = 'ticket_volume'), 1::float8, 'a customer who has no rows there can come');
SELECT is((SELECT count(*) FROM chs.failures), 0::bigint, 'without a failure');
UPDATE att.tickets SET opened = opened - interval '1 day' WHERE who IN ('88', '40');
:settle
SELECT is((SELECT array_agg(customer_id) FROM chs.failures), '{4}', 'and who has some there fails by himself');
BEGIN;
SELECT throws_ok($$SELECT chs_attach('att.contracts', 'who', 'support_ticket', 'date ''2026-01-01''', customer_key => 'external_id')$$, '55000',
                 'events of table att.logins cannot be read: column "at" does not exist', 'attaching another table, for which everyone would have to be read again, is refused');
ROLLBACK;
SELECT lives_ok('SELECT chs_publish()', 'publishing what is counted already is not');
SELECT lives_ok($$SELECT chs_attach('att.logins', 'account', 'login', 'login_at')$$, 'it is attached again');
ALTER TABLE att.logins RENAME login_at TO at;
SELECT chs_attach('att.logins', 'account', 'login', 'at') \g /dev/null
SELECT ok(version < (SELECT max(version) FROM chs.scorecard_versions), 'who failed is tried at once') FROM chs.failures;
SELECT * FROM agree('attached again');
:settle
SELECT is((SELECT count(*) FROM chs.failures), 0::bigint, 'and succeeds');
DELETE FROM att.tickets WHERE who = '88';
DELETE FROM chs.customers WHERE customer_id = 88;
:settle
CALL chs_recalculate_all();
SELECT * FROM agree('attached again, folded');
ALTER TABLE att.logins DROP notes, ADD more int DEFAULT 7;
INSERT INTO att.logins (account, ip_address, at) VALUES (4, 'x', now());
SELECT * FROM agree('columns dropped and added');

ALTER TABLE att.logins DISABLE TRIGGER ALL;
INSERT INTO att.logins (account, ip_address, at) VALUES (4, 'not seen', now());
SELECT matches((SELECT string_agg(difference || ' ' || COALESCE(customer_id::text, stored), ', ' ORDER BY difference) FROM chs_verify()),
    '^activity 4, source att.logins trigger .* is disabled$', 'chs_verify says what disabled triggers did');
ALTER TABLE att.logins ENABLE ALWAYS TRIGGER "00_chs_capture", ENABLE ALWAYS TRIGGER "00_chs_capture_flush", ENABLE ALWAYS TRIGGER "00_chs_capture_truncate";
SELECT chs_rebuild(4) \g /dev/null
SELECT * FROM agree('rebuilt after disabled triggers');
SET session_replication_role = replica;
INSERT INTO att.logins (account, ip_address, at) VALUES (4, 'replicated', now());
INSERT INTO att.usage (contract_id, feature_name, day) SELECT att.contract(4), 'replicated', (now() AT TIME ZONE 'UTC')::date;
RESET session_replication_role;
SELECT * FROM agree('rows of a replica');

-- Event types ---------------------------------------------------------------------

SELECT lives_ok($$SELECT chs_attach('att.contracts', customer => 'who', customer_key => 'external_id', event_type => $q$'contract'$q$,
    occurred_at => $q$date '2026-01-01'$q$)$$, 'an event type that does not exist yet');
INSERT INTO att.contracts (who) VALUES ('40');
SELECT is((SELECT reason FROM chs.rejected_events WHERE relation = 'att.contracts'::regclass), 'event of customer 4 has an unknown event_type: "contract"', 'puts its rows aside');
SELECT chs_detach('att.contracts') \g /dev/null
SELECT is((SELECT count(*) FROM chs.rejected_events WHERE relation = 'att.contracts'::regclass), 0::bigint, 'which detaching forgets');

-- Large values ---------------------------------------------------------------------

CREATE TABLE att.large (id int, who text, a text, b text, at timestamptz DEFAULT now());
ALTER TABLE att.large ALTER who SET STORAGE EXTERNAL, ALTER a SET STORAGE EXTERNAL;
SELECT chs_attach('att.large', 'who', 'feature_use', 'at', 'jsonb_build_object(''feature_name'', a, ''b'', b)', customer_key => 'external_id') > 1 \g /dev/null
SELECT lives_ok($$INSERT INTO att.large SELECT 1, string_agg(md5(n::text), ''), 'f' FROM generate_series(1, 1000) n$$, 'a key longer than an index can hold');
SELECT is((SELECT reason FROM chs.rejected_events WHERE relation = 'att.large'::regclass), 'event has an unknown external_id: "' || left((SELECT who FROM att.large), 64) || '..."', 'is put aside');
SELECT is((SELECT external_id FROM chs.missing_customers WHERE external_id = (SELECT who FROM att.large)), (SELECT who FROM att.large), 'its customer is looked for');
DELETE FROM att.large;
SELECT chs_process_queue() \g /dev/null
SELECT is((SELECT count(*) FROM chs.missing_customers), 0::bigint, 'and no more');
\set fewer 1
\getenv fewer CHS_FEWER
INSERT INTO att.large SELECT n, '40', repeat('f', 300000) || n FROM generate_series(1, 300 / :fewer) n;
SELECT * FROM agree('large values');
INSERT INTO att.large SELECT n, 'nobody', repeat('f', 300000) || n FROM generate_series(1, 50 / :fewer) n;
SELECT is((SELECT count(DISTINCT event_row) FROM chs.rejected_events WHERE relation = 'att.large'::regclass AND customer_key = 'nobody'), 50::bigint / :fewer, 'rows with large values that cannot be used');
\getenv full CHS_FULL
\if :{?full}
SELECT lives_ok($$INSERT INTO att.large VALUES (1000, '40', repeat('x', 150000000), repeat('y', 150000000))$$, 'values of which no document can be made');
SELECT is((SELECT sqlstate || ': ' || reason FROM chs.rejected_events WHERE event_row IS NULL), '54000: total size of jsonb object elements exceeds the maximum of 268435455 bytes', 'are put aside');
SELECT lives_ok('DELETE FROM att.large WHERE id = 1000', 'and deleted');
\endif
SELECT chs_detach('att.large') \g /dev/null

-- Detaching and dropping -----------------------------------------------------------

SELECT lives_ok($$SELECT chs_detach('"att''s"."Calls"')$$, 'detached');
SELECT is((SELECT count(*) FROM pg_trigger WHERE tgrelid = '"att''s"."Calls"'::regclass), 0::bigint, 'its triggers are gone');
SELECT throws_ok($$SELECT chs_detach('"att''s"."Calls"')$$, '42704', '"att''s"."Calls" is not attached');
SELECT is((SELECT count(*) FROM chs.customers, chs_explain(customer_id) e WHERE e.metric = 'api_calls' AND e.value > 0), 0::bigint, 'and its rows do not count any more');
CALL chs_recalculate_all();
SELECT is((SELECT count(*) FROM chs_verify()), 0::bigint, 'chs_verify agrees');
DROP TABLE att.usage CASCADE;
SELECT is((SELECT count(*) FROM chs.sources WHERE customer LIKE '%contract_id%'), 0::bigint, 'a dropped table is detached');
SELECT is((SELECT count(*) FROM chs.customers, chs_explain(customer_id) e WHERE e.metric = 'features_used' AND e.value > 0), 0::bigint, 'and its rows do not count any more');
CALL chs_recalculate_all();
SELECT is((SELECT count(*) FROM chs_verify()), 0::bigint, 'chs_verify agrees');

-- What cannot be attached, and why --------------------------------------------------

CREATE VIEW att.v AS SELECT * FROM att.logins;
CREATE MATERIALIZED VIEW att.m AS SELECT * FROM att.logins;
CREATE TEMP TABLE temporary (account int, at timestamptz);
CREATE TABLE att.forced (account int, at timestamptz);
ALTER TABLE att.forced ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE TABLE att.parts (account int, at timestamptz) PARTITION BY LIST (account);
CREATE TABLE att.part PARTITION OF att.parts DEFAULT;
CREATE ROLE chs_tap_owner;
CREATE ROLE chs_tap_other;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO chs_tap_owner, chs_tap_other;
GRANT USAGE ON SCHEMA att, tap TO chs_tap_owner, chs_tap_other;
SELECT public.chs_grant('chs_tap_owner', 'record') \g /dev/null
ALTER TABLE att.forced OWNER TO chs_tap_owner;
CREATE FUNCTION tap.refused(relation regclass, customer text, event_type text, occurred_at text, event_data text, sqlstate text, message text)
RETURNS text LANGUAGE sql AS $$
    SELECT throws_ok(format('SELECT chs_attach(%L, %L, %L, %L, %L)', relation, customer, event_type, occurred_at, event_data), sqlstate, message, message)
$$;
SELECT refused('att.v', 'account', 'login', 'at', NULL, '42809', 'att.v cannot be attached because it is not a table');
SELECT refused('att.m', 'account', 'login', 'at', NULL, '42809', 'att.m cannot be attached because it is not a table');
SELECT throws_like($$SELECT chs_attach('temporary', 'account', 'login', 'at')$$, '%cannot be attached because it is temporary');
SELECT refused('att.forced', 'account', 'login', 'at', NULL, '55000', 'att.forced cannot be attached because its owner does not see all rows');
SELECT refused('chs.customers', 'customer_id', 'login', 'created_at', NULL, '42809', 'chs.customers cannot be attached because it is a table of the system or of chs');
SELECT refused('pg_class', 'oid::int', 'login', 'now()', NULL, '42809', 'pg_catalog.pg_class cannot be attached because it is a table of the system or of chs');
SELECT refused('att.logins', 'nope', 'login', 'at', NULL, '42703', 'column "nope" does not exist');
SELECT refused('att.logins', 'account', 'nope', 'at', NULL, '42703', 'column "nope" does not exist');
CREATE FUNCTION tap.hint_of(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    EXECUTE command;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN hint;
END
$$;
SELECT is(hint_of($$SELECT chs_attach('att.logins', 'account', 'nope', 'at')$$),
          'Use a column or an expression over the row, or the name of a type that chs.event_types has.', 'an event type that does not exist');
SELECT refused('att.logins', 'account', 'login', 'now()', NULL, '22023', 'the expression must always give the same value for the same row');
SELECT refused('att.logins', 'account', 'login', 'CURRENT_TIMESTAMP', NULL, '22023', 'the expression must always give the same value for the same row');
SELECT refused('att.logins', '(SELECT floor(random())::int)', 'login', 'at', NULL, '22023', 'the expression must always give the same value for the same row');
SELECT refused('att.logins', 'max(account)', 'login', 'at', NULL, '42803', 'aggregate, window and set-returning functions are not allowed');
SELECT refused('att.logins', 'generate_series(1, 2)', 'login', 'at', NULL, '42803', 'aggregate, window and set-returning functions are not allowed');
SELECT refused('att.logins', 'account, id', 'login', 'at', NULL, '42601', 'not a single expression: account, id');
SELECT refused('att.logins', 'account FROM pg_class', 'login', 'at', NULL, '42601', 'not a single expression: account FROM pg_class');
SELECT refused('att.logins', '*', 'login', 'at', NULL, '42601', 'not a single expression: *');
SELECT refused('att.logins', 'account) , (id', 'login', 'at', NULL, '42601', 'syntax error at or near ")"');
SELECT refused('att.logins', 'ip_address', 'login', 'at', NULL, '42804', '"customer" must be of type smallint, integer or bigint, not text');
SELECT refused('att.logins', 'session_duration', 'login', 'at', NULL, '42804', '"customer" must be of type smallint, integer or bigint, not numeric');
SELECT refused('att.logins', 'account', 'login', 'ip_address', NULL, '42804', '"occurred_at" must be of type timestamp with or without time zone, or date, not text');
SELECT refused('att.logins', 'account', 'login', 'at', 'account', '42804', '"event_data" must be of type jsonb or json, not integer');
SELECT refused('att.logins', NULL, 'login', 'at', NULL, '22004', '"customer" must not be null');
SELECT refused(NULL, 'account', 'login', 'at', NULL, '22004', '"relation" must not be null');
SELECT throws_ok($$SELECT chs_attach('att.logins', 'account', 'login', 'at', customer_key => 'email')$$, '22023', 'invalid value for "customer_key": "email"');
SELECT lives_ok($$SELECT chs_attach('att.part', 'account', 'login', 'at')$$, 'a partition by itself');
SELECT refused('att.parts', 'account', 'login', 'at', NULL, '55006', 'att.parts cannot be attached because att.part is');
SELECT is((SELECT count(*) FROM pg_trigger WHERE tgrelid = 'att.v'::regclass OR tgrelid = 'att.parts'::regclass), 0::bigint, 'what is refused leaves nothing behind');

-- Rights ------------------------------------------------------------------------

SET ROLE chs_tap_other;
SELECT throws_ok($$SELECT public.chs_attach('att.logins', 'account', 'login', 'at')$$, '42501', 'must be owner of table logins');
SELECT throws_ok($$SELECT public.chs_detach('att.logins')$$, '42501', 'must be owner of table logins');
RESET ROLE;
-- Expressions run as the owner, whoever inserts, and not with a superuser's rights.
ALTER TABLE att.forced NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;
ALTER TABLE att.forced ADD who_ran text;
CREATE FUNCTION att.runs_as(t text) RETURNS text LANGUAGE plpgsql STABLE AS $$BEGIN RETURN current_user || ', ' || current_setting('search_path') || ', ' || current_setting('TimeZone'); END$$;
ALTER FUNCTION att.runs_as OWNER TO chs_tap_owner;
SET ROLE chs_tap_owner;
SELECT lives_ok($$SELECT public.chs_attach('att.forced', 'account', 'support_ticket', 'at', 'jsonb_build_object(''priority'', att.runs_as(who_ran))')$$,
                'the owner of a table attaches it');
RESET ROLE;
SELECT is((SELECT owner FROM chs.sources WHERE relation = 'att.forced'::regclass), 'chs_tap_owner', 'and is on record');
INSERT INTO chs.event_types (event_type, required) VALUES ('probe', '{nothing}');
INSERT INTO att.forced VALUES (5, now());
SELECT is((SELECT count(*) FROM chs.rejected_events WHERE relation = 'att.forced'::regclass), 0::bigint, 'a superuser inserts');
CREATE TEMP TABLE seen AS SELECT * FROM chs.activity_cells((SELECT public.chs_activity_agg(v.document, 'support_ticket',
    jsonb_build_object('priority', 'chs_tap_owner, pg_catalog, pg_temp, UTC'), now()) FROM chs.scorecard_versions v WHERE v.version = (SELECT max(version) FROM chs.scorecard_versions)));
CREATE FUNCTION att.reveal(t text) RETURNS timestamptz LANGUAGE plpgsql STABLE AS $$BEGIN RAISE EXCEPTION '%', att.runs_as(t); END$$;
GRANT EXECUTE ON FUNCTION att.reveal TO chs_tap_owner;
SET ROLE chs_tap_owner;
SELECT public.chs_attach('att.forced', 'account', 'support_ticket', 'att.reveal(who_ran)') \g /dev/null
RESET ROLE;
INSERT INTO att.forced VALUES (5, now());
SELECT is((SELECT reason FROM chs.rejected_events WHERE relation = 'att.forced'::regclass), 'chs_tap_owner, pg_catalog, pg_temp, UTC',
          'expressions run as the owner, on a pinned search_path, in UTC');
ALTER TABLE att.forced OWNER TO chs_tap_other;
SELECT is((SELECT problem FROM chs.source_status WHERE relation = 'att.forced'), 'the table belongs to "chs_tap_other" now, not to "chs_tap_owner" any more',
          'a new owner does not run the old one''s expressions');
DROP TABLE att.forced;

-- A role that may create functions where the expressions look for them does not get the owner's rights.
CREATE TABLE att.over (account int, at timestamptz);
CREATE INDEX ON att.over (account);
CREATE FUNCTION att.known(account anyelement) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT account::bigint';
SELECT chs_attach('att.over', 'att.known(account)', 'support_ticket', 'at', 'jsonb_build_object(''priority'', att.known(7))') > 1 \g /dev/null
SELECT is(functions, '{att.known(pg_catalog.anyelement)}', 'the functions that expressions call are kept') FROM chs.sources WHERE relation = 'att.over'::regclass;
GRANT CREATE ON SCHEMA att TO chs_tap_other;
SET ROLE chs_tap_other;
CREATE FUNCTION att.known(account integer) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RAISE EXCEPTION 'runs as %', current_user; END$$;
RESET ROLE;
INSERT INTO att.over VALUES (5, now());
SELECT is((SELECT reason FROM chs.rejected_events WHERE relation = 'att.over'::regclass), 'expression calls function att.known(integer), which it did not call when the table was attached', 'another one is not called');
SELECT is((SELECT problem FROM chs.source_status WHERE relation = 'att.over'), 'expression calls function att.known(integer), which it did not call when the table was attached', 'and the status says so');
DROP FUNCTION att.known(integer);
SELECT is(chs_retry_rejected('att.over'), 0::bigint, 'without it all is as before');
SELECT chs_detach('att.over') \g /dev/null
DROP TABLE att.over;
REVOKE CREATE ON SCHEMA att FROM chs_tap_other;

-- A table of customers ------------------------------------------------------------

CREATE TABLE att.accounts (account_id text PRIMARY KEY, title text, plan text, since date, ended timestamptz, mail text, manager text, monthly numeric(9,2));
INSERT INTO att.accounts VALUES ('bee', 'Bee', 'Pro', '2024-01-01', NULL, NULL, 'ann', 100.5), ('new', 'New', 'Basic', '2024-06-01', NULL, 'a@b.c', NULL, NULL);
SELECT throws_ok($$SELECT chs_attach_customers('att.accounts', 'account_id', value => 'title')$$, '42804', '"value" must be of type smallint, integer, bigint, numeric, real or double precision, not text', 'a value is a number');
SELECT lives_ok($$SELECT chs_attach_customers('att.accounts', 'account_id', name => 'title', created_at => 'since', churned_at => 'ended', email => 'mail',
    owner => 'manager', value => '12 * monthly',
    segment => $q$CASE plan WHEN 'Pro' THEN 'smb' WHEN 'Basic' THEN 'startup' ELSE plan END$q$)$$, 'a table of customers');
CREATE FUNCTION tap.company() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT format('%s %s %s %s %s %s', external_id, name, email, segment, to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD'), to_char(churned_at AT TIME ZONE 'UTC', 'YYYY-MM-DD'))
    FROM chs.customers WHERE external_id IN (SELECT account_id FROM att.accounts) OR external_id IN ('new', 'newer', 'gone') ORDER BY external_id
$$;
SELECT results_eq('SELECT company()', $$VALUES ('bee Bee  smb 2024-01-01 '), ('new New a@b.c startup 2024-06-01 ')$$, 'what is there is taken, an old customer is known again');
SELECT results_eq($$SELECT external_id, owner COLLATE "default", value FROM chs.customer_list WHERE external_id IN ('bee', 'new') ORDER BY 1$$,
                  $$VALUES ('bee', 'ann', 1206::double precision), ('new', NULL, NULL)$$, 'with who looks after them, and what they are worth');
UPDATE att.accounts SET manager = 'bob', monthly = 1000 WHERE account_id = 'bee';
SELECT results_eq($$SELECT owner COLLATE "default", value FROM chs.customers WHERE external_id = 'bee'$$, $$VALUES ('bob', 12000.00)$$, 'which follow, too');
UPDATE att.accounts SET monthly = 'NaN' WHERE account_id = 'bee';
SELECT results_eq($$SELECT customer_key, sqlstate FROM chs.rejected_events WHERE relation = 'att.accounts'::regclass$$, $$VALUES ('bee', '23514')$$, 'what is no number is rejected');
UPDATE att.accounts SET monthly = NULL WHERE account_id = 'bee';
SELECT is(chs_retry_rejected('att.accounts'), 0::bigint, 'nothing is rejected any more');
INSERT INTO att.accounts VALUES ('gone', 'Gone', 'Basic', '2025-01-01', '2025-06-01 00:00+00', NULL), ('odd', 'Odd', 'Odd', NULL, NULL, NULL), ('same', 'Same', 'Pro', NULL, NULL, 'a@b.c');
UPDATE att.accounts SET account_id = 'newer', title = 'Newer' WHERE account_id = 'new';
SELECT results_eq('SELECT company()', $$VALUES ('bee Bee  smb 2024-01-01 '), ('gone Gone  startup 2025-01-01 2025-06-01'), ('newer Newer a@b.c startup 2024-06-01 ')$$,
                  'inserts and updates follow');
SELECT results_eq('SELECT customer_key, sqlstate FROM chs.rejected_events WHERE relation = ''att.accounts''::regclass ORDER BY 1',
                  $$VALUES ('odd', '23503'), ('same', '23505')$$, 'rows that cannot be taken are put aside, and do not fail the application');
INSERT INTO chs.segments (segment, scorecard) VALUES ('Odd', 'default');
SELECT is(chs_retry_rejected('att.accounts'), 1::bigint, 'the cause of one is gone');
UPDATE att.accounts SET mail = NULL WHERE account_id = 'same';
SELECT is(chs_retry_rejected('att.accounts'), 0::bigint, 'the row is mended');
DELETE FROM att.accounts WHERE account_id = 'gone';
SELECT is((SELECT string_agg(external_id, ' ' ORDER BY external_id COLLATE "C") FROM chs.customers WHERE customer_id > 77), 'newer odd same', 'deletes follow');
SELECT lives_ok($$SELECT chs_detach('att.accounts')$$, 'detached');
DELETE FROM att.accounts;
SELECT is((SELECT count(*) FROM chs.customers WHERE external_id = 'newer'), 1::bigint, 'nothing follows any more');

-- What else can happen to such a table.
CREATE TABLE att.firms (firm_id text, title varchar(20), mail text) PARTITION BY LIST (firm_id);
CREATE TABLE att.firm_a PARTITION OF att.firms FOR VALUES IN ('a', 'aa');
CREATE TABLE att.firm_b (mail text, title varchar(20), firm_id text);
INSERT INTO att.firms VALUES ('a', 'A');
INSERT INTO att.firm_b VALUES (NULL, 'B', 'b'), ('a@b.c', 'C', 'c'), ('a@b.c', 'D', 'd');
CREATE FUNCTION tap.firms() RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(external_id || ' ' || name, ', ' ORDER BY external_id) FROM chs.customers WHERE external_id ~ '^.$'
$$;
CREATE FUNCTION tap.firms_aside() RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(COALESCE(r.customer_key, '-') || ' ' || r.sqlstate, ', ' ORDER BY r.customer_key, r.sqlstate) FROM chs.rejected_events r JOIN chs.sources s USING (source_id) WHERE s.relation = 'att.firms'::regclass
$$;
DELETE FROM chs.customers WHERE email = 'a@b.c' OR external_id ~ '^.$';
SELECT chs_attach_customers('att.firms', 'firm_id', name => 'title', email => 'mail') > 1 \g /dev/null
SELECT is(firms(), 'a A', 'a partitioned table of customers');
ALTER TABLE att.firms ATTACH PARTITION att.firm_b DEFAULT;
SELECT is(firms(), 'a A, b B, c C', 'customers of a partition that comes are taken');
SELECT is(firms_aside(), 'd 23505', 'and put aside if they cannot be');
ALTER TABLE att.firms ALTER title TYPE varchar(2) USING lower(title);
SELECT is(firms(), 'a a, b b, c c', 'another type may make other values');
SELECT is(firms_aside(), 'd 23505', 'still put aside, once');
ALTER TABLE att.firms RENAME title TO name;
INSERT INTO att.firms VALUES ('e', 'E');
SELECT is(firms_aside(), 'd 23505, - 42703', 'the application goes on when a column is renamed');
SELECT is(chs_retry_rejected('att.firms'), 0::bigint, 'what says why each row cannot be used is the status');
SELECT is((SELECT problem FROM chs.source_status WHERE relation = 'att.firms'), 'column "title" does not exist', 'and the status says what is wrong');
SELECT chs_attach_customers('att.firms', 'firm_id', name => 'name', email => 'mail') > 1 \g /dev/null
SELECT is(firms() || '; ' || firms_aside(), 'a a, b b, c c, e E; d 23505', 'attached again');
ALTER TABLE att.firm_b DISABLE TRIGGER ALL;
INSERT INTO att.firms VALUES ('f', 'F');
ALTER TABLE att.firm_b ENABLE ALWAYS TRIGGER "00_chs_customers";
SELECT is(firms() || '; ' || firms_aside(), 'a a, b b, c c, e E, f F; d 23505', 'triggers were off and are on again');
ALTER TABLE att.firms ADD more int;
DELETE FROM att.firms WHERE firm_id IN ('c', 'd');
SELECT is(firms(), 'a a, b b, e E, f F', 'deletes follow');
SELECT is(chs_retry_rejected('att.firms'), 0::bigint, 'and so do rows in the log');
ALTER TABLE att.firms DETACH PARTITION att.firm_a;
SET client_min_messages = error;
TRUNCATE att.firms;
SET client_min_messages = warning;
SELECT is(firms(), 'a a, b b, e E, f F', 'detached partitions and TRUNCATE delete nobody');
INSERT INTO att.firms VALUES ('b', 'b2');
SELECT is(firms(), 'a a, b b2, e E, f F', 'what is loaded again updates');
DROP TABLE att.firms;
SELECT is((SELECT count(*) FROM chs.sources WHERE kind = 'customers'), 0::bigint, 'a dropped table is detached');
DELETE FROM chs.customers WHERE external_id ~ '^.$';

-- Events in bulk ------------------------------------------------------------------

SELECT is(chs_record_events('[{"customer_id": 3, "event_type": "support_ticket", "idempotency_key": "k"}, {"customer_id": 3, "event_type": "support_ticket", "idempotency_key": "k"},
    {"customer_id": 3, "event_type": "login", "event_data": {"ip_address": "x"}, "occurred_at": "2026-02-01 10:00"}, {"customer_id": 3, "event_type": "support_ticket", "event_data": null, "occurred_at": null, "idempotency_key": null}]'),
    3::bigint, 'an array of events, one of them twice');
SELECT is(chs_record_events('[{"customer_id": 3, "event_type": "support_ticket", "idempotency_key": "k"}]'), 0::bigint, 'a key seen before adds nothing');
SELECT is((SELECT occurred_at FROM chs.customer_events WHERE event_type = 'login'), '2026-02-01 10:00+00'::timestamptz, 'without a time zone it is UTC');
SELECT is(chs_record_events('[]'), 0::bigint, 'none');
CREATE FUNCTION tap.no_events(events text, sqlstate text, message text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    before bigint := (SELECT count(*) FROM chs.customer_events);
BEGIN
    RETURN NEXT throws_ok(format('SELECT chs_record_events(%L)', events), sqlstate, message, message);
    RETURN NEXT is((SELECT count(*) FROM chs.customer_events), before, 'and none is recorded');
END
$$;
SELECT no_events('{}', '22023', 'events must be a JSON array');
SELECT no_events(NULL, '22023', 'events must be a JSON array');
SELECT no_events('[1]', '22023', 'events[0] is not an object: 1');
SELECT no_events('[{"customer_id": 3, "event_type": "support_ticket"}, {"customer_id": 3}]', '22023', 'events[1] has no "event_type"');
SELECT no_events('[{"customer_id": 3, "event_type": "support_ticket"}, {"customer_id": "3", "event_type": "login"}]', '22023', 'events[1] has an invalid "customer_id": "3"');
SELECT no_events('[{"customer_id": 3, "event_type": "support_ticket"}, {"customer_id": 3.5, "event_type": "login"}]', '22023', 'events[1] has an invalid "customer_id": 3.5');
SELECT no_events('[{"customer_id": 3, "event_type": "support_ticket", "typo": 1}]', '22023', 'events[0] has an unknown field "typo"');
SELECT no_events('[{"customer_id": 3, "event_type": "support_ticket", "occurred_at": "yesterday"}]', '22023', 'events[0] has an invalid "occurred_at": "yesterday"');
SELECT no_events('[{"customer_id": 3, "event_type": "support_ticket", "occurred_at": "2026-02-30"}]', '22008', 'events[0]: date/time field value out of range: "2026-02-30"');
SELECT no_events('[{"customer_id": 3, "event_type": "support_ticket"}, {"customer_id": 3, "event_type": "login"}]', '23514', 'events[1]: event of customer 3 has no "ip_address"');
SELECT no_events('[{"customer_id": 3, "event_type": "support_ticket"}, {"customer_id": 555, "event_type": "support_ticket"}]', '23503', 'events[1]: event has an unknown customer_id: 555');
SELECT no_events('[{"customer_id": 3, "event_type": "login", "idempotency_key": "k"}, {"customer_id": 3, "event_type": "support_ticket"}, {"customer_id": 3, "event_type": "foo"}]',
    '23503', 'events[2]: event of customer 3 has an unknown event_type: "foo"');
-- Each attempt to find out takes a transaction ID: few, wherever the event is.
CREATE FUNCTION tap.attempts(faulty integer) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    before CONSTANT bigint := pg_snapshot_xmax(pg_current_snapshot())::text;
BEGIN
    PERFORM chs_record_events((SELECT jsonb_agg(jsonb_build_object('customer_id', 3, 'event_type', CASE n WHEN faulty THEN 'login' ELSE 'support_ticket' END))
                               FROM generate_series(0, 999) n));
EXCEPTION WHEN check_violation THEN
    IF SQLERRM <> format('events[%s]: event of customer 3 has no "ip_address"', faulty) THEN
        RAISE;
    END IF;
    RETURN pg_snapshot_xmax(pg_current_snapshot())::text::bigint - before;
END
$$;
SELECT cmp_ok(attempts(n), '<', 20::bigint, format('events[%s] of a thousand is found in few attempts', n)) FROM unnest('{0,1,499,500,998,999}'::integer[]) n;
SELECT throws_ok($$INSERT INTO chs.customer_events (customer_id, event_type, idempotency_key) VALUES (3, 'support_ticket', 'k')$$, '23505', NULL, 'a key is unique for INSERT, too');
SELECT lives_ok($$INSERT INTO chs.customer_events (customer_id, event_type, idempotency_key) VALUES (3, 'support_ticket', 'k') ON CONFLICT DO NOTHING$$, 'which can pass it over');

-- A rejected row is deleted while its customer, created meanwhile, has not been folded; and so is the customer.
INSERT INTO att.logins (account, ip_address, at) VALUES (888, '::1', now()), (888, '::2', now());
SELECT is((SELECT count(*) FROM chs.rejected_events WHERE customer_key = '888'), 2::bigint, 'rows before their customer');
INSERT INTO chs.customers (customer_id, name) VALUES (888, 'late');
DELETE FROM att.logins WHERE ip_address = '::1' AND account = 888;
UPDATE att.logins SET account = 3 WHERE account = 888;
DELETE FROM chs.customers WHERE customer_id = 888;
SELECT chs_retry_rejected() \g /dev/null
SELECT is((SELECT count(*) FROM chs.rejected_events WHERE customer_key = '888'), 0::bigint, 'are not listed anew once they are gone');

CALL chs_recalculate_all();
SELECT is((SELECT count(*) FROM chs_verify()), 0::bigint, 'chs_verify finds nothing in the end');
DROP EXTENSION chs CASCADE;
SELECT lives_ok('INSERT INTO att.logins (account, ip_address) VALUES (1, NULL)', 'DROP EXTENSION leaves the tables as they were');
SELECT * FROM finish();
DROP SCHEMA att, "att's" CASCADE;
DROP OWNED BY chs_tap_owner, chs_tap_other;
DROP ROLE chs_tap_owner, chs_tap_other;

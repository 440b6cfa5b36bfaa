-- Unusable rows that existed before a table was attached: each is listed once in
-- chs.rejected_events, whatever happens meanwhile.  What should be listed is
-- expressed a second time, as the view old.unusable.  Commits, and recreates the
-- extension.

\set own_schema old
\ir anew.psql

SELECT no_plan();

INSERT INTO chs.customers (external_id, created_at) SELECT 'c' || n, now() - interval '1 year' FROM generate_series(1, 5) n;
CREATE TABLE old.logins (id int, account text, ip_address text, at timestamptz, note text);
CREATE INDEX ON old.logins (account, at);
CREATE VIEW old.unusable AS
SELECT l.* FROM old.logins l
WHERE ip_address IS NULL OR at IS NULL OR NOT EXISTS (SELECT FROM chs.customers c WHERE c.external_id = l.account);
CREATE FUNCTION tap.listed(what text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    wrong text;
BEGIN
    SELECT string_agg(x, E'\n' ORDER BY x) INTO wrong FROM (
        (SELECT 'too often: ' || event_row::text FROM chs.rejected_events WHERE relation = 'old.logins'::regclass EXCEPT ALL SELECT 'too often: ' || to_jsonb(u)::text FROM old.unusable u)
        UNION ALL
        (SELECT 'missing: ' || to_jsonb(u)::text FROM old.unusable u EXCEPT ALL SELECT 'missing: ' || event_row::text FROM chs.rejected_events WHERE relation = 'old.logins'::regclass) LIMIT 10) d(x);
    RETURN NEXT is(wrong, NULL, what || ': every row that cannot be used is listed once');
    SELECT string_agg(v::text, E'\n') INTO wrong FROM (SELECT * FROM chs_verify() LIMIT 10) v;
    RETURN NEXT is(wrong, NULL, what || ': chs_verify finds nothing');
END
$$;
CREATE FUNCTION tap.logins(key text) RETURNS double precision LANGUAGE sql AS $$
    SELECT e.value FROM chs.customers c, chs_explain(c.customer_id) e WHERE c.external_id = key AND e.metric = 'logins'
$$;
CREATE FUNCTION tap.pending() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM chs.source_backlog';
\set attach 'SELECT chs_attach(''old.logins'', ''account'', ''login'', ''at'', customer_key => ''external_id'') > 1 \\g /dev/null'
\set look 'SELECT chs_retry_rejected() \\g /dev/null'
\set settle 'SELECT chs_process_queue() \\g /dev/null'

-- A few thousand rows, a third of which cannot be used, some of them identical.
\set fewer 1
\getenv fewer CHS_FEWER
INSERT INTO old.logins
SELECT n / 2, CASE WHEN n % 7 = 0 THEN 'late' ELSE 'c' || 1 + n % 5 END, CASE WHEN n % 11 > 0 THEN 'x' END,
       CASE WHEN n % 13 > 0 THEN now() - n % 29 * interval '1 day' END, repeat('n', n % 100)
FROM generate_series(1, 4000 / :fewer) n;
:attach
SELECT is((SELECT count(*) FROM chs.rejected_events), 0::bigint, 'attaching itself does not look through the rows');
SELECT is((SELECT looked_through FROM chs.source_status WHERE relation = 'old.logins'), 0::float8, 'and says so');
INSERT INTO old.logins VALUES (9001, 'c1', NULL, now()), (9002, 'late', 'x', now()), (9003, 'c2', 'x', now());
DELETE FROM old.logins WHERE id = 77;
UPDATE old.logins SET note = 'updated' WHERE id = 88;
SELECT is((SELECT count(*) FROM chs.rejected_events), 2 + (SELECT count(*) FROM old.unusable WHERE id = 88), 'what is written meanwhile is listed at once');
:look
SELECT * FROM listed('looked through');
SELECT cmp_ok((SELECT count(*) FROM chs.rejected_events), '>', 1000::bigint / :fewer, 'these are many');
SELECT is((SELECT count(*) FROM chs.rejected_events WHERE reason = 'event has an unknown external_id: "late"' AND customer_key = 'late' AND no_customer),
          (SELECT count(*) FROM old.unusable WHERE account = 'late' AND at IS NOT NULL), 'with reason and customer');
-- Nothing is final before others see it.
SELECT is(pending(), 1::bigint, 'what one transaction listed is to be looked at again by another');
DELETE FROM old.logins WHERE id % 100 = 3;
UPDATE old.logins SET note = 'again' WHERE id % 100 = 4;
UPDATE old.logins SET ip_address = 'mended', at = now() WHERE id % 100 = 5 AND account <> 'late';
SELECT * FROM listed('changed before that');
:look
SELECT is(pending(), 0::bigint, 'which it was');
SELECT is((SELECT looked_through FROM chs.source_status WHERE relation = 'old.logins'), NULL, 'all is looked through');
SELECT * FROM listed('looked at again');
DELETE FROM old.logins WHERE id % 100 = 6;
UPDATE old.logins SET note = 'again' WHERE id % 100 = 7;
INSERT INTO old.logins VALUES (9004, 'c1', NULL, now());
SELECT * FROM listed('changed after that');

-- The table gets another file halfway through.
:attach
DELETE FROM old.logins WHERE id % 100 = 8;
:look
VACUUM FULL old.logins;
DELETE FROM old.logins WHERE id % 100 = 9;
INSERT INTO old.logins VALUES (9005, 'c1', NULL, now());
:look
:look
SELECT * FROM listed('attached again, and rewritten');
SELECT is(pending(), 0::bigint, 'and that was all');

-- A customer is created later.
:settle
INSERT INTO chs.customers (external_id, created_at) VALUES ('late', now() - interval '1 year');
SELECT is(logins('late'), (SELECT count(*) FROM old.logins WHERE account = 'late' AND at IS NOT NULL AND ip_address IS NOT NULL)::float8,
          'a customer who comes later has its rows from before');
:settle
SELECT * FROM listed('a customer came');
DELETE FROM chs.customers WHERE external_id = 'late';
:settle
SELECT is((SELECT count(*) FROM chs.rejected_events WHERE no_customer), 0::bigint, 'rows of a customer who is deleted are not listed');
CALL chs_rebuild();
SELECT isnt((SELECT count(*) FROM chs.rejected_events WHERE no_customer), 0::bigint, 'until rows are looked through again');
SELECT * FROM listed('all made again');
SELECT is(pending(), 0::bigint, 'to its end');

-- Columns are added and dropped, so that the copies no longer look like the rows.
ALTER TABLE old.logins ADD more text;
DELETE FROM old.logins WHERE id % 100 = 10;
:look
:look
DELETE FROM old.logins WHERE id % 100 = 11;
DROP VIEW old.unusable;
ALTER TABLE old.logins DROP note;
CREATE VIEW old.unusable AS
SELECT l.* FROM old.logins l
WHERE ip_address IS NULL OR at IS NULL OR NOT EXISTS (SELECT FROM chs.customers c WHERE c.external_id = l.account);
DELETE FROM old.logins WHERE id % 100 = 12;
:look
:look
DELETE FROM old.logins WHERE id % 100 = 13;
SELECT * FROM listed('columns added and dropped');

-- Triggers off and on.
ALTER TABLE old.logins DISABLE TRIGGER ALL;
INSERT INTO old.logins VALUES (9006, 'c1', NULL, now()), (9007, 'c1', 'x', now());
DELETE FROM old.logins WHERE id % 100 = 14;
ALTER TABLE old.logins ENABLE TRIGGER ALL;
ALTER TABLE old.logins ENABLE ALWAYS TRIGGER "00_chs_capture", ENABLE ALWAYS TRIGGER "00_chs_capture_flush", ENABLE ALWAYS TRIGGER "00_chs_capture_truncate";
:look
:look
CALL chs_recalculate_all();
SELECT * FROM listed('triggers were off');

-- In one transaction with writes before and after.
SELECT chs_detach('old.logins') \g /dev/null
SELECT is((SELECT count(*) FROM chs.rejected_events), 0::bigint, 'detaching forgets what is listed');
BEGIN;
INSERT INTO old.logins VALUES (9008, 'c1', NULL, now());
:attach
INSERT INTO old.logins VALUES (9009, 'c1', NULL, now());
:look
INSERT INTO old.logins VALUES (9010, 'c1', NULL, now());
COMMIT;
:look
:look
SELECT * FROM listed('in one transaction');
:attach
BEGIN;
:look
INSERT INTO old.logins VALUES (9011, 'c1', NULL, now());
DELETE FROM old.logins WHERE id % 100 = 15 OR id = 9011;
INSERT INTO old.logins VALUES (9012, 'c1', NULL, now());
COMMIT;
:look
SELECT * FROM listed('written in the transaction that looked');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM old.logins \g /dev/null
:attach
DELETE FROM old.logins WHERE id % 100 = 16;
:look
COMMIT;
:look
:look
SELECT * FROM listed('in a transaction of one snapshot');
TRUNCATE old.logins;
SELECT is((SELECT count(*) FROM chs.rejected_events) + pending(), 0::bigint, 'nothing is listed of no rows');

-- Partitions.
CREATE TABLE old.parts (account text, endpoint text, at timestamptz) PARTITION BY LIST (account);
CREATE TABLE old.part_1 PARTITION OF old.parts FOR VALUES IN ('c1', 'c2');
CREATE TABLE old.part_2 (endpoint text, account text, at timestamptz);
INSERT INTO old.parts VALUES ('c1', NULL, now()), ('c1', NULL, now()), ('c2', 'x', now());
INSERT INTO old.part_2 VALUES (NULL, 'c3', now()), ('x', 'c3', now()), ('x', 'nobody', now());
SELECT chs_attach('old.parts', 'account', 'api_call', 'at', customer_key => 'external_id') > 1 \g /dev/null
CREATE FUNCTION tap.parts() RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(relation::text || ' ' || n, ', ' ORDER BY relation::text) FROM (SELECT relation, count(*) AS n FROM chs.rejected_events GROUP BY 1) s
$$;
-- One block of three is looked through, and a table of one has not been begun.
CREATE TABLE old.part_3 PARTITION OF old.parts FOR VALUES IN ('c4');
INSERT INTO old.part_3 VALUES ('c4', 'x', now());
BEGIN;
UPDATE chs.source_backlog SET snapshot = pg_current_snapshot(), blocks = 3, next_row = '(1,1)' WHERE relation = 'old.part_1'::regclass;
INSERT INTO chs.source_backlog (source_id, relation) SELECT source_id, 'old.part_3' FROM chs.source_backlog;
SELECT is((SELECT looked_through FROM chs.source_status WHERE relation = 'old.parts'), 25::float8, 'how far it is, in percent of the blocks');
ROLLBACK;
:look
:look
SELECT is(parts(), 'old.part_1 2', 'rows of a partition');
ALTER TABLE old.parts ATTACH PARTITION old.part_2 DEFAULT;
DELETE FROM old.part_2 WHERE endpoint IS NULL;
:look
:look
SELECT is(parts(), 'old.part_1 2, old.part_2 1', 'and of one that came with rows');
INSERT INTO old.parts VALUES ('c3', NULL, now()), ('c1', NULL, now());
TRUNCATE old.part_1;
SELECT is(parts(), 'old.part_2 2', 'and of one that is truncated');
ALTER TABLE old.parts DETACH PARTITION old.part_2;
SELECT is(parts(), NULL, 'or goes');
INSERT INTO old.parts VALUES ('c1', NULL, now());
DROP TABLE old.part_1;
SELECT is(parts(), NULL, 'or is dropped');
CALL chs_recalculate_all();
SELECT is((SELECT count(*) FROM chs_verify()), 0::bigint, 'chs_verify finds nothing in the end');

SELECT * FROM finish();
DROP EXTENSION chs CASCADE;
DROP SCHEMA old CASCADE;

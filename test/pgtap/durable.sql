-- Tables of chs do not lose rows unnoticed: SET UNLOGGED is refused, and TRUNCATE of what is derived is made good.
\set own_schema durable
\ir anew.psql
\set events chs.customer_events
\ir agree.psql
SELECT * FROM no_plan();

INSERT INTO chs.customers (customer_id, created_at) SELECT i, '2020-01-01' FROM generate_series(1, 20) i;
INSERT INTO chs.customer_events (customer_id, event_type, event_data) SELECT i, 'login', '{"ip_address": "::1"}' FROM generate_series(1, 20) i, generate_series(1, i);
SELECT chs_process_queue() \g /dev/null
INSERT INTO chs.customer_events (customer_id, event_type, event_data) SELECT i, 'login', '{"ip_address": "::1"}' FROM generate_series(11, 20) i;

-- Tables that logged ones refer to are refused by PostgreSQL itself.
SELECT throws_matching(format('ALTER TABLE %s SET UNLOGGED', oid::regclass), 'cannot become unlogged|could not change table', format('%s stays logged', oid::regclass))
FROM pg_class WHERE relnamespace = 'chs'::regnamespace AND relkind IN ('r', 'p') ORDER BY relname;
SELECT throws_ok('ALTER TABLE chs.queue SET UNLOGGED', '55000', 'table chs.queue cannot become unlogged', 'the queue says why');
SET session_replication_role = replica;
SELECT throws_ok('ALTER TABLE chs.queue SET UNLOGGED', '55000', 'table chs.queue cannot become unlogged', 'also where ordinary triggers do not fire');
RESET session_replication_role;
SELECT is((SELECT string_agg(oid::regclass::text, ', ') FROM pg_class WHERE relnamespace = 'chs'::regnamespace AND relpersistence <> 'p'), NULL, 'none is unlogged');
CREATE TABLE durable.mine (i integer);
SELECT lives_ok('ALTER TABLE durable.mine SET UNLOGGED; ALTER TABLE durable.mine SET LOGGED; ALTER TABLE durable.mine ALTER i TYPE bigint', 'others do as they like');
SELECT lives_ok('ALTER TABLE chs.failures SET (fillfactor = 90); ALTER TABLE chs.queue ALTER series_version SET STATISTICS 5', 'what rewrites nothing goes on');

\set what 'before'
SELECT * FROM agree(:'what');
TRUNCATE chs.queue;
\set what 'TRUNCATE of the queue'
SELECT * FROM agree(:'what' || ', queued');
SELECT chs_process_queue() \g /dev/null
SELECT * FROM agree(:'what' || ', folded');
INSERT INTO chs.customer_events (customer_id, event_type, event_data) SELECT i, 'login', '{"ip_address": "::1"}' FROM generate_series(1, 20) i;
TRUNCATE chs.activity;
\set what 'TRUNCATE of the activities'
SELECT * FROM agree(:'what' || ', queued');
SELECT chs_process_queue() \g /dev/null
SELECT * FROM agree(:'what' || ', folded');
BEGIN;
INSERT INTO chs.customer_events (customer_id, event_type, event_data) SELECT i, 'login', '{"ip_address": "::1"}' FROM generate_series(1, 20) i;
TRUNCATE chs.queue, chs.activity, chs.customer_health;
\set what 'TRUNCATE of all of it, in the transaction of events'
SELECT * FROM agree(:'what');
COMMIT;
SELECT * FROM agree(:'what' || ', queued');
SELECT chs_process_queue() \g /dev/null
SELECT * FROM agree(:'what' || ', folded');
TRUNCATE chs.customers CASCADE;
SELECT chs_process_queue() \g /dev/null
SELECT is((SELECT count(*) FROM chs.queue) + (SELECT count(*) FROM chs.activity), 0::bigint, 'TRUNCATE of the customers still cascades');

SELECT * FROM finish();
DROP EXTENSION chs CASCADE;
DROP SCHEMA tap, durable CASCADE;

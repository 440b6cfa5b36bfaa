-- What transactions do to events: after each way of writing them, chs_score() is the
-- score of the raw events that the snapshot sees, and chs_verify() finds nothing.
-- Commits, so it uses the database as it finds it and recreates the extension.

\set QUIET on
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;
SET timezone = 'America/New_York';

DROP EXTENSION IF EXISTS chs CASCADE;
DROP SCHEMA IF EXISTS tap CASCADE;
CREATE SCHEMA tap;
CREATE EXTENSION pgtap SCHEMA tap;
CREATE EXTENSION chs;
SET search_path = tap, public;

-- Helpers --------------------------------------------------------------------

\set events chs.customer_events
\ir agree.psql

-- What the fold leaves behind.
CREATE FUNCTION tap.stored(what text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    wrong text;
BEGIN
    RETURN NEXT is(count(*), 0::bigint, what || ': the queue is empty') FROM chs.queue;
    SELECT string_agg(format('customer %s: stored %s %s, now %s', customer_id, h.customer_id, h.score, chs_score(customer_id)), E'\n')
    INTO wrong
    FROM chs.customers c FULL JOIN chs.customer_health h USING (customer_id)
    WHERE h.customer_id IS NULL OR c.customer_id IS NULL OR h.score IS DISTINCT FROM chs_score(customer_id)
       OR h.status IS DISTINCT FROM chs_status(customer_id);
    RETURN NEXT is(wrong, NULL, what || ': the stored health is that of now');
END
$$;

-- Some event data of each type.
CREATE FUNCTION tap.data(type text, n bigint) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE type
        WHEN 'api_call' THEN jsonb_build_object('endpoint', '/v1/' || n % 4, 'status_code', CASE WHEN n % 5 = 0 THEN 500 ELSE 200 END)
        WHEN 'login' THEN jsonb_build_object('ip_address', '10.0.0.1', 'user_id', n % 3, 'session_duration', 100.5 + n)
        WHEN 'payment' THEN jsonb_build_object('amount', 10.25 * (1 + n % 3), 'status',
            (ARRAY['paid_on_time', 'completed', 'paid_late', 'overdue'])[1 + n % 4], 'days_late', n % 7)
        WHEN 'feature_use' THEN jsonb_build_object('feature_name', 'f' || n % 6, 'tier', CASE WHEN n % 2 = 0 THEN 'advanced' ELSE 'basic' END)
        ELSE jsonb_build_object('priority', (ARRAY['low', 'high', 'urgent'])[1 + n % 3], 'satisfaction', 1 + n % 5)
    END
$$;
CREATE FUNCTION tap.type(n bigint) RETURNS text LANGUAGE sql IMMUTABLE AS
    $$SELECT (ARRAY['api_call', 'login', 'payment', 'feature_use', 'support_ticket'])[1 + n % 5]$$;

-- n events from the n0th on for a customer, spread over the days before now.
CREATE FUNCTION tap.add(id bigint, n0 bigint, n bigint) RETURNS void LANGUAGE sql AS $$
    INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
    SELECT id, type(i), data(type(i), i), now() - make_interval(days => (i % 40)::integer)
    FROM generate_series(n0, n0 + n - 1) i
$$;

SELECT * FROM no_plan();

INSERT INTO chs.segments (segment, scorecard) VALUES ('classic', 'volume_only');
SELECT chs_publish('with a segment for volume_only') \g /dev/null
INSERT INTO chs.customers (customer_id, name, segment, created_at) VALUES
    (1, 'One', 'enterprise', '2020-01-01'), (2, 'Two', 'smb', '2020-01-01'), (3, 'Three', 'startup', now() - interval '3 days'),
    (4, 'Four', NULL, '2020-01-01'), (5, 'Five', 'classic', '2020-01-01'), (6, 'Six', 'classic', now() - interval '3 days');
\set what 'customers without events' \ir settle.psql

INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT c, type(i), data(type(i), i), now() - make_interval(days => (i % 100)::integer)
FROM generate_series(1, 5) c, generate_series(1, 60) i;
\set what 'one insert of many rows' \ir settle.psql
SELECT isnt(chs_score(id), NULL, 'customer ' || id || ' has a score') FROM unnest('{1,2,4,5}'::bigint[]) id;

-- Controls: what is wrong is found.
BEGIN;
ALTER TABLE chs.customer_events DISABLE TRIGGER "00_chs_capture";
INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (1, 'login', data('login', 1));
SELECT isnt_empty('SELECT * FROM chs_verify()', 'an event that went past the triggers is found by chs_verify');
SELECT isnt(counted(1, 'login'), (SELECT value FROM chs_explain(1) WHERE metric = 'logins'), 'and by counting');
ALTER TABLE chs.customer_events ENABLE ALWAYS TRIGGER "00_chs_capture";
SELECT chs_rebuild(1) \g /dev/null
SELECT * FROM agree('rebuilt');
ROLLBACK;
BEGIN;
UPDATE chs.activity SET activity = chs_activity_merge(activity, activity) WHERE customer_id = 1;
SELECT isnt_empty('SELECT * FROM chs_verify()', 'a wrong activity is found by chs_verify');
ROLLBACK;
BEGIN;
UPDATE chs.customer_health SET score = 1 WHERE customer_id = 1;
SELECT isnt_empty('SELECT * FROM chs_verify()', 'a wrong stored score is found by chs_verify');
ROLLBACK;
\set what 'after the controls' \ir settle.psql

-- What replication applies is captured as well.
SET session_replication_role = replica;
SELECT add(1, 1, 5);
DELETE FROM chs.customer_events WHERE customer_id = 2 AND event_type = 'login';
RESET session_replication_role;
\set what 'session_replication_role = replica' \ir settle.psql

-- Several statements, savepoints ----------------------------------------------

BEGIN;
SELECT add(1, 1, 5);
SELECT * FROM agree('first of several statements');
SELECT add(1, 6, 5);
SELECT add(2, 1, 1);
SELECT * FROM agree('third of several statements');
UPDATE chs.customer_events SET event_data = data('api_call', 3) WHERE event_type = 'api_call' AND customer_id = 1;
SELECT * FROM agree('update after inserts of the same transaction');
SELECT add(1, 11, 3);
SELECT * FROM agree('insert after that update');
DELETE FROM chs.customer_events WHERE event_type = 'login' AND customer_id = 1;
SELECT * FROM agree('delete after that insert');
COMMIT;
\set what 'several statements in one transaction' \ir settle.psql

BEGIN;
SELECT add(1, 1, 7);
ROLLBACK;
\set what rollback \ir settle.psql

BEGIN;
SELECT add(1, 1, 4);
SAVEPOINT a;
SELECT add(1, 5, 4);
SAVEPOINT b;
SELECT add(1, 9, 4);
SELECT add(3, 9, 4);
SELECT * FROM agree('inside the second savepoint');
ROLLBACK TO b;
SELECT * FROM agree('back to the second savepoint');
SELECT add(2, 13, 4);
RELEASE b;
SELECT * FROM agree('second savepoint released');
ROLLBACK TO a;
SELECT * FROM agree('back to the first savepoint');
SELECT add(4, 17, 4);
SAVEPOINT c;
DELETE FROM chs.customer_events WHERE customer_id = 4;
SELECT * FROM agree('deleted in a savepoint');
ROLLBACK TO c;
SELECT * FROM agree('delete rolled back');
SAVEPOINT d;
DELETE FROM chs.customer_events WHERE customer_id = 5 AND event_type = 'login';
RELEASE d;
COMMIT;
\set what savepoints \ir settle.psql

-- Errors in subtransactions -----------------------------------------------------

DO $$
BEGIN
    PERFORM tap.add(1, 1, 3);
    BEGIN
        PERFORM tap.add(1, 4, 3);
        BEGIN
            PERFORM tap.add(1, 7, 3);
            BEGIN
                PERFORM tap.add(1, 10, 3);
                RAISE division_by_zero;
            EXCEPTION WHEN division_by_zero THEN
                PERFORM tap.add(2, 13, 3);
            END;
            INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (1, 'login', '{"ip_address": "::1"}'), (1, 'login', '{}');
        EXCEPTION WHEN check_violation THEN
            PERFORM tap.add(3, 16, 3);
        END;
    END;
    BEGIN
        PERFORM tap.add(4, 19, 3);
        UPDATE chs.customer_events SET customer_id = 4711 WHERE customer_id = 4;
    EXCEPTION WHEN foreign_key_violation THEN
        NULL;
    END;
    IF EXISTS (SELECT FROM chs.customers WHERE chs_score(customer_id) IS DISTINCT FROM tap.fresh(customer_id)) THEN
        RAISE 'wrong inside the block';
    END IF;
END
$$;
\set what 'exception blocks, nested' \ir settle.psql

-- A statement that fails after its rows were captured leaves nothing for the next one.
BEGIN;
SELECT add(1, 22, 2);
SAVEPOINT a;
\set ON_ERROR_STOP off
INSERT INTO chs.customer_events (customer_id, event_type, event_data)
SELECT 1, 'login', CASE WHEN i < 50 THEN data('login', i) ELSE '{}' END FROM generate_series(1, 50) i;
\set state :LAST_ERROR_SQLSTATE
\set ON_ERROR_STOP on
ROLLBACK TO a;
SELECT is(:'state', '23514'::text, 'the fiftieth row is refused');
SELECT * FROM agree('after a failed statement');
SELECT add(1, 24, 2);
COMMIT;
\set what 'a failed statement' \ir settle.psql

BEGIN;
SELECT add(1, 26, 2);
SAVEPOINT a;
SET LOCAL statement_timeout = '150ms';
\set ON_ERROR_STOP off
INSERT INTO chs.customer_events (customer_id, event_type, event_data)
SELECT 1 + i % 5, 'login', data('login', i) FROM generate_series(1, 100000000) i;
\set state :LAST_ERROR_SQLSTATE
\set ON_ERROR_STOP on
ROLLBACK TO a;
SELECT is(:'state', '57014'::text, 'the time-out came');
SET LOCAL statement_timeout = 0;
SELECT * FROM agree('after the time-out');
SELECT add(2, 28, 2);
COMMIT;
\set what 'a statement that timed out' \ir settle.psql

-- INSERT ... ON CONFLICT, MERGE, writable CTEs ---------------------------------

INSERT INTO chs.customer_events (customer_id, event_type, event_data, idempotency_key)
SELECT 1 + i % 2, 'login', data('login', i), 'k' || i FROM generate_series(1, 10) i;
BEGIN;
INSERT INTO chs.customer_events (customer_id, event_type, event_data, idempotency_key)
SELECT 1 + i % 2, 'login', data('login', i), 'k' || i FROM generate_series(6, 15) i
ON CONFLICT (customer_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING;
SELECT is((SELECT count(*) FROM chs.customer_events WHERE idempotency_key LIKE 'k%'), 15::bigint, 'five of ten rows are new');
SELECT * FROM agree('ON CONFLICT DO NOTHING, in its transaction');
COMMIT;
\set what 'ON CONFLICT DO NOTHING' \ir settle.psql
INSERT INTO chs.customer_events (customer_id, event_type, event_data, idempotency_key)
SELECT 1 + i % 2, 'login', data('login', i), 'k' || i FROM generate_series(1, 15) i
ON CONFLICT (customer_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING;
\set what 'ON CONFLICT DO NOTHING, nothing new' \ir settle.psql

BEGIN;
INSERT INTO chs.customer_events (customer_id, event_type, event_data, idempotency_key)
SELECT 1 + i % 2, 'api_call', data('api_call', i), 'k' || i FROM generate_series(11, 20) i
ON CONFLICT (customer_id, idempotency_key) WHERE idempotency_key IS NOT NULL
DO UPDATE SET event_type = excluded.event_type, event_data = excluded.event_data
WHERE customer_events.event_id % 2 = 0;
SELECT * FROM agree('ON CONFLICT DO UPDATE, in its transaction');
COMMIT;
\set what 'ON CONFLICT DO UPDATE' \ir settle.psql

BEGIN;
MERGE INTO chs.customer_events e
USING (SELECT 1 + i % 2 AS customer_id, 'k' || i AS key, i FROM generate_series(1, 30) i) n
ON e.customer_id = n.customer_id AND e.idempotency_key = n.key
WHEN MATCHED AND n.i % 3 = 0 THEN DELETE
WHEN MATCHED AND n.i % 3 = 1 THEN UPDATE SET occurred_at = e.occurred_at - interval '15 days'
WHEN NOT MATCHED THEN INSERT (customer_id, event_type, event_data, idempotency_key)
    VALUES (n.customer_id, 'support_ticket', tap.data('support_ticket', n.i), n.key);
SELECT * FROM agree('MERGE, in its transaction');
COMMIT;
\set what MERGE \ir settle.psql

BEGIN;
WITH gone AS (DELETE FROM chs.customer_events WHERE customer_id = 1 AND event_id % 3 = 0 RETURNING *),
     moved AS (INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
               SELECT 3, event_type, event_data, occurred_at FROM gone RETURNING 1),
     changed AS (UPDATE chs.customer_events SET occurred_at = occurred_at - interval '1 day' WHERE customer_id = 2 RETURNING 1),
     more AS (INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (4, 'login', data('login', 8)) RETURNING 1)
SELECT ok(chs_score(1) IS NOT DISTINCT FROM fresh(1) AND chs_score(3) IS NOT DISTINCT FROM fresh(3)
          AND (SELECT count(*) FROM moved) > 0 AND (SELECT count(*) FROM changed) > 0 AND (SELECT count(*) FROM more) = 1,
          'within the statement the score is that of its snapshot');
SELECT * FROM agree('writable CTEs, in their transaction');
COMMIT;
\set what 'writable CTEs' \ir settle.psql

-- COPY -------------------------------------------------------------------------

COPY chs.customer_events (customer_id, event_type, event_data) FROM stdin;
1	login	{"ip_address": "10.1.1.1", "user_id": 9}
2	payment	{"amount": 12.5}
3	api_call	{"endpoint": "/a"}
1	support_ticket	{}
\.
\set what COPY \ir settle.psql
\set ON_ERROR_STOP off
COPY chs.customer_events (customer_id, event_type, event_data) FROM stdin;
1	login	{"ip_address": "10.1.1.1", "user_id": 9}
2	payment	{"amount": 0}
3	api_call	{"endpoint": "/a"}
\.
SELECT is((SELECT count(*) FROM chs.customer_events WHERE event_data @> '{"ip_address": "10.1.1.1"}'), 1::bigint, 'COPY refuses a bad row');
\set ON_ERROR_STOP on
\set what 'COPY with a bad row' \ir settle.psql

-- Far more customers and rows than a small work_mem holds.
\set fewer 1
\getenv fewer CHS_FEWER
INSERT INTO chs.customers (customer_id, segment, created_at)
SELECT 1000 + i, (ARRAY['enterprise', 'smb', 'startup'])[1 + i % 3], '2021-01-01' FROM generate_series(1, 2000 / :fewer) i;
SELECT current_setting('data_directory') || '/load.csv' AS file \gset
COPY (SELECT 1001 + (i * 7919) % (2000 / :fewer), type(i), data(type(i), i), now() - make_interval(hours => i % 2400)
      FROM generate_series(1, 60000 / :fewer) i) TO :'file' (FORMAT csv);
SET work_mem = '64kB';
-- The memory that capture holds, checked a dozen times.
CREATE TABLE tap.memory (bytes bigint);
CREATE FUNCTION tap.measure() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tap.memory SELECT COALESCE(sum(total_bytes), 0) FROM pg_backend_memory_contexts WHERE name LIKE 'chs %' AND name <> 'chs scorecard';
    RETURN NULL;
END
$$;
CREATE TRIGGER measures AFTER INSERT ON chs.customer_events FOR EACH ROW WHEN (NEW.event_id % (5000 / :fewer) = 0) EXECUTE FUNCTION tap.measure();
BEGIN;
COPY chs.customer_events (customer_id, event_type, event_data, occurred_at) FROM :'file' (FORMAT csv);
SELECT * FROM agree('a large COPY with a small work_mem, in its transaction');
COMMIT;
DROP TRIGGER measures ON chs.customer_events;
SELECT ok(count(*) >= 11 AND max(bytes) > 0, 'memory was measured') FROM tap.memory;
SELECT cmp_ok(max(bytes), '<', 4 * 65536::bigint, 'capture stays within work_mem, roughly') FROM tap.memory;
\set what 'a large COPY with a small work_mem' \ir settle.psql
RESET work_mem;
DELETE FROM chs.customers WHERE customer_id > 1100;
\set what 'many customers deleted' \ir settle.psql

-- Cursors: one opened before does not see what comes after ----------------------

CREATE FUNCTION tap.fetched(portal refcursor, what text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    r record;
    n integer := 0;
    wrong text := '';
BEGIN
    LOOP
        FETCH portal INTO r;
        EXIT WHEN NOT FOUND;
        n := n + 1;
        IF r.score IS DISTINCT FROM r.fresh OR r.logins IS DISTINCT FROM r.counted THEN
            wrong := wrong || format('customer %s: %s, not %s; %s logins, not %s' || E'\n', r.customer_id, r.score, r.fresh, r.logins, r.counted);
        END IF;
    END LOOP;
    RETURN is(format('%s rows %s', n, wrong), '5 rows ', what);
END
$$;
CREATE VIEW tap.compared AS
SELECT customer_id, chs_score(customer_id) AS score, fresh(customer_id) AS fresh,
       (SELECT COALESCE(value, 0) FROM chs_explain(customer_id) WHERE metric = 'logins') AS logins, counted(customer_id, 'login') AS counted
FROM chs.customers WHERE customer_id <= 5;
SELECT add(1, 1, 5);
BEGIN;
SELECT add(2, 1, 5);
DECLARE before CURSOR FOR SELECT * FROM compared ORDER BY customer_id;
SELECT add(1, 1, 10), add(2, 1, 20);
DECLARE between_ CURSOR FOR SELECT * FROM compared ORDER BY customer_id;
DELETE FROM chs.customer_events WHERE customer_id IN (1, 3) AND event_type = 'login';
SELECT fetched('before', 'a cursor does not see later inserts and deletes');
SELECT fetched('between_', 'a cursor sees earlier inserts, but no later delete');
DECLARE held CURSOR WITH HOLD FOR SELECT * FROM compared ORDER BY customer_id;
SELECT add(3, 1, 10);
COMMIT;
BEGIN;
DECLARE waiting CURSOR FOR SELECT * FROM compared ORDER BY customer_id;
SELECT chs_process_queue() \g /dev/null
SELECT add(1, 1, 3);
SELECT fetched('waiting', 'a cursor sees the deltas that were folded after it was opened, once');
COMMIT;
SELECT fetched('held', 'a held cursor');
CLOSE held;
\set what cursors \ir settle.psql

BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT add(1, 2, 3);
SELECT * FROM agree('repeatable read, own inserts');
SELECT throws_ok('SELECT chs_process_queue()', '0A000', NULL, 'nothing is folded by an old snapshot');
SELECT add(1, 5, 3);
SELECT * FROM agree('repeatable read, further inserts');
COMMIT;
\set what 'repeatable read' \ir settle.psql
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT add(2, 2, 3);
SELECT * FROM agree('serializable, own inserts');
COMMIT;
\set what serializable \ir settle.psql

BEGIN;
SELECT add(1, 5, 3);
SELECT chs_process_queue() \g /dev/null
SELECT * FROM agree('folded in the transaction of the insert');
SELECT add(1, 8, 3);
ROLLBACK;
\set what 'a fold that was rolled back' \ir settle.psql
BEGIN;
SELECT add(1, 5, 3);
SAVEPOINT a;
SELECT chs_process_queue() \g /dev/null
ROLLBACK TO a;
SELECT * FROM agree('fold rolled back to a savepoint');
SELECT add(1, 8, 3);
COMMIT;
\set what 'a fold in a savepoint' \ir settle.psql

-- Prepared transactions ----------------------------------------------------------

SELECT current_setting('max_prepared_transactions')::integer > 0 AS two_phase \gset
\if :two_phase
BEGIN;
SELECT add(1, 1, 6), add(2, 1, 6);
DELETE FROM chs.customer_events WHERE customer_id = 4 AND event_type = 'payment';
PREPARE TRANSACTION 'chs one';
SELECT * FROM agree('prepared, not committed');
SELECT add(1, 7, 4), add(3, 7, 4);
SELECT chs_process_queue() \g /dev/null
SELECT * FROM agree('later transaction folded before the prepared one commits');
COMMIT PREPARED 'chs one';
\set what 'COMMIT PREPARED' \ir settle.psql
BEGIN;
SELECT add(1, 1, 6), add(2, 1, 6);
SAVEPOINT a;
SELECT add(3, 1, 6);
ROLLBACK TO a;
PREPARE TRANSACTION 'chs two';
SELECT add(1, 11, 2);
ROLLBACK PREPARED 'chs two';
\set what 'ROLLBACK PREPARED' \ir settle.psql
-- A rebuild while another transaction that added to the customer is still open.
BEGIN;
SELECT add(1, 13, 6);
PREPARE TRANSACTION 'chs three';
DELETE FROM chs.customer_events WHERE customer_id = 1 AND event_type = 'feature_use';
SELECT chs_process_queue() \g /dev/null
SELECT * FROM agree('rebuilt beside a prepared transaction');
CALL chs_rebuild();
COMMIT PREPARED 'chs three';
\set what 'rebuild, then COMMIT PREPARED' \ir settle.psql
-- And one that deletes, with a rebuild in between.
BEGIN;
DELETE FROM chs.customer_events WHERE customer_id = 1 AND event_type = 'login';
PREPARE TRANSACTION 'chs four';
SELECT add(1, 19, 6);
SELECT chs_rebuild(1) \g /dev/null
SELECT * FROM agree('rebuilt beside a prepared delete');
COMMIT PREPARED 'chs four';
\set what 'rebuild, then a prepared delete' \ir settle.psql
\else
SELECT skip('max_prepared_transactions is 0', 1);
\endif

-- Triggers of the user -------------------------------------------------------------

CREATE TABLE tap.seen (what text, n bigint, wrong bigint);
CREATE FUNCTION tap.look() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tap.seen SELECT TG_LEVEL || ' ' || TG_OP, count(*),
        count(*) FILTER (WHERE chs_score(customer_id) IS DISTINCT FROM tap.fresh(customer_id)
                         OR (SELECT COALESCE(value, 0) FROM chs_explain(customer_id) WHERE metric = 'logins') <> tap.counted(customer_id, 'login'))
    FROM chs.customers WHERE customer_id < 6;
    RETURN NULL;
END
$$;
SELECT chs_process_queue() \g /dev/null
CREATE TRIGGER looks AFTER INSERT OR UPDATE OR DELETE ON chs.customer_events FOR EACH STATEMENT EXECUTE FUNCTION tap.look();
SELECT add(1, 1, 5), add(2, 1, 5);
UPDATE chs.customer_events SET occurred_at = occurred_at - interval '2 days' WHERE customer_id = 1 AND event_type = 'login';
DELETE FROM chs.customer_events WHERE customer_id = 2 AND event_type = 'login';
SELECT results_eq('SELECT what, min(n), sum(wrong) FROM tap.seen GROUP BY what ORDER BY what',
    $$VALUES ('STATEMENT DELETE', 5::bigint, 0::numeric), ('STATEMENT INSERT', 5, 0), ('STATEMENT UPDATE', 5, 0)$$,
    'statement triggers of the user see the score of the rows that they see');
DROP TRIGGER looks ON chs.customer_events;
TRUNCATE tap.seen;
-- Folded, because a rebuild in the queue would cause the raw events to be read.
SELECT chs_process_queue() \g /dev/null
CREATE TRIGGER looks AFTER INSERT OR UPDATE OR DELETE ON chs.customer_events FOR EACH ROW EXECUTE FUNCTION tap.look();
SELECT add(1, 1, 5), add(2, 1, 5);
SELECT results_eq('SELECT what, count(*), sum(wrong) FROM tap.seen GROUP BY what', $$VALUES ('ROW INSERT', 10::bigint, 0::numeric)$$,
    'row triggers of the user on INSERT see the score of the rows that they see');
TRUNCATE tap.seen;
DELETE FROM chs.customer_events WHERE customer_id = 1 AND event_type = 'login';
SELECT is((SELECT sum(wrong) FROM tap.seen), 0::numeric, 'and on DELETE');
DROP TRIGGER looks ON chs.customer_events;

CREATE FUNCTION tap.follow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() = 1 THEN
        INSERT INTO chs.customer_events (customer_id, event_type, event_data)
        SELECT NEW.customer_id, 'login', tap.data('login', i) FROM generate_series(1, 2) i;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER follows AFTER INSERT ON chs.customer_events FOR EACH ROW EXECUTE FUNCTION tap.follow();
SELECT add(1, 1, 5), add(3, 1, 5);
DROP TRIGGER follows ON chs.customer_events;
\set what 'a trigger that inserts events' \ir settle.psql

CREATE FUNCTION tap.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tap.seen VALUES ('at commit', 1, (SELECT count(*) FROM chs.customers WHERE chs_score(customer_id) IS DISTINCT FROM tap.fresh(customer_id)));
    IF NEW.event_data ? 'bad' THEN RAISE 'refused at commit'; END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER refuses AFTER INSERT ON chs.customer_events DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION tap.refuse();
\set ON_ERROR_STOP off
BEGIN;
SELECT add(1, 1, 5);
INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (2, 'support_ticket', '{"bad": true}');
COMMIT;
SELECT is(:'LAST_ERROR_SQLSTATE', 'P0001'::text, 'refused at commit');
\set ON_ERROR_STOP on
\set what 'a constraint that failed at commit' \ir settle.psql
BEGIN;
SELECT add(1, 6, 5);
COMMIT;
SELECT is((SELECT sum(wrong) FROM tap.seen WHERE what = 'at commit'), 0::numeric, 'triggers at commit see the right scores');
DROP TRIGGER refuses ON chs.customer_events;
\set what 'a constraint that held at commit' \ir settle.psql

CREATE FUNCTION tap.drop_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.event_type = 'login' THEN RETURN NULL; END IF;
    NEW.event_data := NEW.event_data || '{"endpoint": "/changed"}';
    RETURN NEW;
END
$$;
CREATE TRIGGER drops BEFORE INSERT ON chs.customer_events FOR EACH ROW EXECUTE FUNCTION tap.drop_row();
SELECT add(1, 1, 10);
DROP TRIGGER drops ON chs.customer_events;
\set what 'a trigger that drops and changes rows' \ir settle.psql

-- Row triggers alone, as when replication applies rows: what they collect is
-- queued when somebody looks, and at the end of each (sub)transaction.

CREATE PROCEDURE tap.load() LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 10 LOOP
        PERFORM tap.add(1 + i % 5, i, 3);
        IF i % 4 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
        IF i = 5 THEN
            PERFORM chs_process_queue();
            COMMIT;
        END IF;
        IF EXISTS (SELECT FROM chs.customers WHERE chs_score(customer_id) IS DISTINCT FROM tap.fresh(customer_id)) THEN
            RAISE 'wrong after step %', i;
        END IF;
    END LOOP;
END
$$;
ALTER TABLE chs.customer_events DISABLE TRIGGER "00_chs_capture_flush";
SELECT add(1, 1, 5);
\set what 'row triggers alone: one statement' \ir settle.psql
BEGIN;
SELECT add(1, 6, 5);
SELECT * FROM agree('row triggers alone: looked at');
SELECT add(1, 11, 5), add(2, 11, 5);
DELETE FROM chs.customer_events WHERE customer_id = 2 AND event_type = 'login';
COMMIT;
\set what 'row triggers alone: several statements' \ir settle.psql
BEGIN;
SELECT add(1, 16, 5);
SAVEPOINT a;
SELECT add(1, 21, 5);
SAVEPOINT b;
SELECT add(2, 21, 5), add(3, 21, 5);
ROLLBACK TO b;
SELECT add(4, 21, 5);
RELEASE a;
SELECT add(1, 26, 5);
SAVEPOINT c;
SELECT add(1, 31, 5);
ROLLBACK TO c;
COMMIT;
\set what 'row triggers alone: savepoints' \ir settle.psql
DO $$
BEGIN
    PERFORM tap.add(1, 1, 3);
    BEGIN
        PERFORM tap.add(1, 4, 3);
        BEGIN
            PERFORM tap.add(1, 7, 3);
            RAISE division_by_zero;
        EXCEPTION WHEN division_by_zero THEN
            PERFORM tap.add(2, 13, 3);
        END;
        PERFORM tap.add(2, 16, 3);
    END;
END
$$;
\set what 'row triggers alone: exception blocks' \ir settle.psql
BEGIN;
SELECT add(1, 36, 5);
DECLARE early CURSOR FOR SELECT * FROM compared ORDER BY customer_id;
SELECT add(1, 41, 5);
SELECT fetched('early', 'row triggers alone: a cursor');
ROLLBACK;
\set what 'row triggers alone: rolled back' \ir settle.psql
\if :two_phase
BEGIN;
SELECT add(1, 46, 5);
SAVEPOINT a;
SELECT add(2, 46, 5);
PREPARE TRANSACTION 'chs five';
SELECT add(3, 46, 5);
SELECT * FROM agree('row triggers alone: prepared');
COMMIT PREPARED 'chs five';
\set what 'row triggers alone: COMMIT PREPARED' \ir settle.psql
\endif
CALL tap.load();
\set what 'row triggers alone: a procedure that commits in a loop' \ir settle.psql
ALTER TABLE chs.customer_events ENABLE ALWAYS TRIGGER "00_chs_capture_flush";

-- Procedures -----------------------------------------------------------------------

CALL tap.load();
\set what 'a procedure that commits in a loop' \ir settle.psql

-- Updates and deletes of events --------------------------------------------------------

BEGIN;
UPDATE chs.customer_events SET customer_id = 3 WHERE customer_id = 1 AND event_type = 'login';
SELECT * FROM agree('events moved to another customer, in the transaction');
COMMIT;
\set what 'events moved to another customer' \ir settle.psql
UPDATE chs.customer_events SET occurred_at = occurred_at - interval '29 days' WHERE customer_id = 2;
\set what 'events moved back in time' \ir settle.psql
UPDATE chs.customer_events SET event_type = 'support_ticket' WHERE customer_id = 3 AND event_type = 'login';
\set what 'events of another type' \ir settle.psql
DELETE FROM chs.customer_events WHERE customer_id = 3;
\set what 'all events of a customer deleted' \ir settle.psql
UPDATE chs.customer_events SET event_data = event_data WHERE false;
DELETE FROM chs.customer_events WHERE false;
INSERT INTO chs.customer_events (customer_id, event_type) SELECT 1, 'support_ticket' WHERE false;
\set what 'statements without rows' \ir settle.psql
INSERT INTO chs.customer_events (customer_id, event_type, event_data)
VALUES (1, 'api_call', jsonb_build_object('endpoint', repeat('long', 50000))),
       (1, 'api_call', (SELECT jsonb_object_agg('k' || i, md5(i::text)) || '{"endpoint": "/toasted"}' FROM generate_series(1, 3000) i));
\set what 'long event data' \ir settle.psql

-- Customers that change ------------------------------------------------------------------

BEGIN;
UPDATE chs.customers SET segment = 'startup' WHERE customer_id = 1;
SELECT * FROM agree('another segment, in the transaction');
COMMIT;
\set what 'another segment' \ir settle.psql
UPDATE chs.customers SET segment = NULL, created_at = now() WHERE customer_id = 2;
\set what 'no segment, and new' \ir settle.psql
UPDATE chs.customers SET churned_at = now() - interval '20 days' WHERE customer_id = 4;
\set what 'a customer that churned' \ir settle.psql
SELECT add(4, 1, 10);
\set what 'events of a customer that churned' \ir settle.psql
UPDATE chs.customers SET churned_at = NULL WHERE customer_id = 4;
\set what 'a customer that came back' \ir settle.psql
UPDATE chs.customers SET name = 'Renamed' WHERE customer_id = 4;
\set what 'a customer renamed' \ir settle.psql

-- Its key, with deltas still queued under the old one.
SELECT add(1, 1, 10);
BEGIN;
SELECT add(1, 11, 5);
UPDATE chs.customers SET customer_id = 71 WHERE customer_id = 1;
SELECT * FROM agree('customer_id changed, in the transaction');
SELECT add(71, 16, 5);
COMMIT;
\set what 'customer_id changed' \ir settle.psql
SELECT ok(counted(71, 'login') > 0, 'the events went along');
UPDATE chs.customers SET customer_id = 1 WHERE customer_id = 71;
\set what 'customer_id changed back' \ir settle.psql
BEGIN;
UPDATE chs.customers SET customer_id = 72 WHERE customer_id = 1;
ROLLBACK;
\set what 'change of customer_id rolled back' \ir settle.psql

-- Deleted, and another customer with the same number, with deltas of the first still queued.
SELECT add(5, 1, 10);
BEGIN;
SELECT add(5, 11, 5);
DELETE FROM chs.customers WHERE customer_id = 5;
SELECT * FROM agree('customer deleted, in the transaction');
COMMIT;
SELECT * FROM agree('customer deleted');
SELECT throws_ok('SELECT chs_score(5)', 'P0002', NULL, 'there is no score of a deleted customer');
SELECT throws_ok('SELECT add(5, 1, 1)', '23503', NULL, 'nor can it have events');
INSERT INTO chs.customers (customer_id, name, created_at) VALUES (5, 'Another five', '2020-01-01');
SELECT is((SELECT value FROM chs_explain(5) WHERE metric = 'logins'), 0::double precision, 'its successor begins from nothing');
\set what 'customer deleted, and its number used again' \ir settle.psql
SELECT add(5, 1, 10);
SELECT chs_process_queue() \g /dev/null
DELETE FROM chs.customers WHERE customer_id = 5;
SELECT is_empty('SELECT customer_id FROM chs.activity WHERE customer_id = 5 UNION ALL SELECT customer_id FROM chs.customer_health WHERE customer_id = 5
    UNION ALL SELECT customer_id FROM chs.health_scores WHERE customer_id = 5 UNION ALL SELECT customer_id FROM chs.customer_events WHERE customer_id = 5',
    'nothing of a deleted customer stays');
\set what 'customer deleted' \ir settle.psql
BEGIN;
DELETE FROM chs.customers WHERE customer_id = 2;
INSERT INTO chs.customers (customer_id, created_at) VALUES (2, '2020-01-01');
SELECT add(2, 1, 5);
COMMIT;
\set what 'deleted and inserted again in one transaction' \ir settle.psql
BEGIN;
DELETE FROM chs.customers WHERE customer_id = 1;
ROLLBACK;
\set what 'delete of a customer rolled back' \ir settle.psql

-- TRUNCATE ---------------------------------------------------------------------------------

BEGIN;
SELECT add(1, 1, 5);
TRUNCATE chs.customer_events;
SELECT * FROM agree('TRUNCATE, in its transaction');
SELECT add(1, 1, 5);
SELECT * FROM agree('events after TRUNCATE, in its transaction');
ROLLBACK;
\set what 'TRUNCATE rolled back' \ir settle.psql
SELECT add(1, 1, 5);
BEGIN;
TRUNCATE chs.customer_events;
SELECT add(2, 1, 5);
COMMIT;
\set what TRUNCATE \ir settle.psql
SELECT is(counted(1, 'login'), 0::double precision, 'customer 1 has no login any more');

-- Publishing ---------------------------------------------------------------------------------

SELECT add(1, 1, 50);
BEGIN;
UPDATE chs.metrics SET window_days = 20 WHERE metric = 'active_users';
INSERT INTO chs.metrics (scorecard, factor, metric, position, event_type, aggregate, window_days, curve, weight, missing)
VALUES ('default', 'login_frequency', 'login_days', 10, 'login', 'active_days', 10, '0:0 10:100', 0.3, 'zero');
SELECT chs_publish('more') \g /dev/null
SELECT * FROM agree('published, in its transaction');
ROLLBACK;
\set what 'publishing rolled back' \ir settle.psql
UPDATE chs.metrics SET filter = '$.amount > 20', measure = 'count', field = NULL WHERE metric = 'outstanding_share';
INSERT INTO chs.metrics (scorecard, factor, metric, position, event_type, aggregate, window_days, curve, weight, missing)
VALUES ('default', 'login_frequency', 'login_days', 10, 'login', 'active_days', 10, '0:0 10:100', 0.3, 'zero');
SELECT add(1, 51, 10);
SELECT chs_publish('more') \g /dev/null
SELECT * FROM agree('published with deltas of the old version in the queue');
CALL chs_recalculate_all();
\set what 'a new series published' \ir settle.psql
SELECT isnt((SELECT value FROM chs_explain(1) WHERE metric = 'login_days'), 0::double precision, 'the new metric counts what was there before');

-- The transaction's own locks are not in the way.
BEGIN;
SELECT count(*) FROM (SELECT FROM chs.customer_health FOR UPDATE) h, (SELECT FROM chs.activity FOR UPDATE) a \g /dev/null
SELECT add(1, 61, 1);
SELECT count(*) FROM (SELECT FROM chs.queue FOR UPDATE) q \g /dev/null
SELECT lives_ok('SELECT chs_recalculate(1)', 'health that the transaction itself has locked is stored');
SELECT is_empty('SELECT FROM chs.queue WHERE customer_id = 1', 'and what was folded is gone from the queue');
COMMIT;

TRUNCATE chs.customers CASCADE;
SELECT * FROM agree('TRUNCATE of the customers');
SELECT chs_process_queue() \g /dev/null
SELECT is_empty('TABLE chs.customer_health', 'no health without customers');

SELECT * FROM finish();
DROP EXTENSION chs CASCADE;
DROP SCHEMA tap CASCADE;

-- Customers who go, or get another number, without foreign keys: by logical replication, or in its mode.

\ir begin.psql

CREATE FUNCTION pg_temp.left_of(ids bigint[]) RETURNS TABLE (what text, n bigint) LANGUAGE sql AS $$
    SELECT 'activity', count(*) FROM chs.activity WHERE customer_id = ANY (ids)
    UNION ALL SELECT 'customer_health', count(*) FROM chs.customer_health WHERE customer_id = ANY (ids)
    UNION ALL SELECT 'health_scores', count(*) FROM chs.health_scores WHERE customer_id = ANY (ids)
    UNION ALL SELECT 'failures', count(*) FROM chs.failures WHERE customer_id = ANY (ids)
    UNION ALL SELECT 'queue', count(*) FROM chs.queue WHERE customer_id = ANY (ids)
$$;
CREATE FUNCTION pg_temp.live_and_stored() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT customer_id::text FROM chs.customers LEFT JOIN chs.customer_health h USING (customer_id)
    WHERE h.score IS DISTINCT FROM chs_score(customer_id)
$$;

INSERT INTO chs.customers (customer_id, segment, created_at) SELECT i, 'smb', '2020-01-01' FROM generate_series(1, 20) i;
INSERT INTO chs.customer_events (customer_id, event_type, event_data)
SELECT i, 'login', jsonb_build_object('ip_address', '::1', 'user_id', j) FROM generate_series(1, 20) i, generate_series(1, 5) j;
SELECT chs_process_queue() \g /dev/null
INSERT INTO chs.failures SELECT i, 'XX000', 'message', NULL, 1, now(), now(), 1 FROM generate_series(1, 20) i;
CREATE TEMP TABLE history AS SELECT health_score_id, score FROM chs.health_scores WHERE customer_id IN (5, 6);

SET LOCAL session_replication_role = replica;
DELETE FROM chs.customers WHERE customer_id IN (7, 8);
DELETE FROM chs.customer_events WHERE customer_id IN (7, 8);
UPDATE chs.customers SET customer_id = customer_id + 1000 WHERE customer_id IN (5, 6);
UPDATE chs.customer_events SET customer_id = customer_id + 1000 WHERE customer_id IN (5, 6);
-- one takes the number that another one had
UPDATE chs.customers SET customer_id = 10 - customer_id WHERE customer_id IN (3);
UPDATE chs.customer_events SET customer_id = 7 WHERE customer_id = 3;
SELECT is_empty($$SELECT * FROM pg_temp.left_of('{3,5,6,8}') WHERE n > 0 AND what <> 'queue'$$, 'nothing is left of who went');
SELECT results_eq('SELECT health_score_id, score FROM chs.health_scores WHERE customer_id IN (1005, 1006) ORDER BY 1',
                  'SELECT * FROM history ORDER BY 1', 'the history of a customer with another number goes on');
SELECT is_empty('SELECT * FROM chs_verify()', 'all is right before the queue is folded');
SELECT chs_process_queue() \g /dev/null
SELECT is_empty($$SELECT * FROM pg_temp.left_of('{3,5,6,8}') WHERE n > 0$$, 'nor in the queue');
SELECT is((SELECT total FROM chs.dashboard_stats), 18::bigint, 'the dashboards count those who are there');
SELECT is_empty('SELECT * FROM chs_verify()', 'all is right afterwards');
SELECT is_empty('SELECT pg_temp.live_and_stored()', 'and what is stored is what is live');

-- Whose events are not deleted with them.
DELETE FROM chs.customers WHERE customer_id = 9;
SELECT chs_process_queue() \g /dev/null
SELECT results_eq('SELECT customer_id, difference FROM chs_verify()', $$VALUES (9::bigint, 'customer')$$, 'events of nobody are found');
INSERT INTO chs.customers (customer_id, segment, created_at) VALUES (9, 'smb', '2020-01-01');
SELECT is_empty('SELECT * FROM chs_verify()', 'if the customer comes back, they count');
SELECT chs_process_queue() \g /dev/null
SELECT is_empty('SELECT * FROM chs_verify()', 'also when it has been folded');
SET LOCAL session_replication_role = origin;

-- The same with foreign keys.
DELETE FROM chs.customer_events WHERE customer_id IN (10, 11);
DELETE FROM chs.customers WHERE customer_id = 10;
UPDATE chs.customers SET customer_id = 1011 WHERE customer_id = 11;
SELECT is_empty($$SELECT * FROM pg_temp.left_of('{10,11}') WHERE n > 0 AND what <> 'queue'$$, 'nothing is left with foreign keys');
SELECT is((SELECT count(*) FROM chs.health_scores WHERE customer_id = 1011), 1::bigint, 'and the history goes on');
SELECT chs_process_queue() \g /dev/null
SELECT is_empty('SELECT * FROM chs_verify()', 'and all is right');

-- What is there of nobody all the same.
CREATE FUNCTION pg_temp.plant(id bigint) RETURNS void LANGUAGE sql AS $$
    INSERT INTO chs.activity SELECT id, folded_to, series_version, activity FROM chs.activity WHERE customer_id = 1;
    INSERT INTO chs.customer_health SELECT (jsonb_populate_record(h, jsonb_build_object('customer_id', id))).* FROM chs.customer_health h WHERE customer_id = 1;
    INSERT INTO chs.health_scores (customer_id, scorecard, version, as_of, status, coverage, factor_scores, calculated_at)
    SELECT id, scorecard, version, as_of, status, coverage, factor_scores, calculated_at FROM chs.health_scores WHERE customer_id = 1;
    INSERT INTO chs.failures VALUES (id, 'XX000', 'message', NULL, 1, now(), now(), 1);
    INSERT INTO chs.queue SELECT '3', id, now(), series_version, false, activity FROM chs.activity WHERE customer_id = 1;
$$;
SET LOCAL session_replication_role = replica;
SELECT pg_temp.plant(5000), pg_temp.plant(5001) \g /dev/null
SET LOCAL session_replication_role = origin;
SELECT is(chs_purge_customer(5000), 0::bigint, 'purging removes what is left of one who is gone');
SELECT is_empty($$SELECT * FROM pg_temp.left_of('{5000}') WHERE n > 0$$, 'all of it');
SELECT throws_ok('SELECT chs_purge_customer(5000)', 'P0002', NULL, 'after which there is nobody');
SELECT isnt_empty('SELECT * FROM chs_verify() WHERE customer_id = 5001', 'verifying finds the other one');
CALL chs_rebuild();
SELECT is_empty($$SELECT * FROM pg_temp.left_of('{5001}') WHERE n > 0$$, 'rebuilding removes what is left of it');
SELECT is_empty('SELECT * FROM chs_verify()', 'after which all is right');

SELECT * FROM finish();
ROLLBACK;

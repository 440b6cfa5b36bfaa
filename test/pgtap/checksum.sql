-- Flipped bits in what is stored are found wherever they are, and cost nothing but a rebuild.

\ir begin.psql
SET LOCAL client_min_messages = error;   -- of each rebuild a warning is given
\ir ../oracle/oracle.sql

-- As a disk would do it: what these bytes are is looked at by nobody.
CREATE CAST (bytea AS chs_activity) WITHOUT FUNCTION;
CREATE CAST (chs_activity AS bytea) WITHOUT FUNCTION;

-- Whether a function that reads an activity takes these bytes.
CREATE FUNCTION tap.is_taken(bytes bytea) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM chs_activity_merge(bytes::chs_activity, bytes::chs_activity);
    RETURN true;
EXCEPTION WHEN data_corrupted OR feature_not_supported THEN
    RETURN false;
END
$$;

CREATE FUNCTION tap.flip(bytes bytea, VARIADIC bits bigint[]) RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    at bigint;
BEGIN
    FOREACH at IN ARRAY bits LOOP
        bytes := set_bit(bytes, at, 1 - get_bit(bytes, at));
    END LOOP;
    RETURN bytes;
END
$$;

-- Some different bits of this value.
CREATE FUNCTION tap.some_bits(bytes bytea, how_many integer) RETURNS bigint[] LANGUAGE sql VOLATILE AS $$
    SELECT array_agg(n) FROM (SELECT n FROM generate_series(0, 8 * length(bytes) - 1) n ORDER BY random() LIMIT how_many) t
$$;

SELECT setseed(0.5) \g /dev/null

-- Every single bit, in activities of each shape.
CREATE TEMP TABLE shapes AS
SELECT what, chs_activity_agg(document, event_type, event_data, '2024-03-01'::timestamptz + days * interval '1 day')::bytea AS bytes
FROM (SELECT document FROM chs.scorecard_versions WHERE version = 1) v,
     (VALUES ('nothing', 'no_such_type', '{}', 1, 1),
             ('counts of one day', 'api_call', '{"endpoint": "/"}', 1, 1),
             ('counts of days apart', 'support_ticket', '{}', 30, 17),
             ('sums', 'payment', '{"amount": 12.345678, "status": "overdue", "days_late": -3}', 20, 1),
             ('large sums', 'payment', '{"amount": 123456789012345678901234, "days_late": 1}', 3, 300),
             ('distinct values', 'login', NULL, 40, 3)) s (what, event_type, data, n, apart),
     LATERAL (SELECT d * apart AS days, COALESCE(data::jsonb, jsonb_build_object('user_id', d % 7, 'ip_address', d)) AS event_data
              FROM generate_series(1, n) d) e
GROUP BY what;
INSERT INTO shapes SELECT 'all of them, pruned', chs.activity_prune((SELECT chs.activity_merge_agg(bytes::chs_activity) FROM shapes),
        (SELECT document FROM chs.scorecard_versions WHERE version = 1), '2024-06-01')::bytea;
SELECT ok(is_taken(bytes), what || ': taken as it is') FROM shapes;
SELECT is((SELECT string_agg(n::text, ', ' ORDER BY n) FROM generate_series(0, 8 * length(bytes) - 1) n WHERE is_taken(flip(bytes, n))),
          NULL, format('%s: each of %s bits is found when it flips', what, 8 * length(bytes))) FROM shapes;
-- what is left of it, and what comes after it
SELECT is((SELECT string_agg(n::text, ', ' ORDER BY n) FROM generate_series(0, length(bytes) - 1) n WHERE is_taken(substr(bytes, 1, n))),
          NULL, what || ': no beginning of it is taken') FROM shapes;
-- of an activity no few bits make a state of the aggregate, which has no checksum
SELECT is((SELECT count(*) FROM generate_series(1, 500) n WHERE is_taken(flip(bytes, VARIADIC some_bits(bytes, 2 + n % 2)))),
          0::bigint, what || ': two or three bits are found as well') FROM shapes;

-- From outside the same is an invalid value.
SELECT throws_ok(format('SELECT %L::chs_activity', encode(flip(bytes, 8 * length(bytes) - 1), 'hex')), '22P02',
                 'invalid value of type chs_activity', what || ': the input refuses a wrong checksum') FROM shapes;
SELECT current_setting('server_version_num')::integer >= 160000 AS soft \gset
\if :soft
SELECT is((SELECT string_agg(DISTINCT sql_error_code || ' ' || message || ': ' || detail, ', ')
           FROM generate_series(0, 8 * length(bytes) - 1) n, pg_input_error_info(encode(flip(bytes, n), 'hex'), 'chs_activity')
           WHERE detail ~ 'checksum'),
          '22P02 invalid value of type chs_activity: Its checksum is wrong.', what || ': a wrong checksum is a soft error') FROM shapes;
SELECT is((SELECT count(*) FROM generate_series(0, 8 * length(bytes) - 1) n WHERE pg_input_is_valid(encode(flip(bytes, n), 'hex'), 'chs_activity')),
          0::bigint, what || ': as are all flipped bits') FROM shapes;
SELECT ok(pg_input_is_valid(encode(bytes, 'hex'), 'chs_activity'), what || ': is valid as it is') FROM shapes;
SELECT is((SELECT string_agg(text, ', ') FROM (VALUES (''), ('0'), ('00'), ('x'), (repeat('01', 1000)), (repeat('f', 1000))) v (text)
           WHERE pg_input_is_valid(text, 'chs_activity')), NULL, 'whatever is no activity is a soft error');
\endif

-- In all rows at once.
INSERT INTO chs.customers (customer_id, segment, created_at)
SELECT n, (ARRAY['enterprise', 'smb', NULL])[n % 3 + 1], now() - interval '300 days' FROM generate_series(1, 300) n;
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT 1 + n % 300, (ARRAY['api_call', 'login', 'payment', 'feature_use', 'support_ticket'])[1 + n % 5],
       jsonb_build_object('endpoint', n % 7, 'ip_address', n % 11, 'amount', n % 100, 'feature_name', n % 3, 'user_id', n % 13, 'days_late', n % 4),
       now() - n % 61 * interval '1 day'
FROM generate_series(1, 9000) n;
SELECT chs_process_queue() \g /dev/null
-- of customers 1 to 100 just what is folded is damaged; of 101 to 200 just what is queued; of the rest both
INSERT INTO chs.customer_events (customer_id, event_type, event_data)
SELECT 101 + n % 200, 'login', jsonb_build_object('user_id', n, 'ip_address', n) FROM generate_series(1, 400) n;
SELECT is_empty('SELECT * FROM chs_verify()', 'at first all is right');
CREATE TEMP TABLE scores AS SELECT customer_id, chs_score(customer_id) AS score FROM chs.customers;
-- the engine is the only one to write here, by tuple and not by statement
SET LOCAL session_replication_role = replica;
UPDATE chs.activity SET activity = flip(activity::bytea, VARIADIC some_bits(activity::bytea, 1 + (customer_id % 3)::integer))::chs_activity
WHERE customer_id <= 100 OR customer_id > 200;
UPDATE chs.queue SET delta = flip(delta::bytea, VARIADIC some_bits(delta::bytea, 1 + (customer_id % 3)::integer))::chs_activity;
SET LOCAL session_replication_role = origin;

SELECT results_eq('SELECT customer_id, chs_score(customer_id) FROM chs.customers ORDER BY 1',
                  'SELECT customer_id, score FROM scores ORDER BY 1', 'no score has changed');
CALL oracle.compute('default', (now() AT TIME ZONE 'UTC')::date);
SELECT results_eq('SELECT customer_id, chs_score(customer_id)::numeric FROM chs.customers ORDER BY 1',
                  'SELECT customer_id, score FROM oracle.health WHERE back = 0 ORDER BY 1', 'and all are those of the oracle');
SELECT results_eq($$SELECT customer_id, difference FROM chs_verify() WHERE difference IN ('activity', 'queue') ORDER BY 1, 2$$,
                  $$SELECT n, 'activity' FROM generate_series(1, 300::bigint) n WHERE n <= 100 OR n > 200
                    UNION ALL SELECT n, 'queue' FROM generate_series(101, 300::bigint) n ORDER BY 1, 2$$,
                  'verifying names each damaged activity, and each customer with a damaged delta');
SELECT is_empty($$SELECT * FROM chs_verify() WHERE difference NOT IN ('activity', 'queue')$$, 'and nothing else');

-- Those with nothing queued are mended when they have an event.
INSERT INTO chs.customer_events (customer_id, event_type, event_data) SELECT n, 'login', '{"user_id": 1, "ip_address": 2}' FROM generate_series(1, 100) n;
SELECT chs_process_queue() \g /dev/null
SELECT is_empty('SELECT * FROM chs.failures', 'folding fails for nobody');
SELECT is_empty('SELECT * FROM chs.queue', 'leaves nothing queued');
SELECT is_empty('SELECT * FROM chs_verify()', 'and mends all of it');

-- What is too large for a row lies in TOAST chunks, which can get lost: it is damage like any other.
CREATE EXTENSION pg_surgery;
CREATE FUNCTION tap.tear(relation regclass) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    toast regclass := (SELECT reltoastrelid FROM pg_class WHERE oid = relation);
    places tid[];
BEGIN
    EXECUTE format('SELECT array_agg(ctid) FROM %s WHERE chunk_seq = 1', toast) INTO places;
    PERFORM heap_force_kill(toast, places);
    RETURN cardinality(places);
END
$$;
INSERT INTO chs.customers (customer_id, created_at) VALUES (400, now() - interval '300 days');
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT 400, 'login', jsonb_build_object('user_id', n, 'ip_address', 1), now() - n % 20 * interval '1 day' FROM generate_series(1, 5000) n;
CREATE TEMP TABLE large AS SELECT chs_score(400) AS score;
SELECT is(tear('chs.queue'), 1, 'a delta of many values is stored out of line');
SELECT is(chs_score(400), (SELECT score FROM large), 'without one of its pieces the score is the same');
SELECT matches((SELECT stored FROM chs_verify() WHERE difference = 'queue'), '^unexpected chunk number 2 .expected 1. for toast value', 'verifying says what is missing');
SELECT chs_process_queue() \g /dev/null
SELECT is_empty('SELECT * FROM chs.failures', 'folding does not fail');
SELECT is_empty('SELECT * FROM chs_verify()', 'and rebuilds');
SELECT is(tear('chs.activity'), 1, 'an activity of many values is stored out of line');
SELECT is(chs_score(400), (SELECT score FROM large), 'without one of its pieces the score is the same');
SELECT matches((SELECT stored FROM chs_verify() WHERE difference = 'activity'), '^unexpected chunk number 2 .expected 1. for toast value', 'verifying says what is missing');
SELECT chs_recalculate(400) \g /dev/null
SELECT is_empty('SELECT * FROM chs_verify()', 'folding mends it');

SELECT * FROM finish();
ROLLBACK;

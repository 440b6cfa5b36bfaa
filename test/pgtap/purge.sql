-- chs_purge_customer: nothing is left of a customer, anywhere.

\ir begin.psql

-- A number and words that occur nowhere else; every text column of a customer and of an
-- event has them, including columns that are added in the future.
\set id 7340033
CREATE FUNCTION pg_temp.marked(relation regclass, fixed jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_object_agg(a.attname, 'Zaphod-' || a.attname) || fixed
    FROM pg_attribute a
    WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid = 'text'::regtype
$$;
INSERT INTO chs.segments (segment) VALUES ('Zaphod-segment');
INSERT INTO chs.customers SELECT * FROM jsonb_populate_record(NULL::chs.customers,
    pg_temp.marked('chs.customers', jsonb_build_object('customer_id', :id, 'segment', 'smb', 'created_at', '2020-01-01')));
INSERT INTO chs.customers (customer_id, name, parent_id, created_at) VALUES (7, 'child', :id, '2020-01-01');
INSERT INTO chs.customer_events (customer_id, event_type, event_data, idempotency_key) VALUES
    (7, 'login', '{"ip_address": "other"}', 'other');
INSERT INTO chs.customer_events (customer_id, event_type, event_data, idempotency_key)
SELECT :id, t, '{"endpoint": "Zaphod-endpoint", "ip_address": "Zaphod-address", "amount": 5, "feature_name": "Zaphod-feature", "user_id": "Zaphod-user"}',
       'Zaphod-' || t
FROM unnest('{api_call,login,payment,feature_use,support_ticket}'::text[]) t;
-- An attached table, some of whose rows are rejected.
CREATE TABLE public.visits (who text, at timestamptz, page text);
INSERT INTO public.visits VALUES ('Zaphod-external_id', now(), 'Zaphod-page'), ('Zaphod-external_id', 'infinity', 'Zaphod-page');
SELECT chs_attach('public.visits', 'who', $$'login'$$, 'at', $$jsonb_build_object('ip_address', page)$$, 'external_id') \g /dev/null
SELECT chs_process_queue() \g /dev/null
INSERT INTO public.visits VALUES ('Zaphod-external_id', 'infinity', 'Zaphod-page');
INSERT INTO chs.outcomes (customer_id, outcome, note) VALUES (:id, 'Zaphod-outcome', 'Zaphod-note');
INSERT INTO chs.missing_customers VALUES (1, 'Zaphod-external_id');
INSERT INTO chs.failures SELECT :id, 'XX000', 'Zaphod-message', 'Zaphod-detail', 1, now(), now(), 1;
INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (:id, 'login', '{"ip_address": "Zaphod-queued"}');

-- The number of rows in each table of the extension that contain the customer's number or words.
CREATE FUNCTION pg_temp.traces(customer_id bigint) RETURNS TABLE (relname name, n bigint) LANGUAGE plpgsql AS $$
DECLARE
    t regclass;
BEGIN
    FOR t IN SELECT c.oid FROM pg_depend d JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
             WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND c.relkind IN ('r', 'p')
               AND d.refobjid = (SELECT e.oid FROM pg_extension e WHERE e.extname = 'chs') AND c.relname <> 'segments'
    LOOP
        RETURN QUERY EXECUTE format('SELECT %L::name, count(*) FROM %s t WHERE t::text ~ %L',
            (SELECT c.relname FROM pg_class c WHERE c.oid = t), t, format('\m%s\M|Zaphod', customer_id));
    END LOOP;
END $$;
SELECT set_eq(format('SELECT relname FROM pg_temp.traces(%s) WHERE n > 0', :id),
    '{customers,customer_events,queue,activity,customer_health,health_scores,failures,missing_customers,rejected_events,outcomes}'::text[],
    'before, there is something of the customer in all these tables');

CREATE TEMP TABLE others AS SELECT * FROM chs.customer_health WHERE customer_id = 7;
SELECT is(chs_purge_customer(:id), (SELECT 6::bigint), 'purging tells how many events there were');
SELECT is_empty(format('SELECT * FROM pg_temp.traces(%s) WHERE n > 0', :id), 'afterwards nothing is left in any table');
SELECT results_eq('SELECT customer_id, parent_id FROM chs.customers', 'VALUES (7::bigint, NULL::bigint)', 'its child stays, as nobody''s');
SELECT results_eq('SELECT * FROM chs.customer_health', 'TABLE others', 'and so does what is kept of others');
SELECT is((SELECT count(*) FROM chs.customer_events), 1::bigint, 'with their events');
SELECT chs_process_queue() \g /dev/null
SELECT is_empty(format('SELECT * FROM pg_temp.traces(%s) WHERE n > 0', :id), 'folding brings nothing back');
SELECT is((SELECT total FROM chs.dashboard_stats), 1::bigint, 'one customer is counted');
SELECT is_empty('SELECT * FROM chs_verify()', 'and all is right');

SELECT throws_ok(format('SELECT chs_purge_customer(%s)', :id), 'P0002', NULL, 'a customer that is not there cannot be purged');
SELECT is(chs_purge_customer(NULL), NULL, 'nobody is purged for NULL');
CREATE ROLE chs_tap_operator;
SELECT chs_grant('chs_tap_operator', 'operate') \g /dev/null
GRANT USAGE ON SCHEMA tap TO PUBLIC;
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO PUBLIC;
ALTER TABLE chs.customers ENABLE ROW LEVEL SECURITY;
SET LOCAL ROLE chs_tap_operator;
SELECT throws_ok('SELECT chs_purge_customer(7)', 'P0002', NULL, 'nor one that the caller does not see');
RESET ROLE;
ALTER TABLE chs.customers DISABLE ROW LEVEL SECURITY;
SET LOCAL ROLE chs_tap_operator;
SELECT is(chs_purge_customer(7), 1::bigint, 'an operator who sees it purges it');
RESET ROLE;
SELECT is_empty('TABLE chs.queue', 'nothing is queued');

SELECT * FROM finish();
ROLLBACK;

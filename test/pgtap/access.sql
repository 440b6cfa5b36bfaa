-- Access: who may do what, and row-level security on chs.customers, which governs
-- everything that says something about a customer, whichever way around it is tried.

\ir begin.psql

CREATE TEMP VIEW members AS
SELECT d.classid, d.objid, pg_describe_object(d.classid, d.objid, 0) AS description
FROM pg_depend d JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
WHERE e.extname = 'chs' AND d.deptype = 'e';
CREATE TEMP VIEW tables AS
SELECT c.oid, c.relname, c.relkind, c.relrowsecurity,
       EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'customer_id' AND NOT a.attisdropped) AS by_customer
FROM members m JOIN pg_class c ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f');
CREATE TEMP VIEW functions AS
SELECT p.* FROM members m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid;

-- What holds for everything in the extension ------------------------------------

CREATE ROLE chs_tap_stranger;
SELECT is_empty($$
    SELECT relname FROM tables WHERE by_customer AND relkind IN ('r', 'p')
      AND NOT (relrowsecurity AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = tables.oid))
      AND relname NOT IN ('customers', 'customer_events')
$$, 'every table about customers follows row-level security of chs.customers');
SELECT is_empty($$
    SELECT oid::regprocedure FROM functions
    WHERE provolatile = 'v' AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype) AND has_function_privilege('chs_tap_stranger', oid, 'EXECUTE')
      AND proname NOT IN ('chs_record_event', 'chs_record_events')
      -- what everybody's DDL is followed by, which cannot be called otherwise
      AND proname NOT IN ('follow_alter', 'follow_drop', 'follow_rewrite')
$$, 'PUBLIC executes nothing that changes anything, but for recording an event with rights of its own');
-- Objects that are meant only for their owner are named here.
SELECT set_eq($$
    SELECT 'chs.' || relname FROM tables
    EXCEPT SELECT object FROM chs.grants() WHERE privilege LIKE 'SELECT%'
$$, '{chs.day_count,chs.missing_customers,chs.partial_counts,chs.recounts,chs.shipped}'::text[], 'every other table and view is granted to somebody');
SELECT set_eq($$
    SELECT oid::regprocedure::text FROM functions
    WHERE prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype) AND NOT has_function_privilege('chs_tap_stranger', oid, 'EXECUTE')
      AND 'ROUTINE ' || 'public.' || proname || '(' || pg_get_function_identity_arguments(oid) || ')' <> ALL (
          SELECT object FROM chs.grants())
      AND oid NOT IN (SELECT to_regprocedure(substr(object, 9)) FROM chs.grants() WHERE object LIKE 'ROUTINE %')
$$, ARRAY['chs_grant(name,text)', 'chs_revoke(name,text)', 'chs.follow_customers()', 'chs.wake_worker()', 'chs.publish(text,text,text)', 'chs.warn_of_deleted_events(jsonb)',
    'chs_apply_retention(bigint)', 'chs.apply_retention(bigint)', 'chs.delete_old(text,bigint,boolean)', 'chs.delete_old_events(bigint,bigint,date,integer)', 'chs.delete_events(bigint,bigint,date,integer)', 'chs.backfill_history(date,bigint)',
    'chs.count_days(date)', 'chs.begin_day_count(boolean)', 'chs.count_days_slice(integer,boolean)', 'chs.end_day_count()', 'chs.wrong_counts()', 'chs.find_movers(date,bigint,bigint)', 'chs.end_movers(boolean)',
    'chs.change_grants(text,name,text,text[])', 'chs.references_to(bigint)', 'chs.purge(bigint)', 'chs.begin_job(text,text,integer,integer)', 'chs.stored_differences()', 'chs.remove_invalid(boolean)', 'chs.correct_health_counts()', 'chs.date_statuses(bigint,bigint)'],
    'every other function that PUBLIC may not execute is granted to somebody');
SELECT is_empty($$
    SELECT object FROM chs.grants()
    WHERE CASE WHEN object LIKE 'ROUTINE %' THEN to_regprocedure(substr(object, 9))::oid ELSE to_regclass(object)::oid END IS NULL
$$, 'what is granted exists');

-- Data ------------------------------------------------------------------------

INSERT INTO chs.customers (customer_id, external_id, name, email, segment, created_at) OVERRIDING SYSTEM VALUE
SELECT i, 'x' || i, 'customer ' || i, i || '@example.com', CASE WHEN i <= 2 THEN 'smb' ELSE 'enterprise' END, '2020-01-01'
FROM generate_series(1, 5) i;
INSERT INTO chs.customer_events (customer_id, event_type, event_data)
SELECT i, t, '{"endpoint": "/", "ip_address": "::1", "amount": 5, "feature_name": "f"}'
FROM generate_series(1, 5) i, unnest('{api_call,login,payment,feature_use,support_ticket}'::text[]) t, generate_series(1, i * 5);
SELECT FROM chs_process_queue();
-- The past: everyone was healthy last month and a week ago.
INSERT INTO chs.health_scores (customer_id, segment, score, status, coverage, trend, factor_scores, scorecard, version, as_of, calculated_at)
SELECT h.customer_id, h.segment, 90, 'healthy', 1, 'stable', h.factor_scores, h.scorecard, h.version, d, d + time '12:00'
FROM chs.customer_health h, generate_series(now() AT TIME ZONE 'UTC' - interval '40 days', now() AT TIME ZONE 'UTC' - interval '1 day', '1 day') t(t), date(t) d;
SELECT chs.date_statuses(1, 5) \g /dev/null

CREATE ROLE chs_tap_reader;
CREATE ROLE chs_tap_recorder;
CREATE ROLE chs_tap_admin;
CREATE ROLE chs_tap_operator;
SELECT lives_ok($$SELECT chs_grant('chs_tap_reader', 'read')$$, 'read is granted');
SELECT lives_ok($$SELECT chs_grant('chs_tap_recorder', 'record')$$, 'record is granted');
SELECT lives_ok($$SELECT chs_grant('chs_tap_admin', 'administer')$$, 'administer is granted');
SELECT lives_ok($$SELECT chs_grant('chs_tap_operator', 'operate')$$, 'operate is granted');
SELECT throws_ok($$SELECT chs_grant('chs_tap_reader', 'write')$$, '22023', 'invalid value for parameter "may": "write"', 'other words are refused');
SELECT throws_ok($$SELECT chs_revoke('chs_tap_reader', NULL)$$, '22023', 'invalid value for parameter "may": "<NULL>"', 'also to revoke');
SELECT throws_ok($$SELECT chs_grant('chs_tap_nobody', 'read')$$, '42704', NULL, 'and so are unknown roles');
GRANT USAGE ON SCHEMA tap TO PUBLIC;
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO PUBLIC;

-- Each may do its job, and no more -----------------------------------------------

SET LOCAL ROLE chs_tap_reader;
SELECT lives_ok(format('SELECT * FROM chs.%I', relname), 'a reader reads ' || relname)
FROM tables WHERE relkind = 'v' AND relname <> 'stale_health' AND (by_customer OR relname NOT IN (SELECT substr(object, 5) FROM chs.grants() WHERE may <> 'read'));
SELECT is(chs_score(1) IS NOT NULL, true, 'a reader gets scores');
SELECT isnt_empty('SELECT * FROM chs_explain(1)', 'and reasons');
SELECT throws_ok(q, '42501', NULL, 'a reader may not: ' || q)
FROM unnest(ARRAY['TABLE chs.customer_events', 'TABLE chs.queue', 'TABLE chs.activity', 'TABLE chs.stale_health', 'DELETE FROM chs.customers',
    'UPDATE chs.customer_health SET score = 1', 'INSERT INTO chs.customer_events (customer_id, event_type) VALUES (1, ''support_ticket'')',
    'SELECT chs_record_event(1, ''support_ticket'')', 'SELECT chs_publish()', 'SELECT chs_process_queue()',
    'SELECT chs_grant(''chs_tap_reader'', ''operate'')', 'SELECT chs.follow_customers()',
    'SELECT * FROM chs_simulate(''{}'')', 'SELECT chs.health_by(''{}'', 1)']) q;
-- Who may not read is told what would help.
SET LOCAL ROLE chs_tap_recorder;
CREATE FUNCTION pg_temp.hint_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    EXECUTE query;
    RETURN 'no error';
EXCEPTION WHEN insufficient_privilege THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN hint;
END
$$;
SELECT is(pg_temp.hint_of(q), 'To read scores, a role needs what chs_grant(''chs_tap_recorder'', ''read'') grants.', 'a hint of ' || q)
FROM unnest('{chs_score(1),chs_status(1),"chs_score(1, now())",chs_explain(1),chs.health_now(1)}'::text[]) f, format('SELECT FROM %s', f) q;
RESET ROLE;
GRANT SELECT (customer_id, segment, created_at) ON chs.customers TO chs_tap_recorder;
SET LOCAL ROLE chs_tap_recorder;
SELECT is(pg_temp.hint_of('SELECT chs_score(1)'), 'To read scores, a role needs what chs_grant(''chs_tap_recorder'', ''read'') grants.', 'one column is missing');
RESET ROLE;
GRANT SELECT (churned_at) ON chs.customers TO chs_tap_recorder;
SET LOCAL ROLE chs_tap_recorder;
SELECT is(pg_temp.hint_of('SELECT chs_score(1)'), 'no error', 'and those of a score are enough');
RESET ROLE;
REVOKE SELECT (customer_id, segment, created_at, churned_at) ON chs.customers FROM chs_tap_recorder;
SET LOCAL ROLE chs_tap_recorder;
SELECT lives_ok($$SELECT chs_record_event(1, 'support_ticket', '{}', NULL, 'k')$$, 'a recorder records');
SELECT lives_ok($$SELECT chs_record_event(1, 'support_ticket', '{}', NULL, 'k')$$, 'once per key');
SELECT lives_ok($$INSERT INTO chs.customer_events (customer_id, event_type) VALUES (1, 'support_ticket')$$, 'and inserts');
SELECT throws_ok(q, '42501', NULL, 'a recorder may not: ' || q)
FROM unnest(ARRAY['SELECT event_data FROM chs.customer_events', 'TABLE chs.customers', 'TABLE chs.customer_list', 'SELECT chs_score(1)',
    'UPDATE chs.customer_events SET event_data = ''{}''', 'DELETE FROM chs.customer_events', 'SELECT chs_publish()']) q;
SET LOCAL ROLE chs_tap_admin;
SELECT lives_ok($$UPDATE chs.targets SET target = 21 WHERE metric = 'logins'$$, 'an administrator edits the draft');
SELECT lives_ok('SELECT * FROM chs_lint()', 'checks it');
SELECT lives_ok($$SELECT chs_publish('by an administrator')$$, 'and publishes it');
SELECT lives_ok('SELECT * FROM ' || object, 'and reads ' || object) FROM chs.grants()
WHERE may = 'administer' AND privilege = 'SELECT';
SELECT throws_ok(q, '42501', NULL, 'an administrator may not: ' || q)
FROM unnest(ARRAY['TABLE chs.customers', 'TABLE chs.customer_health', 'SELECT chs_score(1)', 'SELECT chs_verify()', 'DELETE FROM chs.scorecard_versions']) q;
SET LOCAL ROLE chs_tap_operator;
SELECT lives_ok('SELECT chs_process_queue()', 'an operator does the worker''s job');
SELECT is_empty('SELECT * FROM chs_verify()', 'and verifies');
SELECT lives_ok('SELECT * FROM ' || object, 'and reads ' || object) FROM chs.grants() WHERE may = 'operate' AND privilege = 'SELECT';
SELECT throws_ok(q, '42501', NULL, 'an operator may not: ' || q)
FROM unnest(ARRAY['DELETE FROM chs.customers', 'SELECT chs_publish()', 'DELETE FROM chs.queue', 'TABLE chs.activity', 'SELECT chs_grant(''chs_tap_operator'', ''administer'')']) q;
RESET ROLE;

-- What is revoked is gone, except what another function of the role also needs.
CREATE TEMP VIEW acl AS
SELECT a.grantee::regrole::text AS grantee, o.object, a.privilege_type
FROM (SELECT oid::regclass::text AS object, relacl AS acl FROM pg_class WHERE relnamespace = 'chs'::regnamespace
      UNION ALL SELECT attrelid::regclass || '.' || attname, attacl FROM pg_attribute
      UNION ALL SELECT oid::regprocedure::text, proacl FROM pg_proc) o, aclexplode(o.acl) a;
CREATE FUNCTION pg_temp.held(role_name text) RETURNS text LANGUAGE sql AS
    $$SELECT string_agg(object || ' ' || privilege_type, ', ' ORDER BY object, privilege_type) FROM acl WHERE grantee = $1$$;
CREATE ROLE chs_tap_both;
CREATE ROLE chs_tap_one;
GRANT chs_tap_reader TO chs_tap_both, chs_tap_one;
DO $$
DECLARE
    a text;
    b text;
BEGIN
    CREATE TEMP TABLE revoked (one text, other text, granted text[], same boolean, gone boolean);
    FOR a, b IN SELECT * FROM unnest('{read,record,administer,operate}'::text[]) x, unnest('{read,record,administer,operate}'::text[]) y
                WHERE x <> y LOOP
        PERFORM chs_grant('chs_tap_one', a), chs_grant('chs_tap_both', a), chs_grant('chs_tap_both', b);
        PERFORM chs_revoke('chs_tap_both', b);
        INSERT INTO revoked VALUES (a, b, chs.granted('chs_tap_both'), pg_temp.held('chs_tap_both') = pg_temp.held('chs_tap_one'));
        PERFORM chs_revoke('chs_tap_both', a), chs_revoke('chs_tap_one', a);
        UPDATE revoked SET gone = pg_temp.held('chs_tap_both') IS NULL WHERE (one, other) = (a, b);
    END LOOP;
END $$;
SELECT is(granted, ARRAY[one], format('%s is what is left of %s and %s, when that is revoked', one, one, other)) FROM revoked;
SELECT ok(same, format('%s and no more', one)) FROM revoked;
SELECT ok(gone, 'and nothing when it is, too') FROM revoked;
SELECT chs_revoke('chs_tap_operator', 'operate') \g /dev/null
SET LOCAL ROLE chs_tap_operator;
SELECT throws_ok('SELECT chs_process_queue()', '42501', NULL, 'an operator is one until that is revoked');
RESET ROLE;

-- Row-level security --------------------------------------------------------------

-- Every table has rows about everyone.
INSERT INTO chs.failures SELECT i, 'XX000', 'failed', 'detail', 1, now(), now(), 1 FROM generate_series(1, 5) i;
INSERT INTO chs.customer_events (customer_id, event_type) SELECT i, 'support_ticket' FROM generate_series(1, 5) i;
-- A reader of customers 1 and 2 must see what the owner sees of them.
CREATE FUNCTION pg_temp.tells(relation text, ids bigint[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    n bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM chs.%I WHERE customer_id = ANY ($1)', relation) INTO n USING ids;
    RETURN n;
END $$;
CREATE TEMP TABLE seen_by_owner AS
SELECT relname, pg_temp.tells(relname, '{1,2}') AS mine, pg_temp.tells(relname, '{3,4,5}') AS others
FROM tables WHERE by_customer;
SELECT ok(others > 0, relname || ' tells about others, too') FROM seen_by_owner
WHERE relname IN ('customer_list', 'scored_customers', 'customer_health', 'health_scores', 'daily_scores', 'status_changes', 'health_trend', 'score_changes',
                  'at_risk_customers', 'factor_breakdown', 'factor_scores', 'failures', 'queue', 'activity');
CREATE TEMP TABLE owners_stats AS SELECT * FROM chs.dashboard_stats;

-- Even a reader with SELECT on everything.
CREATE ROLE chs_tap_smb;
SELECT chs_grant('chs_tap_smb', 'read') \g /dev/null
DO $$
DECLARE
    t record;
BEGIN
    FOR t IN SELECT relname FROM tables WHERE relname <> 'customer_events' LOOP
        EXECUTE format('GRANT SELECT ON chs.%I TO chs_tap_smb', t.relname);
    END LOOP;
END $$;
SELECT chs_count_days() \g /dev/null
CREATE TEMP TABLE owners_days AS SELECT * FROM chs.daily_stats;
GRANT SELECT ON owners_days TO PUBLIC;
ALTER TABLE chs.customers ENABLE ROW LEVEL SECURITY;
CREATE POLICY smb ON chs.customers TO chs_tap_smb USING (segment = 'smb');
-- (an expected result is the owner's own query, limited to those customers)
CREATE TEMP TABLE expected AS
SELECT (SELECT count(*) FROM chs.customer_health WHERE customer_id <= 2) AS total,
       (SELECT round(avg(score)::numeric, 2) FROM chs.customer_health WHERE customer_id <= 2) AS average,
       (SELECT array_agg(n ORDER BY b) FROM (SELECT b, count(h.score) AS n FROM generate_series(0, 95, 5) b
           LEFT JOIN chs.customer_health h ON customer_id <= 2 AND score >= b AND score < b + 5 GROUP BY b) d) AS distribution;
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO PUBLIC;

SET LOCAL ROLE chs_tap_smb;
SELECT is(pg_temp.tells(relname, '{1,2}'), mine, 'of its own customers a reader sees all in ' || relname)
FROM seen_by_owner WHERE relname <> 'customer_events';
SELECT is(pg_temp.tells(relname, '{3,4,5}'), 0::bigint, 'and of others nothing')
FROM seen_by_owner WHERE relname <> 'customer_events';
SELECT is(s.total, e.total, 'dashboard_stats counts its own customers') FROM chs.dashboard_stats s, expected e;
SELECT is(s.average_score::numeric, e.average, 'and averages their scores') FROM chs.dashboard_stats s, expected e;
SELECT results_eq('SELECT segment, total FROM chs.segment_stats WHERE total > 0', $$VALUES ('smb', 2::bigint)$$, 'segment_stats likewise');
SELECT is((SELECT array_agg(customers ORDER BY score_from) FROM chs.score_distribution), distribution, 'score_distribution likewise') FROM expected;
SELECT is((SELECT sum(customers) FROM chs.status_movements), 2::numeric, 'status_movements likewise');
SELECT is((SELECT sum(customers) FROM chs_status_movements(current_date - 20, current_date)), 2::numeric, 'and of any period');
SELECT is_empty('TABLE chs.health_counts', 'the ready counts of everyone are not to be seen');
SELECT results_eq('SELECT * FROM chs.daily_stats', 'SELECT * FROM owners_days WHERE segment = ''smb''', 'days that are over are counted likewise');
SELECT is((SELECT count(*) FROM owners_days WHERE total > 0), 2::bigint, '(there is a day, of two segments)');
SELECT is_empty('TABLE chs.daily_counts', 'and their ready counts not to be seen');
SELECT is(chs_score(1) IS NOT NULL, true, 'its own customer is scored');
SELECT throws_ok(format(q, 3), 'P0002', 'customer 3 does not exist', format(q, 3) || ' does not tell')
FROM unnest(ARRAY['SELECT chs_score(%s)', 'SELECT chs_score(%s, now() - interval ''9 days'')', 'SELECT chs_status(%s)', 'SELECT * FROM chs_explain(%s)',
                  'SELECT chs_health(%s)', 'SELECT chs.health_now(%s)']) q;
-- Functions that take a customer_id.
CREATE FUNCTION pg_temp.answer(f functions, customer bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    arguments text;
    row       record;
BEGIN
    SELECT string_agg(CASE WHEN f.proargnames[i] = 'customer_id' THEN customer::text ELSE 'NULL' END || '::' || t::regtype, ', ' ORDER BY i)
    INTO arguments FROM unnest(f.proargtypes::oid[]) WITH ORDINALITY a(t, i);
    FOR row IN EXECUTE format('SELECT * FROM %I.%I(%s)', f.pronamespace::regnamespace, f.proname, arguments) LOOP
        IF NOT row IS NULL THEN
            RETURN 'tells ' || row::text;
        END IF;
    END LOOP;
    RETURN 'tells nothing';
EXCEPTION WHEN no_data_found OR insufficient_privilege THEN
    RETURN 'refuses';
WHEN OTHERS THEN
    RETURN SQLERRM;
END $$;
SELECT matches(pg_temp.answer(f.*::functions, 3), '^(refuses|tells nothing|.*must not be null|.*cannot be null)$', f.oid::regprocedure || ' does not tell of another''s customer')
FROM functions f WHERE 'customer_id' = ANY (f.proargnames[:f.pronargs]) AND f.prokind = 'f' AND f.prorettype <> 'trigger'::regtype;
SELECT cmp_ok((SELECT count(*) FROM functions f WHERE 'customer_id' = ANY (f.proargnames[:f.pronargs]) AND pg_temp.answer(f.*::functions, 1) LIKE 'tells (%'),
    '>=', 5::bigint, 'as it does of the reader''s own');
RESET ROLE;
CREATE FUNCTION public.secret(customer_id bigint, as_of timestamptz) RETURNS double precision LANGUAGE sql STABLE AS 'SELECT customer_id * 7.0';
SELECT chs_add_factor('secret', 0.1, 'public.secret(bigint, timestamptz)') \g /dev/null
SELECT chs_publish('with a plug-in') \g /dev/null
SELECT chs_grant('chs_tap_smb', 'administer') \g /dev/null
SET LOCAL ROLE chs_tap_smb;
SELECT throws_ok($$SELECT chs.plugin_value('public.secret(bigint, timestamptz)', 3)$$, NULL, NULL, 'a plug-in does not tell of another''s customer');
SELECT throws_ok($$SELECT chs.plugin_values(3, document, NULL, now()) FROM chs.scorecard_versions WHERE live_at IS NOT NULL ORDER BY version DESC LIMIT 1$$, 'P0002', NULL, 'nor do all of them');
SELECT is((SELECT array_agg(s.customer_id ORDER BY 1) FROM chs_simulate() s), '{1,2}'::bigint[], 'simulating is for the reader''s own customers');
RESET ROLE;

-- A function in WHERE that leaks its arguments, as cheap as can be.
CREATE TABLE public.leaked (what text);
GRANT ALL ON public.leaked TO PUBLIC;
CREATE FUNCTION public.leak(what text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
$$BEGIN INSERT INTO public.leaked VALUES (what); RETURN true; END$$;
CREATE OPERATOR public.?? (LEFTARG = text, RIGHTARG = text, FUNCTION = texteq);
SET LOCAL ROLE chs_tap_smb;
SELECT lives_ok(format('SELECT * FROM chs.%I t WHERE leak(t::text) ORDER BY 1', relname), 'a leaky function over ' || relname)
FROM seen_by_owner WHERE relname <> 'customer_events';
SELECT lives_ok('SELECT * FROM chs.health_counts t WHERE leak(''others '' || t::text)', 'and over the counts');
SELECT lives_ok('SELECT * FROM chs.customer_list l JOIN chs.customer_health h ON leak(l.customer_id || h.customer_id::text || l.name)', 'and in a join');
SET LOCAL enable_nestloop = off;
SET LOCAL enable_indexscan = off;
SELECT lives_ok('SELECT * FROM chs.customer_health h WHERE leak(h.customer_id::text) AND score > 0', 'and another plan');
RESET ROLE;
RESET enable_nestloop;
RESET enable_indexscan;
SELECT cmp_ok((SELECT count(*) FROM public.leaked), '>', 100::bigint, 'the function was called');
SELECT is_empty($$SELECT what FROM public.leaked WHERE what ~ '\mcustomer [345]\M|\mx[345]\M|^\((\d+,)?[345],|others|^[345]'$$, 'and told nothing of others');
SELECT count(*) FROM chs.customer_health t WHERE leak(t::text) \g /dev/null
SELECT isnt_empty($$SELECT what FROM public.leaked WHERE what ~ '\mcustomer [345]\M|\mx[345]\M|^\((\d+,)?[345],|others|^[345]'$$, 'as it does to the owner');

-- Errors, statistics, EXPLAIN, cursors, prepared plans.
SET LOCAL ROLE chs_tap_smb;
SELECT lives_ok('SELECT 1 / (customer_id - 3) FROM chs.customer_health', 'an error that only another''s row would raise is not raised');
SELECT lives_ok('SELECT 1 / (customer_id - 3) FROM chs.customer_list', 'nor by a view');
SELECT is_empty($$SELECT * FROM pg_stats WHERE schemaname = 'chs' AND tablename = 'customer_health'$$, 'statistics of the tables are not shown');
SELECT ok(NOT EXISTS (SELECT FROM pg_catalog.pg_stats WHERE schemaname = 'chs' AND tablename = 'customers'), 'nor those of chs.customers');
SELECT throws_ok('SET row_security = off; TABLE chs.customer_health', '42501', NULL, 'row_security = off does not help');
SELECT throws_ok('SET row_security = off; SELECT * FROM chs.dashboard_stats', '42501', NULL, 'nor with the counts');
SET LOCAL row_security = on;
SELECT throws_ok('ALTER TABLE chs.customer_health DISABLE ROW LEVEL SECURITY', '42501', NULL, 'the policies are not a reader''s to change');
SELECT throws_ok('CREATE INDEX ON chs.customer_health (leak(status))', '42501', NULL, 'nor to index');
RESET ROLE;
PREPARE everyone AS SELECT count(*) FROM chs.customer_health;
PREPARE one AS SELECT chs_status(3);
CREATE TEMP TABLE counted (who text, n bigint);
GRANT ALL ON counted TO PUBLIC;
EXECUTE everyone \g /dev/null
EXECUTE one \g /dev/null
SET LOCAL ROLE chs_tap_smb;
EXECUTE everyone \gset prepared_
SELECT is(:prepared_count, 2, 'a plan that the owner prepared is limited after SET ROLE');
SELECT throws_ok('EXECUTE one', 'P0002', NULL, 'and so is a function in it');
DECLARE mine SCROLL CURSOR FOR SELECT customer_id FROM chs.at_risk_customers ORDER BY customer_id;
MOVE ALL IN mine;
FETCH PRIOR FROM mine \gset cursor_
SELECT cmp_ok(:cursor_customer_id, '<=', 2, 'a cursor goes over its own customers');
CLOSE mine;
RESET ROLE;
SELECT is(count(*), 5::bigint, 'the owner still sees everyone') FROM chs.customer_health;
SELECT is((SELECT d FROM chs.dashboard_stats d)::text, (SELECT o FROM owners_stats o)::text, 'and has everyone counted');
-- The reader's own view, with the reader's rights, and the reader's own function.
GRANT CREATE ON SCHEMA public TO chs_tap_smb;
SET LOCAL ROLE chs_tap_smb;
CREATE VIEW public.theirs AS SELECT * FROM chs.customer_health;
CREATE FUNCTION public.theirs() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM chs.customer_health';
SELECT is((SELECT count(*) FROM public.theirs), 2::bigint, 'a view of a reader''s own is limited');
SELECT is(public.theirs(), 2::bigint, 'and so is a function');
RESET ROLE;

-- A role that may see nobody.
CREATE ROLE chs_tap_nobody;
SELECT chs_grant('chs_tap_nobody', 'read') \g /dev/null
SET LOCAL ROLE chs_tap_nobody;
SELECT is(total, 0::bigint, 'without a policy there are no customers') FROM chs.dashboard_stats;
SELECT is_empty('TABLE chs.customer_health', 'and no health');
RESET ROLE;
-- Without row-level security on chs.customers a reader sees everyone.
ALTER TABLE chs.customers DISABLE ROW LEVEL SECURITY;
SET LOCAL ROLE chs_tap_nobody;
SELECT is(total, 5::bigint, 'without row-level security everyone is counted') FROM chs.dashboard_stats;
SELECT is((SELECT count(*) FROM chs.customer_health), 5::bigint, 'and seen');
SELECT is((SELECT sum(healthy + at_risk + critical + unknown) FROM chs.health_counts), 5::numeric, 'and the counts are');
RESET ROLE;
-- But not by a role that may read only what is derived.
GRANT USAGE ON SCHEMA chs TO chs_tap_stranger;
GRANT SELECT ON chs.customer_health, chs.health_scores TO chs_tap_stranger;
SET LOCAL ROLE chs_tap_stranger;
SELECT throws_ok('TABLE chs.customer_health', '42501', 'permission denied for table customers', 'health without the right to see customers');
SELECT throws_ok('TABLE chs.health_scores', '42501', 'permission denied for table customers', 'and history');
RESET ROLE;

-- Copies of rows are for those who may read the table that has the rows.
CREATE ROLE chs_tap_cards;
CREATE ROLE chs_tap_cards_operator;
CREATE ROLE chs_tap_cards_admin;
SELECT chs_grant('chs_tap_cards', 'administer'), chs_grant('chs_tap_cards_operator', 'operate'), chs_grant('chs_tap_cards_admin', 'administer') \g /dev/null
SELECT chs_grant('chs_tap_cards', 'record') \g /dev/null
CREATE SCHEMA app AUTHORIZATION chs_tap_cards;
SET LOCAL ROLE chs_tap_cards;
CREATE TABLE app.cards (card text, customer int, at timestamptz DEFAULT now()) PARTITION BY LIST (customer);
CREATE TABLE app.card PARTITION OF app.cards DEFAULT;
SELECT public.chs_attach('app.cards', 'customer', 'login', 'at', $$'{}'::jsonb$$) \g /dev/null
INSERT INTO app.cards VALUES ('4111-1111', 1);
RESET ROLE;
CREATE FUNCTION pg_temp.sees(role text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    seen text;
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role);
    EXECUTE 'SELECT (SELECT count(*) FROM chs.rejected_events WHERE event_row::text ~ ''4111'') || '' of '' || (SELECT rejected FROM chs.source_status WHERE source_id > 1)' INTO seen;
    RESET ROLE;
    RETURN seen;
END
$$;
SELECT is(pg_temp.sees('chs_tap_cards'), '1 of 1', 'who attached the table sees copies of its rows');
SELECT is(pg_temp.sees('chs_tap_cards_operator'), '0 of 1', 'an operator who may not read it sees how many there are');
SELECT is(pg_temp.sees('chs_tap_cards_admin'), '0 of 1', 'and so does an administrator');
GRANT SELECT ON app.cards TO chs_tap_cards_operator;
SELECT is(pg_temp.sees('chs_tap_cards_operator'), '0 of 1', 'the right to use the schema is needed, too');
GRANT USAGE ON SCHEMA app TO chs_tap_cards_operator, chs_tap_cards_admin;
SELECT is(pg_temp.sees('chs_tap_cards_operator'), '1 of 1', 'who may read the table sees copies');
GRANT SELECT (customer) ON app.cards TO chs_tap_cards_admin;
SELECT is(pg_temp.sees('chs_tap_cards_admin'), '0 of 1', 'who may read one column does not');
ALTER TABLE app.cards ENABLE ROW LEVEL SECURITY;
SELECT is(pg_temp.sees('chs_tap_cards_operator'), '0 of 1', 'nor who may see some rows');
ALTER TABLE app.cards DISABLE ROW LEVEL SECURITY;
ALTER TABLE chs.customers ENABLE ROW LEVEL SECURITY;
SELECT is(pg_temp.sees('chs_tap_cards_operator'), '0 of 0', 'who may see some customers does not see any, nor how many');
ALTER TABLE chs.customers DISABLE ROW LEVEL SECURITY;
UPDATE chs.rejected_events SET relation = 1;
SELECT is(pg_temp.sees('chs_tap_cards'), '0 of 1', 'copies of rows of a table that is gone are seen by nobody');

SELECT * FROM finish();
ROLLBACK;

-- The public contract: what others may rely on, written out independently of
-- the extension's own SQL.  Runs in one transaction that is rolled back.

\ir begin.psql

-- Relations and their columns ------------------------------------------------

CREATE TEMP TABLE contract (kind "char", relation text, columns text);
INSERT INTO contract VALUES
    ('r', 'customers', 'customer_id bigint, external_id text, name text, email text, segment text, parent_id bigint,
        created_at timestamp with time zone, churned_at timestamp with time zone, owner text, value numeric'),
    ('v', 'value_stats', 'segment text, status text, customers bigint, value double precision, without_value bigint'),
    ('r', 'outcomes', 'customer_id bigint, outcome text, happened_at timestamp with time zone, amount numeric, note text'),
    ('r', 'backtests', 'backtest integer, outcome text, horizon integer, gap integer, first_origin date, last_origin date, every interval, segment text,
        sample double precision, version integer, document jsonb, customers bigint, created_at timestamp with time zone, report jsonb'),
    ('r', 'fits', 'fit integer, what text, outcome text, horizon integer, gap integer, scorecard text, first_origin date, test_from date,
        last_origin date, customers bigint, left_count bigint, created_at timestamp with time zone, today jsonb, proposed jsonb'),
    ('v', 'fit_figures', 'fit integer, what text, outcome text, figure text, today double precision, proposed double precision, gain double precision,
        low double precision, high double precision, verdict text'),
    ('v', 'backtest_figures', 'backtest integer, ordinal bigint, figure text, value double precision, low double precision, high double precision,
        compared_with double precision, verdict text'),
    ('v', 'backtest_origins', 'backtest integer, origin date, rows bigint, leaving bigint, in_gap bigint, unknown bigint, rate double precision,
        auc double precision, low double precision, high double precision, psi double precision'),
    ('v', 'backtest_bands', 'backtest integer, score_from integer, score_to integer, rows bigint, leaving bigint, rate double precision'),
    ('v', 'backtest_statuses', 'backtest integer, status text, rows bigint, leaving bigint, rate double precision'),
    ('v', 'backtest_metrics', 'backtest integer, scorecard text, factor text, metric text, weight double precision, auc double precision,
        missing double precision, plugin boolean, suspected_leak boolean'),
    ('r', 'segments', 'segment text, scorecard text'),
    ('r', 'event_types', 'event_type text, required text[], positive text[]'),
    ('r', 'customer_events', 'event_id bigint, customer_id bigint, event_type text, event_data jsonb,
        occurred_at timestamp with time zone, recorded_at timestamp with time zone, idempotency_key text'),
    ('r', 'scorecards', 'scorecard text, is_default boolean, min_coverage double precision,
        healthy_from double precision, at_risk_from double precision, grace boolean, trend_days integer,
        trend_band double precision, calm_points double precision'),
    ('r', 'factors', 'scorecard text, factor text, position integer, weight double precision'),
    ('r', 'metrics', 'scorecard text, factor text, metric text, position integer, event_type text, aggregate text,
        measure text, field text, filter text, base_filter text, window_days integer, curve text,
        weight double precision, missing text, missing_score double precision, penalty double precision'),
    ('r', 'targets', 'scorecard text, factor text, metric text, segment text, target double precision'),
    ('r', 'plugins', 'function text, registered_by text'),
    ('r', 'recommendations', 'recommendation text, scorecard text, segment text, factor text, no_data boolean, score_from double precision,
        score_below double precision, priority integer, action text'),
    ('v', 'recommendations_current', 'customer_id bigint, rank bigint, recommendation text, factor text, action text, priority integer,
        gain double precision, score double precision'),
    ('r', 'scorecard_versions', 'version integer, published_at timestamp with time zone, published_by text, actor text, note text,
        document jsonb'),
    ('r', 'activity', 'customer_id bigint, activity chs_activity'),
    ('r', 'queue', 'customer_id bigint, delta chs_activity, rebuild boolean, enqueued_at timestamp with time zone'),
    ('r', 'customer_health', 'customer_id bigint, score double precision, status text, coverage double precision,
        trend text, factor_scores double precision[], calculated_at timestamp with time zone'),
    ('r', 'health_scores', 'health_score_id bigint, customer_id bigint, score double precision, status text,
        coverage double precision, trend text, factor_scores double precision[], version integer,
        calculated_at timestamp with time zone'),
    ('v', 'dashboard_stats', 'total bigint, healthy bigint, at_risk bigint, critical bigint, unknown bigint,
        healthy_percent double precision, at_risk_percent double precision, critical_percent double precision,
        unknown_percent double precision, last_updated timestamp with time zone, average_score double precision'),
    ('v', 'segment_stats', 'segment text, total bigint, healthy bigint, at_risk bigint, critical bigint, unknown bigint,
        healthy_percent double precision, at_risk_percent double precision, critical_percent double precision,
        unknown_percent double precision, average_score double precision, last_updated timestamp with time zone'),
    ('v', 'at_risk_customers', 'customer_id bigint, external_id text, name text, email text, segment text,
        score double precision, status text, trend text, weakest_factor text, calculated_at timestamp with time zone,
        owner text, value double precision'),
    ('v', 'score_distribution', 'score_from double precision, score_to double precision, customers bigint'),
    ('v', 'daily_scores', 'customer_id bigint, day date, score double precision, status text, version integer'),
    ('v', 'status_changes', 'customer_id bigint, previous_status text, status text, score double precision,
        started_at timestamp with time zone, ended_at timestamp with time zone, lasted_days double precision'),
    ('v', 'status_movements', 'from_status text, to_status text, customers bigint'),
    ('v', 'movers', 'days integer, day date, customer_id bigint, name text, segment text, owner text, score double precision, previous_score double precision,
        change double precision, status text, previous_status text, moved_most text'),
    ('v', 'score_changes', 'customer_id bigint, score double precision, previous_score double precision,
        change double precision, moved_most text'),
    ('v', 'health_trend', 'customer_id bigint, slope double precision, trend text, days bigint, first_day date, last_day date'),
    ('v', 'customer_list', 'customer_id bigint, name text, email text, segment text, score double precision,
        status text, trend text, calculated_at timestamp with time zone, owner text, value double precision'),
    ('v', 'scored_customers', 'customer_id bigint, external_id text, name text, email text, segment text, score double precision,
        status text, trend text, weakest_factor text, active boolean, calculated_at timestamp with time zone'),
    ('v', 'factor_scores', 'health_score_id bigint, factor_name text, score double precision, weight double precision,
        details jsonb'),
    ('v', 'factor_breakdown', 'customer_id bigint, factor_name text, score double precision, weight double precision,
        contribution double precision'),
    ('v', 'progress', 'job text, state text, phase text, done bigint, total bigint, percent double precision,
        started_at timestamp with time zone, updated_at timestamp with time zone, finished_at timestamp with time zone,
        rate double precision, estimated_end timestamp with time zone, pid integer'),
    ('v', 'queue_status', 'depth bigint, is_estimate boolean, oldest_at timestamp with time zone, oldest_age_seconds double precision,
        lag_seconds double precision, held_back bigint, failing bigint, total_bytes bigint, paused boolean,
        paused_at timestamp with time zone, paused_by text, pause_reason text'),
    ('v', 'retention_status', 'kind text, setting text, needed_days integer, asked_before date, delete_before date, kept_from date,
        deleted bigint, complete boolean, updated_at timestamp with time zone, warning text');

SELECT is((SELECT c.relkind FROM pg_class c WHERE c.oid = to_regclass('chs.' || relation)), kind,
          format('chs.%s is a %s', relation, CASE kind WHEN 'r' THEN 'table' ELSE 'view' END))
FROM contract;

SELECT is((SELECT format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
           WHERE a.attrelid = to_regclass('chs.' || relation) AND a.attname = split_part(trim(both E' \n' from col), ' ', 1)
             AND NOT a.attisdropped),
          substr(trim(both E' \n' from col), strpos(trim(both E' \n' from col), ' ') + 1),
          format('chs.%s.%s', relation, split_part(trim(both E' \n' from col), ' ', 1)))
FROM contract, regexp_split_to_table(columns, ',\s*') col;

SELECT col_is_pk('chs', 'customers', 'customer_id', 'customers has its key');
SELECT col_is_unique('chs', 'customers', ARRAY['external_id'], 'external_id is unique');
SELECT col_is_unique('chs', 'customers', ARRAY['email'], 'email is unique');
SELECT is(attidentity, 'd', 'customer_id is an identity column that accepts given values')
FROM pg_attribute WHERE attrelid = 'chs.customers'::regclass AND attname = 'customer_id';
SELECT col_not_null('chs', 'customer_events', c, c || ' of an event is required')
FROM unnest('{event_id,customer_id,event_type,event_data,occurred_at,recorded_at}'::text[]) c;
SELECT fk_ok('chs', 'customer_events', 'customer_id', 'chs', 'customers', 'customer_id', 'events belong to customers');
SELECT fk_ok('chs', 'outcomes', 'customer_id', 'chs', 'customers', 'customer_id', 'outcomes belong to customers');
SELECT fk_ok('chs', 'customer_events', 'event_type', 'chs', 'event_types', 'event_type', 'events have a known type');
SELECT ok((SELECT bool_and(i.indkey[0] = (SELECT attnum FROM pg_attribute
                                          WHERE attrelid = i.indrelid AND attname = 'customer_id'))
           FROM pg_index i WHERE i.indisunique AND i.indrelid = r::regclass),
          format('every key of %s begins with customer_id', r))
FROM unnest('{chs.customer_events,chs.activity,chs.customer_health,chs.health_scores}'::text[]) r;

SELECT is_empty($$
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relnamespace = 'chs'::regnamespace AND c.relkind = 'v'
      AND a.atttypid NOT IN ('bigint'::regtype, 'integer'::regtype, 'text'::regtype, 'double precision'::regtype,
                             'timestamptz'::regtype, 'date'::regtype, 'jsonb'::regtype, 'boolean'::regtype)
$$, 'views have columns of plain types only');

SELECT is_empty($$
    SELECT c.relname FROM pg_class c
    WHERE c.relnamespace = 'chs'::regnamespace AND c.relkind = 'v'
      AND NOT COALESCE(c.reloptions @> '{security_invoker=true}' OR c.reloptions @> '{security_invoker=on}', false)
$$, 'views run with the rights of who reads them');

-- Functions ------------------------------------------------------------------

CREATE TEMP TABLE functions (signature text, result text, volatility "char", parallel "char");
INSERT INTO functions VALUES
    ('chs_score(bigint, timestamptz, integer)', 'double precision', 's', 'r'),
    ('chs_status(bigint, timestamptz, integer)', 'text', 's', 'r'),
    ('chs_explain(bigint, timestamptz, integer)', 'SETOF record', 's', 'r'),
    ('chs_health(bigint)', 'jsonb', 's', 'r'),
    ('chs_record_event(bigint, text, jsonb, timestamptz, text)', 'bigint', 'v', 'u'),
    ('chs_process_queue(bigint)', 'bigint', 'v', 'u'),
    ('chs_recalculate(bigint)', 'double precision', 'v', 'u'),
    ('chs_recalculate_all()', 'void', 'v', 'u'),
    ('chs_rebuild()', 'void', 'v', 'u'),
    ('chs_rebuild(bigint)', 'bigint', 'v', 'u'),
    ('chs_pause(text)', 'void', 'v', 'u'),
    ('chs_resume()', 'boolean', 'v', 'u'),
    ('chs_apply_retention(bigint)', 'record', 'v', 'u'),
    ('chs_verify()', 'SETOF record', 'v', 'u'),
    ('chs_publish(text,text)', 'integer', 'v', 'u'),
    ('chs_add_factor(text, double precision, text, jsonb, text, boolean, text, text, double precision, text)', 'void', 'v', 'u'),
    ('chs_drop_factor(text, text, boolean)', 'void', 'v', 'u'),
    ('chs_recommendations(bigint)', 'SETOF record', 's', 'r'),
    ('chs_status_changes(pg_snapshot)', 'SETOF record', 's', 's'),
    ('chs_explain_change(bigint, timestamptz, timestamptz)', 'SETOF record', 's', 'r'),
    ('chs_backfill_history(date)', 'void', 'v', 'u'),
    ('chs_history(bigint, date, date, integer)', 'SETOF record', 's', 'r'),
    ('chs_activity_history(chs_activity, jsonb, text, timestamptz, date[], jsonb)', 'SETOF record', 'i', 's'),
    ('chs_activity_agg(jsonb, text, jsonb, timestamptz)', 'chs_activity', 'i', 's'),
    ('chs_activity_merge(chs_activity, chs_activity)', 'chs_activity', 'i', 's'),
    ('chs_activity_score(chs_activity, jsonb, text, timestamptz, timestamptz, jsonb)', 'record', 'i', 's');

SELECT isnt(to_regprocedure('public.' || signature), NULL, signature || ' exists') FROM functions;
SELECT is(format('%s%s %s %s', CASE WHEN p.proretset THEN 'SETOF ' END, format_type(p.prorettype, NULL), p.provolatile, p.proparallel),
          format('%s %s %s', f.result, f.volatility, f.parallel),
          f.signature || ' has its result, volatility and parallel label')
FROM functions f JOIN pg_proc p ON p.oid = to_regprocedure('public.' || f.signature);

SELECT is(pg_get_function_result(to_regprocedure('public.chs_explain(bigint, timestamptz, integer)')),
    'TABLE' || expected, 'columns of chs_explain')
FROM (VALUES ('(factor text, metric text, value double precision, target double precision, score double precision, weight double precision, effective_weight double precision, contribution double precision, trend text, sparkline text, details jsonb)')) v(expected)
WHERE pg_get_function_result(to_regprocedure('public.chs_explain(bigint, timestamptz, integer)')) LIKE 'TABLE%';
SELECT is((SELECT array_agg(a.name || ' ' || format_type(a.type, NULL) ORDER BY a.n)
           FROM pg_proc p, unnest(p.proargnames, p.proallargtypes, p.proargmodes) WITH ORDINALITY a(name, type, mode, n)
           WHERE p.oid = to_regprocedure('public.chs_explain(bigint, timestamptz, integer)') AND a.mode IN ('o', 't')),
          ARRAY['factor text', 'metric text', 'value double precision', 'target double precision', 'score double precision',
                'weight double precision', 'effective_weight double precision', 'contribution double precision',
                'trend text', 'sparkline text', 'details jsonb'],
          'chs_explain returns what the design says');
SELECT is((SELECT p.proargnames[1:p.pronargs] FROM pg_proc p
           WHERE p.oid = to_regprocedure('public.chs_record_event(bigint, text, jsonb, timestamptz, text)')),
          '{customer_id,event_type,event_data,occurred_at,idempotency_key}', 'chs_record_event has named arguments');
SELECT is(p.prokind, 'a', 'chs_activity_agg is an aggregate')
FROM pg_proc p WHERE p.proname = 'chs_activity_agg';
SELECT ok(a.aggcombinefn <> 0 AND a.aggtranstype = 'public.chs_activity'::regtype,
          'its state is the activity itself, and partial states combine')
FROM pg_aggregate a WHERE a.aggfnoid = 'public.chs_activity_agg'::regproc;
SELECT ok(t.typlen = -1 AND t.typreceive <> 0 AND t.typsend <> 0, 'chs_activity has text and binary input and output')
FROM pg_type t WHERE t.oid = 'public.chs_activity'::regtype;

-- Everything in the extension ------------------------------------------------

CREATE TEMP VIEW members AS
SELECT d.classid, d.objid, pg_describe_object(d.classid, d.objid, 0) AS description
FROM pg_depend d JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
WHERE e.extname = 'chs' AND d.deptype = 'e'
  -- from PostgreSQL 17 on also types that come with a table or another type
  AND NOT EXISTS (SELECT FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
                  WHERE d.classid = 'pg_type'::regclass AND t.oid = d.objid
                    AND (c.relkind IN ('r', 'v') OR t.typsubscript = 'array_subscript_handler'::regproc));

SELECT cmp_ok((SELECT count(*) FROM members), '>', 50::bigint, 'the extension has members');
SELECT is_empty($$
    SELECT m.description FROM members m
    WHERE NOT EXISTS (SELECT FROM pg_description d
                      WHERE d.classoid = m.classid AND d.objoid = m.objid AND d.objsubid = 0 AND d.description <> '')
      AND m.classid <> 'pg_trigger'::regclass
$$, 'every object of the extension has a comment');
SELECT is_empty($$
    SELECT format('%s.%I', a.attrelid::regclass, a.attname) AS name
    FROM members m JOIN pg_class c ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND COALESCE(col_description(c.oid, a.attnum), '') = ''
    ORDER BY 1
$$, 'every column of its tables and views has one');

SELECT is_empty($$
    SELECT p.oid::regprocedure FROM members m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
    JOIN pg_language l ON l.oid = p.prolang
    WHERE l.lanname NOT IN ('c', 'internal')
      AND NOT COALESCE(p.proconfig @> '{"search_path=pg_catalog, pg_temp"}', false)
      -- that of the session tells them whether a dump is restored; every name in them is qualified
      AND p.proname NOT IN ('source_altered', 'source_dropped')
$$, 'search_path is pinned on every function in SQL or plpgsql');
SELECT is_empty($$
    SELECT p.oid::regprocedure FROM members m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
    WHERE p.prosecdef
$$, 'no function runs with the rights of its owner');
SELECT is_empty($$
    SELECT p.oid::regprocedure FROM members m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
    WHERE (p.pronamespace = 'chs'::regnamespace) = (p.proname LIKE 'chs\_%')
$$, 'public functions are named chs_..., and only they are outside schema chs');
SELECT is_empty($$
    SELECT m.description FROM members m JOIN pg_class c ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
    WHERE c.relnamespace <> 'chs'::regnamespace
$$, 'all tables and views are in schema chs');

-- Rights ---------------------------------------------------------------------

CREATE ROLE chs_tap_stranger;
CREATE ROLE chs_tap_writer;
SELECT is_empty($$
    SELECT c.relname FROM members m JOIN pg_class c ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
    WHERE has_table_privilege('chs_tap_stranger', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
$$, 'PUBLIC has no right on any table or view');
SELECT ok(NOT has_function_privilege('chs_tap_stranger', f::regprocedure, 'EXECUTE'), 'PUBLIC may not execute ' || f)
FROM unnest(ARRAY['public.chs_process_queue(bigint)', 'public.chs_recalculate(bigint)', 'public.chs_recalculate_all()',
                  'public.chs_rebuild()', 'public.chs_backfill_history(date)', 'chs.backfill_history(date,bigint)', 'chs.score_history(date[],jsonb,integer,bigint,bigint,bigint[],boolean)', 'chs.event_days(jsonb,bigint[],date,date)', 'chs.late_events(bigint[],date,date)', 'public.chs_backtest(text,integer,integer,date,date,interval,jsonb,text,double precision,integer)', 'chs.outcome_rows(text,integer,integer,date[],jsonb,bigint[],boolean)', 'public.chs_fit(text,integer,integer,date,date,interval,text,date,jsonb,double precision,double precision)', 'public.chs_apply_retention(bigint)', 'public.chs_pause(text)', 'public.chs_resume()', 'chs.queue_status_now()', 'public.chs_rebuild(bigint)', 'public.chs_verify()', 'public.chs_publish(text,text)', 'chs.wake_worker()']) f;
SELECT ok(has_function_privilege('chs_tap_stranger', f::regprocedure, 'EXECUTE'), 'PUBLIC may execute ' || f)
FROM unnest(ARRAY['public.chs_activity_merge(chs_activity, chs_activity)', 'chs.curve(text, double precision)']) f;
SELECT ok(NOT has_schema_privilege('chs_tap_stranger', 'chs', 'CREATE'), 'PUBLIC creates nothing in schema chs');

INSERT INTO chs.customers (customer_id, name, segment, created_at) OVERRIDING SYSTEM VALUE VALUES (1, 'One', 'startup', '2020-01-01');
INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (1, 'login', '{"ip_address": "10.0.0.1"}');
GRANT USAGE ON SCHEMA tap TO PUBLIC;
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO PUBLIC;

SET LOCAL ROLE chs_tap_stranger;
SELECT throws_ok(q, '42501', NULL, 'a stranger gets no answer from ' || q)
FROM unnest(ARRAY[
    'SELECT * FROM chs.customer_list',
    'SELECT * FROM chs.scored_customers',
    'SELECT * FROM chs.dashboard_stats',
    'SELECT * FROM chs.factor_breakdown',
    'SELECT chs_score(1)',
    'SELECT chs_status(1)',
    'SELECT * FROM chs_explain(1)',
    'SELECT chs_health(1)',
    'SELECT * FROM chs_recommendations(1)',
    'SELECT * FROM chs_explain_change(1, now())',
    'SELECT * FROM chs_history(1)',
    'SELECT chs.plugin_value(''x'', 1)',
    'SELECT * FROM chs.recommendations_current',
    'SELECT chs_record_event(1, ''support_ticket'')',
    'SELECT chs_process_queue()',
    'SELECT chs_publish()',
    'SELECT chs_verify()']) q;
RESET ROLE;

-- Inserting events requires no right on what capture writes to.
GRANT INSERT ON chs.customer_events TO chs_tap_writer;
SET LOCAL ROLE chs_tap_writer;
SELECT lives_ok($$INSERT INTO chs.customer_events (customer_id, event_type) VALUES (1, 'support_ticket')$$,
                'INSERT on chs.customer_events is all that a writer needs');
SELECT throws_ok('TABLE chs.queue', '42501', NULL, 'which gives no right on the queue');
RESET ROLE;
SELECT is((SELECT value FROM public.chs_explain(1) WHERE metric = 'ticket_volume'), 1::double precision,
          'the writer''s event counts');

-- Shipped rows ---------------------------------------------------------------

SELECT set_eq('SELECT segment FROM chs.segments', '{enterprise,smb,startup}'::text[], 'three segments ship');
SELECT set_eq('SELECT scorecard FROM chs.segments', '{default}'::text[], 'all use the default scorecard');
SELECT results_eq('SELECT event_type, required, positive FROM chs.event_types ORDER BY 1', $$VALUES
    ('api_call', '{endpoint}'::text[], '{}'::text[]),
    ('feature_use', '{feature_name}', '{}'),
    ('login', '{ip_address}', '{}'),
    ('payment', '{}', '{amount}'),
    ('support_ticket', '{}', '{}')$$, 'five event types ship, with their rules');
SELECT results_eq('SELECT scorecard, is_default, min_coverage, healthy_from, at_risk_from, grace FROM chs.scorecards ORDER BY 1', $$VALUES
    ('default', true, 0.5::double precision, 75::double precision, 50::double precision, true),
    ('volume_only', false, 0, 75, 50, false)$$, 'two scorecards ship');
SELECT results_eq('SELECT scorecard, factor, weight FROM chs.factors ORDER BY scorecard, position', $$VALUES
    ('default', 'api_usage', 0.30::double precision), ('default', 'login_frequency', 0.20),
    ('default', 'payment_timeliness', 0.25), ('default', 'feature_adoption', 0.15), ('default', 'support_tickets', 0.10),
    ('volume_only', 'api_usage', 0.30), ('volume_only', 'login_frequency', 0.20),
    ('volume_only', 'payment_timeliness', 0.25), ('volume_only', 'feature_adoption', 0.15),
    ('volume_only', 'support_tickets', 0.10)$$, 'factors and weights');

CREATE TEMP VIEW shipped AS
SELECT m.scorecard, f.position AS factor_position, m.position, m.factor, m.metric, m.event_type, m.aggregate,
       CASE WHEN m.aggregate IN ('ratio', 'growth') THEN m.measure END AS measure, m.field, m.window_days, m.curve, m.weight,
       CASE m.missing WHEN 'score' THEN m.missing_score::text ELSE m.missing END AS no_data,
       (SELECT string_agg(COALESCE(t.segment, '*') || ' ' || t.target, ', ' ORDER BY t.target DESC, t.segment) FROM chs.targets t
        WHERE (t.scorecard, t.factor, t.metric) = (m.scorecard, m.factor, m.metric)) AS targets
FROM chs.metrics m JOIN chs.factors f USING (scorecard, factor) WHERE m.penalty IS NULL;
SELECT results_eq($$SELECT factor, metric, event_type, aggregate, measure, field, window_days, curve, weight, no_data, targets
    FROM shipped WHERE scorecard = 'default' ORDER BY factor_position, position$$, $$VALUES
    ('api_usage', 'api_calls', 'api_call', 'count', NULL, NULL, 30, '0:0 1:100', 0.70::double precision, 'zero', 'enterprise 1000, smb 500, * 300, startup 200'),
    ('api_usage', 'endpoint_diversity', 'api_call', 'distinct', NULL, 'endpoint', 30, '0:0 1:100', 0.15, 'missing', '* 5'),
    ('api_usage', 'api_error_rate', 'api_call', 'ratio', 'count', NULL, 30, '0:100 0.25:0', 0.15, 'missing', NULL),
    ('login_frequency', 'logins', 'login', 'count', NULL, NULL, 30, '0:0 1:100', 0.70, 'zero', '* 20'),
    ('login_frequency', 'session_duration', 'login', 'avg', NULL, 'session_duration', 30, '0:0 1:100', 0.15, 'missing', '* 600'),
    ('login_frequency', 'active_users', 'login', 'distinct', NULL, 'user_id', 30, '0:0 1:100', 0.15, 'missing', 'enterprise 10, smb 5, startup 2'),
    ('payment_timeliness', 'on_time_rate', 'payment', 'ratio', 'count', NULL, 90, '0:0 1:100', 0.70, 'missing', NULL),
    ('payment_timeliness', 'payment_delay', 'payment', 'avg', NULL, 'days_late', 90, '0:100 30:0', 0.15, 'missing', NULL),
    ('payment_timeliness', 'outstanding_share', 'payment', 'ratio', 'sum', 'amount', 90, '0:100 0.5:0', 0.15, 'missing', NULL),
    ('feature_adoption', 'features_used', 'feature_use', 'distinct', NULL, 'feature_name', 30, '0:0 1:100', 0.80, 'zero', '* 8'),
    ('feature_adoption', 'advanced_share', 'feature_use', 'ratio', 'distinct', 'feature_name', 30, '0:0 1:100', 0.20, 'missing', '* 0.3'),
    ('support_tickets', 'ticket_volume', 'support_ticket', 'count', NULL, NULL, 30, '0:100 1:80 2:80 3:60 4:60 5:40 6:40 12:10', 0.60, '100', NULL),
    ('support_tickets', 'resolution_time', 'support_ticket', 'avg', NULL, 'resolution_time', 30, '1:100 3:0', 0.20, 'missing', 'startup 259200, smb 172800, enterprise 86400'),
    ('support_tickets', 'satisfaction', 'support_ticket', 'avg', NULL, 'satisfaction', 30, '1:0 5:100', 0.20, 'missing', NULL)$$,
    'metrics of the default scorecard');
SELECT results_eq($$SELECT factor, metric, event_type, aggregate, measure, field, window_days, curve, weight, no_data, targets
    FROM shipped WHERE scorecard = 'volume_only' ORDER BY factor_position, position$$, $$VALUES
    ('api_usage', 'api_calls', 'api_call', 'count', NULL, NULL, 30, '0:0 1:100', 1::double precision, 'zero', 'enterprise 1000, smb 500, * 300, startup 200'),
    ('login_frequency', 'logins', 'login', 'count', NULL, NULL, 30, '0:0 1:100', 1, 'zero', '* 20'),
    ('payment_timeliness', 'on_time_rate', 'payment', 'ratio', 'count', NULL, 90, '0:0 1:100', 1, '70', NULL),
    ('feature_adoption', 'features_used', 'feature_use', 'distinct', NULL, 'feature_name', 30, '0:0 1:100', 1, 'zero', '* 8'),
    ('support_tickets', 'ticket_volume', 'support_ticket', 'count', NULL, NULL, 30, '0:100 1:80 2:80 3:60 4:60 5:40 6:40 12:10', 1, '100', NULL)$$,
    'metrics of volume_only');
SELECT results_eq($$SELECT m.factor, m.metric, m.event_type, m.aggregate, m.window_days, m.penalty FROM chs.metrics m
    WHERE m.scorecard = 'default' AND m.penalty IS NOT NULL ORDER BY m.factor, m.penalty DESC, m.metric$$, $$VALUES
    ('payment_timeliness', 'overdue', 'payment', 'count', 90, 20::double precision),
    ('payment_timeliness', 'failed', 'payment', 'count', 90, 10),
    ('payment_timeliness', 'late_or_pending', 'payment', 'count', 90, 5),
    ('support_tickets', 'urgent', 'support_ticket', 'count', 30, 10),
    ('support_tickets', 'high_priority', 'support_ticket', 'count', 30, 5)$$, 'penalties of the default scorecard');
SELECT set_eq($$SELECT factor, metric, event_type, aggregate, window_days, filter, penalty FROM chs.metrics WHERE scorecard = 'volume_only' AND penalty IS NOT NULL$$,
    $$SELECT factor, metric, event_type, aggregate, window_days, filter, penalty FROM chs.metrics WHERE scorecard = 'default' AND penalty IS NOT NULL$$, 'volume_only has the same penalties');

-- What the filters mean: a row per event that distinguishes them.
CREATE TEMP TABLE filters (metric text, data jsonb, counts boolean);
INSERT INTO filters VALUES
    ('api_error_rate', '{"status_code": 400}', true), ('api_error_rate', '{"status_code": 399}', false),
    ('api_error_rate', '{"response_code": 503}', true), ('api_error_rate', '{"response_code": 200, "status_code": 500}', true),
    ('api_error_rate', '{"status_code": "500"}', false), ('api_error_rate', '{"status_code": "x", "response_code": 404}', true),
    ('api_error_rate', '{"status_code": null}', false), ('api_error_rate', '{}', false),
    ('on_time_rate', '{"status": "paid_on_time"}', true), ('on_time_rate', '{"status": "completed"}', true),
    ('on_time_rate', '{"status": "completed", "days_late": 3}', true),
    ('on_time_rate', '{"status": "paid_late"}', false), ('on_time_rate', '{"status": "overdue"}', false),
    ('on_time_rate', '{"status": "failed"}', false), ('on_time_rate', '{"status": "pending"}', false),
    ('on_time_rate', '{}', true), ('on_time_rate', '{"days_late": 0}', true), ('on_time_rate', '{"days_late": -2}', true),
    ('on_time_rate', '{"days_late": 1}', false), ('on_time_rate', '{"days_late": null}', true),
    ('on_time_rate', '{"status": null}', true), ('on_time_rate', '{"status": null, "days_late": 4}', false),
    ('on_time_rate', '{"status": "", "days_late": 0}', false),
    ('outstanding_share', '{"status": "overdue"}', true), ('outstanding_share', '{"status": "failed"}', true),
    ('outstanding_share', '{"status": "pending"}', true), ('outstanding_share', '{"status": "paid_late"}', false),
    ('outstanding_share', '{}', false),
    ('overdue', '{"status": "overdue"}', true), ('overdue', '{"status": "failed"}', false), ('overdue', '{}', false),
    ('failed', '{"status": "failed"}', true), ('failed', '{"status": "overdue"}', false),
    ('late_or_pending', '{"status": "paid_late"}', true), ('late_or_pending', '{"status": "pending"}', true),
    ('late_or_pending', '{"status": "overdue"}', false), ('late_or_pending', '{}', false),
    ('advanced_share', '{"tier": "advanced"}', true), ('advanced_share', '{"tier": "basic"}', false),
    ('advanced_share', '{}', false), ('advanced_share', '{"tier": null}', false),
    ('urgent', '{"priority": "urgent"}', true), ('urgent', '{"priority": "high"}', false), ('urgent', '{}', false),
    ('high_priority', '{"priority": "high"}', true), ('high_priority', '{"priority": "urgent"}', false);
SELECT is(COALESCE(f.data @@ m.filter::jsonpath, false), f.counts, format('%s %s %s', f.metric, CASE WHEN f.counts THEN 'counts' ELSE 'does not count' END, f.data))
FROM filters f LEFT JOIN chs.metrics m ON m.metric = f.metric AND m.scorecard = 'default';
SELECT is(COALESCE(d::jsonb @@ m.base_filter::jsonpath, false), counts, format('advanced_share has %s in its base: %s', d, counts))
FROM chs.metrics m, (VALUES ('{"tier": "advanced"}', true), ('{"tier": "basic"}', true), ('{"tier": null}', false), ('{}', false)) v(d, counts)
WHERE m.scorecard = 'default' AND m.metric = 'advanced_share';

-- Published versions ---------------------------------------------------------

SELECT results_eq('SELECT version, note FROM chs.scorecard_versions', $$VALUES (1, 'as shipped')$$, 'what ships is published as version 1');
SELECT is(public.chs_publish('again'), 2, 'publishing gives the next number');
SELECT throws_ok('DELETE FROM chs.scorecard_versions', '55000', 'published scorecard versions cannot be changed', 'versions stay');
SELECT throws_ok('UPDATE chs.scorecard_versions SET note = NULL', '55000', NULL, 'and stay as they are');
UPDATE chs.metrics SET weight = 0 WHERE metric = 'api_calls';
SELECT is(a.document, b.document, 'editing the draft changes no version')
FROM chs.scorecard_versions a, chs.scorecard_versions b WHERE a.version = 1 AND b.version = 2;

SELECT * FROM finish();
ROLLBACK;

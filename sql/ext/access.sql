-- Access: who may see which rows, and every grant that the functions in a
-- company need.  PUBLIC is granted nothing on any table or view.

-- Row-level security on chs.customers governs everything else that says something
-- about a customer: apart from the owner of the tables, those who can see a customer
-- can see its rows.  The table of events is not included, since COPY does not
-- write to a table with policies; a role that may see only some customers must not be
-- given the right to read events.  Overall counts, and rows whose customer is
-- unknown, can be seen only by roles that no policy restricts.  Copies of rows of
-- attached tables are for those who may read the table itself.
-- Not EXISTS, which the planner would turn into a hash of all customers that can be seen,
-- even where it is asked for a page of fifty.
CREATE FUNCTION chs.follow_customers() RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t record;
BEGIN
    FOR t IN
        SELECT c.oid::regclass AS name, c.relrowsecurity AS secured,
               CASE WHEN c.relname = 'rejected_events'
                    THEN 'NOT row_security_active(''chs.customers''::regclass) AND chs.is_readable(relation)'
                    -- figures of all customers, or of those whom their author saw
                    WHEN c.relname IN ('backtests', 'fits')
                    THEN 'created_by = current_user OR NOT row_security_active(''chs.customers''::regclass)'
                    WHEN c.relname IN ('health_counts', 'daily_counts', 'partial_counts')
                    THEN 'NOT row_security_active(''chs.customers''::regclass)'
                    ELSE format('(SELECT NOT row_security_active(''chs.customers''::regclass)) OR'
                                ' (SELECT true FROM chs.customers c WHERE c.customer_id = %I.customer_id)', c.relname)
               END AS seen,
               -- whoever records need not see customers
               CASE WHEN c.relname = 'outcomes' THEN 'WITH CHECK (true)' ELSE '' END AS written,
               EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'follow_customers') AS follows
        FROM pg_depend d JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
        WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
          AND d.refobjid = (SELECT e.oid FROM pg_extension e WHERE e.extname = 'chs')
          AND c.relkind IN ('r', 'p') AND c.oid NOT IN ('chs.customers'::regclass, 'chs.customer_events'::regclass)
          AND (c.relname IN ('backtests', 'fits', 'health_counts', 'daily_counts', 'partial_counts', 'rejected_events')
               OR EXISTS (SELECT FROM pg_attribute a
                          WHERE a.attrelid = c.oid AND a.attname = 'customer_id' AND NOT a.attisdropped))
    LOOP
        IF NOT t.secured THEN
            EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t.name);
        END IF;
        IF NOT t.follows THEN
            EXECUTE format('CREATE POLICY follow_customers ON %s USING (%s) %s', t.name, t.seen, t.written);
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION chs.follow_customers()
    IS 'makes row-level security of the tables about customers follow that of chs.customers';
REVOKE EXECUTE ON FUNCTION chs.follow_customers() FROM PUBLIC;

SELECT chs.follow_customers();

-- Every grant.
CREATE FUNCTION chs.grants(OUT may text, OUT privilege text, OUT object text) RETURNS SETOF record
    LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 150
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT g.may, p.privilege, o.object
    FROM (VALUES
        -- see scores, the reasons for them, what to do, and their history
        ('read', '{SELECT}'::text[], ARRAY[
            'chs.customers', 'chs.segments', 'chs.customer_health', 'chs.health_counts', 'chs.health_scores',
            'chs.scorecard_version_factors',
            'chs.dashboard_stats', 'chs.segment_stats', 'chs.value_stats', 'chs.customer_list', 'chs.scored_customers', 'chs.at_risk_customers',
            'chs.score_distribution', 'chs.factor_breakdown', 'chs.factor_scores', 'chs.recommendations_current',
            'chs.outcomes', 'chs.backtests', 'chs.backtest_figures', 'chs.backtest_origins', 'chs.backtest_bands', 'chs.backtest_statuses',
            'chs.backtest_metrics', 'chs.fits', 'chs.fit_figures', 'chs.daily_scores', 'chs.status_changes', 'chs.status_movements', 'chs.daily_counts', 'chs.counted_days', 'chs.daily_stats',
            'chs.score_changes', 'chs.daily_movers', 'chs.movers', 'chs.health_trend', 'chs.daily_activity']),
        -- send events, by INSERT, COPY, chs_record_event or chs_record_events
        -- but not under an event_id of one's choice, which would make others' events fail
        ('record', '{INSERT (customer_id),INSERT (event_type),INSERT (event_data),INSERT (occurred_at),INSERT (idempotency_key)}', ARRAY['chs.customer_events']),
        ('record', '{SELECT (event_id),SELECT (customer_id),SELECT (idempotency_key)}', ARRAY['chs.customer_events']),
        ('record', '{SELECT}', ARRAY['chs.event_types']),
        -- and what became of customers
        ('record', '{INSERT}', ARRAY['chs.outcomes']),
        -- edit the draft and publish it
        ('administer', '{SELECT,INSERT,UPDATE,DELETE}', ARRAY[
            'chs.scorecards', 'chs.factors', 'chs.metrics', 'chs.targets', 'chs.segments', 'chs.segment_weights',
            'chs.event_types', 'chs.recommendations', 'chs.plugins']),
        ('administer', '{SELECT}', ARRAY[
            'chs.scorecard_versions', 'chs.scorecard_version_factors', 'chs.draft_changes',
            'chs.retention', 'chs.sources', 'chs.source_status', 'chs.rejected_events']),
        -- judge the scores; a report says who made it
        ('administer', '{INSERT (outcome),INSERT (horizon),INSERT (gap),INSERT (first_origin),INSERT (last_origin),INSERT (every),INSERT (segment),INSERT (sample),INSERT (min_age),INSERT (version),INSERT (document),INSERT (customers),INSERT (report)}',
            ARRAY['chs.backtests']),
        ('administer', '{INSERT (what),INSERT (outcome),INSERT (horizon),INSERT (gap),INSERT (scorecard),INSERT (first_origin),INSERT (test_from),INSERT (last_origin),INSERT (customers),INSERT (left_count),INSERT (today),INSERT (proposed),INSERT (details),INSERT (figures)}',
            ARRAY['chs.fits']),
        ('administer', '{SELECT,DELETE}', ARRAY['chs.backtests', 'chs.fits']),
        ('administer', '{SELECT}', ARRAY['chs.backtest_figures', 'chs.backtest_origins', 'chs.backtest_bands', 'chs.backtest_statuses', 'chs.backtest_metrics', 'chs.fit_figures']),
        ('administer', '{EXECUTE}', ARRAY[
            'ROUTINE @extschema@.chs_backtest(text, integer, integer, date, date, interval, jsonb, text, double precision, integer)', 'ROUTINE chs.late_events(bigint[], date, date)', 'ROUTINE chs.backtest_begin()',
            'ROUTINE @extschema@.chs_fit(text, integer, integer, date, date, interval, text, date, jsonb, double precision, double precision)',
            'ROUTINE @extschema@.chs_simulate(jsonb, double precision, timestamptz)', 'ROUTINE chs.health_by(jsonb, bigint, timestamptz)',
            'ROUTINE chs.score_history(date[], jsonb, integer, bigint, bigint, bigint[], boolean)',
            'ROUTINE chs.event_days(jsonb, bigint[], date, date)', 'ROUTINE chs.outcome_rows(text, integer, integer, date[], jsonb, bigint[], boolean)',
            'ROUTINE @extschema@.chs_publish(text, text)', 'ROUTINE @extschema@.chs_rollback(integer, text, boolean)',
            'ROUTINE @extschema@.chs_scorecard_import(jsonb)',
            'ROUTINE @extschema@.chs_add_factor(text, double precision, text, jsonb, text, boolean, text, text, double precision, text)',
            'ROUTINE @extschema@.chs_drop_factor(text, text, boolean)',
            'ROUTINE chs.add_factor(text, double precision, text, jsonb, text, boolean, text, text, double precision, text)',
            'ROUTINE chs.add_metrics(text, text, jsonb)', 'ROUTINE chs.register_plugin(text)',
            'ROUTINE @extschema@.chs_attach(regclass, text, text, text, text, text)', 'ROUTINE @extschema@.chs_detach(regclass)',
            'ROUTINE @extschema@.chs_attach_customers(regclass, text, text, text, text, text, text, text, text)',
            'ROUTINE chs.scale_weights(text, text, double precision)', 'ROUTINE chs.source_rejected(integer, text)']),
        -- do the workers' job by hand, monitor them, repair
        ('operate', '{SELECT}', ARRAY[
            'chs.customers', 'chs.customer_health', 'chs.stale_health', 'chs.failures', 'chs.queue', 'chs.queue_status', 'chs.pause', 'chs.jobs', 'chs.progress', 'chs.worker_status', 'chs.sources',
            'chs.source_status', 'chs.rejected_events', 'chs.retention', 'chs.retention_status',
            'chs.scorecards', 'chs.factors', 'chs.metrics', 'chs.targets', 'chs.segments', 'chs.segment_weights',
            'chs.scorecard_versions']),
        ('operate', '{SELECT (customer_id),SELECT (series_version)}', ARRAY['chs.activity']),
        ('operate', '{EXECUTE}', ARRAY[
            'ROUTINE @extschema@.chs_process_queue(bigint)', 'ROUTINE @extschema@.chs_recalculate(bigint)',
            'ROUTINE @extschema@.chs_recalculate_all()', 'ROUTINE @extschema@.chs_rebuild(bigint)',
            'ROUTINE @extschema@.chs_rebuild()', 'ROUTINE @extschema@.chs_backfill_history(date)', 'ROUTINE @extschema@.chs_verify()', 'ROUTINE @extschema@.chs_count_days(date)',
            'ROUTINE @extschema@.chs_purge_customer(bigint)',
            'ROUTINE @extschema@.chs_retry_rejected(regclass)', 'ROUTINE chs.retry_source(integer)', 'ROUTINE @extschema@.chs_refresh(bigint)',
            'ROUTINE @extschema@.chs_pause(text)', 'ROUTINE @extschema@.chs_resume()',
            'ROUTINE @extschema@.chs_simulate(jsonb, double precision, timestamptz)', 'ROUTINE chs.health_by(jsonb, bigint, timestamptz)',
            'ROUTINE chs.worker_status_now()', 'ROUTINE chs.queue_status_now()',
            'ROUTINE chs.source_rejected(integer, text)'])
        ) AS g(may, privileges, objects), unnest(g.privileges) AS p(privilege), unnest(g.objects) AS o(object);
END;
COMMENT ON FUNCTION chs.grants() IS 'what chs_grant grants for each function that a role can have';

CREATE FUNCTION chs.granted(role_name name) RETURNS text[]
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH acl(object, privilege, grantee) AS (
        SELECT c.oid, a.privilege_type, a.grantee FROM pg_class c, aclexplode(c.relacl) a
        UNION ALL SELECT c.attrelid, format('%s (%I)', a.privilege_type, c.attname), a.grantee
        FROM pg_attribute c, aclexplode(c.attacl) a
        UNION ALL SELECT p.oid, a.privilege_type, a.grantee FROM pg_proc p, aclexplode(p.proacl) a)
    SELECT COALESCE(array_agg(m.may), '{}')
    FROM (SELECT g.may
          FROM chs.grants() g
          LEFT JOIN acl ON acl.grantee = (SELECT r.oid FROM pg_roles r WHERE r.rolname = $1) AND acl.privilege = g.privilege
              AND acl.object = CASE WHEN g.object LIKE 'ROUTINE %' THEN to_regprocedure(substr(g.object, length('ROUTINE ') + 1))::oid
                               ELSE to_regclass(g.object)::oid END
          GROUP BY g.may
          HAVING bool_and(acl.object IS NOT NULL)) m;
END;
COMMENT ON FUNCTION chs.granted(name) IS 'the functions for which a role itself, not one that it is a member of, has been granted everything that chs_grant grants';

-- Grants or revokes what a function in a company needs, except what others need as well.
CREATE FUNCTION chs.change_grants(statement text, role_name name, may text, others text[]) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    g record;
BEGIN
    IF $3 IS NULL OR $3 NOT IN (SELECT a.may FROM chs.grants() a) THEN
        RAISE EXCEPTION 'invalid value for parameter "may": "%"', $3
            USING ERRCODE = 'invalid_parameter_value', HINT = 'A role may "read", "record", "administer" or "operate".';
    END IF;
    FOR g IN SELECT a.privilege, a.object FROM chs.grants() a WHERE a.may = $3
             EXCEPT SELECT b.privilege, b.object FROM chs.grants() b WHERE b.may = ANY ($4) AND b.may <> $3 LOOP
        EXECUTE format($1, g.privilege, g.object, $2);
    END LOOP;
END
$$;
COMMENT ON FUNCTION chs.change_grants(text, name, text, text[]) IS 'common part of chs_grant and chs_revoke';
REVOKE EXECUTE ON FUNCTION chs.change_grants(text, name, text, text[]) FROM PUBLIC;

CREATE FUNCTION @extschema@.chs_grant(role_name name, may text) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM chs.change_grants('GRANT %s ON %s TO %I'::text, $1, $2, '{}'::text[]);
    PERFORM chs.follow_customers();
    EXECUTE format('GRANT USAGE ON SCHEMA chs, @extschema@ TO %I', $1);
END
$$;
COMMENT ON FUNCTION @extschema@.chs_grant(name, text)
    IS 'grants a role what it needs to read scores, record events, administer scorecards, or operate the service: ''read'', ''record'', ''administer'' or ''operate''';
REVOKE EXECUTE ON FUNCTION @extschema@.chs_grant(name, text) FROM PUBLIC;

CREATE FUNCTION @extschema@.chs_revoke(role_name name, may text) RETURNS void
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT chs.change_grants('REVOKE %s ON %s FROM %I'::text, $1, $2, chs.granted($1));
END;
COMMENT ON FUNCTION @extschema@.chs_revoke(name, text)
    IS 'revokes what chs_grant granted, except what another function granted to the role also needs';
REVOKE EXECUTE ON FUNCTION @extschema@.chs_revoke(name, text) FROM PUBLIC;

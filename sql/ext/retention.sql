-- Retention: deleting events, history and rejected rows that need not be kept any longer.

-- Dumped, because it says what is missing.
CREATE TABLE chs.retention (
    kind             text PRIMARY KEY CHECK (kind IN ('events', 'history', 'rejected')),
    kept_from        date,
    deleted          bigint NOT NULL,
    pass_before      date NOT NULL,
    last_customer_id bigint,
    complete         boolean NOT NULL,
    updated_at       timestamptz NOT NULL
);
COMMENT ON TABLE chs.retention IS 'internal: what has been deleted because of chs.event_retention, chs.history_retention and chs.rejected_retention';
COMMENT ON COLUMN chs.retention.kind IS 'events: rows of chs.customer_events; history: rows of chs.health_scores; rejected: rows of chs.rejected_events';
COMMENT ON COLUMN chs.retention.kept_from IS 'rows of earlier UTC days have been deleted; NULL: none have';
COMMENT ON COLUMN chs.retention.deleted IS 'rows deleted so far';
COMMENT ON COLUMN chs.retention.pass_before IS 'the latest pass deletes rows of earlier UTC days';
COMMENT ON COLUMN chs.retention.last_customer_id IS 'this pass has deleted rows of customers up to this one';
COMMENT ON COLUMN chs.retention.complete IS 'this pass is done';
COMMENT ON COLUMN chs.retention.updated_at IS 'when rows were last deleted';

CREATE FUNCTION chs.retention_setting(kind text) RETURNS interval
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'chs_retention_setting';
COMMENT ON FUNCTION chs.retention_setting(text) IS 'chs.event_retention (of kind events), chs.history_retention or chs.rejected_retention; NULL where it is off';
CREATE FUNCTION chs.document_reach(document jsonb) RETURNS integer
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'chs_document_reach';
COMMENT ON FUNCTION chs.document_reach(jsonb) IS 'how many days of events, today included, the scores of a published document and their trends need';
-- For churned customers it keeps what the score of their last day needs.  Rows that
-- somebody has locked are skipped.
CREATE FUNCTION chs.delete_events(after bigint, max_rows bigint, before date, reach integer,
                                  OUT deleted bigint, OUT last_customer_id bigint)
    RETURNS record
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
BEGIN
    DELETE FROM chs.customer_events WHERE ctid = ANY (ARRAY(
        SELECT e.ctid
        FROM (SELECT c.customer_id, LEAST(before, (c.churned_at AT TIME ZONE 'UTC')::date - reach)::timestamp AT TIME ZONE 'UTC' AS first_kept
              FROM chs.customers c WHERE c.customer_id > after ORDER BY c.customer_id LIMIT 1000) s
        CROSS JOIN LATERAL (SELECT o.ctid FROM chs.customer_events o
                            WHERE o.customer_id = s.customer_id AND o.occurred_at < s.first_kept
                            LIMIT max_rows FOR UPDATE SKIP LOCKED) e
        LIMIT max_rows));
    GET DIAGNOSTICS deleted = ROW_COUNT;
    -- if all rows were found, these customers are done
    last_customer_id := CASE WHEN deleted = max_rows THEN after ELSE
        (SELECT c.customer_id FROM chs.customers c WHERE c.customer_id > after ORDER BY c.customer_id OFFSET 999 LIMIT 1) END;
END
$$;
COMMENT ON FUNCTION chs.delete_events(bigint, bigint, date, integer)
    IS 'deletes at most so many events of UTC days before one, of at most 1000 customers after one; returns how many, and the customer up to whom all are deleted, NULL at the end';
REVOKE EXECUTE ON FUNCTION chs.delete_events(bigint, bigint, date, integer) FROM PUBLIC;

CREATE FUNCTION chs.delete_old_events(after bigint, max_rows bigint, before date, reach integer,
                                      OUT deleted bigint, OUT last_customer_id bigint)
    RETURNS record
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chs_delete_old_events';
COMMENT ON FUNCTION chs.delete_old_events(bigint, bigint, date, integer)
    IS 'does what chs.delete_events() does, without having the customers rebuilt, whom it does not concern';

-- Foreign keys do nothing for the extension's owner, who deletes the events.
CREATE FUNCTION chs.event_references() RETURNS text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT string_agg(DISTINCT k.conrelid::regclass::text, ', ')
    FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid
    WHERE k.contype = 'f' AND k.confrelid = to_regclass('chs.customer_events')
      AND t.relnamespace <> 'chs'::regnamespace AND k.conparentid = 0;
END;
COMMENT ON FUNCTION chs.event_references() IS 'the tables not of chs that refer to events by foreign keys, because of which none are deleted; NULL: there are none';

-- What may be deleted, by the settings and by what scores need.
CREATE FUNCTION chs.retention_plan(kind text, OUT setting text, OUT asked_before date, OUT needed_days integer, OUT before date)
    RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    age   interval := chs.retention_setting(kind);
BEGIN
    setting := CASE WHEN age IS NULL THEN NULL
                    WHEN kind = 'events' THEN current_setting('chs.event_retention')
                    ELSE current_setting('chs.' || kind || '_retention') END;
    asked_before := ((now() - age) AT TIME ZONE 'UTC')::date;
    before := asked_before;
    IF kind = 'events' THEN
        SELECT greatest(chs.document_reach(chs.draft_document()), max(chs.document_reach(v.document)))
        INTO needed_days
        FROM chs.scorecard_versions v
        WHERE v.version >= (SELECT max(l.version) FROM chs.scorecard_versions l WHERE l.live_at IS NOT NULL);
        -- one day more than today's windows reach, for transactions that began yesterday
        IF asked_before > today - needed_days THEN
            before := today - needed_days;
        END IF;
        IF chs.event_references() IS NOT NULL THEN
            before := NULL;
        END IF;
    END IF;
END
$$;
COMMENT ON FUNCTION chs.retention_plan(text) IS 'which rows of a kind are to be deleted: those of UTC days earlier than before, NULL for none';

-- One slice.  A pass goes through the customers in order; the next one begins on the
-- next day, or on request.
CREATE FUNCTION chs.delete_old(kind text, max_rows bigint, again boolean, OUT deleted bigint, OUT more boolean)
    RETURNS record
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    plan  record;
    state chs.retention;
BEGIN
    deleted := 0;
    more := false;
    SELECT * INTO plan FROM chs.retention_plan(kind);
    -- without waiting: the worker has better things to do
    IF plan.before IS NULL OR NOT pg_try_advisory_xact_lock('chs'::regnamespace::oid::integer, 1) THEN
        RETURN;
    END IF;
    SELECT * INTO state FROM chs.retention r WHERE r.kind = delete_old.kind;
    IF state.kind IS NULL OR state.pass_before < plan.before OR state.complete AND again THEN
        IF plan.asked_before > plan.before THEN
            RAISE WARNING 'events are kept longer than "chs.event_retention" says'
                USING DETAIL = format('It is %s, but scores of the live version or the draft need the events of %s days.',
                                      plan.setting, plan.needed_days),
                      HINT = 'Set it to at least that, or use shorter windows.';
        END IF;
        state := (delete_old.kind, state.kept_from, COALESCE(state.deleted, 0), plan.before, NULL, false, now());
    ELSIF state.complete THEN
        RETURN;
    END IF;
    -- a pass that has begun must not delete what has become necessary meanwhile
    state.pass_before := least(state.pass_before, plan.before);

    IF kind = 'events' THEN
        SELECT d.deleted, d.last_customer_id INTO deleted, state.last_customer_id
        FROM chs.delete_old_events(COALESCE(state.last_customer_id, -9223372036854775808)::bigint, max_rows,
                                   state.pass_before, plan.needed_days::integer) d;
        more := state.last_customer_id IS NOT NULL;
    ELSIF kind = 'rejected' THEN
        -- numbers are in roughly chronological order
        DELETE FROM chs.rejected_events WHERE ctid = ANY (ARRAY(
            SELECT o.ctid FROM (SELECT r.ctid, r.rejected_at FROM chs.rejected_events r ORDER BY r.rejected_id
                                LIMIT max_rows FOR UPDATE SKIP LOCKED) o
            WHERE o.rejected_at < state.pass_before::timestamp AT TIME ZONE 'UTC'));
        GET DIAGNOSTICS deleted = ROW_COUNT;
        more := deleted = max_rows;
    ELSE
        -- the primary key leads to the days of each customer, so no further index need be kept for this
        DELETE FROM chs.health_scores WHERE ctid = ANY (ARRAY(
            SELECT h.ctid
            FROM (SELECT c.customer_id FROM chs.customers c WHERE c.customer_id > COALESCE(state.last_customer_id, -9223372036854775808)
                  ORDER BY c.customer_id LIMIT 1000) s
            CROSS JOIN LATERAL (SELECT o.ctid FROM chs.health_scores o
                                WHERE o.customer_id = s.customer_id AND o.as_of < state.pass_before
                                LIMIT max_rows FOR UPDATE SKIP LOCKED) h
            LIMIT max_rows));
        GET DIAGNOSTICS deleted = ROW_COUNT;
        more := true;
        -- if all rows were found, these customers are done
        IF deleted < max_rows THEN
            state.last_customer_id := (SELECT c.customer_id FROM chs.customers c
                                       WHERE c.customer_id > COALESCE(state.last_customer_id, -9223372036854775808)
                                       ORDER BY c.customer_id OFFSET 999 LIMIT 1);
            more := state.last_customer_id IS NOT NULL;
        END IF;
    END IF;
    state.complete := NOT more;
    IF deleted > 0 THEN
        state.kept_from := greatest(state.kept_from, state.pass_before);
        state.deleted := state.deleted + deleted;
        state.updated_at := now();
    END IF;
    INSERT INTO chs.retention SELECT state.*
    ON CONFLICT ON CONSTRAINT retention_pkey DO UPDATE SET
        (kept_from, deleted, pass_before, last_customer_id, complete, updated_at) =
        ROW (excluded.kept_from, excluded.deleted, excluded.pass_before, excluded.last_customer_id,
             excluded.complete, excluded.updated_at);
END
$$;
COMMENT ON FUNCTION chs.delete_old(text, bigint, boolean) IS 'deletes the next rows of a kind that need not be kept, up to a limit, and tells whether there may be more';

CREATE FUNCTION chs.apply_retention(max_rows bigint, OUT events_deleted bigint, OUT history_deleted bigint, OUT rejected_deleted bigint)
    RETURNS record
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    slice     record;
    which     text;
    again     boolean;
    remaining bigint := COALESCE(max_rows, 9223372036854775807);
BEGIN
    IF max_rows < 0 THEN
        RAISE EXCEPTION 'invalid value for "%": %', 'max_rows', max_rows
            USING ERRCODE = 'invalid_parameter_value', DETAIL = 'It must not be negative.';
    END IF;
    events_deleted := 0;
    history_deleted := 0;
    rejected_deleted := 0;
    IF COALESCE(chs.retention_setting('events'::text), chs.retention_setting('history'::text), chs.retention_setting('rejected'::text)) IS NULL THEN
        RAISE NOTICE 'neither "chs.event_retention" nor "chs.history_retention" nor "chs.rejected_retention" is set, so everything is kept';
        RETURN;
    END IF;
    IF NOT pg_try_advisory_xact_lock('chs'::regnamespace::oid::integer, 1) THEN
        RAISE EXCEPTION 'old rows are being deleted by another session'
            USING ERRCODE = 'object_in_use', HINT = 'Try again later.';
    END IF;
    IF chs.retention_setting('events'::text) IS NOT NULL AND chs.event_references() IS NOT NULL THEN
        RAISE WARNING 'no events are deleted, because foreign keys refer to them'
            USING DETAIL = format('They are of %s.', chs.event_references()), HINT = 'Drop the foreign keys.';
    END IF;
    FOREACH which IN ARRAY '{events,history,rejected}'::text[] LOOP
        again := true;
        LOOP
            EXIT WHEN remaining = 0;
            SELECT * INTO slice FROM chs.delete_old(which, least(remaining, 10000)::bigint, again);
            again := false;
            remaining := remaining - slice.deleted;
            IF which = 'events' THEN
                events_deleted := events_deleted + slice.deleted;
            ELSIF which = 'history' THEN
                history_deleted := history_deleted + slice.deleted;
            ELSE
                rejected_deleted := rejected_deleted + slice.deleted;
            END IF;
            EXIT WHEN NOT slice.more;
        END LOOP;
    END LOOP;
END
$$;
COMMENT ON FUNCTION chs.apply_retention(bigint) IS 'does what chs_apply_retention() does, with the privileges of the extension''s owner';

CREATE FUNCTION @extschema@.chs_apply_retention(max_rows bigint DEFAULT NULL, OUT events_deleted bigint, OUT history_deleted bigint, OUT rejected_deleted bigint)
    RETURNS record
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chs_apply_retention';
COMMENT ON FUNCTION @extschema@.chs_apply_retention(bigint)
    IS 'deletes what chs.event_retention, chs.history_retention and chs.rejected_retention no longer keep, all or at most max_rows rows, and returns how many';

-- Given when publishing, because scores then count only what still exists.
CREATE FUNCTION chs.warn_of_deleted_events(document jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    needed_from date := (now() AT TIME ZONE 'UTC')::date - chs.document_reach(document) + 1;
    kept_from   date := (SELECT r.kept_from FROM chs.retention r WHERE r.kind = 'events');
BEGIN
    IF needed_from < kept_from THEN
        RAISE WARNING 'the longest window reaches back to events that have been deleted'
            USING DETAIL = format('It needs events from %s on; those before %s have been deleted, see chs.event_retention.',
                                  needed_from, kept_from),
                  HINT = format('Scores count what is left; from %s on the window is complete.',
                                kept_from + chs.document_reach(document) - 1);
    END IF;
END
$$;
COMMENT ON FUNCTION chs.warn_of_deleted_events(jsonb) IS 'warns if a document that is being published needs events that have been deleted';

CREATE VIEW chs.retention_status WITH (security_invoker) AS
SELECT k.kind, p.setting, p.needed_days, p.asked_before, p.before AS delete_before,
       r.kept_from, r.deleted, r.complete AND r.pass_before >= p.before AS complete, r.updated_at,
       CASE WHEN k.kind = 'events' AND p.setting IS NOT NULL AND chs.event_references() IS NOT NULL
            THEN format('no events are deleted, because foreign keys of %s refer to them', chs.event_references())
            WHEN p.asked_before > p.before
            THEN format('chs.event_retention is %s, but scores need the events of %s days', p.setting, p.needed_days)
       END AS warning
FROM (VALUES ('events'), ('history'), ('rejected')) k (kind)
CROSS JOIN LATERAL chs.retention_plan(k.kind) p
LEFT JOIN chs.retention r USING (kind);
COMMENT ON VIEW chs.retention_status IS 'what is kept how long, and what has been deleted: a row for events, one for the history, and one for rejected rows';
COMMENT ON COLUMN chs.retention_status.kind IS 'events (chs.event_retention), history (chs.history_retention) or rejected (chs.rejected_retention)';
COMMENT ON COLUMN chs.retention_status.setting IS 'how long it is to be kept; NULL: forever';
COMMENT ON COLUMN chs.retention_status.needed_days IS 'days of events, today included, that scores of the live version or the draft need; NULL for the others';
COMMENT ON COLUMN chs.retention_status.asked_before IS 'rows of earlier UTC days would be deleted by the setting alone';
COMMENT ON COLUMN chs.retention_status.delete_before IS 'rows of earlier UTC days are deleted; for churned customers, what their last score needs is kept beyond that';
COMMENT ON COLUMN chs.retention_status.kept_from IS 'rows of earlier UTC days have been deleted, so that scores of the past that need them can no longer be calculated; NULL: none have';
COMMENT ON COLUMN chs.retention_status.deleted IS 'rows deleted so far';
COMMENT ON COLUMN chs.retention_status.complete IS 'whether everything that should be deleted has been';
COMMENT ON COLUMN chs.retention_status.updated_at IS 'when rows were last deleted';
COMMENT ON COLUMN chs.retention_status.warning IS 'what is wrong with the setting; NULL: nothing';

REVOKE EXECUTE ON FUNCTION @extschema@.chs_apply_retention(bigint) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION chs.apply_retention(bigint) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION chs.delete_old(text, bigint, boolean) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION chs.delete_old_events(bigint, bigint, date, integer) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION chs.warn_of_deleted_events(jsonb) FROM PUBLIC;

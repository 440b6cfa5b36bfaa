-- Publishing: the versions that were made from the draft, and what is live.

CREATE TABLE chs.scorecard_versions (
    version        integer PRIMARY KEY,
    published_at   timestamptz NOT NULL DEFAULT now(),
    live_at        timestamptz,
    published_by   text NOT NULL DEFAULT current_user,
    actor          text,
    note           text,
    changes        jsonb NOT NULL DEFAULT '[]',
    document       jsonb NOT NULL,
    series_version integer NOT NULL,
    recommendations jsonb NOT NULL DEFAULT chs.draft_recommendations()
);
-- Stored in the row if it fits, where queries that score with it find it fastest.
ALTER TABLE chs.scorecard_versions ALTER COLUMN document SET STORAGE MAIN;
COMMENT ON TABLE chs.scorecard_versions IS 'every published version, complete; the highest one with live_at is live';
COMMENT ON COLUMN chs.scorecard_versions.recommendations IS 'the recommendations of that version; not part of the document, which is passed to a function for every score';
COMMENT ON COLUMN chs.scorecard_versions.published_at IS 'when it was published';
COMMENT ON COLUMN chs.scorecard_versions.live_at IS 'when it went live; NULL: it waits until activities count what it needs, or never went live because another one was published meanwhile';
COMMENT ON COLUMN chs.scorecard_versions.published_by IS 'the role that published it';
COMMENT ON COLUMN chs.scorecard_versions.actor IS 'the person who published it, as the setting chs.actor said; NULL if it said nothing';
COMMENT ON COLUMN chs.scorecard_versions.note IS 'why, in the publisher''s words';
COMMENT ON COLUMN chs.scorecard_versions.changes IS 'the differences from the version before, an object each with path, change, old and new';
COMMENT ON COLUMN chs.scorecard_versions.document IS 'the rules: scorecards, factors, metrics, targets, segments';
COMMENT ON COLUMN chs.scorecard_versions.version IS '1, 2, 3, ...';
COMMENT ON COLUMN chs.scorecard_versions.series_version IS 'activities with this series_version or a later one count everything that this version needs while it is live';

CREATE TABLE chs.scorecard_version_factors (
    version    integer NOT NULL REFERENCES chs.scorecard_versions ON DELETE CASCADE,
    scorecard  text NOT NULL,
    ordinal    integer NOT NULL,
    factor     text NOT NULL,
    weight     double precision NOT NULL,
    segment_weights jsonb,
    PRIMARY KEY (version, scorecard, ordinal)
);
COMMENT ON TABLE chs.scorecard_version_factors IS 'the positions of factors in the factor_scores of a score, per published version';
COMMENT ON COLUMN chs.scorecard_version_factors.segment_weights IS 'weights for segments that have their own, by segment';
COMMENT ON COLUMN chs.scorecard_version_factors.version IS 'the published version';
COMMENT ON COLUMN chs.scorecard_version_factors.scorecard IS 'the scorecard';
COMMENT ON COLUMN chs.scorecard_version_factors.ordinal IS 'position in factor_scores, from 1';
COMMENT ON COLUMN chs.scorecard_version_factors.factor IS 'the factor';
COMMENT ON COLUMN chs.scorecard_version_factors.weight IS 'relative to the other factors of the scorecard';

-- A published version never changes, because history rests on it.  Only the engine, for
-- which no trigger fires, records once that it went live.
CREATE FUNCTION chs.scorecard_versions_guard() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'published scorecard versions cannot be changed'
        USING ERRCODE = 'object_not_in_prerequisite_state',
              HINT = 'Edit the draft and publish a new version with chs_publish().';
END
$$;
COMMENT ON FUNCTION chs.scorecard_versions_guard() IS 'trigger: refuses changes of published versions';
CREATE TRIGGER scorecard_versions_guard
    BEFORE UPDATE OR DELETE OR TRUNCATE ON chs.scorecard_versions
    FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION chs.scorecard_versions_guard();

-- Makes every session and worker reread the published document and the event types.
CREATE FUNCTION chs.invalidate() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'chs_invalidate';
COMMENT ON FUNCTION chs.invalidate() IS 'trigger: makes all sessions read the scorecards and event types again';
CREATE TRIGGER scorecard_versions_invalidate
    AFTER INSERT ON chs.scorecard_versions
    FOR EACH STATEMENT EXECUTE FUNCTION chs.invalidate();
ALTER TABLE chs.scorecard_versions ENABLE ALWAYS TRIGGER scorecard_versions_invalidate;

CREATE FUNCTION chs.document_series(document jsonb) RETURNS bigint[]
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'chs_document_series';
COMMENT ON FUNCTION chs.document_series(jsonb) IS 'identifiers of all series that a published document counts, ascending';
CREATE FUNCTION chs.document_series_definitions(document jsonb, OUT series bigint, OUT event_type text, OUT aggregate text,
                                                OUT field text, OUT filter text, OUT days integer)
    RETURNS SETOF record
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 50 AS 'MODULE_PATHNAME', 'chs_document_series_definitions';
COMMENT ON FUNCTION chs.document_series_definitions(jsonb)
    IS 'the definitions of the series that a published document counts, and the number of days that each keeps; chs.activity_cells() shows their contents in an activity';

-- Publishes the version after the latest one.  It is live at once if the activities of
-- the live version count what it needs, or if there is nothing to count.  Otherwise
-- it waits, and a version that waited until now never goes live; what has been
-- counted for that one is kept if this one needs nothing beyond it.  What is compared
-- with the expected hash is what has been frozen, so that nothing can come between.
CREATE FUNCTION chs.publish(note text, published_by text, expected text) RETURNS integer
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    draft   jsonb;
    needed  bigint[];
    latest  chs.scorecard_versions;
    live    chs.scorecard_versions;
    series  integer;
    number  integer;
    waits   boolean := false;
BEGIN
    -- One publisher at a time; scoring only reads and does not wait.
    LOCK TABLE chs.scorecard_versions IN SHARE ROW EXCLUSIVE MODE;
    draft := chs.draft_document();
    IF draft -> 'default' = 'null' OR 1 < (SELECT count(*) FROM chs.scorecards s WHERE s.is_default) THEN
        RAISE EXCEPTION '% scorecard is the default', CASE draft -> 'default' WHEN 'null' THEN 'no' ELSE 'more than one' END
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Set is_default of one row of chs.scorecards: it scores the customers without a segment.';
    END IF;
    SELECT v.* INTO latest FROM chs.scorecard_versions v ORDER BY v.version DESC LIMIT 1;
    SELECT v.* INTO live FROM chs.scorecard_versions v WHERE v.live_at IS NOT NULL ORDER BY v.version DESC LIMIT 1;
    number := COALESCE(latest.version, 0) + 1;
    needed := chs.document_series(draft);
    IF live.version IS NOT NULL AND needed <@ chs.document_series(live.document) THEN
        series := live.series_version;
    ELSE
        waits := live.version IS NOT NULL AND (EXISTS (SELECT FROM chs.activity) OR EXISTS (SELECT FROM chs.queue));
        series := CASE WHEN waits AND latest.live_at IS NULL
                            AND needed <@ (chs.document_series(live.document) || chs.document_series(latest.document))
                       THEN latest.series_version ELSE number END;
    END IF;
    INSERT INTO chs.scorecard_versions (version, live_at, published_by, actor, note, changes, document, series_version)
    VALUES (number, CASE WHEN NOT waits THEN now() END, published_by, nullif(current_setting('chs.actor'), ''), note,
            (SELECT COALESCE(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                 'path', c.path, 'change', c.change, 'old', c.old_value, 'new', c.new_value))), '[]')
             FROM chs.document_changes(@extschema@.chs_scorecard_export(latest.version), @extschema@.chs_scorecard_export(NULL::integer)) c
             WHERE latest.version IS NOT NULL),
            draft, series);
    INSERT INTO chs.scorecard_version_factors
    SELECT number, s.key, f.ordinality, f.value ->> 'factor', (f.value ->> 'weight')::double precision, f.value -> 'weights'
    FROM jsonb_each(draft -> 'scorecards') s,
         jsonb_array_elements(s.value -> 'factors') WITH ORDINALITY f;
    IF expected <> chs.draft_hash(@extschema@.chs_scorecard_export(number)) THEN
        RAISE EXCEPTION 'the draft is not the one that was expected'
            USING ERRCODE = 'serialization_failure',
                  DETAIL = format('Its hash is %s.', chs.draft_hash(@extschema@.chs_scorecard_export(number))),
                  HINT = 'Somebody has changed it. See chs.draft_changes, simulate again, and publish what chs.draft_hash() says then.';
    END IF;
    PERFORM chs.warn_of_deleted_events(draft);
    IF waits THEN
        RAISE NOTICE 'version % becomes live when the activities of all customers count what it needs', number
            USING DETAIL = format('Until then version %s stays live.', live.version),
                  HINT = 'Workers count it in the background, see chs.worker_status; CALL chs_recalculate_all() does it now.';
    END IF;
    RETURN number;
EXCEPTION WHEN unique_violation THEN
    RAISE EXCEPTION 'another version was published at the same time'
        USING ERRCODE = 'serialization_failure', HINT = 'Publish again, in a new transaction.';
END
$$;
COMMENT ON FUNCTION chs.publish(text, text, text) IS 'does what chs_publish() does, with the privileges of the extension''s owner';
REVOKE EXECUTE ON FUNCTION chs.publish(text, text, text) FROM PUBLIC;

CREATE FUNCTION @extschema@.chs_publish(note text DEFAULT NULL, expected text DEFAULT NULL) RETURNS integer
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chs_publish';
COMMENT ON FUNCTION @extschema@.chs_publish(text, text) IS 'freezes the draft as a new version and returns its number; the version is live for all customers at once, or as soon as activities count what it needs; fails with a serialization failure if the hash of the draft is not the expected one';
REVOKE EXECUTE ON FUNCTION @extschema@.chs_publish(text, text) FROM PUBLIC;

CREATE VIEW chs.draft_changes WITH (security_invoker) AS
SELECT array_to_string(c.path, '.') AS what, c.change, c.old_value, c.new_value
FROM (SELECT max(v.version) AS version FROM chs.scorecard_versions v) latest
CROSS JOIN LATERAL chs.document_changes(@extschema@.chs_scorecard_export(latest.version), @extschema@.chs_scorecard_export(NULL::integer)) c;
COMMENT ON VIEW chs.draft_changes IS 'what publishing the draft would change: a row per difference from the version that was published last';
COMMENT ON COLUMN chs.draft_changes.what IS 'path of what differs';
COMMENT ON COLUMN chs.draft_changes.change IS 'added, removed, changed or reordered';
COMMENT ON COLUMN chs.draft_changes.old_value IS 'the published value; NULL if added';
COMMENT ON COLUMN chs.draft_changes.new_value IS 'the value in the draft; NULL if removed';

CREATE FUNCTION @extschema@.chs_rollback(version integer, note text DEFAULT NULL, discard boolean DEFAULT false)
    RETURNS integer
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    document CONSTANT jsonb := @extschema@.chs_scorecard_export(COALESCE(chs_rollback.version, 0));
    unpublished bigint;
BEGIN
    LOCK TABLE chs.scorecards IN SHARE ROW EXCLUSIVE MODE;
    SELECT count(*) INTO unpublished FROM chs.draft_changes;
    IF unpublished > 0 AND discard IS NOT TRUE THEN
        RAISE EXCEPTION 'the draft has unpublished changes'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = format('chs.draft_changes lists %s.', unpublished),
                  HINT = format('Save them with chs_scorecard_export() if you need them, then discard them: chs_rollback(%s, discard => true).',
                                chs_rollback.version);
    END IF;
    PERFORM @extschema@.chs_scorecard_import(document);
    RETURN @extschema@.chs_publish(COALESCE(note, format('back to version %s', chs_rollback.version)), NULL::text);
END
$$;
COMMENT ON FUNCTION @extschema@.chs_rollback(integer, text, boolean)
    IS 'makes an earlier version the draft and publishes it again, as a new version whose number it returns; unpublished changes in the draft are discarded only if discard is true';
REVOKE EXECUTE ON FUNCTION @extschema@.chs_rollback(integer, text, boolean) FROM PUBLIC;

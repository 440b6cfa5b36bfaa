-- Publishing: the versions that were made from the draft, and what is live.

CREATE TABLE chs.scorecard_versions (
    version        integer PRIMARY KEY,
    published_at   timestamptz NOT NULL DEFAULT now(),
    published_by   text NOT NULL DEFAULT current_user,
    note           text,
    document       jsonb NOT NULL,
    series_version integer NOT NULL,
    published_by_xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    recommendations jsonb NOT NULL DEFAULT chs.draft_recommendations()
);
-- In the row if it fits, where queries that score with it find it at once.
ALTER TABLE chs.scorecard_versions ALTER COLUMN document SET STORAGE MAIN;
COMMENT ON TABLE chs.scorecard_versions IS 'every published version, whole; the highest one is live';
COMMENT ON COLUMN chs.scorecard_versions.recommendations IS 'the recommendations of the draft at that time; not in the document, which is handed to a function for every score';
COMMENT ON COLUMN chs.scorecard_versions.published_by_xid IS 'the transaction that published it: snapshots that do not see it go by the version before';
COMMENT ON COLUMN chs.scorecard_versions.series_version IS 'version since which activities count all the series that this one needs';

CREATE TABLE chs.scorecard_version_factors (
    version    integer NOT NULL REFERENCES chs.scorecard_versions ON DELETE CASCADE,
    scorecard  text NOT NULL,
    ordinal    integer NOT NULL,
    factor     text NOT NULL,
    weight     double precision NOT NULL,
    PRIMARY KEY (version, scorecard, ordinal)
);
COMMENT ON TABLE chs.scorecard_version_factors IS 'which factor stands where in the factor_scores of a score, per published version';

-- A published version never changes: history rests on it.
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

-- Tells every session and worker to read the published document and the event
-- types again.
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

CREATE FUNCTION chs.draft_document() RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT jsonb_build_object(
        'default', (SELECT min(s.scorecard) FROM chs.scorecards s WHERE s.is_default),
        'segments', COALESCE((SELECT jsonb_object_agg(g.segment, jsonb_build_object('scorecard', g.scorecard))
                              FROM chs.segments g), '{}'),
        'scorecards', COALESCE((SELECT jsonb_object_agg(s.scorecard, jsonb_build_object(
            'min_coverage', s.min_coverage, 'healthy_from', s.healthy_from, 'at_risk_from', s.at_risk_from,
            'grace', s.grace, 'trend_days', s.trend_days, 'trend_band', s.trend_band,
            'factors', COALESCE((SELECT jsonb_agg(jsonb_build_object('factor', f.factor, 'weight', f.weight,
                'metrics', COALESCE((SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                    'metric', m.metric, 'event_type', m.event_type, 'aggregate', m.aggregate, 'measure', m.measure,
                    'field', m.field, 'filter', m.filter, 'base_filter', m.base_filter,
                    'window_days', m.window_days, 'curve', m.curve, 'weight', m.weight,
                    'missing', m.missing, 'missing_score', m.missing_score, 'penalty', m.penalty, 'function', m.function,
                    'target', (SELECT t.target FROM chs.targets t
                               WHERE (t.scorecard, t.factor, t.metric) = (m.scorecard, m.factor, m.metric)
                               AND t.segment IS NULL),
                    'targets', (SELECT jsonb_object_agg(t.segment, t.target) FROM chs.targets t
                                WHERE (t.scorecard, t.factor, t.metric) = (m.scorecard, m.factor, m.metric)
                                AND t.segment IS NOT NULL))) ORDER BY m.position)
                    FROM chs.metrics m WHERE (m.scorecard, m.factor) = (f.scorecard, f.factor)), '[]'))
                ORDER BY f.position) FROM chs.factors f WHERE f.scorecard = s.scorecard), '[]')))
            FROM chs.scorecards s), '{}'));
END;
COMMENT ON FUNCTION chs.draft_document() IS 'the draft as the document that publishing freezes';

CREATE FUNCTION @extschema@.chs_publish(note text DEFAULT NULL) RETURNS integer
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    draft   jsonb;
    live    chs.scorecard_versions;
    series  integer;
    number  integer;
BEGIN
    -- One publisher at a time; scoring only reads and does not wait.
    PERFORM pg_advisory_xact_lock('chs'::regnamespace::oid::integer, 0);
    draft := chs.draft_document();
    IF draft -> 'default' = 'null' OR 1 < (SELECT count(*) FROM chs.scorecards s WHERE s.is_default) THEN
        RAISE EXCEPTION '% scorecard is the default', CASE draft -> 'default' WHEN 'null' THEN 'no' ELSE 'more than one' END
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Set is_default of one row of chs.scorecards: it scores the customers without a segment.';
    END IF;
    SELECT v.* INTO live FROM chs.scorecard_versions v ORDER BY v.version DESC LIMIT 1;
    number := COALESCE(live.version, 0) + 1;
    -- Activities count what is live.  They serve the draft as they are when it
    -- needs no series beyond those, else they are made again from the events.
    IF live.version IS NOT NULL
       AND chs.document_series(draft) <@ chs.document_series(live.document) THEN
        series := live.series_version;
    ELSE
        series := number;
    END IF;
    INSERT INTO chs.scorecard_versions (version, published_by, note, document, series_version)
    VALUES (number, session_user, note, draft, series);
    INSERT INTO chs.scorecard_version_factors
    SELECT number, s.key, f.ordinality, f.value ->> 'factor', (f.value ->> 'weight')::double precision
    FROM jsonb_each(draft -> 'scorecards') s,
         jsonb_array_elements(s.value -> 'factors') WITH ORDINALITY f;
    RETURN number;
END
$$;
COMMENT ON FUNCTION @extschema@.chs_publish(text) IS 'freezes the draft as a new version, makes it live for everyone, and returns its number';
REVOKE EXECUTE ON FUNCTION @extschema@.chs_publish(text) FROM PUBLIC;

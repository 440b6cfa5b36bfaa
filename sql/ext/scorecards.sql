-- Scorecards: the draft (scorecards, factors, metrics, targets, segments), edited
-- with plain SQL, and the versions that were published from it.

CREATE FUNCTION chs.curve_is_valid(curve text) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'chs_curve_is_valid';
COMMENT ON FUNCTION chs.curve_is_valid(text)
    IS 'true for a valid curve, an error that says what is wrong with any other';

CREATE FUNCTION @extschema@.chs_curve(curve text, x double precision) RETURNS double precision
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'chs_curve';
COMMENT ON FUNCTION @extschema@.chs_curve(text, double precision)
    IS 'the score that a curve such as ''0:0 1:100'' gives to x: linear between its points, level beyond its ends';

CREATE TABLE chs.scorecards (
    scorecard    text PRIMARY KEY CHECK (scorecard <> ''),
    description  text,
    is_default   boolean NOT NULL DEFAULT false,
    min_coverage double precision NOT NULL DEFAULT 0.5 CHECK (min_coverage BETWEEN 0 AND 1),
    healthy_from double precision NOT NULL DEFAULT 75 CHECK (healthy_from BETWEEN 0 AND 100),
    at_risk_from double precision NOT NULL DEFAULT 50 CHECK (at_risk_from BETWEEN 0 AND 100),
    grace        boolean NOT NULL DEFAULT true,
    trend_days   integer NOT NULL DEFAULT 7 CHECK (trend_days BETWEEN 1 AND 365),
    trend_band   double precision NOT NULL DEFAULT 2 CHECK (trend_band BETWEEN 0 AND 100),
    CHECK (at_risk_from <= healthy_from)
);
CREATE UNIQUE INDEX scorecards_default_key ON chs.scorecards (is_default) WHERE is_default;
COMMENT ON TABLE chs.scorecards IS 'draft: the ways to score, one row each';
COMMENT ON COLUMN chs.scorecards.is_default IS 'scores the customers that have no segment';
COMMENT ON COLUMN chs.scorecards.min_coverage IS 'share of the factor weight that must rest on data, else the status is unknown';
COMMENT ON COLUMN chs.scorecards.healthy_from IS 'a score from here on is healthy';
COMMENT ON COLUMN chs.scorecards.at_risk_from IS 'a score from here on is at_risk, below it is critical';
COMMENT ON COLUMN chs.scorecards.grace IS 'whether "no data means zero" spares a customer too new to have filled the window';
COMMENT ON COLUMN chs.scorecards.trend_days IS 'the trend compares with the score this many days earlier';
COMMENT ON COLUMN chs.scorecards.trend_band IS 'a difference of fewer points than this is a stable trend';

CREATE TABLE chs.factors (
    scorecard    text NOT NULL REFERENCES chs.scorecards ON UPDATE CASCADE ON DELETE CASCADE,
    factor       text NOT NULL CHECK (factor <> ''),
    position     integer NOT NULL,
    description  text,
    weight       double precision NOT NULL CHECK (weight >= 0 AND weight <= 1e6),
    PRIMARY KEY (scorecard, factor),
    UNIQUE (scorecard, position)
);
COMMENT ON TABLE chs.factors IS 'draft: the weighted parts of a scorecard';
COMMENT ON COLUMN chs.factors.weight IS 'relative to the other factors of the scorecard';
COMMENT ON COLUMN chs.factors.position IS 'order of display and of arithmetic';

CREATE TABLE chs.metrics (
    scorecard     text NOT NULL,
    factor        text NOT NULL,
    metric        text NOT NULL CHECK (metric <> ''),
    position      integer NOT NULL,
    description   text,
    event_type    text NOT NULL,
    aggregate     text NOT NULL CHECK (aggregate IN
                     ('count', 'sum', 'avg', 'ratio', 'distinct', 'active_days', 'days_since_last', 'growth')),
    measure       text NOT NULL DEFAULT 'count' CHECK (measure IN ('count', 'sum', 'distinct')),
    field         text CHECK (field <> ''),
    filter        jsonpath,
    base_filter   jsonpath,
    window_days   integer NOT NULL CHECK (window_days BETWEEN 1 AND 730),
    curve         text CHECK (chs.curve_is_valid(curve)),
    weight        double precision CHECK (weight >= 0 AND weight <= 1e6),
    missing       text CHECK (missing IN ('missing', 'zero', 'score')),
    missing_score double precision CHECK (missing_score BETWEEN 0 AND 100),
    penalty       double precision CHECK (penalty > 0 AND penalty <= 100),
    PRIMARY KEY (scorecard, factor, metric),
    UNIQUE (scorecard, factor, position),
    FOREIGN KEY (scorecard, factor) REFERENCES chs.factors ON UPDATE CASCADE ON DELETE CASCADE,
    CONSTRAINT metrics_score_or_penalty CHECK (
        CASE WHEN penalty IS NULL
             THEN curve IS NOT NULL AND weight IS NOT NULL AND missing IS NOT NULL
             ELSE curve IS NULL AND weight IS NULL AND missing IS NULL AND aggregate = 'count' END),
    CONSTRAINT metrics_missing_score CHECK ((missing IS NOT DISTINCT FROM 'score') = (missing_score IS NOT NULL)),
    CONSTRAINT metrics_field CHECK (
        (field IS NOT NULL) = (aggregate IN ('sum', 'avg', 'distinct')
                               OR aggregate IN ('ratio', 'growth') AND measure IN ('sum', 'distinct'))),
    CONSTRAINT metrics_measure CHECK (aggregate IN ('ratio', 'growth') OR measure = 'count'),
    CONSTRAINT metrics_base_filter CHECK (aggregate = 'ratio' OR base_filter IS NULL)
);
COMMENT ON TABLE chs.metrics IS 'draft: what a factor is measured by; a row with a penalty takes points off the factor for each event instead';
COMMENT ON COLUMN chs.metrics.aggregate IS 'count, sum, avg, ratio, distinct, active_days, days_since_last or growth';
COMMENT ON COLUMN chs.metrics.measure IS 'for ratio and growth: what is compared (count, sum or distinct)';
COMMENT ON COLUMN chs.metrics.field IS 'top-level key of event_data that sum, avg and distinct read';
COMMENT ON COLUMN chs.metrics.filter IS 'SQL/JSON path predicate: only events for which it is true count';
COMMENT ON COLUMN chs.metrics.base_filter IS 'for ratio: the predicate of the denominator';
COMMENT ON COLUMN chs.metrics.window_days IS 'trailing window in whole UTC days, today included';
COMMENT ON COLUMN chs.metrics.curve IS 'points value:score, or value/target:score where there is a target, as in ''0:0 1:100''';
COMMENT ON COLUMN chs.metrics.missing IS 'what no data means: missing (its weight moves to the others), zero, or score (missing_score)';
COMMENT ON COLUMN chs.metrics.penalty IS 'points taken off the factor for each event counted';

CREATE TABLE chs.segments (
    segment      text PRIMARY KEY CHECK (segment <> ''),
    description  text,
    scorecard    text NOT NULL REFERENCES chs.scorecards ON UPDATE CASCADE
);
COMMENT ON TABLE chs.segments IS 'groups of customers; each chooses its scorecard';

CREATE TABLE chs.targets (
    scorecard    text NOT NULL,
    factor       text NOT NULL,
    metric       text NOT NULL,
    segment      text REFERENCES chs.segments ON UPDATE CASCADE ON DELETE CASCADE,
    target       double precision NOT NULL CHECK (target > 0 AND target < 'infinity'),
    UNIQUE NULLS NOT DISTINCT (scorecard, factor, metric, segment),
    FOREIGN KEY (scorecard, factor, metric) REFERENCES chs.metrics ON UPDATE CASCADE ON DELETE CASCADE
);
COMMENT ON TABLE chs.targets IS 'draft: what is expected of a metric, per segment';
COMMENT ON COLUMN chs.targets.segment IS 'NULL: every segment without a row of its own';

CREATE TABLE chs.scorecard_versions (
    version        integer PRIMARY KEY,
    published_at   timestamptz NOT NULL DEFAULT now(),
    published_by   text NOT NULL DEFAULT current_user,
    note           text,
    document       jsonb NOT NULL,
    series_version integer NOT NULL,
    published_by_xid xid8 NOT NULL DEFAULT pg_current_xact_id()
);
-- In the row if it fits, where queries that score with it find it at once.
ALTER TABLE chs.scorecard_versions ALTER COLUMN document SET STORAGE MAIN;
COMMENT ON TABLE chs.scorecard_versions IS 'every published version, whole; the highest one is live';
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

CREATE FUNCTION chs.document_series(document jsonb) RETURNS bigint[]
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'chs_document_series';
COMMENT ON FUNCTION chs.document_series(jsonb) IS 'identifiers of all series that a published document counts, ascending';

CREATE FUNCTION chs.draft_document() RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT jsonb_build_object(
        'default', (SELECT s.scorecard FROM chs.scorecards s WHERE s.is_default),
        'segments', COALESCE((SELECT jsonb_object_agg(g.segment, jsonb_build_object('scorecard', g.scorecard))
                              FROM chs.segments g), '{}'),
        'scorecards', COALESCE((SELECT jsonb_object_agg(s.scorecard, jsonb_build_object(
            'min_coverage', s.min_coverage, 'healthy_from', s.healthy_from, 'at_risk_from', s.at_risk_from,
            'grace', s.grace, 'trend_days', s.trend_days, 'trend_band', s.trend_band,
            'factors', COALESCE((SELECT jsonb_agg(jsonb_build_object('factor', f.factor, 'weight', f.weight,
                'metrics', COALESCE((SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                    'metric', m.metric, 'event_type', m.event_type, 'aggregate', m.aggregate, 'measure', m.measure,
                    'field', m.field, 'filter', m.filter::text, 'base_filter', m.base_filter::text,
                    'window_days', m.window_days, 'curve', m.curve, 'weight', m.weight,
                    'missing', m.missing, 'missing_score', m.missing_score, 'penalty', m.penalty,
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
    IF draft -> 'default' = 'null' THEN
        RAISE EXCEPTION 'no scorecard is the default'
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

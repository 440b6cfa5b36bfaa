-- Guards of the draft: what its tables refuse, each with the field, its value and
-- what to write instead.  The constraints of the tables tell tools the same, and
-- remain effective where triggers do not fire.

CREATE FUNCTION chs.scorecards_guard() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    broken record;
BEGIN
    SELECT r.* INTO broken FROM (VALUES
        (NEW.scorecard <> '', 'scorecard', 'Give it a name.'),
        (NEW.min_coverage BETWEEN 0 AND 1, 'min_coverage', 'It is a share of the weight, from 0 to 1.'),
        (NEW.healthy_from BETWEEN 0 AND 100, 'healthy_from', 'It is a score, from 0 to 100.'),
        (NEW.at_risk_from BETWEEN 0 AND 100, 'at_risk_from', 'It is a score, from 0 to 100.'),
        (NEW.at_risk_from <= NEW.healthy_from, 'at_risk_from',
         format('Scores from at_risk_from to healthy_from (%s) are at risk: it must not be above that.', NEW.healthy_from)),
        (NEW.grace IS NOT NULL, 'grace', 'Set it to true or false.'),
        (NEW.is_default IS NOT NULL, 'is_default', 'Set it to true or false.'),
        (NEW.trend_days BETWEEN 1 AND 365, 'trend_days', 'The trend looks 1 to 365 days back.'),
        (NEW.trend_band BETWEEN 0 AND 100, 'trend_band', 'It is a difference of scores, from 0 to 100.'),
        (NEW.calm_points BETWEEN 0 AND 50, 'calm_points', 'It is how far beyond a bound a score must be for an announcement, from 0 to 50.')) r(holds, field, hint)
    WHERE r.holds IS NOT TRUE LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'invalid "%" of scorecard "%": %', broken.field, NEW.scorecard, COALESCE(to_jsonb(NEW) -> broken.field, 'null')
            USING ERRCODE = 'check_violation', HINT = broken.hint, SCHEMA = 'chs', TABLE = 'scorecards', COLUMN = broken.field;
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION chs.scorecards_guard() IS 'trigger: refuses invalid rows of chs.scorecards and says why';
CREATE TRIGGER scorecards_guard BEFORE INSERT OR UPDATE ON chs.scorecards
    FOR EACH ROW EXECUTE FUNCTION chs.scorecards_guard();

-- After the statement, so that a single UPDATE can move the default.  Conflicts
-- between two sessions are found when publishing.
CREATE FUNCTION chs.scorecards_guard_default() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    other text;
BEGIN
    SELECT s.scorecard INTO other FROM chs.scorecards s WHERE s.is_default AND s.scorecard <> NEW.scorecard;
    IF FOUND THEN
        RAISE EXCEPTION 'scorecards "%" and "%" cannot both be the default', other, NEW.scorecard
            USING ERRCODE = 'unique_violation',
                  HINT = format('Set both in one statement: UPDATE chs.scorecards SET is_default = (scorecard = %L).', NEW.scorecard),
                  SCHEMA = 'chs', TABLE = 'scorecards', COLUMN = 'is_default';
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION chs.scorecards_guard_default() IS 'trigger: refuses a second default scorecard and says how to change it';
CREATE TRIGGER scorecards_guard_default AFTER INSERT OR UPDATE ON chs.scorecards
    FOR EACH ROW WHEN (NEW.is_default) EXECUTE FUNCTION chs.scorecards_guard_default();

CREATE FUNCTION chs.factors_guard() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    broken record;
BEGIN
    IF NEW.position IS NULL THEN
        SELECT COALESCE(max(f.position), 0) + 1 INTO NEW.position FROM chs.factors f WHERE f.scorecard = NEW.scorecard;
    END IF;
    SELECT r.* INTO broken FROM (VALUES
        (NEW.factor <> '', 'factor', 'Give it a name.'),
        (NEW.weight >= 0, 'weight', 'Weights are relative to each other and not negative; 0 leaves the factor out of the score.'),
        (NEW.weight <= 1e6, 'weight', 'Weights are relative to each other, up to 1000000.')) r(holds, field, hint)
    WHERE r.holds IS NOT TRUE LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'invalid "%" of factor "%" of scorecard "%": %',
                broken.field, NEW.factor, NEW.scorecard, COALESCE(to_jsonb(NEW) -> broken.field, 'null')
            USING ERRCODE = 'check_violation', HINT = broken.hint, SCHEMA = 'chs', TABLE = 'factors', COLUMN = broken.field;
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION chs.factors_guard() IS 'trigger: refuses invalid rows of chs.factors and says why; gives a factor without a position the last one';
CREATE TRIGGER factors_guard BEFORE INSERT OR UPDATE ON chs.factors
    FOR EACH ROW EXECUTE FUNCTION chs.factors_guard();

-- Looks at the text of a filter, as PostgreSQL prints it, without its strings.
CREATE FUNCTION chs.filter_has_variable(filter text) RETURNS boolean
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    RETURN regexp_replace(filter, $re$"(\\.|[^"\\])*"$re$, '""', 'g') ~ '[$]""';
COMMENT ON FUNCTION chs.filter_has_variable(text) IS 'whether a filter, as a jsonpath is printed, uses a variable such as $limit';

CREATE FUNCTION chs.metrics_guard() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    reads_field CONSTANT boolean := NEW.aggregate IN ('sum', 'avg', 'distinct')
                                    OR NEW.aggregate IN ('ratio', 'growth', 'of_usual') AND NEW.measure IN ('sum', 'distinct');
    is_penalty CONSTANT boolean := NEW.penalty IS NOT NULL;
    is_function CONSTANT boolean := NEW.aggregate IS NOT DISTINCT FROM 'function';
    at text;
    problem text;
    hint text;
    broken record;
BEGIN
    IF NEW.position IS NULL THEN
        SELECT COALESCE(max(m.position), 0) + 1 INTO NEW.position
        FROM chs.metrics m WHERE (m.scorecard, m.factor) = (NEW.scorecard, NEW.factor);
    END IF;
    SELECT r.* INTO broken FROM (VALUES
        (NEW.metric <> '', 'metric', 'Give it a name.'),
        (is_function OR NEW.event_type <> '', 'event_type', 'Name the type of the events that it counts, a row of chs.event_types.'),
        (NEW.aggregate IN ('count', 'sum', 'avg', 'ratio', 'distinct', 'active_days', 'days_since_last', 'growth', 'of_usual', 'function'), 'aggregate',
         'Use count, sum, avg, ratio, distinct, active_days, days_since_last, growth, of_usual or function.'),
        (is_function OR NEW.function IS NULL, 'function', 'Only the aggregate function calls one: leave it NULL.'),
        (NOT is_function OR NEW.function <> '', 'function', 'Name a function of chs.plugins; chs_add_factor() registers one.'),
        (NOT is_function OR NEW.event_type IS NULL, 'event_type', 'A function is given no events: leave it NULL.'),
        (NOT is_function OR NEW.filter IS NULL, 'filter', 'A function is given no events: leave it NULL.'),
        (NOT is_function OR NEW.window_days IS NULL, 'window_days', 'A function has no window: leave it NULL.'),
        (NEW.measure IN ('count', 'sum', 'distinct'), 'measure', 'Use count, sum or distinct.'),
        (NEW.measure = 'count' OR NEW.aggregate IN ('ratio', 'growth', 'of_usual'), 'measure',
         'Only ratio, growth and of_usual can have a measure other than count.'),
        (NOT reads_field OR NEW.field <> '', 'field',
         'sum, avg and distinct, also as the measure of ratio, growth and of_usual, read a top-level key of event_data: name it.'),
        (reads_field OR NEW.field IS NULL, 'field',
         format('Leave it NULL: %s reads no field of event_data.',
                CASE WHEN NEW.aggregate IN ('ratio', 'growth', 'of_usual') THEN NEW.aggregate || ' of count' ELSE NEW.aggregate END)),
        (NEW.base_filter IS NULL OR NEW.aggregate = 'ratio', 'base_filter', 'Only a ratio has a denominator: leave it NULL.'),
        (is_function OR NEW.window_days BETWEEN 1 AND 730, 'window_days', 'A window has 1 to 730 days, today included.'),
        (NEW.aggregate <> 'of_usual' OR NEW.window_days <= 365, 'window_days', 'of_usual looks back seven windows: of 1 to 365 days.'),
        (NOT is_penalty OR NEW.penalty > 0 AND NEW.penalty <= 100, 'penalty',
         'It is the points taken off for each event, above 0 and up to 100; NULL makes it a metric with a score.'),
        (NOT is_penalty OR NEW.aggregate = 'count', 'aggregate', 'A penalty counts events: use count, or set penalty to NULL.'),
        (NOT is_penalty OR NEW.weight IS NULL, 'weight', 'A penalty has no weight: leave it NULL, or set penalty to NULL.'),
        (NOT is_penalty OR NEW.curve IS NULL, 'curve', 'A penalty has no curve: leave it NULL, or set penalty to NULL.'),
        (NOT is_penalty OR NEW.missing IS NULL, 'missing', 'A penalty takes no points off where nothing happened: leave it NULL, or set penalty to NULL.'),
        (is_penalty OR NEW.weight >= 0, 'weight', 'Weights are relative to each other and not negative; 0 leaves the metric out of its factor.'),
        (is_penalty OR NEW.weight <= 1e6, 'weight', 'Weights are relative to each other, up to 1000000.'),
        (is_penalty OR NEW.curve IS NOT NULL, 'curve', 'Write points as value:score, as in ''0:0 1:100''.'),
        (is_penalty OR NEW.missing IN ('missing', 'zero', 'score'), 'missing',
         'Say what no data means: missing (its weight moves to the others), zero, or score (missing_score).'),
        (NEW.missing_score IS NULL OR NEW.missing IS NOT DISTINCT FROM 'score', 'missing_score',
         'It is used where missing is score: leave it NULL, or set missing to score.'),
        (NEW.missing IS DISTINCT FROM 'score' OR NEW.missing_score BETWEEN 0 AND 100, 'missing_score',
         'It is the score if there is no data, from 0 to 100.')) r(holds, field, hint)
    WHERE r.holds IS NOT TRUE LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'invalid "%" of metric "%" of factor "%" of scorecard "%": %',
                broken.field, NEW.metric, NEW.factor, NEW.scorecard, COALESCE(to_jsonb(NEW) -> broken.field, 'null')
            USING ERRCODE = 'check_violation', HINT = broken.hint, SCHEMA = 'chs', TABLE = 'metrics', COLUMN = broken.field;
    END IF;

    BEGIN
        at := 'curve';
        PERFORM chs.curve_is_valid(NEW.curve);
        hint := 'Write a predicate about event_data, as in ''$.status == "failed"'' or ''$.amount > 100 && exists($.coupon)''.';
        at := 'filter';
        NEW.filter := NEW.filter::jsonpath::text;
        at := 'base_filter';
        NEW.base_filter := NEW.base_filter::jsonpath::text;
    EXCEPTION
        WHEN syntax_error OR check_violation OR data_exception OR feature_not_supported OR statement_too_complex THEN
            GET STACKED DIAGNOSTICS problem = PG_EXCEPTION_DETAIL;
            problem := COALESCE(NULLIF(problem, ''), upper(left(SQLERRM, 1)) || substr(SQLERRM, 2) || '.');
            IF at = 'curve' THEN
                GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
            END IF;
    END;
    IF problem IS NULL AND (chs.filter_has_variable(NEW.filter) OR chs.filter_has_variable(NEW.base_filter)) THEN
        at := CASE WHEN chs.filter_has_variable(NEW.filter) THEN 'filter' ELSE 'base_filter' END;
        problem := 'Variables are not supported.';
        hint := 'Write the constant itself, and keys of event_data as $.key.';
    END IF;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'invalid "%" of metric "%" of factor "%" of scorecard "%": "%"',
                at, NEW.metric, NEW.factor, NEW.scorecard, to_jsonb(NEW) ->> at
            USING ERRCODE = 'check_violation', DETAIL = problem, HINT = hint, SCHEMA = 'chs', TABLE = 'metrics', COLUMN = at;
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION chs.metrics_guard() IS 'trigger: refuses invalid rows of chs.metrics and says why; writes filters as PostgreSQL prints them';
CREATE TRIGGER metrics_guard BEFORE INSERT OR UPDATE ON chs.metrics
    FOR EACH ROW EXECUTE FUNCTION chs.metrics_guard();

CREATE FUNCTION chs.segments_guard() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.segment = '' THEN
        RAISE EXCEPTION 'invalid "segment": ""'
            USING ERRCODE = 'check_violation', HINT = 'Give it a name.', SCHEMA = 'chs', TABLE = 'segments', COLUMN = 'segment';
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION chs.segments_guard() IS 'trigger: refuses invalid rows of chs.segments and says why';
CREATE TRIGGER segments_guard BEFORE INSERT OR UPDATE ON chs.segments
    FOR EACH ROW EXECUTE FUNCTION chs.segments_guard();

CREATE FUNCTION chs.targets_guard() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    broken text;
BEGIN
    IF NEW.target > 0 AND NEW.target < 'infinity' THEN
        IF NOT EXISTS (SELECT FROM chs.metrics m
                       WHERE (m.scorecard, m.factor, m.metric) = (NEW.scorecard, NEW.factor, NEW.metric) AND m.penalty IS NOT NULL) THEN
            RETURN NEW;
        END IF;
        broken := 'A penalty has no target: it takes points off for each event.';
    ELSE
        broken := 'The value is divided by its target, which must be above 0. A metric for which nothing is expected needs no target: delete the row.';
    END IF;
    RAISE EXCEPTION 'invalid "target" of metric "%" of factor "%" of scorecard "%" for %: %', NEW.metric, NEW.factor, NEW.scorecard,
            CASE WHEN NEW.segment IS NULL THEN 'everyone else' ELSE format('segment "%s"', NEW.segment) END, COALESCE(to_jsonb(NEW.target), 'null')
        USING ERRCODE = 'check_violation', HINT = broken, SCHEMA = 'chs', TABLE = 'targets', COLUMN = 'target';
END
$$;
COMMENT ON FUNCTION chs.targets_guard() IS 'trigger: refuses invalid rows of chs.targets and says why';
CREATE TRIGGER targets_guard BEFORE INSERT OR UPDATE ON chs.targets
    FOR EACH ROW EXECUTE FUNCTION chs.targets_guard();

CREATE FUNCTION chs.segment_weights_guard() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    hint text;
BEGIN
    IF NEW.weight >= 0 AND NEW.weight <= 1e6 THEN
        IF NOT EXISTS (SELECT FROM chs.metrics m
                       WHERE (m.scorecard, m.factor, m.metric) = (NEW.scorecard, NEW.factor, NEW.metric) AND m.penalty IS NOT NULL) THEN
            RETURN NEW;
        END IF;
        hint := 'A penalty has no weight: it takes points off for each event.';
    ELSE
        hint := 'Weights are relative to each other, from 0 to 1000000; 0 leaves it out for the segment.';
    END IF;
    RAISE EXCEPTION 'invalid "weight" of %factor "%" of scorecard "%" for segment "%": %',
            CASE WHEN NEW.metric IS NULL THEN '' ELSE format('metric "%s" of ', NEW.metric) END,
            NEW.factor, NEW.scorecard, NEW.segment, COALESCE(to_jsonb(NEW.weight), 'null')
        USING ERRCODE = 'check_violation', HINT = hint, SCHEMA = 'chs', TABLE = 'segment_weights', COLUMN = 'weight';
END
$$;
COMMENT ON FUNCTION chs.segment_weights_guard() IS 'trigger: refuses invalid rows of chs.segment_weights and says why';
CREATE TRIGGER segment_weights_guard BEFORE INSERT OR UPDATE ON chs.segment_weights
    FOR EACH ROW EXECUTE FUNCTION chs.segment_weights_guard();

CREATE FUNCTION chs.recommendations_guard() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    broken record;
BEGIN
    SELECT r.* INTO broken FROM (VALUES
        (NEW.recommendation <> '', 'recommendation', 'Give it a name.'),
        (NEW.action <> '', 'action', 'Say what is to be done.'),
        (NEW.factor IS NULL OR NEW.factor <> '', 'factor', 'Name a factor, or leave it NULL for the whole score.'),
        (NEW.priority BETWEEN 1 AND 5, 'priority', 'It is 1 (first) to 5.'),
        (NEW.no_data IS NOT NULL, 'no_data', 'Set it to true or false.'),
        (NEW.score_from BETWEEN 0 AND 100, 'score_from', 'It is a score, from 0 to 100.'),
        (NEW.score_below IS NULL OR NEW.score_below BETWEEN 0 AND 100, 'score_below', 'It is a score, from 0 to 100, or NULL for no bound.'),
        (NEW.score_below IS NULL OR NEW.score_below > NEW.score_from, 'score_below',
         format('It applies to scores from score_from (%s) to below this value.', NEW.score_from)),
        (NEW.no_data IS NOT TRUE OR NEW.score_from = 0 AND NEW.score_below IS NULL, 'no_data',
         'Without data there is no score: leave score_from and score_below alone, or set no_data to false.')) r(holds, field, hint)
    WHERE r.holds IS NOT TRUE LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'invalid "%" of recommendation "%": %', broken.field, NEW.recommendation, COALESCE(to_jsonb(NEW) -> broken.field, 'null')
            USING ERRCODE = 'check_violation', HINT = broken.hint, SCHEMA = 'chs', TABLE = 'recommendations', COLUMN = broken.field;
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION chs.recommendations_guard() IS 'trigger: refuses invalid rows of chs.recommendations and says why';
CREATE TRIGGER recommendations_guard BEFORE INSERT OR UPDATE ON chs.recommendations
    FOR EACH ROW EXECUTE FUNCTION chs.recommendations_guard();

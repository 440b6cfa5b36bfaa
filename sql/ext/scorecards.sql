-- Scorecards: the draft (scorecards, factors, metrics, targets, segments), edited
-- with plain SQL.

CREATE FUNCTION chs.curve_is_valid(curve text) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'chs_curve_is_valid';
COMMENT ON FUNCTION chs.curve_is_valid(text)
    IS 'true for a valid curve; raises an error that says what is wrong with any other';

CREATE FUNCTION chs.curve(curve text, x double precision) RETURNS double precision
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'chs_curve';
COMMENT ON FUNCTION chs.curve(text, double precision)
    IS 'the score that a curve such as ''0:0 1:100'' assigns to x: linear between its points, level beyond its ends';

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
    calm_points  double precision NOT NULL DEFAULT 0 CHECK (calm_points BETWEEN 0 AND 50),
    CHECK (at_risk_from <= healthy_from)
);
COMMENT ON TABLE chs.scorecards IS 'draft: the ways to score, one row each';
COMMENT ON COLUMN chs.scorecards.scorecard IS 'its name';
COMMENT ON COLUMN chs.scorecards.description IS 'what it is for';
COMMENT ON COLUMN chs.scorecards.is_default IS 'scores the customers that have no segment';
COMMENT ON COLUMN chs.scorecards.min_coverage IS 'share of the factor weight that must rest on data; below it the status is unknown';
COMMENT ON COLUMN chs.scorecards.healthy_from IS 'a score from here on is healthy';
COMMENT ON COLUMN chs.scorecards.at_risk_from IS 'a score from here on is at_risk, one below is critical';
COMMENT ON COLUMN chs.scorecards.grace IS 'whether "no data means zero" spares a customer too new to have filled the window';
COMMENT ON COLUMN chs.scorecards.trend_days IS 'the trend compares the score of the day before with the one this many days earlier';
COMMENT ON COLUMN chs.scorecards.trend_band IS 'a difference of fewer points than this is a stable trend';
COMMENT ON COLUMN chs.scorecards.calm_points IS 'a change of status is announced, and listed in chs.status_changes, once the score is this far beyond the bound; the status itself changes at the bound';

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
COMMENT ON COLUMN chs.factors.scorecard IS 'the scorecard';
COMMENT ON COLUMN chs.factors.factor IS 'its name';
COMMENT ON COLUMN chs.factors.description IS 'what it measures';
COMMENT ON COLUMN chs.factors.weight IS 'relative to the other factors of the scorecard';
COMMENT ON COLUMN chs.factors.position IS 'order of display and of arithmetic';

CREATE TABLE chs.metrics (
    scorecard     text NOT NULL,
    factor        text NOT NULL,
    metric        text NOT NULL CHECK (metric <> ''),
    position      integer NOT NULL,
    description   text,
    event_type    text CHECK (event_type <> ''),
    aggregate     text NOT NULL CHECK (aggregate IN
                     ('count', 'sum', 'avg', 'ratio', 'distinct', 'active_days', 'days_since_last', 'growth', 'of_usual', 'function')),
    measure       text NOT NULL DEFAULT 'count' CHECK (measure IN ('count', 'sum', 'distinct')),
    field         text CHECK (field <> ''),
    filter        text,
    base_filter   text,
    window_days   integer CHECK (window_days BETWEEN 1 AND 730),
    curve         text CHECK (chs.curve_is_valid(curve)),
    weight        double precision CHECK (weight >= 0 AND weight <= 1e6),
    missing       text CHECK (missing IN ('missing', 'zero', 'score')),
    missing_score double precision CHECK (missing_score BETWEEN 0 AND 100),
    penalty       double precision CHECK (penalty > 0 AND penalty <= 100),
    function      text CHECK (function <> ''),
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
                               OR aggregate IN ('ratio', 'growth', 'of_usual') AND measure IN ('sum', 'distinct'))),
    CONSTRAINT metrics_measure CHECK (aggregate IN ('ratio', 'growth', 'of_usual') OR measure = 'count'),
    CONSTRAINT metrics_of_usual CHECK (aggregate <> 'of_usual' OR window_days <= 365),
    CONSTRAINT metrics_base_filter CHECK (aggregate = 'ratio' OR base_filter IS NULL),
    CONSTRAINT metrics_filter_path CHECK (filter IS NULL OR filter::jsonpath IS NOT NULL),
    CONSTRAINT metrics_base_filter_path CHECK (base_filter IS NULL OR base_filter::jsonpath IS NOT NULL),
    CONSTRAINT metrics_function CHECK (
        CASE WHEN aggregate = 'function'
             THEN function IS NOT NULL AND event_type IS NULL AND window_days IS NULL AND filter IS NULL
             ELSE function IS NULL AND event_type IS NOT NULL AND window_days IS NOT NULL END)
);
COMMENT ON TABLE chs.metrics IS 'draft: what a factor is measured by; a row with a penalty takes points off the factor for each event instead';
COMMENT ON COLUMN chs.metrics.aggregate IS 'count, sum, avg, ratio, distinct, active_days, days_since_last, growth or of_usual of events; or function, for a plug-in';
COMMENT ON COLUMN chs.metrics.scorecard IS 'the scorecard';
COMMENT ON COLUMN chs.metrics.factor IS 'the factor';
COMMENT ON COLUMN chs.metrics.metric IS 'its name';
COMMENT ON COLUMN chs.metrics.position IS 'order of display and of arithmetic';
COMMENT ON COLUMN chs.metrics.description IS 'what it measures';
COMMENT ON COLUMN chs.metrics.event_type IS 'the events that it is about';
COMMENT ON COLUMN chs.metrics.weight IS 'relative to the other metrics of the factor';
COMMENT ON COLUMN chs.metrics.missing_score IS 'the score without data, if missing is score';
COMMENT ON COLUMN chs.metrics.measure IS 'for ratio, growth and of_usual: what is compared (count, sum or distinct)';
COMMENT ON COLUMN chs.metrics.field IS 'top-level key of event_data that sum, avg and distinct read';
COMMENT ON COLUMN chs.metrics.filter IS 'SQL/JSON path predicate: only events for which it is true count';
COMMENT ON COLUMN chs.metrics.base_filter IS 'for ratio: the predicate of the denominator';
COMMENT ON COLUMN chs.metrics.window_days IS 'trailing window in whole UTC days, today included';
COMMENT ON COLUMN chs.metrics.curve IS 'points value:score, or value/target:score if there is a target, as in ''0:0 1:100''';
COMMENT ON COLUMN chs.metrics.missing IS 'what no data means: missing (its weight moves to the others), zero, or score (missing_score)';
COMMENT ON COLUMN chs.metrics.function IS 'for function: the function that returns the value, a row of chs.plugins; see chs_add_factor()';
COMMENT ON COLUMN chs.metrics.penalty IS 'points taken off the factor for each event counted';

CREATE TABLE chs.segments (
    segment      text PRIMARY KEY CHECK (segment <> ''),
    description  text,
    scorecard    text REFERENCES chs.scorecards ON UPDATE CASCADE
);
COMMENT ON TABLE chs.segments IS 'groups of customers; each uses its scorecard from the next publication on';
COMMENT ON COLUMN chs.segments.scorecard IS 'scores the customers of the segment; NULL: the default one';
COMMENT ON COLUMN chs.segments.segment IS 'its name';
COMMENT ON COLUMN chs.segments.description IS 'who is in it';

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
COMMENT ON COLUMN chs.targets.scorecard IS 'the scorecard';
COMMENT ON COLUMN chs.targets.factor IS 'the factor';
COMMENT ON COLUMN chs.targets.metric IS 'the metric';
COMMENT ON COLUMN chs.targets.target IS 'the value that is expected; the curve is read at value/target';
COMMENT ON COLUMN chs.targets.segment IS 'NULL: every segment without a row of its own';

CREATE TABLE chs.segment_weights (
    scorecard    text NOT NULL,
    factor       text NOT NULL,
    metric       text,
    segment      text NOT NULL REFERENCES chs.segments ON UPDATE CASCADE ON DELETE CASCADE,
    weight       double precision NOT NULL CHECK (weight >= 0 AND weight <= 1e6),
    UNIQUE NULLS NOT DISTINCT (scorecard, factor, metric, segment),
    FOREIGN KEY (scorecard, factor) REFERENCES chs.factors ON UPDATE CASCADE ON DELETE CASCADE,
    FOREIGN KEY (scorecard, factor, metric) REFERENCES chs.metrics ON UPDATE CASCADE ON DELETE CASCADE
);
COMMENT ON TABLE chs.segment_weights IS 'draft: weights of factors and metrics that a segment has instead of the scorecard''s';
COMMENT ON COLUMN chs.segment_weights.scorecard IS 'the scorecard';
COMMENT ON COLUMN chs.segment_weights.factor IS 'the factor';
COMMENT ON COLUMN chs.segment_weights.segment IS 'whose weight it is';
COMMENT ON COLUMN chs.segment_weights.metric IS 'NULL: the weight is that of the factor';
COMMENT ON COLUMN chs.segment_weights.weight IS 'instead of that of the row in chs.factors or chs.metrics';

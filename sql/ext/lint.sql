-- Lint: what is questionable in the draft.  Each function looks at one kind of object,
-- and returns severity, object, message and hint like chs_lint().

CREATE FUNCTION chs.curve_points(curve text, OUT n bigint, OUT x double precision, OUT y double precision)
    RETURNS SETOF record
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE ROWS 5
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT p.n, split_part(p.point, ':', 1)::double precision, split_part(p.point, ':', 2)::double precision
    FROM string_to_table($1, ' ') WITH ORDINALITY p(point, n);
END;
COMMENT ON FUNCTION chs.curve_points(text) IS 'the points of a curve';

CREATE FUNCTION chs.best_score(curve text) RETURNS double precision
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    RETURN (SELECT max(p.y) FROM chs.curve_points($1) p);
COMMENT ON FUNCTION chs.best_score(text) IS 'the highest score that a curve gives';

-- The scorecards that anybody is scored by.  The others do not matter.
CREATE FUNCTION chs.used_scorecards() RETURNS SETOF text
    LANGUAGE sql STABLE ROWS 2
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT s.scorecard FROM chs.scorecards s
    WHERE s.is_default OR EXISTS (SELECT FROM chs.segments g WHERE g.scorecard = s.scorecard);
END;
COMMENT ON FUNCTION chs.used_scorecards() IS 'scorecards of the draft that score customers: the default one and those of segments';

CREATE FUNCTION chs.lint_scorecards(OUT severity text, OUT object text, OUT message text, OUT hint text)
    RETURNS SETOF record
    LANGUAGE sql STABLE ROWS 10
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT 'error', 'scorecards', 'no scorecard is the default',
           'Set is_default of one row of chs.scorecards; without it nothing can be published.'
    WHERE NOT EXISTS (SELECT FROM chs.scorecards s WHERE s.is_default)
    UNION ALL
    SELECT 'error', 'scorecard ' || s.scorecard, 'no factor with a weight has a metric with a weight: every status would be unknown',
           'Add rows to chs.factors and chs.metrics, or raise weights.'
    FROM chs.scorecards s
    WHERE NOT EXISTS (SELECT FROM chs.factors f JOIN chs.metrics m USING (scorecard, factor)
                      WHERE f.scorecard = s.scorecard AND f.weight > 0 AND m.weight > 0)
    UNION ALL
    SELECT 'warning', 'scorecard ' || s.scorecard, 'trend_band is 0: a score that has not moved counts as improving',
           'Set trend_band to the smallest difference that matters.'
    FROM chs.scorecards s WHERE s.trend_band = 0
    UNION ALL
    SELECT 'warning', 'scorecard ' || s.scorecard, format('calm_points (%s) is at least half of what lies between the bounds: changes to at_risk may never be announced', s.calm_points),
           'Lower calm_points; chs_backtest() says what a few points save and cost.'
    FROM chs.scorecards s WHERE s.calm_points > 0 AND 2 * s.calm_points >= s.healthy_from - s.at_risk_from AND s.healthy_from > s.at_risk_from
    UNION ALL
    SELECT 'notice', 'scorecard ' || s.scorecard, 'at_risk_from equals healthy_from: nobody can be at risk',
           'Lower at_risk_from for a status between critical and healthy.'
    FROM chs.scorecards s WHERE s.at_risk_from = s.healthy_from
    UNION ALL
    SELECT 'notice', 'scorecard ' || s.scorecard, 'min_coverage is 1: a customer without data in one factor has no score',
           'Lower min_coverage if a score that rests on most of the factors suffices.'
    FROM chs.scorecards s WHERE s.min_coverage = 1;
END;
COMMENT ON FUNCTION chs.lint_scorecards() IS 'what is questionable about the scorecards of the draft as a whole';

CREATE FUNCTION chs.lint_factors(OUT severity text, OUT object text, OUT message text, OUT hint text)
    RETURNS SETOF record
    LANGUAGE sql STABLE ROWS 10
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH factor AS (
        SELECT f.scorecard, f.factor, f.weight, format('factor %s.%s', f.scorecard, f.factor) AS object,
               count(m.metric) AS rows, count(m.metric) FILTER (WHERE m.penalty IS NULL) AS metrics,
               max(m.weight) AS weight_of_metrics
        FROM chs.factors f LEFT JOIN chs.metrics m USING (scorecard, factor)
        GROUP BY f.scorecard, f.factor, f.weight)
    SELECT 'warning', f.object,
           CASE f.rows WHEN 0 THEN 'has no metric' ELSE 'has penalties, but no metric that they take points off' END
               || ': it never has data, and counts against the coverage',
           'Add a row with a curve to chs.metrics, or delete the factor.'
    FROM factor f WHERE f.metrics = 0
    UNION ALL
    SELECT 'warning', f.object, 'all of its metrics have weight 0: it never has data', 'Raise the weight of a metric.'
    FROM factor f WHERE f.metrics > 0 AND f.weight_of_metrics = 0
    UNION ALL
    SELECT 'notice', f.object, 'has weight 0: it is shown, but does not count', 'Raise its weight, or delete it if it is not wanted.'
    FROM factor f
    WHERE f.weight = 0
      AND NOT EXISTS (SELECT FROM chs.segment_weights w
                      WHERE (w.scorecard, w.factor) = (f.scorecard, f.factor) AND w.metric IS NULL AND w.weight > 0);
END;
COMMENT ON FUNCTION chs.lint_factors() IS 'what is doubtful about the factors of the draft';

CREATE FUNCTION chs.lint_metrics(OUT severity text, OUT object text, OUT message text, OUT hint text)
    RETURNS SETOF record
    LANGUAGE sql STABLE ROWS 10
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH metric AS (SELECT m.*, format('metric %s.%s.%s', m.scorecard, m.factor, m.metric) AS object FROM chs.metrics m)
    SELECT 'notice', m.object, 'has weight 0: it is shown, but does not count', 'Raise its weight, or delete it if it is not wanted.'
    FROM metric m
    WHERE m.weight = 0
      AND NOT EXISTS (SELECT FROM chs.segment_weights w
                      WHERE (w.scorecard, w.factor, w.metric) = (m.scorecard, m.factor, m.metric) AND w.weight > 0)
    UNION ALL
    SELECT 'warning', m.object, 'is a ratio of the same events: always 1, or no data', 'Set filter to what the numerator counts.'
    FROM metric m WHERE m.aggregate = 'ratio' AND m.filter IS NOT DISTINCT FROM m.base_filter
    UNION ALL
    SELECT 'warning', m.object,
           format('a customer whose last event is older than %s days has no data here, and no longer loses points for it', m.window_days),
           'Set missing to score, with a low missing_score.'
    FROM metric m WHERE m.aggregate = 'days_since_last' AND m.missing = 'missing' AND m.weight > 0
    UNION ALL
    SELECT 'warning', m.object, format('no data counts as zero, which has the best score, %s', chs.best_score(m.curve)),
           'Set missing to missing, or to score with a suitable missing_score.'
    FROM metric m
    WHERE m.missing = 'zero' AND chs.curve(m.curve, 0::double precision) = chs.best_score(m.curve)
      AND EXISTS (SELECT FROM chs.curve_points(m.curve) p WHERE p.y < chs.best_score(m.curve))
    UNION ALL
    SELECT 'warning', m.object, format('the %s is not a condition, so it is true only where the field itself is true: %s', f.name, f.filter),
           'Compare it with something, as in ''$.status == "failed"'', or use exists().'
    FROM metric m CROSS JOIN LATERAL (VALUES ('filter', m.filter), ('base_filter', m.base_filter)) f(name, filter)
    WHERE f.filter IS NOT NULL
      AND 1 <> (SELECT count(*) FILTER (WHERE jsonb_typeof(q.value) IN ('boolean', 'null'))
                FROM jsonb_path_query('{}', f.filter::jsonpath, '{}', true) q(value))
    UNION ALL
    SELECT 'notice', m.object, format('the %s leaves out events that do not have the key: %s', f.name, f.filter),
           'If those are to count, too, write !($.key == value) instead of $.key != value.'
    FROM metric m CROSS JOIN LATERAL (VALUES ('filter', m.filter), ('base_filter', m.base_filter)) f(name, filter)
    WHERE f.filter ~ '!= (?!null)'
    UNION ALL
    SELECT 'notice', m.object, format('counts the same as metric %s.%s.%s', o.scorecard, o.factor, o.metric),
           'If both are intended, the same behaviour counts twice.'
    FROM metric m
    JOIN metric o ON o.scorecard = m.scorecard AND (o.factor, o.metric) < (m.factor, m.metric)
         AND (o.event_type, o.aggregate, o.measure, o.window_days) = (m.event_type, m.aggregate, m.measure, m.window_days)
         AND (o.field, o.filter, o.base_filter) IS NOT DISTINCT FROM (m.field, m.filter, m.base_filter)
    WHERE m.penalty IS NULL AND o.penalty IS NULL
    UNION ALL
    SELECT 'error', m.object, format('its function %s no longer exists', m.function),
           'Create the function again, or delete the metric.'
    FROM metric m WHERE m.function IS NOT NULL AND to_regprocedure(m.function) IS NULL;
END;
COMMENT ON FUNCTION chs.lint_metrics() IS 'what is doubtful about the metrics of the draft, but for their curves';

CREATE FUNCTION chs.lint_curves(OUT severity text, OUT object text, OUT message text, OUT hint text)
    RETURNS SETOF record
    LANGUAGE sql STABLE ROWS 10
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH curve AS (
        SELECT format('metric %s.%s.%s', m.scorecard, m.factor, m.metric) AS object, m.curve, m.aggregate,
               p.falls, p.rises, p.last_x,
               (SELECT min(b.x) FROM chs.curve_points(m.curve) b WHERE b.y = chs.best_score(m.curve)) AS best_x,
               EXISTS (SELECT FROM chs.targets t
                       WHERE (t.scorecard, t.factor, t.metric) = (m.scorecard, m.factor, m.metric)) AS targets,
               CASE WHEN m.aggregate = 'active_days' THEN m.window_days
                    WHEN m.aggregate = 'days_since_last' THEN m.window_days - 1
                    WHEN m.aggregate = 'ratio' AND m.base_filter IS NULL AND m.measure <> 'sum' THEN 1 END AS highest
        FROM chs.metrics m
        CROSS JOIN LATERAL (
            SELECT COALESCE(bool_or(c.y < c.before), false) AS falls, COALESCE(bool_or(c.y > c.before), false) AS rises, max(c.x) AS last_x
            FROM (SELECT p.x, p.y, lag(p.y) OVER (ORDER BY p.n) AS before FROM chs.curve_points(m.curve) p) c) p
        WHERE m.penalty IS NULL)
    SELECT 'warning', c.object, 'the curve is not monotonic: ' || c.curve,
           'If more is better, scores should rise from point to point; if less is better, they should fall.'
    FROM curve c WHERE c.falls AND c.rises
    UNION ALL
    SELECT 'warning', c.object, 'the curve gives every value the same score: ' || c.curve, 'Add a point with another score.'
    FROM curve c WHERE NOT c.falls AND NOT c.rises
    UNION ALL
    SELECT 'warning', c.object, format('one is as good as a thousand: the curve ends at %s, and there is no target', c.last_x),
           'Add a target for everyone (chs.targets with segment NULL), or stretch the curve.'
    FROM curve c WHERE c.aggregate IN ('count', 'distinct', 'active_days') AND NOT c.targets AND c.last_x <= 1 AND c.rises
    UNION ALL
    SELECT 'warning', c.object, format('the curve is read at value/target, yet extends to %s times the target', c.last_x),
           'With a target, end the curve where the target is met, as in ''0:0 1:100''; or delete the targets.'
    FROM curve c WHERE c.targets AND c.last_x >= 20
    UNION ALL
    SELECT 'warning', c.object, format('its best score is out of reach: the curve has it from %s on, but the value is %s at most', c.best_x, c.highest),
           'End the curve where the value can end.'
    FROM curve c WHERE NOT c.targets AND c.best_x > c.highest AND NOT c.falls;
END;
COMMENT ON FUNCTION chs.lint_curves() IS 'what is doubtful about the curves of the draft';

-- Also false if the caller may not know.
CREATE FUNCTION chs.segment_has_customers(segment text) RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT has_table_privilege('chs.customers', 'SELECT') THEN
        RETURN false;
    END IF;
    RETURN EXISTS (SELECT FROM chs.customers c WHERE c.segment IS NOT DISTINCT FROM $1);
END
$$;
COMMENT ON FUNCTION chs.segment_has_customers(text) IS 'whether the caller sees customers in a segment, or, for NULL, without one';

CREATE FUNCTION chs.lint_segments(OUT severity text, OUT object text, OUT message text, OUT hint text)
    RETURNS SETOF record
    LANGUAGE sql STABLE ROWS 10
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH segment AS (
        SELECT g.segment, COALESCE(g.scorecard, d.scorecard) AS scorecard, format('segment %s', g.segment) AS object, g.scorecard IS NULL AS by_default
        FROM chs.segments g LEFT JOIN chs.scorecards d ON d.is_default
        UNION ALL
        SELECT NULL, d.scorecard, 'customers without a segment', false
        FROM chs.scorecards d WHERE d.is_default AND chs.segment_has_customers(NULL))
    SELECT 'notice', s.object, format('names no scorecard: its customers are scored by the default one, %s', s.scorecard),
           'Set scorecard in chs.segments if that is not intended.'
    FROM segment s WHERE s.by_default
    UNION ALL
    SELECT 'warning', s.object, format('metric %s.%s.%s has targets for others, but none for it: it is missing there', m.scorecard, m.factor, m.metric),
           'Add a row to chs.targets, for it or (segment NULL) for everyone else.'
    FROM segment s JOIN chs.metrics m ON m.scorecard = s.scorecard
    WHERE EXISTS (SELECT FROM chs.targets t WHERE (t.scorecard, t.factor, t.metric) = (m.scorecard, m.factor, m.metric))
      AND NOT EXISTS (SELECT FROM chs.targets t WHERE (t.scorecard, t.factor, t.metric) = (m.scorecard, m.factor, m.metric)
                      AND (t.segment IS NULL OR t.segment = s.segment))
    UNION ALL
    SELECT DISTINCT 'notice', s.object, format('scorecard %s has weights for it, but does not score it', w.scorecard),
           'Delete them, or choose that scorecard in chs.segments.'
    FROM chs.segment_weights w JOIN segment s ON s.segment = w.segment AND s.scorecard <> w.scorecard
    UNION ALL
    SELECT 'error', s.object, 'all of its factors have weight 0: the status of its customers would be unknown', 'See chs.segment_weights.'
    FROM segment s
    WHERE s.segment IS NOT NULL
      AND 0 = (SELECT max(COALESCE(w.weight, f.weight)) FROM chs.factors f
               LEFT JOIN chs.segment_weights w ON (w.scorecard, w.factor, w.segment) = (f.scorecard, f.factor, s.segment) AND w.metric IS NULL
               WHERE f.scorecard = s.scorecard)
    UNION ALL
    SELECT 'notice', s.object, 'has customers, but is not published yet: until then they are scored by the default scorecard',
           'Publish with chs_publish().'
    FROM segment s
    WHERE s.segment IS NOT NULL AND chs.segment_has_customers(s.segment)
      AND NOT (SELECT v.document -> 'segments' FROM chs.scorecard_versions v ORDER BY v.version DESC LIMIT 1) ? s.segment
    UNION ALL
    SELECT 'warning', 'recommendation ' || r.recommendation, format('no scorecard that is used has a factor %s', r.factor),
           'Correct its factor, or delete it.'
    FROM chs.recommendations r
    WHERE r.factor IS NOT NULL
      AND NOT EXISTS (SELECT FROM chs.factors f WHERE f.factor = r.factor AND f.scorecard = COALESCE(r.scorecard, f.scorecard)
                      AND f.scorecard IN (SELECT u FROM chs.used_scorecards() u));
END;
COMMENT ON FUNCTION chs.lint_segments() IS 'what is doubtful about the segments of the draft, their targets and weights, and the recommendations';

CREATE FUNCTION chs.lint_events(OUT severity text, OUT object text, OUT message text, OUT hint text)
    RETURNS SETOF record
    LANGUAGE plpgsql STABLE ROWS 10
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- look at about a million events, and some customers: lint must not take minutes
    percent CONSTANT double precision := (SELECT least(100, 1e8 / greatest(c.reltuples, 1)) FROM pg_class c WHERE c.oid = 'chs.customer_events'::regclass);
    arriving text[];
BEGIN
    RETURN QUERY
    SELECT 'warning', format('metric %s.%s.%s', m.scorecard, m.factor, m.metric),
           format('there is no event type %s: such events are refused', m.event_type), 'Add it to chs.event_types, or correct the name.'
    FROM chs.metrics m
    WHERE m.event_type IS NOT NULL AND NOT EXISTS (SELECT FROM chs.event_types t WHERE t.event_type = m.event_type);

    RETURN QUERY
    SELECT 'warning', n.object,
           CASE WHEN n.kept_days < n.days THEN format('needs the events of %s days, but chs.event_retention is %s: they are kept longer than it says',
                                                      n.days, current_setting('chs.event_retention'))
                ELSE format('needs the events of %s days, but those before %s have been deleted: until %s its window is incomplete',
                            n.days, n.kept_from, n.kept_from + n.days - 1) END,
           CASE WHEN n.kept_days < n.days THEN 'Use a shorter window, or raise chs.event_retention.' ELSE 'Use a shorter window, or wait.' END
    FROM (SELECT format('metric %s.%s.%s', m.scorecard, m.factor, m.metric) AS object,
                 m.window_days * CASE m.aggregate WHEN 'growth' THEN 2 WHEN 'of_usual' THEN 7 ELSE 1 END + 1 + s.trend_days AS days,
                 extract(epoch FROM chs.retention_setting('events'::text)) / 86400 AS kept_days,
                 (SELECT r.kept_from FROM chs.retention r WHERE r.kind = 'events') AS kept_from
          FROM chs.metrics m JOIN chs.scorecards s USING (scorecard)) n
    WHERE n.kept_days < n.days OR (now() AT TIME ZONE 'UTC')::date - n.days + 1 < n.kept_from;

    -- Nothing can be said to those who may not look, or before there are any events.
    IF NOT has_column_privilege('chs.customer_events', 'event_type', 'SELECT')
       OR NOT has_column_privilege('chs.activity', 'activity', 'SELECT') THEN
        RETURN;
    END IF;
    IF NOT EXISTS (SELECT y.activity FROM chs.activity y) THEN
        RETURN;
    END IF;
    SELECT array_agg(a.event_type) INTO arriving FROM (
        SELECT DISTINCT e.event_type FROM chs.customer_events e TABLESAMPLE SYSTEM (percent)
        UNION
        SELECT s.event_type
        FROM (SELECT v.document FROM chs.scorecard_versions v ORDER BY v.version DESC LIMIT 1) live
        CROSS JOIN LATERAL chs.document_series_definitions(live.document) s
        WHERE s.series IN (SELECT c.series FROM (SELECT y.activity FROM chs.activity y LIMIT 1000) t
                           CROSS JOIN LATERAL chs.activity_cells(t.activity) c)) a;
    RETURN QUERY
    SELECT 'warning', format('metric %s.%s.%s', m.scorecard, m.factor, m.metric),
           format('no event of type %s seems to arrive%s', m.event_type,
                  CASE WHEN percent < 100 THEN ', or very few' ELSE '' END), 'Record such events, or delete the metric.'
    FROM chs.metrics m
    WHERE m.scorecard IN (SELECT u FROM chs.used_scorecards() u)
      AND EXISTS (SELECT FROM chs.event_types t WHERE t.event_type = m.event_type)
      AND m.event_type <> ALL (COALESCE(arriving, '{}'));
END
$$;
COMMENT ON FUNCTION chs.lint_events() IS 'what is doubtful about the events that the metrics of the draft count';

CREATE FUNCTION @extschema@.chs_lint(OUT severity text, OUT object text, OUT message text, OUT hint text)
    RETURNS SETOF record
    LANGUAGE sql STABLE ROWS 10
    SET search_path = pg_catalog, pg_temp SET jit = off
BEGIN ATOMIC
    SELECT l.* FROM (
        SELECT * FROM chs.lint_scorecards() UNION ALL SELECT * FROM chs.lint_factors()
        UNION ALL SELECT * FROM chs.lint_metrics() UNION ALL SELECT * FROM chs.lint_curves()
        UNION ALL SELECT * FROM chs.lint_segments() UNION ALL SELECT * FROM chs.lint_events()) l
    ORDER BY array_position('{error,warning,notice}', l.severity), l.object COLLATE "C", l.message COLLATE "C";
END;
COMMENT ON FUNCTION @extschema@.chs_lint()
    IS 'a row per doubtful thing in the draft: error (scores would be unknown), warning (probably not meant) or notice';

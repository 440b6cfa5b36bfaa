-- Scores: the pure function, and the functions that look a customer up.

CREATE FUNCTION @extschema@.chs_activity_score(
        activity @extschema@.chs_activity, scorecard jsonb, segment text, created_at timestamptz, as_of timestamptz,
        plugin_values jsonb DEFAULT NULL,
        OUT score double precision, OUT status text, OUT coverage double precision, OUT trend text,
        OUT factor_scores double precision[])
    RETURNS record
    LANGUAGE c IMMUTABLE PARALLEL SAFE COST 100 AS 'MODULE_PATHNAME', 'chs_activity_score';
COMMENT ON FUNCTION @extschema@.chs_activity_score(@extschema@.chs_activity, jsonb, text, timestamptz, timestamptz, jsonb)
    IS 'the score that a published scorecard document gives to an activity; depends on nothing but its arguments; plug-ins have no data without the result of chs.plugin_values()';

CREATE FUNCTION chs.activity_explain(
        activity @extschema@.chs_activity, scorecard jsonb, segment text, created_at timestamptz, as_of timestamptz,
        plugin_values jsonb DEFAULT NULL,
        OUT factor text, OUT metric text, OUT value double precision, OUT target double precision,
        OUT score double precision, OUT weight double precision, OUT effective_weight double precision,
        OUT contribution double precision, OUT trend text, OUT sparkline text, OUT details jsonb)
    RETURNS SETOF record
    LANGUAGE c IMMUTABLE PARALLEL SAFE COST 200 ROWS 24 AS 'MODULE_PATHNAME', 'chs_activity_explain';
COMMENT ON FUNCTION chs.activity_explain(@extschema@.chs_activity, jsonb, text, timestamptz, timestamptz, jsonb)
    IS 'why chs_activity_score gives its score: a row per factor and metric';

CREATE FUNCTION @extschema@.chs_activity_history(
        activity @extschema@.chs_activity, scorecard jsonb, segment text, created_at timestamptz, days date[],
        plugin_values jsonb DEFAULT NULL,
        OUT day date, OUT score double precision, OUT status text, OUT coverage double precision, OUT trend text,
        OUT factor_scores double precision[])
    RETURNS SETOF record
    LANGUAGE c IMMUTABLE PARALLEL SAFE COST 500 ROWS 90 AS 'MODULE_PATHNAME', 'chs_activity_history';
COMMENT ON FUNCTION @extschema@.chs_activity_history(@extschema@.chs_activity, jsonb, text, timestamptz, date[], jsonb)
    IS 'the score that a published scorecard document gives to an activity as of each of the days, which must not be before the day as of which it was pruned; one of chs_activity_agg() never was';

-- A past day is scored by the version that was live when it ended; days before the
-- first version was published, by the live one.
--
-- Restricted, not safe: events of the current transaction that are not queued yet
-- are known only to the session itself.
CREATE FUNCTION @extschema@.chs_score(customer_id bigint, as_of timestamptz DEFAULT NULL, version integer DEFAULT NULL)
    RETURNS double precision
    LANGUAGE c STABLE PARALLEL RESTRICTED COST 200 AS 'MODULE_PATHNAME', 'chs_score';
COMMENT ON FUNCTION @extschema@.chs_score(bigint, timestamptz, integer)
    IS 'health score of a customer, 0 to 100, now or at the end of a past UTC day, by the version that was live then or the one that is named; NULL if the status is unknown';

CREATE FUNCTION @extschema@.chs_status(customer_id bigint, as_of timestamptz DEFAULT NULL, version integer DEFAULT NULL)
    RETURNS text
    LANGUAGE c STABLE PARALLEL RESTRICTED COST 200 AS 'MODULE_PATHNAME', 'chs_status';
COMMENT ON FUNCTION @extschema@.chs_status(bigint, timestamptz, integer)
    IS 'status of a customer: healthy, at_risk, critical or unknown';

CREATE FUNCTION @extschema@.chs_explain(customer_id bigint, as_of timestamptz DEFAULT NULL, version integer DEFAULT NULL,
        OUT factor text, OUT metric text, OUT value double precision, OUT target double precision,
        OUT score double precision, OUT weight double precision, OUT effective_weight double precision,
        OUT contribution double precision, OUT trend text, OUT sparkline text, OUT details jsonb)
    RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED COST 400 ROWS 24 AS 'MODULE_PATHNAME', 'chs_explain';
COMMENT ON FUNCTION @extschema@.chs_explain(bigint, timestamptz, integer)
    IS 'why a customer has its score: a row per factor (metric is NULL), metric and penalty; the contributions of the factors sum to the score';

CREATE FUNCTION @extschema@.chs_history(customer_id bigint, from_day date DEFAULT NULL, to_day date DEFAULT NULL,
        by_version integer DEFAULT NULL,
        OUT day date, OUT score double precision, OUT status text, OUT coverage double precision, OUT trend text,
        OUT factor_scores double precision[], OUT scorecard text, OUT version integer)
    RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED COST 2000 ROWS 90 AS 'MODULE_PATHNAME', 'chs_history';
COMMENT ON FUNCTION @extschema@.chs_history(bigint, date, date, integer)
    IS 'health of a customer on each UTC day, by default the last 90, exactly as chs_score() gives it for that day, by the version that was live then or the one that is named; one pass over the raw events';

CREATE FUNCTION chs.score_history(days date[], document jsonb DEFAULT NULL, by_version integer DEFAULT NULL,
        after bigint DEFAULT NULL, upto bigint DEFAULT NULL, customers bigint[] DEFAULT NULL, metrics boolean DEFAULT false,
        OUT customer_id bigint, OUT segment text, OUT day date, OUT score double precision, OUT status text,
        OUT coverage double precision, OUT trend text, OUT factor_scores double precision[], OUT scorecard text, OUT version integer,
        OUT metric_values double precision[], OUT metric_scores double precision[])
    RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL UNSAFE COST 100000 ROWS 100000 AS 'MODULE_PATHNAME', 'chs_score_history';
COMMENT ON FUNCTION chs.score_history(date[], jsonb, integer, bigint, bigint, bigint[], boolean)
    IS 'what chs_history() says of each of the days, for all customers, those listed, or those after one and up to another: each from its first event or creation to the day on which it churned, and no day for which events have been deleted; by the version that was live then, by the one that is named, or as if a document were published; with metrics, the values and scores of these in the order of the scorecard, NULL where missing, and no trend; reads the events of thousands of customers at once, in parallel';
-- A document can ask anything about the events of the customers that the caller sees.
REVOKE EXECUTE ON FUNCTION chs.score_history(date[], jsonb, integer, bigint, bigint, bigint[], boolean) FROM PUBLIC;

CREATE FUNCTION chs.health_now(customer_id bigint, as_of timestamptz DEFAULT NULL, by_version integer DEFAULT NULL,
        OUT score double precision, OUT status text, OUT coverage double precision, OUT trend text,
        OUT factor_scores double precision[], OUT scorecard text, OUT version integer, OUT day date)
    RETURNS record
    LANGUAGE c STABLE PARALLEL RESTRICTED COST 200 AS 'MODULE_PATHNAME', 'chs_health_now';
COMMENT ON FUNCTION chs.health_now(bigint, timestamptz, integer) IS 'health of a customer, calculated now';

-- Why a score moved.  Between the score before and the score after lie hypothetical scores,
-- each of which differs from its predecessor by one cause:
--
--   0 before
--   1 data       metrics that have no score after lose theirs
--   2 time       those that have one before and after, and the penalties, become what they would be on the later day without
--                a new event
--   3 behaviour  they become what they are with the new events
--   4 data       metrics that had no score before get theirs
--   5 scorecard  the later version scores the same day and events: after
--
-- What a factor adds to a score, minus what it adds to the one before, is what that cause
-- did through it.  When the weight of a metric moves to others, what they add changes; that
-- is attributed to them, as caused by data.
CREATE FUNCTION chs.explain_until(customer_id bigint, as_of timestamptz, version integer, until timestamptz,
        OUT factor text, OUT metric text, OUT value double precision, OUT target double precision,
        OUT score double precision, OUT weight double precision, OUT effective_weight double precision,
        OUT contribution double precision, OUT trend text, OUT sparkline text, OUT details jsonb)
    RETURNS SETOF record
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 400 ROWS 24 AS 'MODULE_PATHNAME', 'chs_explain_until';
COMMENT ON FUNCTION chs.explain_until(bigint, timestamptz, integer, timestamptz)
    IS 'what chs_explain() would say if nothing had happened after the UTC day of until, and plug-ins had no data';

CREATE FUNCTION @extschema@.chs_explain_change(customer_id bigint, since timestamptz, until timestamptz DEFAULT NULL,
        OUT factor text, OUT score_since double precision, OUT score_until double precision,
        OUT contribution_since double precision, OUT contribution_until double precision, OUT change double precision,
        OUT by_behaviour double precision, OUT by_time double precision, OUT by_data double precision,
        OUT by_scorecard double precision, OUT details jsonb)
    RETURNS SETOF record
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED COST 4000 ROWS 6
    SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    first CONSTANT timestamptz := since;
    last  CONSTANT timestamptz := COALESCE(until, now());
    first_day CONSTANT date := first AT TIME ZONE 'UTC';
    last_day  CONSTANT date := last AT TIME ZONE 'UTC';
    old_version integer;
    new_version integer;
BEGIN
    IF customer_id IS NULL OR first IS NULL THEN
        RETURN;
    ELSIF first_day > last_day THEN
        RAISE EXCEPTION '"since" (%) must not be after "until" (%)', to_char(first_day, 'YYYY-MM-DD'), to_char(last_day, 'YYYY-MM-DD')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    old_version := (SELECT h.version FROM chs.health_now($1, first) h);
    new_version := (SELECT h.version FROM chs.health_now($1, last) h);
    RETURN QUERY
    WITH explained AS MATERIALIZED (
        SELECT 'old' AS what, e.* FROM @extschema@.chs_explain($1, first, old_version) WITH ORDINALITY e
        UNION ALL SELECT 'passed', e.* FROM chs.explain_until($1, last, old_version, first) WITH ORDINALITY e
        UNION ALL SELECT 'old scorecard', e.* FROM @extschema@.chs_explain($1, last, old_version) WITH ORDINALITY e
        UNION ALL SELECT 'new', e.* FROM @extschema@.chs_explain($1, last, new_version) WITH ORDINALITY e
    ), metrics AS (
        SELECT m.factor, m.metric, max(m.weight) AS weight, bool_or(m.details ? 'function') AS is_plugin,
               max(m.score) FILTER (WHERE m.what = 'old') AS old, max(m.score) FILTER (WHERE m.what = 'passed') AS passed,
               max(m.score) FILTER (WHERE m.what = 'old scorecard') AS new,
               max(p.penalty) FILTER (WHERE m.what = 'old') AS old_penalty, max(p.penalty) FILTER (WHERE m.what = 'passed') AS passed_penalty,
               max(p.penalty) FILTER (WHERE m.what = 'old scorecard') AS new_penalty
        FROM explained m CROSS JOIN LATERAL (SELECT (m.details ->> 'penalty')::double precision AS penalty) p
        WHERE m.metric IS NOT NULL AND m.what <> 'new'
        GROUP BY m.factor, m.metric
    ), between_them AS (
        SELECT s.step, m.factor, sum(s.score * m.weight) / nullif(sum(m.weight) FILTER (WHERE s.score IS NOT NULL), 0) AS mean,
               COALESCE(sum(s.penalty), 0) AS penalty
        FROM metrics m
        CROSS JOIN LATERAL (VALUES
            (1, CASE WHEN m.new IS NOT NULL THEN m.old END, m.old_penalty),
            -- without data at first, or from a plug-in: left to the following steps
            (2, CASE WHEN m.old IS NOT NULL AND m.new IS NOT NULL THEN CASE WHEN m.is_plugin THEN m.old ELSE COALESCE(m.passed, m.old) END END,
             m.passed_penalty),
            (3, CASE WHEN m.old IS NOT NULL THEN m.new END, m.new_penalty)) s (step, score, penalty)
        GROUP BY s.step, m.factor
    ), scores AS (
        SELECT CASE f.what WHEN 'old' THEN 0 WHEN 'old scorecard' THEN 4 ELSE 5 END AS step, f.factor, f.score, f.weight
        FROM explained f WHERE f.metric IS NULL AND f.what <> 'passed'
        UNION ALL
        SELECT b.step, b.factor, CASE WHEN b.mean IS NOT NULL THEN least(greatest(b.mean - b.penalty, 0), 100) END, f.weight
        FROM between_them b JOIN explained f ON f.what = 'old' AND f.metric IS NULL AND f.factor = b.factor
    ), added AS (
        SELECT s.step, s.factor, COALESCE(s.score * (s.weight / nullif(sum(s.weight) FILTER (WHERE s.score IS NOT NULL) OVER (PARTITION BY s.step), 0)), 0) AS points,
               sum(s.weight) FILTER (WHERE s.score IS NOT NULL) OVER (PARTITION BY s.step) > 0 AS any
        FROM scores s
    ), steps AS (
        SELECT a.factor, COALESCE(max(a.points) FILTER (WHERE a.step = 0), 0) AS p0, max(a.points) FILTER (WHERE a.step = 1) AS p1,
               max(a.points) FILTER (WHERE a.step = 2) AS p2, max(a.points) FILTER (WHERE a.step = 3) AS p3,
               COALESCE(max(a.points) FILTER (WHERE a.step = 4), 0) AS p4, COALESCE(max(a.points) FILTER (WHERE a.step = 5), 0) AS p5
        FROM added a GROUP BY a.factor
    ), has_data AS (
        -- if nothing is known both before and after, data is the only cause
        SELECT COALESCE(bool_or(a.any) FILTER (WHERE a.step = 1), false) AS d1,
               COALESCE(bool_or(a.any) FILTER (WHERE a.step = 2), false) AS d2,
               COALESCE(bool_or(a.any) FILTER (WHERE a.step = 3), false) AS d3
        FROM added a
    ), known AS (
        SELECT bool_or(f.contribution IS NOT NULL) FILTER (WHERE f.what = 'old') AS before,
               bool_or(f.contribution IS NOT NULL) FILTER (WHERE f.what = 'new') AS after
        FROM explained f WHERE f.metric IS NULL
    ), caused AS (
        SELECT s.factor, ARRAY[r3.points - r2.points, r2.points - r1.points, r1.points - s.p0 + s.p4 - r3.points, s.p5 - s.p4] AS by
        FROM steps s CROSS JOIN has_data d
        CROSS JOIN LATERAL (SELECT CASE WHEN d.d1 THEN COALESCE(s.p1, 0) ELSE s.p0 END AS points) r1
        CROSS JOIN LATERAL (SELECT CASE WHEN d.d1 AND d.d2 THEN COALESCE(s.p2, 0) ELSE r1.points END AS points) r2
        CROSS JOIN LATERAL (SELECT CASE WHEN d.d1 AND d.d3 THEN COALESCE(s.p3, 0) ELSE r2.points END AS points) r3
    )
    SELECT c.factor, o.score, n.score, CASE WHEN k.before THEN o.contribution END, CASE WHEN k.after THEN n.contribution END,
           CASE WHEN k.before AND k.after THEN r.change END,
           CASE WHEN k.before AND k.after THEN c.by[1] + CASE WHEN r.most = 1 THEN r.rest ELSE 0 END END,
           CASE WHEN k.before AND k.after THEN c.by[2] + CASE WHEN r.most = 2 THEN r.rest ELSE 0 END END,
           CASE WHEN k.before AND k.after THEN c.by[3] + CASE WHEN r.most = 3 THEN r.rest ELSE 0 END END,
           CASE WHEN k.before AND k.after THEN c.by[4] + CASE WHEN r.most = 4 THEN r.rest ELSE 0 END END,
           jsonb_build_object('since', to_char(first_day, 'YYYY-MM-DD'), 'until', to_char(last_day, 'YYYY-MM-DD'),
                              'version_since', old_version, 'version_until', new_version)
    FROM caused c CROSS JOIN known k
    LEFT JOIN explained o ON o.what = 'old' AND o.metric IS NULL AND o.factor = c.factor
    LEFT JOIN explained n ON n.what = 'new' AND n.metric IS NULL AND n.factor = c.factor
    -- contributions sum to the rounded score: what that adds goes to the cause with the largest effect
    CROSS JOIN LATERAL (
        SELECT e.change, e.change - (c.by[1] + c.by[2] + c.by[3] + c.by[4]) AS rest,
               (SELECT i FROM generate_series(1, 4) i ORDER BY abs(c.by[i]) DESC, i LIMIT 1) AS most
        FROM (SELECT COALESCE(n.contribution, 0) - COALESCE(o.contribution, 0) AS change) e) r
    ORDER BY o.ordinality, n.ordinality;
END
$$;
COMMENT ON FUNCTION @extschema@.chs_explain_change(bigint, timestamptz, timestamptz)
    IS 'why the score of a customer moved between two days: a row per factor, whose changes sum to the difference of the scores, each split into behaviour, passing time, data lost or gained, and a different scorecard';

-- In PL/pgSQL, which plans the query once per session: a function in SQL plans it at each
-- call, which takes as long as the rest.  Made as json and converted once, since jsonb
-- copies what is inside at each level.
CREATE FUNCTION @extschema@.chs_health(customer_id bigint) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED
    SET search_path = pg_catalog, pg_temp SET extra_float_digits = 1 AS $$
BEGIN
    RETURN (SELECT json_build_object(
        'customer_id', c.customer_id, 'external_id', c.external_id, 'name', c.name, 'segment', c.segment,
        'created_at', c.created_at, 'churned_at', c.churned_at,
        'score', h.score, 'status', h.status, 'coverage', h.coverage, 'trend', h.trend,
        'scorecard', h.scorecard, 'version', h.version, 'as_of', h.day,
        'factors', (
            SELECT json_agg(json_build_object(
                'factor', f.factor, 'score', f.score, 'weight', f.weight, 'effective_weight', f.effective_weight,
                'contribution', f.contribution, 'trend', f.trend, 'sparkline', f.sparkline, 'metrics', f.metrics)
                ORDER BY f.first)
            FROM (
                SELECT e.factor, min(e.ordinality) AS first,
                       max(e.score) FILTER (WHERE e.metric IS NULL) AS score,
                       max(e.weight) FILTER (WHERE e.metric IS NULL) AS weight,
                       max(e.effective_weight) FILTER (WHERE e.metric IS NULL) AS effective_weight,
                       max(e.contribution) FILTER (WHERE e.metric IS NULL) AS contribution,
                       max(e.trend) FILTER (WHERE e.metric IS NULL) AS trend,
                       max(e.sparkline) FILTER (WHERE e.metric IS NULL) AS sparkline,
                       json_agg(json_build_object(
                           'metric', e.metric, 'value', e.value, 'target', e.target, 'score', e.score,
                           'weight', e.weight, 'effective_weight', e.effective_weight,
                           'contribution', e.contribution, 'trend', e.trend, 'sparkline', e.sparkline,
                           'details', e.details) ORDER BY e.ordinality)
                           FILTER (WHERE e.metric IS NOT NULL) AS metrics
                FROM @extschema@.chs_explain(h.customer_id, NULL::timestamptz, NULL::integer) WITH ORDINALITY e
                GROUP BY e.factor) f))
    -- The look-up that fails for an unknown customer must come first.
    FROM (SELECT $1 AS customer_id, n.* FROM chs.health_now($1) n) h
    LEFT JOIN chs.customers c ON c.customer_id = h.customer_id)::jsonb;
END
$$;
COMMENT ON FUNCTION @extschema@.chs_health(bigint)
    IS 'everything about the health of a customer as one document';

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

CREATE FUNCTION @extschema@.chs_explain_change(customer_id bigint, since timestamptz, until timestamptz DEFAULT NULL,
        OUT factor text, OUT score_since double precision, OUT score_until double precision,
        OUT contribution_since double precision, OUT contribution_until double precision, OUT change double precision,
        OUT by_behaviour double precision, OUT by_time double precision, OUT by_data double precision,
        OUT by_scorecard double precision, OUT details jsonb)
    RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED COST 800 ROWS 6 AS 'MODULE_PATHNAME', 'chs_explain_change';
COMMENT ON FUNCTION @extschema@.chs_explain_change(bigint, timestamptz, timestamptz)
    IS 'why the score of a customer moved between two days: a row per factor, whose changes sum to the difference of the scores, each split into behaviour, passing time, data lost or gained, and a different scorecard';

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

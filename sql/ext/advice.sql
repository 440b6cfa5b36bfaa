-- What to do about a score: the published recommendations that apply.
--
-- Each states its gain: the points by which the score would rise if the factor, or
-- the overall score, were at 100 and everything else stayed the same.

CREATE FUNCTION chs.live_recommendations() RETURNS jsonb
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'chs_live_recommendations';
COMMENT ON FUNCTION chs.live_recommendations() IS 'the recommendations of the live version, as chs.draft_recommendations() returns them';

CREATE FUNCTION chs.recommendation_applies(rule chs.recommendations, score double precision) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT CASE WHEN score IS NULL THEN (rule).no_data
                ELSE NOT (rule).no_data AND score >= (rule).score_from AND score < COALESCE((rule).score_below, 'infinity') END;
END;
COMMENT ON FUNCTION chs.recommendation_applies(chs.recommendations, double precision)
    IS 'whether a recommendation applies to a score; NULL means no score';

CREATE FUNCTION @extschema@.chs_recommendations(customer_id bigint,
        OUT rank bigint, OUT recommendation text, OUT factor text, OUT action text, OUT priority integer,
        OUT gain double precision, OUT score double precision, OUT details jsonb)
    RETURNS SETOF record
    LANGUAGE sql STABLE STRICT PARALLEL RESTRICTED ROWS 6
    SET search_path = pg_catalog, pg_temp SET extra_float_digits = 1
BEGIN ATOMIC
    WITH health AS MATERIALIZED (
        -- the look-up that fails for an unknown customer must come first
        SELECT n.score, n.scorecard, c.segment
        FROM (SELECT $1 AS customer_id, h.* FROM chs.health_now($1) h) n
        LEFT JOIN chs.customers c ON c.customer_id = n.customer_id
        WHERE c.churned_at IS NULL OR c.churned_at > now()),
    explained AS MATERIALIZED (
        SELECT e.* FROM @extschema@.chs_explain($1, NULL::timestamptz, NULL::integer) e),
    advice AS (
        SELECT r.recommendation, r.factor, r.action, r.priority,
               CASE WHEN r.factor IS NULL THEN 100 - COALESCE(h.score, 0)
                    ELSE COALESCE((100 - e.score) * e.effective_weight, 0) END AS gain,
               CASE WHEN r.factor IS NULL THEN h.score ELSE e.score END AS score
        FROM health h
        CROSS JOIN jsonb_populate_recordset(NULL::chs.recommendations, chs.live_recommendations()) r
        LEFT JOIN explained e ON e.factor = r.factor AND e.metric IS NULL
        WHERE (r.scorecard IS NULL OR r.scorecard = h.scorecard)
          AND (r.segment IS NULL OR r.segment = h.segment)
          AND (r.factor IS NULL OR e.factor IS NOT NULL)
          AND chs.recommendation_applies(r, CASE WHEN r.factor IS NULL THEN h.score ELSE e.score END))
    SELECT row_number() OVER (ORDER BY a.gain DESC, a.priority, a.recommendation COLLATE "C"),
           a.recommendation, a.factor, a.action, a.priority, a.gain, a.score,
           (SELECT jsonb_build_object('metrics', jsonb_agg(jsonb_build_object(
                       'factor', m.factor, 'metric', m.metric, 'value', m.value, 'target', m.target, 'score', m.score, 'gain', m.gain)
                       ORDER BY m.gain DESC, m.factor COLLATE "C", m.metric COLLATE "C"))
            FROM (SELECT e.factor, e.metric, e.value, e.target, e.score,
                         CASE WHEN e.weight IS NULL THEN -e.contribution ELSE (100 - e.score) * e.effective_weight END AS gain
                  FROM explained e
                  WHERE e.metric IS NOT NULL AND (a.factor IS NULL OR e.factor = a.factor)) m
            WHERE m.gain > 0.005)
    FROM advice a
    ORDER BY 1;
END;
COMMENT ON FUNCTION @extschema@.chs_recommendations(bigint)
    IS 'what to do for a customer, largest gain first, with the points to be gained and the metrics that lose them';

CREATE VIEW chs.recommendations_current WITH (security_invoker) AS
SELECT h.customer_id, c.name, h.segment, h.status,
       row_number() OVER (PARTITION BY h.customer_id ORDER BY g.gain DESC, r.priority, r.recommendation COLLATE "C") AS rank,
       r.recommendation, r.factor, r.action, r.priority, g.gain, g.score, h.as_of, h.calculated_at
FROM chs.customer_health h
JOIN chs.customers c USING (customer_id)
CROSS JOIN jsonb_populate_recordset(NULL::chs.recommendations, chs.live_recommendations()) r
LEFT JOIN LATERAL (
    SELECT v.factor, v.ordinal, COALESCE((v.segment_weights ->> h.segment)::double precision, v.weight) AS weight
    FROM chs.scorecard_version_factors v
    WHERE v.version = h.version AND v.scorecard = h.scorecard AND v.factor = r.factor) f ON true
CROSS JOIN LATERAL (
    SELECT CASE WHEN r.factor IS NULL THEN h.score ELSE h.factor_scores[f.ordinal] END AS score,
           CASE WHEN r.factor IS NULL THEN 100 - COALESCE(h.score, 0)
                ELSE COALESCE((100 - h.factor_scores[f.ordinal]) * f.weight / nullif((
                    SELECT sum(COALESCE((v.segment_weights ->> h.segment)::double precision, v.weight)) FROM chs.scorecard_version_factors v
                    WHERE v.version = h.version AND v.scorecard = h.scorecard
                      AND h.factor_scores[v.ordinal] IS NOT NULL), 0), 0) END AS gain) g
WHERE h.active
  AND (r.scorecard IS NULL OR r.scorecard = h.scorecard)
  AND (r.segment IS NULL OR r.segment = h.segment)
  AND (r.factor IS NULL OR f.factor IS NOT NULL)
  AND chs.recommendation_applies(r, g.score);
COMMENT ON VIEW chs.recommendations_current IS 'what to do for every customer, according to its stored health';
COMMENT ON COLUMN chs.recommendations_current.customer_id IS 'the customer';
COMMENT ON COLUMN chs.recommendations_current.name IS 'its name';
COMMENT ON COLUMN chs.recommendations_current.segment IS 'the segment by which it was scored, if any';
COMMENT ON COLUMN chs.recommendations_current.status IS 'healthy, at_risk, critical or unknown';
COMMENT ON COLUMN chs.recommendations_current.recommendation IS 'its name';
COMMENT ON COLUMN chs.recommendations_current.action IS 'what to do';
COMMENT ON COLUMN chs.recommendations_current.priority IS 'among those that would gain the same, lower values come first';
COMMENT ON COLUMN chs.recommendations_current.as_of IS 'the UTC day that the score is for';
COMMENT ON COLUMN chs.recommendations_current.calculated_at IS 'when it was calculated';
COMMENT ON COLUMN chs.recommendations_current.rank IS '1 is what would gain the most for this customer';
COMMENT ON COLUMN chs.recommendations_current.factor IS 'whose score it is about; NULL: the whole score';
COMMENT ON COLUMN chs.recommendations_current.gain IS 'points that the score would rise if the factor, or the whole, were at 100';
COMMENT ON COLUMN chs.recommendations_current.score IS 'of the factor, or the whole score';

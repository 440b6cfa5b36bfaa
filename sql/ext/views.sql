-- Views for dashboards and BI tools.  They show what the worker stored.

-- Whoever may see some customers only, by row-level security, has those counted;
-- for everyone else the numbers are ready.  A function, because a query of both
-- would be planned for the dear one.
CREATE FUNCTION chs.count_health(OUT healthy bigint, OUT at_risk bigint, OUT critical bigint, OUT unknown bigint,
                                 OUT last_updated timestamptz)
    RETURNS record
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF row_security_active('chs.customers'::regclass) THEN
        SELECT count(*) FILTER (WHERE h.status = 'healthy'), count(*) FILTER (WHERE h.status = 'at_risk'),
               count(*) FILTER (WHERE h.status = 'critical'), count(*) FILTER (WHERE h.status = 'unknown'),
               max(h.calculated_at)
        INTO healthy, at_risk, critical, unknown, last_updated
        FROM chs.customer_health h JOIN chs.customers c USING (customer_id) WHERE h.active;
    ELSE
        SELECT COALESCE(sum(n.healthy), 0), COALESCE(sum(n.at_risk), 0),
               COALESCE(sum(n.critical), 0), COALESCE(sum(n.unknown), 0), max(n.last_updated)
        INTO healthy, at_risk, critical, unknown, last_updated
        FROM chs.health_counts n;
    END IF;
END
$$;
COMMENT ON FUNCTION chs.count_health() IS 'how many of the active customers that the caller may see are of which status';

CREATE VIEW chs.dashboard_stats WITH (security_invoker) AS
SELECT n.healthy + n.at_risk + n.critical + n.unknown AS total, n.healthy, n.at_risk, n.critical, n.unknown,
       round(100.0 * n.healthy  / nullif(n.healthy + n.at_risk + n.critical + n.unknown, 0), 1)::double precision AS healthy_percent,
       round(100.0 * n.at_risk  / nullif(n.healthy + n.at_risk + n.critical + n.unknown, 0), 1)::double precision AS at_risk_percent,
       round(100.0 * n.critical / nullif(n.healthy + n.at_risk + n.critical + n.unknown, 0), 1)::double precision AS critical_percent,
       round(100.0 * n.unknown  / nullif(n.healthy + n.at_risk + n.critical + n.unknown, 0), 1)::double precision AS unknown_percent,
       n.last_updated
FROM chs.count_health() n;
COMMENT ON VIEW chs.dashboard_stats IS 'one row: how many customers are in which status; churned customers do not count';

CREATE VIEW chs.customer_list WITH (security_invoker) AS
SELECT c.customer_id, c.external_id, c.name, c.email, c.segment, c.parent_id,
       h.score, COALESCE(h.status, 'unknown') AS status, h.coverage, h.trend,
       h.as_of, h.calculated_at, c.created_at, c.churned_at
FROM chs.customers c LEFT JOIN chs.customer_health h USING (customer_id);
COMMENT ON VIEW chs.customer_list IS 'every customer with its health';

CREATE VIEW chs.factor_scores WITH (security_invoker) AS
SELECT s.health_score_id, s.customer_id, f.factor AS factor_name,
       s.factor_scores[f.ordinal] AS score, f.weight,
       jsonb_build_object(
           'effective_weight', CASE WHEN s.factor_scores[f.ordinal] IS NOT NULL THEN f.weight / nullif(w.with_data, 0) END,
           'contribution', s.factor_scores[f.ordinal] * f.weight / nullif(w.with_data, 0),
           'scorecard', s.scorecard, 'version', s.version, 'as_of', s.as_of) AS details
FROM chs.health_scores s
JOIN LATERAL (
    SELECT g.factor, g.ordinal, COALESCE((g.segment_weights ->> s.segment)::double precision, g.weight) AS weight
    FROM chs.scorecard_version_factors g
    WHERE g.version = s.version AND g.scorecard = s.scorecard) f ON true
CROSS JOIN LATERAL (
    SELECT sum(COALESCE((g.segment_weights ->> s.segment)::double precision, g.weight)) AS with_data
    FROM chs.scorecard_version_factors g
    WHERE g.version = s.version AND g.scorecard = s.scorecard
      AND s.factor_scores[g.ordinal] IS NOT NULL) w;
COMMENT ON VIEW chs.factor_scores IS 'the factors of every row of the history';

CREATE VIEW chs.factor_breakdown WITH (security_invoker) AS
SELECT c.customer_id, c.name, c.segment, f.factor AS factor_name, f.ordinal AS position,
       h.factor_scores[f.ordinal] AS score, f.weight,
       CASE WHEN h.factor_scores[f.ordinal] IS NOT NULL THEN f.weight / nullif(w.with_data, 0) END AS effective_weight,
       h.factor_scores[f.ordinal] * f.weight / nullif(w.with_data, 0) AS contribution,
       h.as_of, h.calculated_at
FROM chs.customer_health h
JOIN chs.customers c USING (customer_id)
JOIN LATERAL (
    SELECT g.factor, g.ordinal, COALESCE((g.segment_weights ->> h.segment)::double precision, g.weight) AS weight
    FROM chs.scorecard_version_factors g
    WHERE g.version = h.version AND g.scorecard = h.scorecard) f ON true
CROSS JOIN LATERAL (
    SELECT sum(COALESCE((g.segment_weights ->> h.segment)::double precision, g.weight)) AS with_data
    FROM chs.scorecard_version_factors g
    WHERE g.version = h.version AND g.scorecard = h.scorecard
      AND h.factor_scores[g.ordinal] IS NOT NULL) w;
COMMENT ON VIEW chs.factor_breakdown IS 'the factors of every customer now: score, weight, and points that they give';

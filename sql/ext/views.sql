-- Views for dashboards and BI tools.  They show what the worker stored.

-- Whoever may see some customers only, by row-level security, has those counted;
-- for everyone else the numbers are ready.
CREATE VIEW chs.dashboard_stats WITH (security_invoker) AS
SELECT s.total, s.healthy, s.at_risk, s.critical, s.unknown,
       round(100.0 * s.healthy  / nullif(s.total, 0), 1)::double precision AS healthy_percent,
       round(100.0 * s.at_risk  / nullif(s.total, 0), 1)::double precision AS at_risk_percent,
       round(100.0 * s.critical / nullif(s.total, 0), 1)::double precision AS critical_percent,
       round(100.0 * s.unknown  / nullif(s.total, 0), 1)::double precision AS unknown_percent,
       s.last_updated
FROM (SELECT COALESCE(sum(n.healthy + n.at_risk + n.critical + n.unknown), 0)::bigint AS total,
             COALESCE(sum(n.healthy), 0)::bigint AS healthy, COALESCE(sum(n.at_risk), 0)::bigint AS at_risk,
             COALESCE(sum(n.critical), 0)::bigint AS critical, COALESCE(sum(n.unknown), 0)::bigint AS unknown,
             max(n.last_updated) AS last_updated
      FROM chs.health_counts n
      WHERE NOT row_security_active('chs.customers'::regclass)
      HAVING NOT row_security_active('chs.customers'::regclass)
      UNION ALL
      SELECT count(*), count(*) FILTER (WHERE h.status = 'healthy'), count(*) FILTER (WHERE h.status = 'at_risk'),
             count(*) FILTER (WHERE h.status = 'critical'), count(*) FILTER (WHERE h.status = 'unknown'),
             max(h.calculated_at)
      FROM chs.customer_health h JOIN chs.customers c USING (customer_id)
      WHERE h.active AND row_security_active('chs.customers'::regclass)
      HAVING row_security_active('chs.customers'::regclass)) s;
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
JOIN chs.scorecard_version_factors f ON f.version = s.version AND f.scorecard = s.scorecard
CROSS JOIN LATERAL (
    SELECT sum(g.weight) AS with_data
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
JOIN chs.scorecard_version_factors f ON f.version = h.version AND f.scorecard = h.scorecard
CROSS JOIN LATERAL (
    SELECT sum(g.weight) AS with_data
    FROM chs.scorecard_version_factors g
    WHERE g.version = h.version AND g.scorecard = h.scorecard
      AND h.factor_scores[g.ordinal] IS NOT NULL) w;
COMMENT ON VIEW chs.factor_breakdown IS 'the factors of every customer now: score, weight, and points that they give';

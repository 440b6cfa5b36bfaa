-- Views for dashboards and BI tools, of plain types.  They show what the workers
-- stored, as far as the reader is allowed to see it.

-- For roles that row-level security limits to some customers, those are counted;
-- for everyone else there are counters.  This is a function because a query with both
-- cases would be planned for the expensive one.
CREATE FUNCTION chs.count_health(OUT segment text, OUT healthy bigint, OUT at_risk bigint, OUT critical bigint,
                                 OUT unknown bigint, OUT score_sum double precision, OUT last_updated timestamptz)
    RETURNS SETOF record
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 5
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF row_security_active('chs.customers'::regclass) THEN
        RETURN QUERY
        SELECT h.segment, count(*) FILTER (WHERE h.status = 'healthy'), count(*) FILTER (WHERE h.status = 'at_risk'),
               count(*) FILTER (WHERE h.status = 'critical'), count(*) FILTER (WHERE h.status = 'unknown'),
               -- in hundredths, so that the sum does not depend on the order
               COALESCE(sum(round(h.score::numeric * 100)), 0)::double precision / 100, max(h.calculated_at)
        FROM chs.customer_health h JOIN chs.customers c USING (customer_id)
        WHERE h.active
        GROUP BY h.segment;
    ELSE
        RETURN QUERY
        SELECT n.segment, sum(n.healthy)::bigint, sum(n.at_risk)::bigint, sum(n.critical)::bigint, sum(n.unknown)::bigint,
               sum(n.score_hundredths)::double precision / 100, max(n.last_updated)
        FROM chs.health_counts n
        GROUP BY n.segment;
    END IF;
END
$$;
COMMENT ON FUNCTION chs.count_health() IS 'the number of active customers of each segment and status that the caller may see';

CREATE FUNCTION chs.percent(part bigint, total bigint) RETURNS double precision
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
RETURN round(100.0 * part / nullif(total, 0), 1)::double precision;
COMMENT ON FUNCTION chs.percent(bigint, bigint) IS 'the percentage that a part is of a total, to one decimal; NULL of nothing';

CREATE VIEW chs.dashboard_stats WITH (security_invoker) AS
SELECT n.total, n.healthy, n.at_risk, n.critical, n.unknown,
       chs.percent(n.healthy, n.total) AS healthy_percent, chs.percent(n.at_risk, n.total) AS at_risk_percent,
       chs.percent(n.critical, n.total) AS critical_percent, chs.percent(n.unknown, n.total) AS unknown_percent,
       n.last_updated,
       round((n.score_sum / nullif(n.total - n.unknown, 0))::numeric, 2)::double precision AS average_score
FROM (SELECT COALESCE(sum(c.healthy + c.at_risk + c.critical + c.unknown), 0)::bigint AS total,
             COALESCE(sum(c.healthy), 0)::bigint AS healthy, COALESCE(sum(c.at_risk), 0)::bigint AS at_risk,
             COALESCE(sum(c.critical), 0)::bigint AS critical, COALESCE(sum(c.unknown), 0)::bigint AS unknown,
             sum(c.score_sum) AS score_sum, max(c.last_updated) AS last_updated
      FROM chs.count_health() c) n;
COMMENT ON VIEW chs.dashboard_stats IS 'one row: the number of customers of each status; churned customers do not count';
COMMENT ON COLUMN chs.dashboard_stats.total IS 'customers, without churned ones';
COMMENT ON COLUMN chs.dashboard_stats.healthy IS 'of status healthy';
COMMENT ON COLUMN chs.dashboard_stats.at_risk IS 'of status at_risk';
COMMENT ON COLUMN chs.dashboard_stats.critical IS 'of status critical';
COMMENT ON COLUMN chs.dashboard_stats.unknown IS 'of status unknown: too little data for a score';
COMMENT ON COLUMN chs.dashboard_stats.healthy_percent IS 'of all, to one decimal; NULL without customers';
COMMENT ON COLUMN chs.dashboard_stats.at_risk_percent IS 'of all, to one decimal; NULL without customers';
COMMENT ON COLUMN chs.dashboard_stats.critical_percent IS 'of all, to one decimal; NULL without customers';
COMMENT ON COLUMN chs.dashboard_stats.unknown_percent IS 'of all, to one decimal; NULL without customers';
COMMENT ON COLUMN chs.dashboard_stats.last_updated IS 'when health was last calculated, within a second';
COMMENT ON COLUMN chs.dashboard_stats.average_score IS 'mean score, to two decimals; NULL if nobody has one';

CREATE VIEW chs.segment_stats WITH (security_invoker) AS
SELECT n.segment, g.description, n.total, n.healthy, n.at_risk, n.critical, n.unknown,
       chs.percent(n.healthy, n.total) AS healthy_percent, chs.percent(n.at_risk, n.total) AS at_risk_percent,
       chs.percent(n.critical, n.total) AS critical_percent, chs.percent(n.unknown, n.total) AS unknown_percent,
       round((n.score_sum / nullif(n.total - n.unknown, 0))::numeric, 2)::double precision AS average_score,
       n.last_updated
FROM (SELECT segment, COALESCE(c.healthy + c.at_risk + c.critical + c.unknown, 0) AS total,
             COALESCE(c.healthy, 0) AS healthy, COALESCE(c.at_risk, 0) AS at_risk, COALESCE(c.critical, 0) AS critical,
             COALESCE(c.unknown, 0) AS unknown, c.score_sum, c.last_updated
      FROM (SELECT s.segment FROM chs.segments s) s FULL JOIN chs.count_health() c USING (segment)) n
LEFT JOIN chs.segments g USING (segment)
WHERE g.segment IS NOT NULL OR n.total > 0;
COMMENT ON VIEW chs.segment_stats IS 'the number of customers of each segment and status; churned customers do not count';
COMMENT ON COLUMN chs.segment_stats.segment IS 'the segment; NULL: customers without one';
COMMENT ON COLUMN chs.segment_stats.description IS 'its description in chs.segments';
COMMENT ON COLUMN chs.segment_stats.total IS 'customers of the segment, without churned ones';
COMMENT ON COLUMN chs.segment_stats.healthy IS 'of status healthy';
COMMENT ON COLUMN chs.segment_stats.at_risk IS 'of status at_risk';
COMMENT ON COLUMN chs.segment_stats.critical IS 'of status critical';
COMMENT ON COLUMN chs.segment_stats.unknown IS 'of status unknown: too little data for a score';
COMMENT ON COLUMN chs.segment_stats.healthy_percent IS 'of the segment, to one decimal; NULL without customers';
COMMENT ON COLUMN chs.segment_stats.at_risk_percent IS 'of the segment, to one decimal; NULL without customers';
COMMENT ON COLUMN chs.segment_stats.critical_percent IS 'of the segment, to one decimal; NULL without customers';
COMMENT ON COLUMN chs.segment_stats.unknown_percent IS 'of the segment, to one decimal; NULL without customers';
COMMENT ON COLUMN chs.segment_stats.average_score IS 'mean score, to two decimals; NULL if nobody has one';
COMMENT ON COLUMN chs.segment_stats.last_updated IS 'when health of the segment was last calculated, within a second';

CREATE VIEW chs.value_stats WITH (security_invoker) AS
SELECT c.segment, COALESCE(h.status, 'unknown') AS status, count(*) AS customers, COALESCE(sum(c.value), 0)::double precision AS value,
       count(*) FILTER (WHERE c.value IS NULL) AS without_value
FROM chs.customers c LEFT JOIN chs.customer_health h USING (customer_id)
WHERE COALESCE(h.active, c.churned_at IS NULL OR c.churned_at > now())
GROUP BY c.segment, COALESCE(h.status, 'unknown');
COMMENT ON VIEW chs.value_stats IS 'what the customers of each segment and status are worth; churned customers do not count. Adds up all customers, so takes about half a second for a million; chs.daily_stats has the sums of each day that is over';
COMMENT ON COLUMN chs.value_stats.segment IS 'the segment; NULL: customers without one';
COMMENT ON COLUMN chs.value_stats.status IS 'healthy, at_risk, critical or unknown';
COMMENT ON COLUMN chs.value_stats.customers IS 'customers of that segment and status';
COMMENT ON COLUMN chs.value_stats.value IS 'the sum of their values; 0 if none is known';
COMMENT ON COLUMN chs.value_stats.without_value IS 'how many of them have no value';

-- OFFSET 0 forces health to be looked up customer by customer: for a page in the
-- middle, a merge join would read it from its first row on.
CREATE VIEW chs.customer_list WITH (security_invoker) AS
SELECT c.customer_id, c.external_id, c.name, c.email, c.segment, c.parent_id,
       h.score, COALESCE(h.status, 'unknown') AS status, h.coverage, h.trend,
       h.as_of, h.calculated_at, c.created_at, c.churned_at, c.owner, c.value::double precision AS value,
       h.status_since, h.previous_status
FROM chs.customers c
LEFT JOIN LATERAL (SELECT h.* FROM chs.customer_health h WHERE h.customer_id = c.customer_id OFFSET 0) h ON true;
COMMENT ON VIEW chs.customer_list IS 'every customer with its health, in pages by customer_id, also of one segment, or by name and customer_id. A rare status or trend is looked for among all customers, and an order by score sorts them all: see scored_customers and at_risk_customers';
COMMENT ON COLUMN chs.customer_list.customer_id IS 'the customer';
COMMENT ON COLUMN chs.customer_list.external_id IS 'the company''s own key for the customer';
COMMENT ON COLUMN chs.customer_list.name IS 'its name';
COMMENT ON COLUMN chs.customer_list.email IS 'its email address';
COMMENT ON COLUMN chs.customer_list.segment IS 'its segment, if any';
COMMENT ON COLUMN chs.customer_list.parent_id IS 'the customer that it belongs to, if any';
COMMENT ON COLUMN chs.customer_list.score IS '0 to 100; NULL if the status is unknown';
COMMENT ON COLUMN chs.customer_list.status IS 'healthy, at_risk, critical or unknown';
COMMENT ON COLUMN chs.customer_list.coverage IS 'share of the factor weight that rests on data, 0 to 1';
COMMENT ON COLUMN chs.customer_list.trend IS 'improving, stable or declining, compared with some days ago; NULL if there was no score';
COMMENT ON COLUMN chs.customer_list.as_of IS 'the UTC day that the score is for';
COMMENT ON COLUMN chs.customer_list.calculated_at IS 'when it was calculated; NULL if it has not been yet';
COMMENT ON COLUMN chs.customer_list.created_at IS 'customer since';
COMMENT ON COLUMN chs.customer_list.churned_at IS 'when it left, if it has';
COMMENT ON COLUMN chs.customer_list.owner IS 'who looks after it';
COMMENT ON COLUMN chs.customer_list.value IS 'the revenue of a year, in the company''s currency';
COMMENT ON COLUMN chs.customer_list.status_since IS 'when the status began';
COMMENT ON COLUMN chs.customer_list.previous_status IS 'the status before; NULL: it is the first one';

-- Health first, so that its indexes are used, and then each customer; or, where row-level security leaves few of
-- these, they first.  The join is said twice because the planner would else merge both by customer_id, for a page in
-- the middle from the first customer on.
CREATE VIEW chs.scored_customers WITH (security_invoker) AS
SELECT h.customer_id, c.external_id, c.name, c.email, c.segment, c.parent_id,
       h.score, h.status, h.coverage, h.trend,
       (SELECT f.factor FROM chs.scorecard_version_factors f
        WHERE f.version = h.version AND f.scorecard = h.scorecard AND h.factor_scores[f.ordinal] IS NOT NULL
        ORDER BY (100 - h.factor_scores[f.ordinal]) * COALESCE((f.segment_weights ->> h.segment)::double precision, f.weight) DESC,
                 f.ordinal LIMIT 1) AS weakest_factor,
       h.active, h.as_of, h.calculated_at, c.created_at, c.churned_at, c.owner, c.value::double precision AS value,
       h.status_since, h.previous_status
FROM chs.customer_health h JOIN chs.customers c ON c.customer_id = h.customer_id OR h.customer_id = c.customer_id;
COMMENT ON VIEW chs.scored_customers IS 'customers with health, in pages by customer_id; those of status healthy or unknown, also of one trend, are found by an index, however few. Rare values of anything else are looked for among all customers that the status leaves: for at_risk and critical use at_risk_customers, for segments customer_list; for who changed status lately status_changes';
COMMENT ON COLUMN chs.scored_customers.customer_id IS 'the customer';
COMMENT ON COLUMN chs.scored_customers.external_id IS 'the company''s own key for the customer';
COMMENT ON COLUMN chs.scored_customers.name IS 'its name';
COMMENT ON COLUMN chs.scored_customers.email IS 'its email address';
COMMENT ON COLUMN chs.scored_customers.segment IS 'its segment, if any';
COMMENT ON COLUMN chs.scored_customers.parent_id IS 'the customer that it belongs to, if any';
COMMENT ON COLUMN chs.scored_customers.score IS '0 to 100; NULL if the status is unknown';
COMMENT ON COLUMN chs.scored_customers.status IS 'healthy, at_risk, critical or unknown';
COMMENT ON COLUMN chs.scored_customers.coverage IS 'share of the factor weight that rests on data, 0 to 1';
COMMENT ON COLUMN chs.scored_customers.trend IS 'improving, stable or declining, compared with some days ago; NULL if there was no score';
COMMENT ON COLUMN chs.scored_customers.weakest_factor IS 'the factor that costs the most points';
COMMENT ON COLUMN chs.scored_customers.active IS 'false from the UTC day of churned_at on';
COMMENT ON COLUMN chs.scored_customers.as_of IS 'the UTC day that the score is for';
COMMENT ON COLUMN chs.scored_customers.calculated_at IS 'when it was calculated';
COMMENT ON COLUMN chs.scored_customers.created_at IS 'customer since';
COMMENT ON COLUMN chs.scored_customers.churned_at IS 'when it left, if it has';
COMMENT ON COLUMN chs.scored_customers.owner IS 'who looks after it';
COMMENT ON COLUMN chs.scored_customers.value IS 'the revenue of a year, in the company''s currency';
COMMENT ON COLUMN chs.scored_customers.status_since IS 'when the status began';
COMMENT ON COLUMN chs.scored_customers.previous_status IS 'the status before; NULL: it is the first one';

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
COMMENT ON COLUMN chs.factor_scores.health_score_id IS 'the row of chs.health_scores';
COMMENT ON COLUMN chs.factor_scores.customer_id IS 'the customer';
COMMENT ON COLUMN chs.factor_scores.factor_name IS 'the factor';
COMMENT ON COLUMN chs.factor_scores.score IS '0 to 100; NULL without data';
COMMENT ON COLUMN chs.factor_scores.weight IS 'as in the scorecard for the segment, relative to the other factors';
COMMENT ON COLUMN chs.factor_scores.details IS 'effective_weight (among the factors that have data), contribution (points of the score), scorecard, version, as_of';

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
COMMENT ON VIEW chs.factor_breakdown IS 'the current factors of every customer: score, weight, and the points they contribute';
COMMENT ON COLUMN chs.factor_breakdown.customer_id IS 'the customer';
COMMENT ON COLUMN chs.factor_breakdown.name IS 'its name';
COMMENT ON COLUMN chs.factor_breakdown.segment IS 'its segment, if any';
COMMENT ON COLUMN chs.factor_breakdown.factor_name IS 'the factor';
COMMENT ON COLUMN chs.factor_breakdown.position IS 'the position of the factor in the scorecard, from 1';
COMMENT ON COLUMN chs.factor_breakdown.score IS '0 to 100; NULL without data';
COMMENT ON COLUMN chs.factor_breakdown.weight IS 'as in the scorecard for the segment, relative to the other factors';
COMMENT ON COLUMN chs.factor_breakdown.effective_weight IS 'among the factors that have data, whose effective weights sum to 1';
COMMENT ON COLUMN chs.factor_breakdown.contribution IS 'points that it adds to the score';
COMMENT ON COLUMN chs.factor_breakdown.as_of IS 'the UTC day that the score is for';
COMMENT ON COLUMN chs.factor_breakdown.calculated_at IS 'when it was calculated';

CREATE VIEW chs.at_risk_customers WITH (security_invoker) AS
SELECT h.customer_id, c.external_id, c.name, c.email, c.segment, h.risk_score AS score, h.status, h.trend, h.coverage,
       (SELECT f.factor FROM chs.scorecard_version_factors f
        WHERE f.version = h.version AND f.scorecard = h.scorecard AND h.factor_scores[f.ordinal] IS NOT NULL
        ORDER BY (100 - h.factor_scores[f.ordinal]) * COALESCE((f.segment_weights ->> h.segment)::double precision, f.weight) DESC,
                 f.ordinal LIMIT 1) AS weakest_factor,
       h.as_of, h.calculated_at, c.owner, c.value::double precision AS value, h.status_since, h.previous_status
FROM chs.customer_health h JOIN chs.customers c USING (customer_id)
WHERE h.risk_score IS NOT NULL;
COMMENT ON VIEW chs.at_risk_customers IS 'active customers of status at_risk or critical; pages by score and customer_id, lowest first, or within a range of scores. Those of a segment or owner are found by an index; rare trends and weakest factors are looked for among all of them, which takes seconds for a million';
COMMENT ON COLUMN chs.at_risk_customers.customer_id IS 'the customer';
COMMENT ON COLUMN chs.at_risk_customers.external_id IS 'the company''s own key for the customer';
COMMENT ON COLUMN chs.at_risk_customers.name IS 'its name';
COMMENT ON COLUMN chs.at_risk_customers.email IS 'its email address';
COMMENT ON COLUMN chs.at_risk_customers.segment IS 'its segment, if any';
COMMENT ON COLUMN chs.at_risk_customers.score IS '0 to 100';
COMMENT ON COLUMN chs.at_risk_customers.status IS 'at_risk or critical';
COMMENT ON COLUMN chs.at_risk_customers.trend IS 'improving, stable or declining, compared with some days ago; NULL if there was no score';
COMMENT ON COLUMN chs.at_risk_customers.coverage IS 'share of the factor weight that rests on data, 0 to 1';
COMMENT ON COLUMN chs.at_risk_customers.weakest_factor IS 'the factor that costs the most points';
COMMENT ON COLUMN chs.at_risk_customers.as_of IS 'the UTC day that the score is for';
COMMENT ON COLUMN chs.at_risk_customers.calculated_at IS 'when it was calculated';
COMMENT ON COLUMN chs.at_risk_customers.owner IS 'who looks after it';
COMMENT ON COLUMN chs.at_risk_customers.value IS 'the revenue of a year, in the company''s currency';
COMMENT ON COLUMN chs.at_risk_customers.status_since IS 'when the status began';
COMMENT ON COLUMN chs.at_risk_customers.previous_status IS 'the status before; NULL: it is the first one';

-- Like count_health().
CREATE FUNCTION chs.count_scores(OUT range integer, OUT customers bigint) RETURNS SETOF record
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 20
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF row_security_active('chs.customers'::regclass) THEN
        RETURN QUERY
        SELECT 1 + least(floor(h.score / 5)::integer, 19), count(*)
        FROM chs.customer_health h JOIN chs.customers c USING (customer_id)
        WHERE h.active AND h.score IS NOT NULL
        GROUP BY 1;
    ELSE
        RETURN QUERY
        SELECT u.range::integer, sum(u.customers)::bigint
        FROM chs.health_counts n CROSS JOIN LATERAL unnest(n.by_score) WITH ORDINALITY u (customers, range)
        GROUP BY u.range;
    END IF;
END
$$;
COMMENT ON FUNCTION chs.count_scores() IS 'the number of active customers that the caller may see with a score in each range of five points';

CREATE VIEW chs.score_distribution WITH (security_invoker) AS
SELECT (5 * b.range - 5)::double precision AS score_from, (5 * b.range)::double precision AS score_to,
       COALESCE(n.customers, 0) AS customers
FROM generate_series(1, 20) AS b (range) LEFT JOIN chs.count_scores() n USING (range);
COMMENT ON VIEW chs.score_distribution IS 'histogram: how many active customers have a score from 0 to 5, 5 to 10, ... 95 to 100';
COMMENT ON COLUMN chs.score_distribution.score_from IS 'scores from here on';
COMMENT ON COLUMN chs.score_distribution.score_to IS 'up to here, exclusive, except that the last row includes 100';
COMMENT ON COLUMN chs.score_distribution.customers IS 'active customers with such a score';

-- Simulating: what the draft would do, before it is published.

CREATE FUNCTION chs.health_by(document jsonb, customer_id bigint, as_of timestamptz DEFAULT NULL,
        OUT score double precision, OUT status text, OUT coverage double precision, OUT trend text,
        OUT factor_scores double precision[], OUT scorecard text, OUT version integer, OUT day date)
    RETURNS record
    LANGUAGE c STABLE PARALLEL RESTRICTED COST 200 AS 'MODULE_PATHNAME', 'chs_health_by';
COMMENT ON FUNCTION chs.health_by(jsonb, bigint, timestamptz)
    IS 'health of a customer as if a document were published; from the raw events if it needs something that activities do not count';
-- A document can ask anything about the events of the customers that the caller sees.
REVOKE EXECUTE ON FUNCTION chs.health_by(jsonb, bigint, timestamptz) FROM PUBLIC;

CREATE FUNCTION @extschema@.chs_simulate(document jsonb DEFAULT NULL,
        OUT customer_id bigint, OUT name text, OUT segment text, OUT active boolean,
        OUT live_score double precision, OUT live_status text, OUT live_scorecard text,
        OUT draft_score double precision, OUT draft_status text, OUT draft_scorecard text,
        OUT score_change double precision)
    RETURNS SETOF record
    LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 10000
    SET search_path = pg_catalog, pg_temp SET jit = off
BEGIN ATOMIC
    WITH d AS MATERIALIZED (SELECT COALESCE($1, chs.draft_document()) AS document)
    SELECT c.customer_id, c.name, c.segment,
           COALESCE((c.churned_at AT TIME ZONE 'UTC')::date > (now() AT TIME ZONE 'UTC')::date, true),
           l.score, l.status, l.scorecard, n.score, n.status, n.scorecard,
           round((n.score - l.score)::numeric, 2)::double precision
    FROM chs.customers c
    CROSS JOIN d
    CROSS JOIN LATERAL chs.health_now(c.customer_id) l
    CROSS JOIN LATERAL chs.health_by(d.document, c.customer_id) n;
END;
COMMENT ON FUNCTION @extschema@.chs_simulate(jsonb)
    IS 'the score and status of every customer under the draft, or another document, beside the live ones: exactly what publishing it would give';
REVOKE EXECUTE ON FUNCTION @extschema@.chs_simulate(jsonb) FROM PUBLIC;

CREATE VIEW chs.simulation_summary WITH (security_invoker) AS
SELECT s.live_status, s.draft_status, count(*) AS customers,
       round(avg(s.score_change)::numeric, 2)::double precision AS mean_change,
       min(s.score_change) AS lowest_change, max(s.score_change) AS highest_change,
       array_to_string((array_agg(s.customer_id ORDER BY abs(s.score_change) DESC NULLS LAST, s.customer_id))[:10], ', ') AS examples
FROM @extschema@.chs_simulate(NULL::jsonb) s
WHERE s.active
GROUP BY s.live_status, s.draft_status
ORDER BY s.live_status = s.draft_status, customers DESC, s.live_status, s.draft_status;
COMMENT ON VIEW chs.simulation_summary IS 'how many customers would move from which status to which if the draft were published; changes come first';
COMMENT ON COLUMN chs.simulation_summary.live_status IS 'status now';
COMMENT ON COLUMN chs.simulation_summary.draft_status IS 'status under the draft';
COMMENT ON COLUMN chs.simulation_summary.customers IS 'how many; churned customers do not count';
COMMENT ON COLUMN chs.simulation_summary.mean_change IS 'mean difference of the scores of those that have one before and after';
COMMENT ON COLUMN chs.simulation_summary.lowest_change IS 'the smallest, or most negative, difference';
COMMENT ON COLUMN chs.simulation_summary.highest_change IS 'the largest difference';
COMMENT ON COLUMN chs.simulation_summary.examples IS 'customer_id of up to ten of them, largest changes first';

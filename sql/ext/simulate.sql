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

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

-- A number of customers is chosen, by hash, among those of about as many pages.  So little
-- is read of a large table, and few are neighbours, who would be of the same age.  They are
-- the same ones each time, so that two simulations can be compared.
CREATE FUNCTION chs.sample_customers(sample double precision) RETURNS SETOF bigint
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 500
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF sample IS NULL OR NOT sample > 0 OR sample >= 'infinity' THEN
        RAISE EXCEPTION '"sample" (%) must be a number of customers, or a fraction of them', sample
            USING ERRCODE = 'invalid_parameter_value', HINT = 'For example 500, or 0.1 for a tenth.';
    END IF;
    IF sample < 1 THEN
        RETURN QUERY SELECT c.customer_id FROM chs.customers c
        WHERE hashint8extended(c.customer_id, 0) & 1073741823 < sample * 1073741824;
    ELSE
        RETURN QUERY SELECT c.customer_id
        FROM chs.customers c TABLESAMPLE SYSTEM (least(100, 100 * (sample + 10) / greatest(1,
            pg_relation_size('chs.customers'::regclass) / current_setting('block_size')::integer))) REPEATABLE (0)
        ORDER BY hashint8extended(c.customer_id, 0), c.customer_id LIMIT least(sample, 1e9)::bigint;
    END IF;
END
$$;
COMMENT ON FUNCTION chs.sample_customers(double precision) IS 'a number (from 1 on) or a fraction (below 1) of the customers that the caller may see, the same ones each time';

CREATE FUNCTION @extschema@.chs_simulate(document jsonb DEFAULT NULL, sample double precision DEFAULT NULL,
        as_of timestamptz DEFAULT NULL,
        OUT customer_id bigint, OUT name text, OUT segment text, OUT active boolean,
        OUT live_score double precision, OUT live_status text, OUT live_scorecard text,
        OUT draft_score double precision, OUT draft_status text, OUT draft_scorecard text,
        OUT score_change double precision)
    RETURNS SETOF record
    LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 10000
    SET search_path = pg_catalog, pg_temp SET jit = off
BEGIN ATOMIC
    WITH d AS MATERIALIZED (SELECT COALESCE($1, chs.draft_document()) AS document),
         -- each half with a join of its own, so that a sample is looked up by the primary key
         c AS (SELECT a.* FROM chs.customers a WHERE $2 IS NULL
               UNION ALL
               SELECT a.* FROM chs.sample_customers($2) s JOIN chs.customers a ON a.customer_id = s WHERE $2 IS NOT NULL)
    SELECT c.customer_id, c.name, c.segment,
           COALESCE((c.churned_at AT TIME ZONE 'UTC')::date > (COALESCE($3, now()) AT TIME ZONE 'UTC')::date, true),
           l.score, l.status, l.scorecard, n.score, n.status, n.scorecard,
           round((n.score - l.score)::numeric, 2)::double precision
    FROM c
    CROSS JOIN d
    CROSS JOIN LATERAL chs.health_now(c.customer_id, $3, CASE WHEN $3 IS NOT NULL THEN
        -- the rules of today, not those of that day
        (SELECT v.version FROM chs.scorecard_versions v WHERE v.live_at IS NOT NULL ORDER BY v.version DESC LIMIT 1) END) l
    CROSS JOIN LATERAL chs.health_by(d.document, c.customer_id, $3) n;
END;
COMMENT ON FUNCTION @extschema@.chs_simulate(jsonb, double precision, timestamptz)
    IS 'the score and status of every customer, or of a sample (how many, from 1 on, or what fraction), under the draft, or another document, beside the live ones: exactly what publishing it would give; with as_of, both as of the UTC day of that time';
REVOKE EXECUTE ON FUNCTION @extschema@.chs_simulate(jsonb, double precision, timestamptz) FROM PUBLIC;

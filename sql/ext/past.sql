-- The past, computed afterwards: history of days on which nobody recorded it.

CREATE FUNCTION chs.backfill_history(from_day date, after bigint, OUT last_customer_id bigint, OUT customers bigint)
    RETURNS record
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    -- what retention would delete is not worth computing
    days  date[] := ARRAY(SELECT today - ago FROM generate_series(1, today - greatest(from_day, (SELECT before FROM chs.retention_plan('history')))) ago);
BEGIN
    -- locked, so that whoever deletes or renumbers a customer waits, and then finds its rows
    SELECT max(c.customer_id), count(*) INTO last_customer_id, customers
    FROM (SELECT o.customer_id FROM chs.customers o WHERE o.customer_id > after ORDER BY o.customer_id
          LIMIT greatest(1, least(5000, 100000 / greatest(1, cardinality(days)))) FOR KEY SHARE) c;

    WITH recorded AS MATERIALIZED (
        SELECT DISTINCT s.customer_id, s.as_of FROM chs.health_scores s
        WHERE s.customer_id > after AND s.customer_id <= last_customer_id AND s.as_of = ANY (days) AND NOT s.backfilled
    ), past AS MATERIALIZED (
        SELECT h.customer_id, h.segment, h.scorecard, h.version, h.day AS as_of, h.status, h.trend, h.coverage, h.factor_scores, h.score,
               -- unless the row before is of this query, too
               (lag(h.day) OVER o = h.day - 1 AND lag(h.status) OVER o = h.status AND lag(r.as_of) OVER o IS NULL) IS NOT TRUE AS may_change
        FROM chs.score_history(days, NULL::jsonb, NULL::integer, after, last_customer_id, NULL::bigint[], false) h
        LEFT JOIN recorded r ON r.customer_id = h.customer_id AND r.as_of = h.day
        WINDOW o AS (PARTITION BY h.customer_id ORDER BY h.day)
    ), stored AS MATERIALIZED (
        SELECT s.customer_id, s.as_of, s.health_score_id, s.backfilled,
               ROW(s.segment, s.scorecard, s.version, s.status, s.trend, s.coverage, s.factor_scores, s.score, s.may_change)
               IS NOT DISTINCT FROM ROW(p.segment, p.scorecard, p.version, p.status, p.trend, p.coverage, p.factor_scores, p.score, p.may_change) AS is_right
        FROM chs.health_scores s JOIN past p USING (customer_id, as_of)
        WHERE s.customer_id > after AND s.customer_id <= last_customer_id AND s.as_of = ANY (days)
    ), outdated AS (
        DELETE FROM chs.health_scores d USING stored s
        WHERE s.backfilled AND NOT s.is_right
          AND d.customer_id = s.customer_id AND d.as_of = s.as_of AND d.health_score_id = s.health_score_id
    )
    INSERT INTO chs.health_scores (customer_id, segment, scorecard, version, as_of, status, trend, coverage, factor_scores, score,
                                   calculated_at, backfilled, may_change)
    SELECT p.customer_id, p.segment, p.scorecard, p.version, p.as_of, p.status, p.trend, p.coverage, p.factor_scores, p.score, now(), true, p.may_change
    FROM past p
    WHERE NOT EXISTS (SELECT FROM stored s WHERE s.customer_id = p.customer_id AND s.as_of = p.as_of AND (NOT s.backfilled OR s.is_right));
    PERFORM chs.date_statuses(after + 1, last_customer_id);
END
$$;
COMMENT ON FUNCTION chs.backfill_history(date, bigint)
    IS 'computes the past of the next customers after one, and stores it for the days before today that have no row recorded at the time';

CREATE PROCEDURE @extschema@.chs_backfill_history(from_day date)
    LANGUAGE c AS 'MODULE_PATHNAME', 'chs_backfill_history';
COMMENT ON PROCEDURE @extschema@.chs_backfill_history(date)
    IS 'computes a row of chs.health_scores for each customer and each UTC day from the given one to yesterday that has none: from the customer''s first event or creation to the day on which it churned, and as far as its events still exist; rows that were recorded at the time stay as they are, those of an earlier call are replaced where they differ; in slices, see chs.progress';

REVOKE EXECUTE ON FUNCTION chs.backfill_history(date, bigint) FROM PUBLIC;
REVOKE EXECUTE ON PROCEDURE @extschema@.chs_backfill_history(date) FROM PUBLIC;

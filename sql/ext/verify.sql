-- Verifying: what is stored, and what it should be; and mending what is not derived customer by customer.

CREATE FUNCTION chs.health_count_differences(OUT segment text, OUT stored bigint[], OUT actual bigint[]) RETURNS SETOF record
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT c.segment, sums.stored, sums.actual
    FROM (SELECT n.segment, sum(n.healthy) AS healthy, sum(n.at_risk) AS at_risk, sum(n.critical) AS critical, sum(n.unknown) AS unknown,
                 sum(n.score_hundredths) AS hundredths, chs.sum_by_score(n.by_score) FILTER (WHERE n.status IS NULL) AS by_score,
                 sum(n.n) FILTER (WHERE n.status = 'healthy') AS h, sum(n.n) FILTER (WHERE n.status = 'at_risk') AS r,
                 sum(n.n) FILTER (WHERE n.status = 'critical') AS c, sum(n.n) FILTER (WHERE n.status = 'unknown') AS u,
                 sum(n.s) AS s, chs.sum_by_score(n.by_score) FILTER (WHERE n.status IS NOT NULL) AS b
          FROM (SELECT s.segment, s.healthy, s.at_risk, s.critical, s.unknown, s.score_hundredths, s.by_score, NULL AS status, 0 AS n, 0 AS s
                FROM chs.health_counts s
                UNION ALL SELECT h.segment, 0, 0, 0, 0, 0, chs.at_score(CASE WHEN h.status <> 'unknown' THEN COALESCE(min(h.score), 0) END, count(*)::integer), h.status, count(*), sum(round(h.score::numeric * 100))
                FROM chs.customer_health h WHERE h.active GROUP BY h.segment, h.status, least(floor(h.score / 5), 19)) n
          GROUP BY n.segment) c
    CROSS JOIN LATERAL (
        SELECT ARRAY[c.healthy, c.at_risk, c.critical, c.unknown, c.hundredths]::bigint[] || COALESCE(c.by_score, array_fill(0, ARRAY[20])) AS stored,
               ARRAY[COALESCE(c.h, 0), COALESCE(c.r, 0), COALESCE(c.c, 0), COALESCE(c.u, 0), COALESCE(c.s, 0)]::bigint[]
               || COALESCE(c.b, array_fill(0, ARRAY[20])) AS actual) sums
    WHERE sums.stored <> sums.actual;
END;
COMMENT ON FUNCTION chs.health_count_differences()
    IS 'segments whose rows of chs.health_counts do not sum to what chs.customer_health has: healthy, at_risk, critical, unknown, hundredths of points, customers by score';

CREATE FUNCTION chs.invalid_history(OUT customer_id bigint, OUT as_of date, OUT health_score_id bigint) RETURNS SETOF record
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT s.customer_id, s.as_of, s.health_score_id FROM chs.health_scores s
    WHERE s.backfilled
      AND (s.as_of >= (s.calculated_at AT TIME ZONE 'UTC')::date
           OR NOT EXISTS (SELECT FROM chs.scorecard_versions v WHERE v.version = s.version)
           OR EXISTS (SELECT FROM chs.health_scores o WHERE o.customer_id = s.customer_id AND o.as_of = s.as_of
                                                            AND o.backfilled AND o.health_score_id < s.health_score_id));
END;
COMMENT ON FUNCTION chs.invalid_history()
    IS 'rows of chs.health_scores that chs_backfill_history() does not write: of a day that was not over, of a version that was never published, or a second one of the same day';

-- Whose status began earlier or later than health says, by the history up to its day; not where the history, of
-- which retention may have deleted some, does not reach back as far as health remembers.
CREATE FUNCTION chs.misdated_statuses(first bigint, last bigint,
        OUT customer_id bigint, OUT status text, OUT as_of date, OUT stored_since timestamptz, OUT stored_previous text,
        OUT status_since timestamptz, OUT previous_status text)
    RETURNS SETOF record
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 10
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT h.customer_id, h.status, h.as_of, h.status_since, h.previous_status, b.status_since, p.status
    FROM chs.customer_health h
    LEFT JOIN LATERAL (
        SELECT s.status, s.as_of, s.health_score_id FROM chs.health_scores s
        WHERE s.customer_id = h.customer_id AND s.as_of <= h.as_of AND s.status <> h.status
        ORDER BY s.as_of DESC, s.health_score_id DESC LIMIT 1) p ON true
    CROSS JOIN LATERAL (
        SELECT least(s.calculated_at, (s.as_of + 1)::timestamp AT TIME ZONE 'UTC') AS status_since FROM chs.health_scores s
        WHERE s.customer_id = h.customer_id AND s.as_of <= h.as_of
          AND (s.as_of, s.health_score_id) > (COALESCE(p.as_of, '-infinity'), COALESCE(p.health_score_id, 0))
        ORDER BY s.as_of, s.health_score_id LIMIT 1) b
    WHERE h.customer_id BETWEEN $1 AND $2
      AND CASE WHEN p.status IS NULL THEN b.status_since < h.status_since
               ELSE ROW(b.status_since, p.status) IS DISTINCT FROM ROW(h.status_since, h.previous_status) END;
END;
COMMENT ON FUNCTION chs.misdated_statuses(bigint, bigint)
    IS 'customers, from one up to another, whose history says something else about when the present status began than chs.customer_health';

-- What folding has changed meanwhile is as it left it.
CREATE FUNCTION chs.date_statuses(first bigint, last bigint) RETURNS void
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE chs.customer_health h SET status_since = m.status_since, previous_status = m.previous_status
    FROM chs.misdated_statuses($1, $2) m
    WHERE h.customer_id = m.customer_id AND h.status = m.status AND h.as_of = m.as_of AND h.status_since = m.stored_since;
END;
COMMENT ON FUNCTION chs.date_statuses(bigint, bigint)
    IS 'dates the present status of customers, from one up to another, by their history';
REVOKE EXECUTE ON FUNCTION chs.date_statuses(bigint, bigint) FROM PUBLIC;

-- Of the health: the columns by which lists and counts find a customer, unless it is about to be calculated again.  As a
-- string, since with BEGIN ATOMIC the types of columns of chs.customer_events could not be altered.
CREATE FUNCTION chs.stored_differences(OUT customer_id bigint, OUT difference text, OUT stored text, OUT expected text)
    RETURNS SETOF record
    LANGUAGE sql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, pg_temp SET extra_float_digits = 1 AS $$
    (SELECT c.customer_id, d.difference, d.stored, d.expected
     FROM (SELECT v.version, v.series_version, v.document, (now() AT TIME ZONE 'UTC')::date AS today
           FROM chs.scorecard_versions v WHERE v.live_at IS NOT NULL ORDER BY v.version DESC LIMIT 1) live
     CROSS JOIN chs.customers c
     JOIN chs.customer_health h ON h.customer_id = c.customer_id AND h.version = live.version
     JOIN chs.activity a ON a.customer_id = c.customer_id AND a.series_version >= live.series_version
     CROSS JOIN LATERAL (VALUES
         ('segment', h.segment, c.segment),
         ('scorecard', h.scorecard, COALESCE(live.document #>> ARRAY['segments', c.segment, 'scorecard'], live.document ->> 'default')),
         ('risk_score', h.risk_score::text, CASE WHEN h.active AND h.status IN ('at_risk', 'critical') THEN h.score END::text),
         -- of an earlier day it is what it was then
         ('active', h.active::text, CASE WHEN h.as_of = live.today THEN COALESCE((c.churned_at AT TIME ZONE 'UTC')::date > live.today, true)
                                    ELSE h.active END::text)) d (difference, stored, expected)
     WHERE d.stored IS DISTINCT FROM d.expected
       AND NOT EXISTS (SELECT FROM chs.queue q WHERE q.customer_id = c.customer_id)
     ORDER BY c.customer_id)
    UNION ALL
    (SELECT NULL, CASE WHEN n.segment IS NULL THEN 'health_counts of customers without a segment' ELSE format('health_counts of %L', n.segment) END,
            format('(%s)', array_to_string(n.stored, ',')), format('(%s)', array_to_string(n.actual, ','))
     FROM chs.health_count_differences() n ORDER BY n.segment)
    UNION ALL
    SELECT NULL, w.object, w.stored, w.expected FROM chs.wrong_counts() w
    UNION ALL
    SELECT i.customer_id, 'health_scores', format('row %s, backfilled for %s', i.health_score_id, i.as_of), NULL FROM chs.invalid_history() i
    UNION ALL
    (SELECT m.customer_id, 'status_since', concat_ws(' after ', m.stored_since, m.stored_previous), concat_ws(' after ', m.status_since, m.previous_status)
     FROM (SELECT min(h.customer_id) AS first, max(h.customer_id) AS last FROM chs.customer_health h) h,
          chs.misdated_statuses(h.first, h.last) m ORDER BY m.customer_id)
    UNION ALL
    -- references that a restore does not check, because rows may arrive before those they refer to
    (SELECT c.customer_id, 'segment', c.segment, NULL FROM chs.customers c
     WHERE c.segment IS NOT NULL AND NOT EXISTS (SELECT FROM chs.segments s WHERE s.segment = c.segment)
     UNION ALL SELECT c.customer_id, 'parent_id', c.parent_id::text, NULL FROM chs.customers c
     WHERE c.parent_id IS NOT NULL AND NOT EXISTS (SELECT FROM chs.customers p WHERE p.customer_id = c.parent_id)
     UNION SELECT e.customer_id, 'event_type', e.event_type, NULL FROM chs.customer_events e
     WHERE NOT EXISTS (SELECT FROM chs.event_types t WHERE t.event_type = e.event_type)
     ORDER BY 1, 2, 3)
    UNION ALL
    SELECT NULL, p.object, p.problem, NULL FROM chs.source_problems() p WHERE p.problem IS NOT NULL;
$$;
COMMENT ON FUNCTION chs.stored_differences() IS 'what chs_verify() finds without reading the events';
REVOKE EXECUTE ON FUNCTION chs.stored_differences() FROM PUBLIC;

-- While a dump is being restored, a history may be there before its customer.
CREATE FUNCTION chs.remove_invalid(restoring boolean) RETURNS void
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    DELETE FROM chs.customer_health d WHERE NOT EXISTS (SELECT FROM chs.customers c WHERE c.customer_id = d.customer_id);
    DELETE FROM chs.activity d WHERE NOT EXISTS (SELECT FROM chs.customers c WHERE c.customer_id = d.customer_id);
    DELETE FROM chs.failures d WHERE NOT EXISTS (SELECT FROM chs.customers c WHERE c.customer_id = d.customer_id);
    DELETE FROM chs.health_scores d
    WHERE NOT restoring AND NOT EXISTS (SELECT FROM chs.customers c WHERE c.customer_id = d.customer_id);
    WITH gone AS (
        DELETE FROM chs.health_scores d USING chs.invalid_history() i
        WHERE d.customer_id = i.customer_id AND d.as_of = i.as_of AND d.health_score_id = i.health_score_id RETURNING d.customer_id, d.as_of, d.health_score_id
    ), left_over AS (
        -- each may now follow another status than before
        UPDATE chs.health_scores s SET may_change = true
        WHERE NOT s.may_change AND s.customer_id IN (SELECT g.customer_id FROM gone g)
          AND s.health_score_id NOT IN (SELECT g.health_score_id FROM gone g))
    INSERT INTO chs.recounts (from_day) SELECT min(g.as_of) FROM gone g HAVING count(*) > 0;
    SELECT chs.date_statuses(min(h.customer_id), max(h.customer_id)) FROM chs.customer_health h;
END;
COMMENT ON FUNCTION chs.remove_invalid(boolean) IS 'removes what is derived of customers who do not exist, and invalid rows of the history';
REVOKE EXECUTE ON FUNCTION chs.remove_invalid(boolean) FROM PUBLIC;

-- Folding changes both sides of the comparison by the same amount in one transaction, so
-- it need not be kept out; only others that correct are.
CREATE FUNCTION chs.correct_health_counts() RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    LOCK TABLE chs.health_counts IN SHARE UPDATE EXCLUSIVE MODE;
    INSERT INTO chs.health_counts (segment, healthy, at_risk, critical, unknown, score_hundredths, by_score)
    SELECT d.segment, d.actual[1] - d.stored[1], d.actual[2] - d.stored[2], d.actual[3] - d.stored[3], d.actual[4] - d.stored[4],
           d.actual[5] - d.stored[5], ARRAY(SELECT d.actual[i] - d.stored[i] FROM generate_series(6, 25) i ORDER BY i)::integer[]
    FROM chs.health_count_differences() d;
END
$$;
COMMENT ON FUNCTION chs.correct_health_counts() IS 'appends to chs.health_counts what it lacks';
REVOKE EXECUTE ON FUNCTION chs.correct_health_counts() FROM PUBLIC;

CREATE FUNCTION @extschema@.chs_verify(OUT customer_id bigint, OUT difference text, OUT stored text, OUT expected text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'chs_verify';
COMMENT ON FUNCTION @extschema@.chs_verify()
    IS 'recomputes every customer from the raw events; one row for each difference from what is stored or what chs_score() answers, none if all is well';
REVOKE EXECUTE ON FUNCTION @extschema@.chs_verify() FROM PUBLIC;

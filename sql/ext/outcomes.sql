-- Outcomes: what became of customers, and who was at risk of it when.

CREATE TABLE chs.outcomes (
    customer_id bigint NOT NULL REFERENCES chs.customers ON UPDATE CASCADE ON DELETE CASCADE,
    outcome     text NOT NULL CHECK (outcome <> '' AND outcome NOT LIKE 'no:%'),
    happened_at timestamptz NOT NULL DEFAULT now() CHECK (isfinite(happened_at)),
    amount      numeric,
    note        text,
    PRIMARY KEY (customer_id, outcome, happened_at)
);
-- Which outcomes there are, and when.
CREATE INDEX outcomes_outcome_idx ON chs.outcomes (outcome, happened_at);
COMMENT ON TABLE chs.outcomes IS 'what became of customers: scores are judged by how well they predict it; chs.customers.churned_at counts as outcome churned by itself';
COMMENT ON COLUMN chs.outcomes.customer_id IS 'the customer';
COMMENT ON COLUMN chs.outcomes.outcome IS 'a name, such as churned, downgraded or not_renewed; those that begin with no: are silence, which events tell';
COMMENT ON COLUMN chs.outcomes.happened_at IS 'when it happened; its UTC day is what counts';
COMMENT ON COLUMN chs.outcomes.amount IS 'what it was worth, if known';
COMMENT ON COLUMN chs.outcomes.note IS 'anything worth knowing';

CREATE FUNCTION chs.event_days(document jsonb, customers bigint[], from_day date, to_day date,
        OUT customer_id bigint, OUT days date[], OUT events bigint[])
    RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL UNSAFE COST 100000 ROWS 10000 AS 'MODULE_PATHNAME', 'chs_event_days';
COMMENT ON FUNCTION chs.event_days(jsonb, bigint[], date, date)
    IS 'internal: for each of the customers, the days between two, both included, with events that a document counts, and how many there had been by the end of each';
-- A document can ask anything about the events of the customers that the caller sees.
REVOKE EXECUTE ON FUNCTION chs.event_days(jsonb, bigint[], date, date) FROM PUBLIC;

CREATE FUNCTION chs.counting_document(event_types text[]) RETURNS jsonb
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT jsonb_build_object('default', 'events', 'segments', '{}'::jsonb, 'scorecards', jsonb_build_object('events', jsonb_build_object(
        'min_coverage', 0, 'healthy_from', 0, 'at_risk_from', 0, 'grace', false, 'trend_days', 1, 'trend_band', 0,
        'factors', jsonb_build_array(jsonb_build_object('factor', 'events', 'weight', 1, 'metrics', COALESCE((
            SELECT jsonb_agg(jsonb_build_object('metric', t.event_type, 'event_type', t.event_type, 'aggregate', 'count',
                                                'window_days', 1, 'curve', '0:0', 'weight', 1, 'missing', 'zero') ORDER BY t.event_type)
            FROM unnest($1) t(event_type)), '[]'))))));
END;
COMMENT ON FUNCTION chs.counting_document(text[]) IS 'internal: a document that counts the events of some types';

-- Raises an error, which names those there are, for an outcome that does not exist.
CREATE FUNCTION chs.check_outcome(outcome text) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    silent text := substr(outcome, 4);
BEGIN
    IF outcome = 'churned' THEN
        RETURN;
    END IF;
    IF outcome LIKE 'no:%' THEN
        IF EXISTS (SELECT FROM chs.event_types t WHERE t.event_type = silent) THEN
            RETURN;
        END IF;
        RAISE EXCEPTION 'event type "%" does not exist', silent
            USING ERRCODE = 'undefined_object',
                  HINT = format('Silence is the outcome "no:" with one of: %s.', (SELECT string_agg(t.event_type, ', ' ORDER BY t.event_type) FROM chs.event_types t));
    END IF;
    IF outcome IS NULL OR NOT EXISTS (SELECT FROM chs.outcomes o WHERE o.outcome = check_outcome.outcome) THEN
        RAISE EXCEPTION 'outcome "%" does not exist', outcome
            USING ERRCODE = 'undefined_object',
                  HINT = format('There are: %s; and silence, "no:" with an event type, such as "no:%s".',
                                (SELECT string_agg(DISTINCT o.outcome, ', ') FROM (SELECT 'churned' UNION ALL SELECT o.outcome FROM chs.outcomes o) o(outcome)),
                                (SELECT min(t.event_type) FROM chs.event_types t));
    END IF;
END
$$;
COMMENT ON FUNCTION chs.check_outcome(text) IS 'internal: raises an error for an outcome that does not exist';

-- The rules of the method (doc/prediction.md).  At the end of the UTC day of an origin a customer is at risk
-- who exists, is scored, and has neither left nor had the outcome; of silence, only one who had such an event within
-- as many days before.  What happens in the horizon days after the gap is what the score should have known.
CREATE FUNCTION chs.outcome_rows(outcome text, horizon integer, gap integer, days date[], document jsonb, customers bigint[], metrics boolean,
        OUT origin date, OUT customer_id bigint, OUT segment text, OUT score double precision, OUT status text,
        OUT leaves boolean, OUT left_on date, OUT age integer, OUT since_last integer, OUT events bigint,
        OUT metric_values double precision[], OUT metric_scores double precision[])
    RETURNS SETOF record
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE ROWS 100000
    SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    silent boolean := outcome LIKE 'no:%';
    first  date := (SELECT min(d) FROM unnest(days) d);
    last   date := (SELECT max(d) FROM unnest(days) d);
BEGIN
    PERFORM chs.check_outcome(outcome);
    RETURN QUERY
    WITH happened AS (
        SELECT h.customer_id, min(h.day) AS day
        FROM (SELECT o.customer_id, (o.happened_at AT TIME ZONE 'UTC')::date AS day FROM chs.outcomes o
              WHERE o.outcome = outcome_rows.outcome AND o.customer_id = ANY (customers)
              UNION ALL
              SELECT c.customer_id, (c.churned_at AT TIME ZONE 'UTC')::date FROM chs.customers c
              WHERE outcome_rows.outcome = 'churned' AND c.churned_at IS NOT NULL AND c.customer_id = ANY (customers)) h
        GROUP BY h.customer_id
    ), scored AS (
        SELECT s.* FROM chs.score_history(days, document, NULL::integer, NULL::bigint, NULL::bigint, customers, metrics) s
    ), seen AS (
        SELECT e.* FROM chs.event_days(
            chs.counting_document(CASE WHEN silent THEN ARRAY[substr(outcome, 4)] ELSE ARRAY(SELECT t.event_type FROM chs.event_types t) END),
            customers, '0001-01-01'::date, (last + gap + horizon)::date) e
    ), row AS (
        SELECT s.day, s.customer_id, s.segment, s.score, s.status, s.metric_values, s.metric_scores,
               (c.churned_at AT TIME ZONE 'UTC')::date AS churned, h.day AS happened,
               least((c.created_at AT TIME ZONE 'UTC')::date, e.days[1]) AS since,
               e.days[n.at] AS last_event, e.events[n.at] AS events,
               e.days[n.at_gap] AS last_before, e.days[n.at_gap + 1] AS next_event
        FROM scored s
        JOIN chs.customers c ON c.customer_id = s.customer_id
        JOIN seen e ON e.customer_id = s.customer_id
        LEFT JOIN happened h ON h.customer_id = s.customer_id
        CROSS JOIN LATERAL (SELECT width_bucket(s.day, e.days) AS at, width_bucket(s.day + gap, e.days) AS at_gap) n
    )
    SELECT r.day, r.customer_id, r.segment, r.score, r.status,
           CASE WHEN r.churned <= r.day + gap THEN NULL  -- within the gap
                WHEN silent AND r.last_before <= r.day + gap - horizon THEN NULL
                WHEN silent THEN COALESCE(r.next_event > r.day + gap + horizon, true)
                WHEN r.happened <= r.day + gap THEN NULL
                ELSE COALESCE(r.happened <= r.day + gap + horizon, false) END,
           CASE WHEN NOT silent THEN CASE WHEN r.happened <= r.day + gap + horizon THEN r.happened END
                WHEN COALESCE(r.next_event > r.day + gap + horizon, true) THEN r.last_before + horizon END,
           r.day - r.since, r.day - r.last_event, COALESCE(r.events, 0), r.metric_values, r.metric_scores
    FROM row r
    WHERE (r.churned > r.day OR r.churned IS NULL)
      AND CASE WHEN silent THEN r.last_event > r.day - horizon ELSE r.happened > r.day OR r.happened IS NULL END;
END
$$;
COMMENT ON FUNCTION chs.outcome_rows(text, integer, integer, date[], jsonb, bigint[], boolean)
    IS 'internal: a row for each origin, one of the days, and each of the customers that was at risk of an outcome then: how it was scored by a document (NULL: by the version that was live then), if wanted with the values and scores of the metrics, and whether it had the outcome in the horizon days after the gap; leaves is NULL if it left within the gap; since_last, in days, and events are of the type that a silence is of, or of all types';
REVOKE EXECUTE ON FUNCTION chs.outcome_rows(text, integer, integer, date[], jsonb, bigint[], boolean) FROM PUBLIC;

CREATE FUNCTION chs.auc(origins date[], customers bigint[], leaves boolean[], value double precision[], other double precision[] DEFAULT NULL,
        OUT rows bigint, OUT leaving bigint, OUT different_customers bigint, OUT pairs bigint,
        OUT auc double precision, OUT standard_error double precision,
        OUT other_auc double precision, OUT other_error double precision, OUT difference_error double precision)
    RETURNS record
    LANGUAGE c IMMUTABLE PARALLEL SAFE COST 10000 AS 'MODULE_PATHNAME', 'chs_auc';
COMMENT ON FUNCTION chs.auc(date[], bigint[], boolean[], double precision[], double precision[])
    IS 'internal: the share of pairs of the same origin, one that leaves and one that stays, in which the former has the lower value, ties half; with the standard error by customer; and the same for another value of the same rows, with the error of the difference';

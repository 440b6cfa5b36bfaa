-- The oracle: health recomputed from the raw events in plain SQL, to check the
-- engine against.  It shares no code with the engine and calls none of its
-- functions.  It reads chs.customers, chs.customer_events and the draft of the
-- scorecards, and computes in numeric, for all customers (or some) at once:
--
--     CALL oracle.compute('default', DATE '2026-01-31');
--     SELECT * FROM oracle.health WHERE customer_id = 42;    -- and oracle.factor, oracle.metric
--
-- Filters are written by hand below; one that is not is an error.

DROP SCHEMA IF EXISTS oracle CASCADE;
CREATE SCHEMA oracle;

-- Rows with back = 0 are the answer; the others are the same so many days earlier.
-- moved is how the score of the day before, back = 1, differs from the one
-- trend_days earlier.
CREATE TABLE oracle.metric (
    scorecard text, as_of date, customer_id bigint, back integer, factor text, metric text,
    value numeric, target numeric, score numeric, weight numeric,
    penalty numeric,                    -- points for each event; NULL: a metric that is scored
    moved numeric);
CREATE TABLE oracle.factor (
    scorecard text, as_of date, customer_id bigint, back integer, factor text, position integer,
    mean numeric,                       -- the score before penalties
    score numeric, weight numeric, effective_weight numeric, moved numeric);
CREATE TABLE oracle.health (
    scorecard text, as_of date, customer_id bigint, back integer, day date,
    unrounded numeric, score numeric, status text, coverage numeric, moved numeric);

-- Lax mode: an array is its elements, one level deep.
CREATE FUNCTION oracle.some_word(v jsonb, VARIADIC words text[]) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE jsonb_typeof(v)
           WHEN 'string' THEN v #>> '{}' = ANY (words)
           WHEN 'array' THEN EXISTS (SELECT FROM jsonb_array_elements(v) i
                                     WHERE jsonb_typeof(i) = 'string' AND i #>> '{}' = ANY (words))
           ELSE false END
$$;
CREATE FUNCTION oracle.top_number(v jsonb) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE jsonb_typeof(v)
           WHEN 'number' THEN v::numeric
           WHEN 'array' THEN (SELECT max(CASE WHEN jsonb_typeof(i) = 'number' THEN i::numeric END)
                              FROM jsonb_array_elements(v) i)
           END
$$;
CREATE FUNCTION oracle.has_value(v jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE jsonb_typeof(v)
           WHEN 'null' THEN false
           WHEN 'array' THEN EXISTS (SELECT FROM jsonb_array_elements(v) i WHERE jsonb_typeof(i) <> 'null')
           ELSE v IS NOT NULL END
$$;

CREATE FUNCTION oracle.unknown_filter(filter text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the oracle does not know the filter %', filter;
END
$$;
CREATE FUNCTION oracle.holds(filter text, d jsonb) RETURNS boolean LANGUAGE sql AS $$
    SELECT CASE
        WHEN filter IS NULL THEN true
        ELSE CASE filter
        WHEN ('$.status_code >= 400 || $.response_code >= 400'::jsonpath)::text
            THEN coalesce(oracle.top_number(d -> 'status_code') >= 400, false)
              OR coalesce(oracle.top_number(d -> 'response_code') >= 400, false)
        WHEN ('$.status == "paid_on_time" || $.status == "completed" || !exists($.status ? (@ != null)) && !exists($.days_late ? (@ > 0))'::jsonpath)::text
            THEN oracle.some_word(d -> 'status', 'paid_on_time', 'completed')
              OR NOT oracle.has_value(d -> 'status') AND NOT coalesce(oracle.top_number(d -> 'days_late') > 0, false)
        WHEN ('$.status == "overdue" || $.status == "failed" || $.status == "pending"'::jsonpath)::text
            THEN oracle.some_word(d -> 'status', 'overdue', 'failed', 'pending')
        WHEN ('$.status == "overdue"'::jsonpath)::text THEN oracle.some_word(d -> 'status', 'overdue')
        WHEN ('$.status == "failed"'::jsonpath)::text THEN oracle.some_word(d -> 'status', 'failed')
        WHEN ('$.status == "paid_late" || $.status == "pending"'::jsonpath)::text
            THEN oracle.some_word(d -> 'status', 'paid_late', 'pending')
        WHEN ('$.tier == "advanced"'::jsonpath)::text THEN oracle.some_word(d -> 'tier', 'advanced')
        WHEN ('$.tier != null'::jsonpath)::text THEN oracle.has_value(d -> 'tier')
        WHEN ('$.priority == "urgent"'::jsonpath)::text THEN oracle.some_word(d -> 'priority', 'urgent')
        WHEN ('$.priority == "high"'::jsonpath)::text THEN oracle.some_word(d -> 'priority', 'high')
        ELSE oracle.unknown_filter(filter) END
        END
$$;

-- What sum and avg read: a JSON number below 1e24, to 6 decimals.
CREATE FUNCTION oracle.number(v jsonb) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN jsonb_typeof(v) = 'number' THEN
           CASE WHEN abs(v::numeric) < 1e24 THEN round(v::numeric, 6) END END
$$;

CREATE FUNCTION oracle.curve(curve text, x numeric) RETURNS numeric LANGUAGE sql IMMUTABLE STRICT AS $$
    WITH point AS (
        SELECT split_part(p, ':', 1)::numeric AS px, split_part(p, ':', 2)::numeric AS py
        FROM regexp_split_to_table(btrim(curve), '\s+') p),
    line AS (SELECT *, lead(px) OVER (ORDER BY px) AS nx, lead(py) OVER (ORDER BY px) AS ny FROM point)
    SELECT CASE WHEN x < px THEN py                       -- left of the first point
                WHEN nx IS NULL THEN py                   -- right of the last one
                ELSE py + (x - px) * (ny - py) / (nx - px) END
    FROM line WHERE nx IS NULL OR x < nx ORDER BY px LIMIT 1
$$;

-- The tolerances here and below keep the noise of shares such as 1/3 from deciding.
CREATE FUNCTION oracle.trend(moved numeric, band double precision) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN moved >= band::numeric - 1e-9 THEN 'improving' WHEN moved <= -band::numeric + 1e-9 THEN 'declining'
                WHEN moved IS NOT NULL THEN 'stable' END
$$;

CREATE PROCEDURE oracle.compute(p_scorecard text, p_day date, p_customers bigint[] DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
    card chs.scorecards := s FROM chs.scorecards s WHERE s.scorecard = p_scorecard;
BEGIN
    DELETE FROM oracle.metric WHERE (scorecard, as_of) = (p_scorecard, p_day);
    DELETE FROM oracle.factor WHERE (scorecard, as_of) = (p_scorecard, p_day);
    DELETE FROM oracle.health WHERE (scorecard, as_of) = (p_scorecard, p_day);

    INSERT INTO oracle.metric
    WITH who AS (                       -- each customer on each of the three days
        SELECT c.customer_id, c.segment, (c.created_at AT TIME ZONE 'UTC')::date AS born, b.back,
               least(p_day, (c.churned_at AT TIME ZONE 'UTC')::date) - b.back AS day
        FROM chs.customers c, (VALUES (0), (1), (1 + card.trend_days)) b(back)
        WHERE c.customer_id = ANY (p_customers) OR p_customers IS NULL),
    what AS (
        SELECT m.*, CASE WHEN m.aggregate IN ('ratio', 'growth', 'of_usual') THEN m.measure ELSE m.aggregate END AS how
        FROM chs.metrics m WHERE m.scorecard = p_scorecard),
    fact AS MATERIALIZED (              -- each event as each metric of its type reads it
        SELECT e.customer_id, m.factor, m.metric, m.aggregate, m.how, m.window_days,
               (e.occurred_at AT TIME ZONE 'UTC')::date AS day,
               oracle.holds(m.filter, e.event_data) AS picked,
               m.aggregate = 'ratio' AND oracle.holds(m.base_filter, e.event_data) AS base,
               CASE WHEN m.how = 'distinct' THEN nullif(e.event_data -> m.field, 'null') END AS thing,
               CASE WHEN m.how IN ('sum', 'avg') THEN oracle.number(e.event_data -> m.field) END AS number
        FROM chs.customer_events e JOIN what m USING (event_type)
        WHERE e.customer_id IN (SELECT customer_id FROM who)),
    part AS (                           -- one number for each set of events that a metric looks at
        SELECT w.customer_id, w.back, f.factor, f.metric, p.part,
               CASE f.how WHEN 'count' THEN count(*)
                          WHEN 'sum' THEN sum(f.number)
                          WHEN 'avg' THEN avg(f.number)
                          WHEN 'distinct' THEN nullif(count(DISTINCT f.thing), 0)
                          WHEN 'active_days' THEN count(DISTINCT f.day)
                          WHEN 'days_since_last' THEN w.day - max(f.day) END AS n
        FROM who w JOIN fact f USING (customer_id),
             LATERAL (SELECT (w.day - f.day) / f.window_days AS windows_ago) a,
             LATERAL (VALUES ('picked', f.picked AND windows_ago = 0),
                             ('base', f.base AND windows_ago = 0),
                             ('before', f.aggregate = 'growth' AND f.picked AND windows_ago = 1),
                             ('usual' || windows_ago, f.aggregate = 'of_usual' AND f.picked AND windows_ago > 0)) p(part, counts)
        WHERE p.counts AND f.day <= w.day AND f.day > w.day - 7 * f.window_days
        GROUP BY w.customer_id, w.back, w.day, f.factor, f.metric, f.how, p.part),
    pivot AS (
        SELECT customer_id, back, factor, metric,
               max(n) FILTER (WHERE part = 'picked') AS picked,
               max(n) FILTER (WHERE part = 'base') AS base,
               max(n) FILTER (WHERE part = 'before') AS before
        FROM part GROUP BY 1, 2, 3, 4),
    usual AS (                          -- the median of the windows before, from the first known one on
        SELECT o.customer_id, o.back, o.factor, o.metric,
               (percentile_disc(0.5) WITHIN GROUP (ORDER BY coalesce(p.n, 0))
                + percentile_disc(0.5) WITHIN GROUP (ORDER BY coalesce(p.n, 0) DESC)) / 2 AS usual
        FROM (SELECT customer_id, back, factor, metric, max(substr(part, 6)::integer) AS oldest
              FROM part WHERE part LIKE 'usual%' AND n IS NOT NULL GROUP BY 1, 2, 3, 4) o
        CROSS JOIN LATERAL generate_series(1, o.oldest) ago
        LEFT JOIN part p ON (p.customer_id, p.back, p.factor, p.metric, p.part) = (o.customer_id, o.back, o.factor, o.metric, 'usual' || ago)
        WHERE o.oldest >= 3
        GROUP BY 1, 2, 3, 4),
    known AS (                          -- NULL: no data
        SELECT w.customer_id, w.segment, w.back, m.*,
               CASE m.aggregate WHEN 'ratio' THEN coalesce(v.picked, 0) / nullif(v.base, 0)
                                WHEN 'growth' THEN coalesce(v.picked, 0) / nullif(v.before, 0) - 1
                                WHEN 'of_usual' THEN coalesce(v.picked, 0) / nullif(u.usual, 0)
                                ELSE v.picked END AS known,
               m.missing = 'zero' AND (NOT card.grace OR w.born <= w.day - m.window_days + 1) AS zero
        FROM who w CROSS JOIN what m LEFT JOIN pivot v USING (customer_id, back, factor, metric)
        LEFT JOIN usual u USING (customer_id, back, factor, metric)),
    valued AS (
        SELECT k.*,
               coalesce(k.known, CASE WHEN k.zero OR k.penalty IS NOT NULL
                                        OR k.missing = 'score'
                                           AND k.aggregate IN ('count', 'sum', 'distinct', 'active_days') THEN 0 END) AS value,
               (SELECT t.target::numeric FROM chs.targets t
                WHERE (t.scorecard, t.factor, t.metric) = (k.scorecard, k.factor, k.metric)
                  AND (t.segment = k.segment OR t.segment IS NULL)
                ORDER BY t.segment LIMIT 1) AS target,
               EXISTS (SELECT FROM chs.targets t
                       WHERE (t.scorecard, t.factor, t.metric) = (k.scorecard, k.factor, k.metric)) AS has_targets
        FROM known k)
    SELECT p_scorecard, p_day, v.customer_id, v.back, v.factor, v.metric, v.value, v.target, s.score,
           v.weight::numeric, v.penalty::numeric, lead(s.score) OVER days - lead(s.score, 2) OVER days
    FROM valued v, LATERAL (
        SELECT CASE WHEN v.penalty IS NOT NULL OR v.has_targets AND v.target IS NULL THEN NULL
                    WHEN v.known IS NULL AND v.missing = 'score' THEN v.missing_score::numeric
                    ELSE oracle.curve(v.curve, v.value / coalesce(v.target, 1)) END AS score) s
    WINDOW days AS (PARTITION BY v.customer_id, v.factor, v.metric ORDER BY v.back);

    INSERT INTO oracle.factor
    SELECT p_scorecard, p_day, w.customer_id, w.back, f.factor, f.position, n.mean, h.score, f.weight::numeric,
           CASE WHEN h.score IS NOT NULL THEN f.weight::numeric / nullif(
               sum(CASE WHEN h.score IS NOT NULL THEN f.weight::numeric END) OVER (PARTITION BY w.customer_id, w.back), 0) END,
           lead(h.score) OVER days - lead(h.score, 2) OVER days
    FROM chs.factors f
    CROSS JOIN (SELECT DISTINCT customer_id, back FROM oracle.metric WHERE (scorecard, as_of) = (p_scorecard, p_day)) w
    LEFT JOIN (
          SELECT customer_id, back, factor,
                 sum(score * weight) AS points, nullif(sum(weight) FILTER (WHERE score IS NOT NULL), 0) AS weights,
                 coalesce(sum(penalty * value), 0) AS penalties
          FROM oracle.metric WHERE (scorecard, as_of) = (p_scorecard, p_day) GROUP BY 1, 2, 3) m USING (customer_id, back, factor),
    LATERAL (SELECT m.points / m.weights AS mean) n,
    LATERAL (SELECT CASE WHEN n.mean IS NOT NULL THEN greatest(0, least(100, n.mean - m.penalties)) END AS score) h
    WHERE f.scorecard = p_scorecard
    WINDOW days AS (PARTITION BY w.customer_id, f.factor ORDER BY w.back);

    INSERT INTO oracle.health
    SELECT p_scorecard, p_day, c.customer_id, f.back,
           least(p_day, (c.churned_at AT TIME ZONE 'UTC')::date) - f.back, k.unrounded, r.score,
           CASE WHEN r.score >= card.healthy_from THEN 'healthy'
                WHEN r.score >= card.at_risk_from THEN 'at_risk'
                WHEN r.score IS NOT NULL THEN 'critical'
                ELSE 'unknown' END,
           f.coverage, lead(k.unrounded) OVER days - lead(k.unrounded, 2) OVER days
    FROM chs.customers c
    JOIN (SELECT customer_id, back, sum(score * weight) / nullif(sum(weight) FILTER (WHERE score IS NOT NULL), 0) AS score,
                 coalesce(sum(weight) FILTER (WHERE score IS NOT NULL) / nullif(sum(weight), 0), 0) AS coverage
          FROM oracle.factor WHERE (scorecard, as_of) = (p_scorecard, p_day) GROUP BY 1, 2) f USING (customer_id),
    LATERAL (SELECT CASE WHEN f.coverage >= card.min_coverage::numeric - 1e-9 THEN f.score END AS unrounded) k,
    LATERAL (SELECT round(k.unrounded + 1e-9, 2) AS score) r
    WINDOW days AS (PARTITION BY c.customer_id ORDER BY f.back);
END
$$;

-- The classic calculation in a few lines: what volume_only must give, by another road.
CREATE FUNCTION oracle.volume_only(p_day date) RETURNS TABLE (customer_id bigint, score numeric) LANGUAGE sql STABLE AS $$
    SELECT c.customer_id, round(0.30 * least(100, 100.0 * n.calls / CASE c.segment WHEN 'enterprise' THEN 1000 WHEN 'smb' THEN 500
                                                                                  WHEN 'startup' THEN 200 ELSE 300 END)
                              + 0.20 * least(100, 5 * n.logins)
                              + 0.25 * greatest(0, coalesce(100.0 * n.on_time / nullif(n.payments, 0), 70)
                                                   - 20 * n.overdue - 10 * n.failed - 5 * n.late)
                              + 0.15 * least(100, 12.5 * n.features)
                              + 0.10 * greatest(0, coalesce(('{100,80,80,60,60,40,40}'::int[])[n.tickets + 1], greatest(10, 70 - 5 * n.tickets))
                                                   - 10 * n.urgent - 5 * n.high) + 1e-9, 2)
    FROM chs.customers c, LATERAL (
        SELECT count(*) FILTER (WHERE event_type = 'api_call' AND age < 30) AS calls,
               count(*) FILTER (WHERE event_type = 'login' AND age < 30) AS logins,
               count(*) FILTER (WHERE event_type = 'payment' AND age < 90) AS payments,
               count(*) FILTER (WHERE event_type = 'payment' AND age < 90 AND (
                   oracle.some_word(event_data -> 'status', 'paid_on_time', 'completed') OR NOT oracle.has_value(event_data -> 'status')
                   AND NOT coalesce(oracle.top_number(event_data -> 'days_late') > 0, false))) AS on_time,
               count(*) FILTER (WHERE event_type = 'payment' AND age < 90 AND oracle.some_word(event_data -> 'status', 'overdue')) AS overdue,
               count(*) FILTER (WHERE event_type = 'payment' AND age < 90 AND oracle.some_word(event_data -> 'status', 'failed')) AS failed,
               count(*) FILTER (WHERE event_type = 'payment' AND age < 90 AND oracle.some_word(event_data -> 'status', 'paid_late', 'pending')) AS late,
               count(DISTINCT event_data -> 'feature_name') FILTER (WHERE event_type = 'feature_use' AND age < 30) AS features,
               count(*) FILTER (WHERE event_type = 'support_ticket' AND age < 30) AS tickets,
               count(*) FILTER (WHERE event_type = 'support_ticket' AND age < 30 AND oracle.some_word(event_data -> 'priority', 'urgent')) AS urgent,
               count(*) FILTER (WHERE event_type = 'support_ticket' AND age < 30 AND oracle.some_word(event_data -> 'priority', 'high')) AS high
        FROM chs.customer_events e,
             LATERAL (SELECT least(p_day, (c.churned_at AT TIME ZONE 'UTC')::date) - (e.occurred_at AT TIME ZONE 'UTC')::date) a(age)
        WHERE e.customer_id = c.customer_id AND age >= 0) n
$$;

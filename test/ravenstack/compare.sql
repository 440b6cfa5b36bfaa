-- What the engine says about the RavenStack company (credit: River at Rivalytics), and
-- where it differs from the oracle.

CREATE UNLOGGED TABLE raven.engine_score (
    account_id text, day date, score double precision, status text,
    health_score double precision, health_status text, coverage double precision, trend text,
    factor_scores double precision[], health_day date);
CREATE UNLOGGED TABLE raven.engine_explain (
    account_id text, day date, factor text, metric text, value double precision, target double precision,
    score double precision, weight double precision, effective_weight double precision,
    contribution double precision, trend text, sparkline text, details jsonb);

-- The points to ask about: everyone as of each day, or as of now.  Now is a point
-- in time that the transaction fixes, for the day and for the engine alike.
CREATE PROCEDURE raven.ask(days date[], live boolean DEFAULT false) LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE raven.point, raven.engine_score, raven.engine_explain;
    IF live THEN
        days := ARRAY[(now() AT TIME ZONE 'UTC')::date];
    END IF;
    INSERT INTO raven.point SELECT account_id, day FROM raven.customer, unnest(days) day;
    CALL raven.ask_engine(live, NULL);
END
$$;

-- at: asks as of that day, whatever day the answer is expected to be for.
CREATE PROCEDURE raven.ask_engine(live boolean, at date) LANGUAGE sql AS $$
    INSERT INTO raven.engine_score
    SELECT p.account_id, p.day, chs_score(c.customer_id, a.as_of), chs_status(c.customer_id, a.as_of),
           h.score, h.status, h.coverage, h.trend, h.factor_scores, h.day
    FROM raven.point p JOIN chs.customers c ON c.external_id = p.account_id
    CROSS JOIN LATERAL (SELECT CASE WHEN NOT live THEN COALESCE(at, p.day)::timestamp AT TIME ZONE 'UTC' END AS as_of) a
    CROSS JOIN LATERAL chs.health_now(c.customer_id, a.as_of) h;

    INSERT INTO raven.engine_explain
    SELECT p.account_id, p.day, e.*
    FROM raven.point p JOIN chs.customers c ON c.external_id = p.account_id
    CROSS JOIN LATERAL (SELECT CASE WHEN NOT live THEN COALESCE(at, p.day)::timestamp AT TIME ZONE 'UTC' END AS as_of) a
    CROSS JOIN LATERAL chs_explain(c.customer_id, a.as_of) e;

    ANALYZE raven.engine_score, raven.engine_explain;
$$;

-- NaN and infinity are the same as nothing.
CREATE FUNCTION raven.same(a double precision, b numeric) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN a IS NULL OR b IS NULL THEN a IS NULL AND b IS NULL
                ELSE abs(a - b::double precision) <= 1e-9 * greatest(1, abs(b::double precision)) END
$$;

-- Metrics and penalties.  What a penalty row has as score is not stated anywhere;
-- its value is the number of events, its contribution is checked below.
CREATE VIEW raven.differing_metrics AS
SELECT format('%s %s %s: engine value %s target %s score %s weight %s trend %s, oracle %s %s %s %s %s',
              account_id, day, metric, e.value, e.target, e.score, e.weight, e.trend,
              trim_scale(o.value), o.target, trim_scale(o.score), o.weight, o.trend) AS difference
FROM (SELECT * FROM raven.engine_explain WHERE metric IS NOT NULL) e
FULL JOIN (SELECT m.*, t.trend FROM raven.metric_is m JOIN raven.point p USING (account_id, day)
           LEFT JOIN raven.trend_is t ON (t.account_id, t.day, t.metric) = (m.account_id, m.day, m.metric)) o
    USING (account_id, day, factor, metric)
WHERE e.account_id IS NULL OR o.account_id IS NULL
   OR CASE WHEN o.penalty IS NOT NULL THEN NOT raven.same(COALESCE(e.value, 0), o.value)
           ELSE NOT (raven.same(e.value, o.value) AND raven.same(e.target, o.target)
                     AND raven.same(e.score, o.score) AND raven.same(e.weight, o.weight)
                     AND e.trend IS NOT DISTINCT FROM o.trend) END;

CREATE VIEW raven.differing_factors AS
SELECT format('%s %s %s: engine score %s weight %s effective %s trend %s, oracle %s %s %s %s',
              account_id, day, factor, e.score, e.weight, e.effective_weight, e.trend,
              trim_scale(o.score), o.weight, trim_scale(o.effective_weight), o.trend) AS difference
FROM (SELECT * FROM raven.engine_explain WHERE metric IS NULL) e
FULL JOIN (SELECT f.*, t.trend FROM raven.factor_is f JOIN raven.point p USING (account_id, day)
           LEFT JOIN raven.trend_is t ON (t.account_id, t.day, t.factor) = (f.account_id, f.day, f.factor)
                                     AND t.metric IS NULL) o
    USING (account_id, day, factor)
WHERE e.account_id IS NULL OR o.account_id IS NULL
   OR NOT (raven.same(e.score, o.score) AND raven.same(e.weight, o.weight)
           AND raven.same(COALESCE(e.effective_weight, 0), COALESCE(o.effective_weight, 0))
           AND e.trend IS NOT DISTINCT FROM o.trend);

-- Contributions: exact ones, but for the rounding of the score, which one factor
-- takes (and something within it).
CREATE VIEW raven.differing_contributions AS
WITH factor AS (
    SELECT account_id, day, factor, e.contribution, s.score AS total, o.mean, o.penalties, o.effective_weight,
           o.score * o.effective_weight AS exact,
           NOT raven.same(COALESCE(e.contribution, 0), COALESCE(o.score * o.effective_weight, 0)) AS rounded
    FROM raven.engine_explain e JOIN raven.factor_is o USING (account_id, day, factor)
    JOIN raven.score_is s USING (account_id, day)
    WHERE e.metric IS NULL AND s.score IS NOT NULL
), part AS (
    SELECT account_id, day, factor, e.metric, e.contribution, f.rounded, f.contribution AS of_factor,
           e.effective_weight,
           CASE WHEN o.score IS NOT NULL
                THEN o.weight * f.effective_weight
                     / sum(o.weight) FILTER (WHERE o.score IS NOT NULL) OVER (PARTITION BY account_id, day, factor)
           END AS exact_weight,
           CASE WHEN o.penalty IS NULL
                THEN o.score * o.weight * f.effective_weight
                     / sum(o.weight) FILTER (WHERE o.score IS NOT NULL) OVER (PARTITION BY account_id, day, factor)
                -- One that takes more than there is: how the rest is split is not stated.
                WHEN f.penalties <= f.mean THEN - o.value * o.penalty * f.effective_weight
                ELSE e.contribution END AS exact
    FROM raven.engine_explain e JOIN raven.metric_is o USING (account_id, day, factor, metric)
    JOIN factor f USING (account_id, day, factor)
)
SELECT format('%s %s: factors give %s, score %s', account_id, day, sum(contribution), min(total)) AS difference
FROM factor GROUP BY account_id, day
HAVING NOT raven.same(sum(contribution), min(total))
UNION ALL
SELECT format('%s %s: %s factors are not score x effective weight', account_id, day, count(*))
FROM factor WHERE rounded GROUP BY account_id, day HAVING count(*) > 1
UNION ALL
SELECT format('%s %s %s: contribution %s, score x effective weight %s', account_id, day, factor, contribution, exact)
FROM factor f
WHERE rounded AND (NOT COALESCE(abs(contribution::numeric - exact) <= 0.00500001, false)
                   OR exact < (SELECT max(g.exact) - 0.000000001 FROM factor g
                               WHERE (g.account_id, g.day) = (f.account_id, f.day)))
UNION ALL
SELECT format('%s %s %s: metrics give %s, factor %s', account_id, day, factor, sum(contribution), min(of_factor))
FROM part GROUP BY account_id, day, factor
HAVING NOT raven.same(COALESCE(sum(contribution), 0), COALESCE(min(of_factor), 0)::text::numeric)
UNION ALL
SELECT format('%s %s %s %s: effective weight %s, expected %s', account_id, day, factor, metric, effective_weight, exact_weight)
FROM part WHERE NOT raven.same(effective_weight, exact_weight)
UNION ALL
SELECT format('%s %s %s %s: contribution %s, expected %s', account_id, day, factor, metric, contribution, exact)
FROM part
WHERE CASE WHEN rounded THEN NOT COALESCE(abs(COALESCE(contribution, 0)::numeric - COALESCE(exact, 0)) <= 0.00500001, false)
           ELSE NOT raven.same(COALESCE(contribution, 0), COALESCE(exact, 0)::numeric) END;

-- A sparkline has a character for each of the last 30 days, a blank where nothing
-- happened that day; a factor's has 8.
CREATE VIEW raven.differing_sparklines AS
SELECT format('%s %s %s %s: sparkline "%s", expected like "%s"', account_id, day, factor, metric, sparkline, expected)
       AS difference
FROM (SELECT e.*,
             CASE WHEN metric IS NULL THEN repeat('*', 8)
                  ELSE (SELECT string_agg(CASE WHEN CASE
                            WHEN metric = 'ticket_volume'
                            THEN EXISTS (SELECT FROM raven.ticket t WHERE t.account_id = e.account_id AND t.day = d.day::date)
                            ELSE EXISTS (SELECT FROM raven.feature_use f WHERE f.account_id = e.account_id AND f.day = d.day::date)
                            END THEN '*' ELSE ' ' END, '' ORDER BY d.day)
                        FROM generate_series(e.day - 29, e.day::timestamp, '1 day') d(day)) END AS expected
      FROM raven.engine_explain e
      WHERE metric IS NULL OR metric IN ('ticket_volume', 'features_used', 'days_active', 'uses')) e
WHERE CASE WHEN metric IS NULL THEN length(sparkline) IS DISTINCT FROM 8
           ELSE regexp_replace(sparkline, '[^ ]', '*', 'g') IS DISTINCT FROM expected END;

CREATE VIEW raven.differing_scores AS
SELECT format('%s %s: engine score %s %s coverage %s trend %s (health %s %s %s), oracle %s (%s) %s %s %s',
              account_id, day, e.score, e.status, e.coverage, e.trend, e.health_score, e.health_status, e.health_day,
              trim_scale(o.score), trim_scale(o.exact), o.status, o.coverage, o.trend) AS difference
FROM raven.engine_score e
FULL JOIN (SELECT s.*, t.trend, f.scores AS factor_scores
           FROM raven.score_is s JOIN raven.point p USING (account_id, day)
           JOIN (SELECT account_id, day, array_agg(score ORDER BY ordinal) AS scores
                 FROM raven.factor_is GROUP BY account_id, day) f USING (account_id, day)
           LEFT JOIN raven.trend_is t ON (t.account_id, t.day) = (s.account_id, s.day) AND t.factor IS NULL) o
    USING (account_id, day)
WHERE e.account_id IS NULL OR o.account_id IS NULL
   -- The score is the very number that its two decimals are read as.
   OR e.score IS DISTINCT FROM o.score::double precision OR e.status <> o.status
   OR e.health_score IS DISTINCT FROM o.score::double precision OR e.health_status <> o.status
   OR NOT raven.same(e.coverage, o.coverage) OR e.trend IS DISTINCT FROM o.trend OR e.health_day <> o.day
   OR EXISTS (SELECT FROM unnest(e.factor_scores, o.factor_scores) f(engine, oracle)
              WHERE NOT raven.same(f.engine, f.oracle));

-- What is stored, as of the day that it was stored for.
CREATE PROCEDURE raven.ask_stored() LANGUAGE sql AS $$
    TRUNCATE raven.point, raven.engine_score, raven.engine_explain;
    INSERT INTO raven.point
    SELECT c.external_id, h.as_of FROM chs.customer_health h JOIN chs.customers c USING (customer_id);
    INSERT INTO raven.engine_score
    SELECT c.external_id, h.as_of, h.score, h.status, h.score, h.status, h.coverage, h.trend, h.factor_scores, h.as_of
    FROM chs.customer_health h JOIN chs.customers c USING (customer_id);
$$;

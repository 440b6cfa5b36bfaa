-- One customer explained: where every point comes from.
--
--   psql -X -d company -v customer=42 -f explain.sql

\if :{?days}
\else
\set days 30
\endif

\echo '## One customer explained'
\pset tuples_only on
SELECT format('%s, %s%s: score %s, %s%s', name, segment,
              COALESCE(', part of ' || (SELECT p.name FROM chs.customer_list p WHERE p.customer_id = l.parent_id), ''),
              COALESCE(score::text, 'unknown'), status, COALESCE(', ' || trend, ''))
FROM chs.customer_list l
WHERE customer_id = :customer;
\pset tuples_only off

-- Metrics have a character for each day of the last month, factors for each day of the last week.
-- Penalties, which have no weight, are shown only if there are any.
WITH e AS (
    SELECT * FROM chs_explain(:customer) WITH ORDINALITY
)
SELECT CASE WHEN metric IS NULL THEN factor ELSE '  ' || metric END AS "factor, metric",
       round(value::numeric, CASE WHEN abs(value) >= 1000 THEN 0 ELSE 2 END)::double precision AS value,
       target, round(score::numeric, 1) AS score, round(contribution::numeric, 2) AS points,
       CASE trend WHEN 'improving' THEN '↗' WHEN 'declining' THEN '↘' WHEN 'stable' THEN '→' END AS " ",
       right(sparkline, :days) AS "day by day"
FROM (
    SELECT ordinality, factor, metric, value, target, score, contribution, trend, sparkline FROM e
    WHERE metric IS NULL OR weight IS NOT NULL OR value > 0
    UNION ALL
    SELECT 1000, 'sum of the factors: score', NULL, NULL, NULL, NULL, sum(contribution), NULL, NULL FROM e WHERE metric IS NULL
) r
ORDER BY ordinality;

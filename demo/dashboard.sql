-- The dashboard: how many customers are in which status, how the scores are spread, by segment.
-- Reads what the worker keeps up to date: chs.dashboard_stats and chs.customer_list.

\echo '## Dashboard'
SELECT s.status, s.customers, round(s.percent::numeric, 1) AS "%", repeat('█', round(s.percent / 2)::integer) AS " "
FROM chs.dashboard_stats d
CROSS JOIN LATERAL (VALUES
    (1, 'healthy', d.healthy, d.healthy_percent), (2, 'at_risk', d.at_risk, d.at_risk_percent),
    (3, 'critical', d.critical, d.critical_percent), (4, 'unknown', d.unknown, d.unknown_percent)
) s (position, status, customers, percent)
ORDER BY s.position;

\echo '## By segment'
SELECT segment, count(*) AS customers, round(avg(score)::numeric, 1) AS "mean score",
       count(*) FILTER (WHERE status = 'healthy') AS healthy,
       count(*) FILTER (WHERE status = 'at_risk') AS at_risk,
       count(*) FILTER (WHERE status = 'critical') AS critical,
       count(*) FILTER (WHERE trend = 'declining') AS declining
FROM chs.customer_list
WHERE churned_at IS NULL OR churned_at > now()
GROUP BY segment
ORDER BY min(customer_id);

-- Scores in steps of five as columns, eight lines high.
\echo '## Distribution of the scores'
\pset tuples_only on
WITH bucket AS (
    SELECT b, count(l.score) AS customers
    FROM generate_series(0, 19) b
    LEFT JOIN chs.customer_list l ON least(floor(l.score / 5), 19) = b AND (l.churned_at IS NULL OR l.churned_at > now())
    GROUP BY b
), high AS (
    SELECT b, customers, ceil(64.0 * customers / max(customers) OVER ())::integer AS eighths, max(customers) OVER () AS most
    FROM bucket
)
SELECT CASE WHEN line IN (8, 4) THEN lpad((most * line / 8)::text, 4) ELSE '    ' END || ' │ ' ||
       string_agg(repeat(substr(' ▁▂▃▄▅▆▇█', 1 + greatest(0, least(8, eighths - 8 * (line - 1))), 1), 2) || ' ', '' ORDER BY b)
FROM high, generate_series(1, 8) line
GROUP BY line, most
ORDER BY line DESC;
SELECT unnest(ARRAY['     └─' || repeat('─', 60),
                    '       0     10    20    30    40    50    60    70    80    90',
                    '       critical                      at_risk        healthy']);
\pset tuples_only off

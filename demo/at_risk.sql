-- The customers most at risk, each with its reasons: what costs it the most points, according to chs_explain.
--
-- A metric could contribute its effective weight x 100 points; what is missing, it costs.
-- A penalty costs what it takes off.

\echo '## Most at risk, and why'
WITH worst AS (
    SELECT customer_id, name, segment, status, trend, score, created_at,
           row_number() OVER (ORDER BY score, customer_id) AS place
    FROM chs.customer_list
    WHERE score IS NOT NULL AND (churned_at IS NULL OR churned_at > now())
    ORDER BY score, customer_id
    LIMIT 6
), cost AS (
    SELECT w.*, e.metric, e.value, e.target,
           CASE WHEN e.weight IS NULL THEN e.contribution ELSE e.contribution - 100 * e.effective_weight END AS points
    FROM worst w CROSS JOIN LATERAL chs_explain(w.customer_id) e
    WHERE e.metric IS NOT NULL AND e.contribution IS NOT NULL
), reason AS (
    SELECT *, row_number() OVER (PARTITION BY customer_id ORDER BY points, metric) AS rank
    FROM cost
)
SELECT CASE rank WHEN 1 THEN round(score::numeric, 1) END AS score,
       -- Eight weeks, a sign per week: the same function, as of past days.
       CASE rank WHEN 1 THEN (
           SELECT string_agg(COALESCE(substr('▁▂▃▄▅▆▇█', 1 + least(7, floor(chs_score(customer_id, day) / 12.5))::integer, 1),
                                      ' '), '' ORDER BY day)
           FROM generate_series(now() - interval '49 days', now(), interval '7 days') day
           WHERE created_at <= day) END AS "8 weeks",
       CASE rank WHEN 1 THEN left(name, 28) WHEN 2 THEN '  ' || segment || ', ' || status
                 ELSE '  ' || trend END AS customer,
       round(points::numeric, 1) AS points, replace(metric, '_', ' ') AS "lost by",
       round(value::numeric, 2)::double precision || COALESCE(' of ' || target, '') AS value
FROM reason
WHERE rank <= 3
ORDER BY place, rank;

\echo '## Still to be saved: not critical, and falling fastest in four weeks'
SELECT round(earlier.score::numeric, 1) AS "then", round(l.score::numeric, 1) AS now, l.status, l.name AS customer,
       reason.metric || ' ' || round(reason.value::numeric, 2)::double precision ||
       COALESCE(' of ' || reason.target, '') AS "fell most"
FROM chs.customer_list l
CROSS JOIN LATERAL (SELECT chs_score(l.customer_id, now() - interval '28 days') AS score) earlier
CROSS JOIN LATERAL (
    SELECT replace(n.metric, '_', ' ') AS metric, n.value, n.target
    FROM chs_explain(l.customer_id) n
    JOIN chs_explain(l.customer_id, now() - interval '28 days') p USING (factor, metric)
    ORDER BY n.contribution - p.contribution, n.metric
    LIMIT 1) reason
WHERE l.status <> 'critical' AND l.churned_at IS NULL AND l.created_at < now() - interval '60 days'
ORDER BY l.score - earlier.score
LIMIT 6;

\echo '## Gone silent: paying, but no sign of life for two weeks'
SELECT l.name AS customer, l.segment,
       seen.occurred_at::date AS "last seen", now()::date - seen.occurred_at::date AS "days ago",
       round(chs_score(l.customer_id, seen.occurred_at)::numeric, 1) AS "score then", round(l.score::numeric, 1) AS now
FROM chs.customer_list l
CROSS JOIN LATERAL (
    SELECT e.occurred_at FROM chs.customer_events e
    WHERE e.customer_id = l.customer_id AND e.event_type <> 'payment'
    ORDER BY e.occurred_at DESC
    LIMIT 1) seen
WHERE l.churned_at IS NULL AND seen.occurred_at < now() - interval '14 days'
ORDER BY seen.occurred_at;

-- What it costs, and whether it is right.

\echo '## What it costs, and whether it is right'
SELECT count(chs_score(customer_id)) AS scores FROM chs.customers \gset
SELECT clock_timestamp() AS t0 \gset
SELECT count(chs_score(customer_id)) AS scores FROM chs.customers, generate_series(1, 10) \gset
SELECT clock_timestamp() AS t1 \gset
SELECT count(*) AS differences FROM chs_verify() \gset
SELECT clock_timestamp() AS t2 \gset

\pset tuples_only on
SELECT 'one chs_score, microseconds (mean over all customers, ten times each)',
       round(extract(epoch FROM :'t1'::timestamptz - :'t0') * 1e5 / (SELECT count(*) FROM chs.customers), 1)::text
UNION ALL
SELECT 'mean size of a customer''s activity, bytes', round(avg(pg_column_size(activity)))::text FROM chs.activity
UNION ALL
SELECT 'differences found by chs_verify(), which recomputes everything from the raw events', :'differences'
UNION ALL
SELECT 'seconds it took', round(extract(epoch FROM :'t2'::timestamptz - :'t1'), 2)::text;
\pset tuples_only off

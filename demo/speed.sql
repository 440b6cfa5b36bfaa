-- What it costs, and whether it is true.

\echo '## What it costs, and whether it is true'
SELECT clock_timestamp() AS t0 \gset
SELECT count(chs_score(customer_id)) AS scores FROM chs.customer_list \gset
SELECT clock_timestamp() AS t1 \gset
SELECT count(*) AS differences FROM chs_verify() \gset
SELECT clock_timestamp() AS t2 \gset

\pset tuples_only on
SELECT 'one chs_score, microseconds (mean of all customers)',
       round(extract(epoch FROM :'t1'::timestamptz - :'t0') * 1e6 / (SELECT count(*) FROM chs.customer_list), 1)::text
UNION ALL
SELECT 'mean size of a customer''s activity, bytes', round(avg(pg_column_size(activity)))::text FROM chs.activity
UNION ALL
SELECT 'differences found by chs_verify(), which recomputes all from the raw events', :'differences'
UNION ALL
SELECT 'seconds it took', round(extract(epoch FROM :'t2'::timestamptz - :'t1'), 2)::text;
\pset tuples_only off

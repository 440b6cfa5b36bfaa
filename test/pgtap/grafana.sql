-- The Grafana dashboard: every query runs with the rights of a reader, and Grafana
-- accepts the document.

\ir begin.psql
\set document `cat grafana/customer-health.json`

INSERT INTO chs.customers (customer_id, name, segment, created_at)
SELECT i, 'c' || i, (ARRAY['smb', 'enterprise', NULL])[1 + i % 3], '2020-01-01' FROM generate_series(1, 9) i;
INSERT INTO chs.customer_events (customer_id, event_type, event_data)
SELECT i, t, '{"endpoint": "/", "ip_address": "::1", "amount": 5, "feature_name": "f"}'
FROM generate_series(1, 9) i, unnest('{api_call,login,payment,feature_use,support_ticket}'::text[]) t;
SELECT chs_process_queue() \g /dev/null
INSERT INTO chs.health_scores (customer_id, score, status, coverage, factor_scores, scorecard, version, as_of, calculated_at)
SELECT customer_id, 90 - d, CASE WHEN d > 15 THEN 'at_risk' ELSE 'healthy' END, 1, factor_scores, scorecard, version, as_of - d, calculated_at - d * interval '1 day'
FROM chs.customer_health, generate_series(1, 40) d;
INSERT INTO chs.backtests (outcome, horizon, gap, first_origin, last_origin, every, min_age, document, customers, report)
VALUES ('churned', 30, 0, '2026-01-01', '2026-01-01', '1 month', 0, '{}', 9,
        '{"figures": [{"figure": "auc", "value": 0.7, "low": 0.6, "high": 0.8, "verdict": "yes"}], "origins": [{"origin": "2026-01-01", "auc": 0.7}]}');

CREATE TEMP TABLE dashboard AS SELECT :'document'::jsonb AS document;
CREATE TEMP TABLE panels AS
SELECT p AS panel, p ->> 'title' AS title, p ->> 'type' AS type, p -> 'gridPos' AS pos
FROM dashboard, jsonb_array_elements(document -> 'panels') p;
CREATE TEMP TABLE queries AS
SELECT title, t ->> 'rawSql' AS query, t ->> 'format' AS format, type FROM panels, jsonb_array_elements(panel -> 'targets') t
UNION ALL
SELECT 'variable ' || (v ->> 'name'), v ->> 'query', 'table', 'variable' FROM dashboard, jsonb_array_elements(document #> '{templating,list}') v WHERE v ->> 'type' = 'query';

-- What Grafana substitutes for macros and variables.
CREATE FUNCTION pg_temp.filled_in(query text) RETURNS text LANGUAGE sql AS $$
    SELECT replace(replace(replace(replace(query,
        '$__timeFrom()', quote_literal(to_char(now() - interval '30 days', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))),
        '$__timeTo()', quote_literal(to_char(now(), 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))),
        '${segment:sqlstring}', '''smb'',''enterprise'',''(none)'''),
        '${customer_id}', '2')
$$;
CREATE ROLE chs_tap_grafana;
SELECT chs_grant('chs_tap_grafana', m) FROM unnest('{read,operate}'::text[]) m \g /dev/null
GRANT USAGE ON SCHEMA tap TO PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA pg_temp TO PUBLIC;
SELECT cmp_ok((SELECT count(*) FROM queries), '>=', 15::bigint, 'the dashboard has queries');
SET LOCAL ROLE chs_tap_grafana;
SELECT lives_ok(pg_temp.filled_in(query), title || ': its query runs') FROM queries;
SELECT isnt_empty(pg_temp.filled_in(query), title || ': and finds something') FROM queries WHERE title <> 'Workers' AND title <> 'Heading down';
RESET ROLE;
SELECT is_empty($$SELECT title, left(query, 60) FROM queries WHERE pg_temp.filled_in(query) ~ '\$'$$, 'no other macro or variable is used');
SELECT ok(query ~ '\mAS time\M' AND query ~ 'ORDER BY', title || ': has the time, in its order') FROM queries WHERE type = 'timeseries';
SELECT ok(query ~ '\mAS metric\M', title || ': has the name of the series') FROM queries WHERE format = 'time_series';

SELECT is_empty($$SELECT p FROM panels p, jsonb_path_query(panel, 'strict $.**.datasource') d WHERE d <> '{"type": "grafana-postgresql-datasource", "uid": "${datasource}"}'$$,
    'every panel has the data source that is chosen above');
SELECT is((SELECT document #>> '{templating,list,0,type}' FROM dashboard), 'datasource', 'which is a variable');
SELECT is((SELECT count(DISTINCT panel -> 'id') FROM panels), (SELECT count(*) FROM panels), 'panels have numbers of their own');
SELECT is_empty($$SELECT title FROM panels WHERE type NOT IN ('stat', 'gauge', 'barchart', 'table', 'timeseries', 'row')$$, 'of types that Grafana has');
SELECT is_empty($$
    SELECT a.title, b.title FROM panels a JOIN panels b ON a.panel ->> 'id' < b.panel ->> 'id'
      AND (a.pos ->> 'x')::int < (b.pos ->> 'x')::int + (b.pos ->> 'w')::int AND (b.pos ->> 'x')::int < (a.pos ->> 'x')::int + (a.pos ->> 'w')::int
      AND (a.pos ->> 'y')::int < (b.pos ->> 'y')::int + (b.pos ->> 'h')::int AND (b.pos ->> 'y')::int < (a.pos ->> 'y')::int + (a.pos ->> 'h')::int$$,
    'no panel lies on another');
SELECT is_empty($$SELECT title FROM panels WHERE (pos ->> 'x')::int + (pos ->> 'w')::int > 24$$, 'nor beyond the edge');

SELECT * FROM finish();
ROLLBACK;

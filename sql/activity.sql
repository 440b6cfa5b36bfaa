-- The type chs_activity: what it holds, how it merges, what it refuses to read.
\set ECHO none \i test/refusal.sql \set ECHO all
SET timezone = 'Asia/Kathmandu';
SET datestyle = 'ISO';
CREATE TABLE sample (n integer, event_type text, event_data jsonb, occurred_at timestamptz);
INSERT INTO sample
SELECT i, (ARRAY['api_call', 'login', 'payment', 'feature_use', 'support_ticket'])[1 + i % 5],
       jsonb_build_object('endpoint', '/' || i % 7, 'status_code', 200 + 100 * (i % 4), 'user_id', i % 3, 'session_duration', i * 1.5,
                          'amount', 10.01 * i, 'days_late', i % 4 - 1, 'status', (ARRAY['overdue', 'completed'])[1 + i % 2],
                          'feature_name', i % 4, 'tier', (ARRAY['basic', 'advanced'])[1 + i % 2], 'priority', 'high',
                          'satisfaction', 1 + i % 5, 'resolution_time', i * 1000),
       '2024-03-31 23:30+00'::timestamptz - i * interval '17 hours'
FROM generate_series(1, 120) i;
CREATE TABLE stored (part integer, activity chs_activity);
CREATE VIEW document AS SELECT document FROM chs.scorecard_versions WHERE version = 1;
CREATE VIEW whole AS SELECT chs_activity_agg(document, event_type, event_data, occurred_at) AS activity FROM sample, document;
INSERT INTO stored SELECT n % 7, chs_activity_agg(document, event_type, event_data, occurred_at) FROM sample, document GROUP BY 1;

-- Text and binary forms survive a round trip.
SELECT bool_and(activity::text::chs_activity::text = activity::text) AS text_survives FROM stored;
SELECT current_setting('data_directory') || '/chs_activity.bin' AS file \gset
COPY stored TO :'file' (FORMAT binary);
CREATE TABLE read_back (LIKE stored);
COPY read_back FROM :'file' (FORMAT binary);
SELECT count(*), bool_and(s.activity::text = r.activity::text) AS binary_survives FROM stored s JOIN read_back r USING (part);

-- Merged in any order it is the same, and the same as the whole.
SELECT chs.activity_merge_agg(activity)::text = (SELECT activity::text FROM whole) AS merged_is_whole FROM stored;
SELECT chs.activity_merge_agg(activity ORDER BY part DESC)::text = (SELECT activity::text FROM whole) AS backwards_too FROM stored;
SELECT bool_and(chs_activity_merge(a.activity, b.activity)::text = chs_activity_merge(b.activity, a.activity)::text) AS commutative,
       bool_and(chs_activity_merge(chs_activity_merge(a.activity, b.activity), c.activity)::text
                = chs_activity_merge(a.activity, chs_activity_merge(b.activity, c.activity))::text) AS associative
FROM stored a, stored b, stored c WHERE a.part < 3 AND c.part > 3;
SELECT chs_activity_merge(NULL, activity), chs_activity_merge(activity, NULL) FROM stored WHERE part = 1;
-- An aggregate changes neither its inputs nor a state that it has given out.
SELECT bool_and(activity::text = (SELECT r.activity::text FROM read_back r WHERE r.part = s.part)) AS inputs_unchanged FROM stored s;
SELECT count(DISTINCT total::text) AS states, bool_and(last) AS last_is_whole FROM (
    SELECT n, chs_activity_agg(document, event_type, event_data, occurred_at) OVER (ORDER BY n) AS total,
           n < 120 OR chs_activity_agg(document, event_type, event_data, occurred_at) OVER (ORDER BY n)::text = (SELECT activity::text FROM whole) AS last
    FROM sample, document) x;
SELECT chs_activity_agg(document, event_type, event_data, occurred_at) FILTER (WHERE n > 60)::text
       = (SELECT chs_activity_agg(document, event_type, event_data, occurred_at)::text FROM sample, document WHERE n > 60) AS filtered
FROM sample, document;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 3;
SELECT (SELECT document FROM document) AS document \gset
EXPLAIN (COSTS off) SELECT chs.activity_merge_agg(activity) FROM stored;
SELECT chs.activity_merge_agg(activity)::text = (SELECT activity::text FROM whole) AS parallel_is_whole FROM stored;
SELECT chs_activity_agg(:'document', event_type, event_data, occurred_at)::text = (SELECT activity::text FROM whole) AS parallel_too FROM sample;
RESET max_parallel_workers_per_gather;

-- What it holds: days are UTC days.
SELECT aggregate, day, value_hash IS NOT NULL AS hashed, n, total, count(*) AS series
FROM chs.activity_cells((SELECT chs_activity_agg(document, 'payment', '{"amount": 12.3456785, "days_late": -2, "status": "overdue"}', t)
                         FROM document, unnest('{2024-03-31 05:44:59.999999+05:45, 2024-03-31 05:45+05:45}'::timestamptz[]) t))
GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 4, 5;
SELECT aggregate, day, n, total FROM chs.activity_cells((SELECT chs_activity_agg(document, 'payment', jsonb_build_object('amount', a), '2024-03-31')
    FROM document, unnest(ARRAY['1', '"1"', 'null', 'true', '[1]', '0.0000005', '-0.0000005', '1e20', '1e24', '1e-300']::jsonb[]) a))
WHERE aggregate = 'sum' GROUP BY 1, 2, 3, 4;
SELECT count(*) FROM chs.activity_cells((SELECT chs_activity_agg(document, 'login', jsonb_build_object('user_id', u), '2024-03-31')
    FROM document, unnest(ARRAY['1', '"1"', '1.0', 'null', 'true', '[1]', '[1, 2]', '{"a": 1}', '""']::jsonb[]) u))
WHERE aggregate = 'distinct';
SELECT count(*) FROM chs.activity_cells((SELECT chs_activity_agg(document, 'no_such_type', '{}', '2024-03-31') FROM document));
SELECT chs_activity_agg(document, 'login', '{}', '2024-03-31') FROM document WHERE false;
SELECT chs_activity_agg(NULL, 'login', '{}', '2024-03-31') IS NULL AS nothing, chs_activity_agg(document, NULL, '{}', '2024-03-31') IS NULL AS nothing_,
       chs_activity_agg(document, 'login', NULL, '2024-03-31') IS NULL AS nothing__, chs_activity_agg(document, 'login', '{}', NULL) IS NULL AS nothing___
FROM document;
SELECT chs_activity_agg(document, 'login', '[]', '2024-03-31') IS NOT NULL AS an_array, chs_activity_agg(document, 'login', '5', '2024-03-31') IS NOT NULL AS a_number FROM document;
SELECT chs_activity_agg(document, 'login', '{}', 'infinity') FROM document;
SELECT chs_activity_agg(document, 'login', '{}', '294276-12-31 23:59:59+00') IS NOT NULL AS latest,
       chs_activity_agg(document, 'login', '{}', '4714-11-24 00:00+00 BC') IS NOT NULL AS earliest FROM document;

-- Pruned, it scores the same from that day on.
SELECT bool_and(a.score IS NOT DISTINCT FROM b.score AND a.factor_scores IS NOT DISTINCT FROM b.factor_scores AND a.trend IS NOT DISTINCT FROM b.trend) AS same,
       bool_and(a.score IS NOT NULL) AS known
FROM whole, document, generate_series('2024-03-20 00:00+00'::timestamptz, '2024-06-01 00:00+00', '1 day') d,
     LATERAL chs_activity_score(activity, document, 'smb', '2020-01-01', d) a,
     LATERAL chs_activity_score(chs.activity_prune(activity, document, '2024-03-20 12:00+00'), document, 'smb', '2020-01-01', d) b;
SELECT length(chs.activity_prune(activity, document, '2024-03-20 12:00+00')::text) < length(activity::text) AS smaller,
       chs.activity_prune(chs.activity_prune(activity, document, '2024-03-20'), document, '2024-03-20')::text
       = chs.activity_prune(activity, document, '2024-03-20')::text AS twice_is_once FROM whole, document;
SELECT chs_activity_score(chs.activity_prune(activity, document, '2024-03-20'), document, 'smb', '2020-01-01', '2024-03-19') FROM whole, document;
SELECT score, status, coverage, trend, factor_scores FROM document, chs_activity_score(NULL, document, 'smb', '2020-01-01', '2024-03-31 12:00+00');
SELECT score, status, coverage, trend, factor_scores FROM document, chs_activity_score(NULL, document, 'no_such_segment', '2020-01-01', '2024-03-31 12:00+00');
SELECT * FROM chs_activity_score(NULL, NULL, 'smb', '2020-01-01', '2024-03-31');
SELECT * FROM document, chs_activity_score(NULL, document, 'smb', NULL, '2024-03-31') WHERE false;

-- Malformed.
SELECT refusal(s) FROM unnest(ARRAY[
    $$SELECT ''::chs_activity$$,
    $$SELECT 'x'::chs_activity$$,
    $$SELECT '0'::chs_activity$$,
    $$SELECT '00'::chs_activity$$,
    $$SELECT '010000000000008000000000'::chs_activity$$]) s \g (format=unaligned tuples_only=on)
SELECT '0100000000000080d5f4e247'::chs_activity;
SELECT '010000000000008043176519ff'::chs_activity;
SELECT '01000000000000fffc9c6968'::chs_activity;
SELECT upper(activity::text)::chs_activity FROM stored WHERE part = 0 AND upper(activity::text) = activity::text;
SELECT refusal(s) FROM unnest(ARRAY[
    $$SELECT repeat('0', 100000)::chs_activity$$,
    $$SELECT repeat('f', 1000)::chs_activity$$,
    $$SELECT repeat('01', 1000)::chs_activity$$]) s \g (format=unaligned tuples_only=on)

-- Every bit of a real one turned over, every length of it, and bytes put in: either it is
-- refused as what it is, or it is a valid activity that prints as it was read.
CREATE FUNCTION try(text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    activity chs_activity;
BEGIN
    activity := $1::chs_activity;
    PERFORM count(*) FROM chs.activity_cells(activity);
    PERFORM chs_activity_score(activity, document, 'smb', '2020-01-01', '2024-03-31') FROM document;
    PERFORM chs_activity_merge(activity, activity);
    RETURN CASE WHEN activity::text = $1 THEN 'read' ELSE 'read as another' END;
EXCEPTION WHEN invalid_text_representation OR invalid_binary_representation OR data_corrupted OR feature_not_supported OR program_limit_exceeded OR numeric_value_out_of_range THEN
    RETURN 'refused';
END
$$;
CREATE VIEW bytes AS SELECT decode(activity::text, 'hex') AS b FROM (
    SELECT chs_activity_agg(document, event_type, event_data, occurred_at) AS activity FROM sample, document WHERE n <= 12) x;
CREATE TEMP TABLE outcome AS
SELECT 'bit' AS change, try(encode(set_bit(b, i, 1 - get_bit(b, i)), 'hex')) AS outcome FROM bytes, generate_series(0, 8 * length(b) - 1) i
UNION ALL SELECT 'cut', try(encode(substr(b, 1, i), 'hex')) FROM bytes, generate_series(0, length(b) - 1) i
UNION ALL SELECT 'longer', try(encode(b || set_byte('\x00', 0, i), 'hex')) FROM bytes, generate_series(0, 255) i
UNION ALL SELECT 'byte ' || v, try(encode(set_byte(b, i, v), 'hex')) FROM bytes, generate_series(0, length(b) - 1) i, unnest('{0,1,127,128,255}'::integer[]) v
UNION ALL SELECT 'inserted', try(encode(substr(b, 1, i) || '\x80'::bytea || substr(b, i + 1), 'hex')) FROM bytes, generate_series(0, length(b) - 1) i
UNION ALL SELECT 'left out', try(encode(substr(b, 1, i) || substr(b, i + 2), 'hex')) FROM bytes, generate_series(0, length(b) - 1) i;
SELECT change, bool_or(outcome = 'refused') AS some_refused, bool_or(outcome = 'read as another') AS some_misread FROM outcome GROUP BY 1 ORDER BY 1;

-- Its helpers, called in ways that are not theirs.
SELECT chs.activity_transition(activity, document, 'login', '{}', '2024-01-01') FROM stored, document LIMIT 1;
SELECT chs.activity_combine(activity, activity) FROM stored LIMIT 1;
SELECT chs.activity_final(activity)::text = activity::text AS same FROM stored LIMIT 1;

DROP VIEW bytes, whole, document;
DROP FUNCTION try(text);
DROP TABLE sample, stored, read_back;

-- Curves, and documents that nobody published.
\set ECHO none \i test/refusal.sql \set ECHO all
SELECT x, chs.curve('0:0 1:100', x) FROM unnest('{-1,0,0.25,0.5,1,2,Infinity,-Infinity,NaN}'::float8[]) x;
SELECT x, chs.curve('0:100 1:80 2:80 3:60 4:60 5:40 6:40 12:10', x) FROM unnest('{0,0.5,1,1.5,2,2.5,6,9,12,100}'::float8[]) x;
SELECT x, chs.curve('3:0 10:100', x) FROM unnest('{2,3,6.5,10}'::float8[]) x;
SELECT chs.curve('5:70', 4), chs.curve('5:70', 5), chs.curve('5:70', 6);
SELECT chs.curve('-2.5:10 1e3:20.25', -2.5), chs.curve(NULL, 1), chs.curve('0:0', NULL);
-- The distance between two points may be beyond the largest number.
SELECT x, chs.curve('-1e308:0 1e308:100', x), chs.curve('-1.7e308:100 1.7e308:0', x) FROM unnest('{-1e308,-5e307,0,1,5e307,1e308}'::float8[]) x;
SELECT chs.curve('  0:0   1:100', 0.5);
SELECT chs.curve('0:0 1:100 ', 0.5);
SELECT chs.curve_is_valid('0:0 1:100');

-- Malformed.
SELECT refusal(s) FROM unnest(ARRAY[
    $$SELECT chs.curve('', 1)$$,
    $$SELECT chs.curve(' ', 1)$$,
    $$SELECT chs.curve('0', 1)$$,
    $$SELECT chs.curve('0:', 1)$$,
    $$SELECT chs.curve(':0', 1)$$,
    $$SELECT chs.curve('0:0,1:100', 1)$$,
    $$SELECT chs.curve('0:0 1:100 x', 1)$$,
    $$SELECT chs.curve('0:0 1:1o0', 1)$$,
    $$SELECT chs.curve('0:0:0', 1)$$,
    $$SELECT chs.curve('1:0 0:100', 1)$$,
    $$SELECT chs.curve('1:0 1:100', 1)$$,
    $$SELECT chs.curve('0:-1 1:100', 1)$$,
    $$SELECT chs.curve('0:0 1:100.5', 1)$$,
    $$SELECT chs.curve('0:0 Infinity:100', 1)$$,
    $$SELECT chs.curve('NaN:0 1:100', 1)$$,
    $$SELECT chs.curve('0:0 1:NaN', 1)$$,
    $$SELECT chs.curve('0:0 1e400:100', 1)$$,
    $$SELECT chs.curve('0x10:0 0x20:100', 1)$$]) s \g (format=unaligned tuples_only=on)
SELECT chs.curve((SELECT string_agg(i || ':' || i % 100, ' ') FROM generate_series(1, 100000) i), 1) IS NOT NULL AS long_curve;

-- Versions that are published stay as they are.
DELETE FROM chs.scorecard_versions;
\echo :LAST_ERROR_SQLSTATE
UPDATE chs.scorecard_versions SET note = 'other';
TRUNCATE chs.scorecard_versions CASCADE;

-- Documents that nobody published.
SELECT refusal(s) FROM unnest(ARRAY[
    $$SELECT chs.document_series('{}')$$,
    $$SELECT chs.document_series('[]')$$,
    $$SELECT chs.document_series('{"scorecards": {"s": {"factors": [{"factor": "f", "weight": 1, "metrics": [{"metric": "m"}]}]}}}')$$,
    -- Products of such small weights would have too few digits for contributions that sum to the score.
    $$SELECT chs.document_series(jsonb_set(document, '{scorecards,default,factors,0,weight}', '5e-324')) FROM chs.scorecard_versions$$,
    $$SELECT chs.document_series(jsonb_set(document, '{scorecards,default,factors,0,metrics,0,weights}', '{"smb": 9e-301}')) FROM chs.scorecard_versions$$]) s \g (format=unaligned tuples_only=on)
SELECT chs.document_series(jsonb_set(document, '{scorecards,default,factors,0,weight}', '1e-300')) IS NOT NULL AS small_enough FROM chs.scorecard_versions;
SELECT refusal(s) FROM unnest(ARRAY[
    $$SELECT * FROM chs_activity_score(NULL, '{}', NULL, '2020-01-01', '2024-01-01')$$,
    $$SELECT * FROM chs_activity_score(NULL, '{"default": "none", "segments": {}, "scorecards": {}}', NULL, '2020-01-01', '2024-01-01')$$,
    $$SELECT chs_activity_agg('{"default": 1}', 'login', '{}', '2024-01-01')$$]) s \g (format=unaligned tuples_only=on)

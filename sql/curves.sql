-- Curves, and what the tables of the draft refuse.
SELECT x, chs_curve('0:0 1:100', x) FROM unnest('{-1,0,0.25,0.5,1,2,Infinity,-Infinity,NaN}'::float8[]) x;
SELECT x, chs_curve('0:100 1:80 2:80 3:60 4:60 5:40 6:40 12:10', x) FROM unnest('{0,0.5,1,1.5,2,2.5,6,9,12,100}'::float8[]) x;
SELECT x, chs_curve('3:0 10:100', x) FROM unnest('{2,3,6.5,10}'::float8[]) x;
SELECT chs_curve('5:70', 4), chs_curve('5:70', 5), chs_curve('5:70', 6);
SELECT chs_curve('-2.5:10 1e3:20.25', -2.5), chs_curve(NULL, 1), chs_curve('0:0', NULL);
SELECT chs_curve('  0:0   1:100', 0.5);
SELECT chs_curve('0:0 1:100 ', 0.5);
SELECT chs.curve_is_valid('0:0 1:100');

-- Malformed.
SELECT chs_curve('', 1);
\echo :LAST_ERROR_SQLSTATE
SELECT chs_curve(' ', 1);
SELECT chs_curve('0', 1);
SELECT chs_curve('0:', 1);
SELECT chs_curve(':0', 1);
SELECT chs_curve('0:0,1:100', 1);
SELECT chs_curve('0:0 1:100 x', 1);
SELECT chs_curve('0:0 1:1o0', 1);
SELECT chs_curve('0:0:0', 1);
SELECT chs_curve('1:0 0:100', 1);
SELECT chs_curve('1:0 1:100', 1);
SELECT chs_curve('0:-1 1:100', 1);
SELECT chs_curve('0:0 1:100.5', 1);
SELECT chs_curve('0:0 Infinity:100', 1);
SELECT chs_curve('NaN:0 1:100', 1);
SELECT chs_curve('0:0 1:NaN', 1);
SELECT chs_curve('0:0 1e400:100', 1);
SELECT chs_curve('0x10:0 0x20:100', 1);
SELECT chs_curve((SELECT string_agg(i || ':' || i % 100, ' ') FROM generate_series(1, 100000) i), 1) IS NOT NULL AS long_curve;

-- The draft.
BEGIN;
\set ON_ERROR_ROLLBACK on
INSERT INTO chs.scorecards (scorecard) VALUES ('');
INSERT INTO chs.scorecards (scorecard, is_default) VALUES ('second', true);
INSERT INTO chs.scorecards (scorecard, min_coverage) VALUES ('x', 1.01);
INSERT INTO chs.scorecards (scorecard, min_coverage) VALUES ('x', 'NaN');
INSERT INTO chs.scorecards (scorecard, healthy_from, at_risk_from) VALUES ('x', 50, 60);
INSERT INTO chs.scorecards (scorecard, trend_days) VALUES ('x', 0);
INSERT INTO chs.factors (scorecard, factor, position, weight) VALUES ('default', '', 9, 1);
INSERT INTO chs.factors (scorecard, factor, position, weight) VALUES ('default', 'x', 9, -1);
INSERT INTO chs.factors (scorecard, factor, position, weight) VALUES ('default', 'x', 9, 'NaN');
INSERT INTO chs.factors (scorecard, factor, position, weight) VALUES ('default', 'x', 9, 'Infinity');
INSERT INTO chs.factors (scorecard, factor, position, weight) VALUES ('default', 'x', 1, 1);
INSERT INTO chs.factors (scorecard, factor, position, weight) VALUES ('none', 'x', 1, 1);
INSERT INTO chs.segments (segment, scorecard) VALUES ('x', 'none');
DELETE FROM chs.scorecards WHERE scorecard = 'default';

CREATE TABLE try (like chs.metrics);
INSERT INTO try VALUES ('default', 'api_usage', 'm', 20, NULL, 'api_call', 'count', 'count', NULL, NULL, NULL, 30, '0:0 1:100', 1, 'missing', NULL, NULL);
CREATE FUNCTION try(changes text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    violated text;
BEGIN
    EXECUTE 'UPDATE try SET ' || changes;
    INSERT INTO chs.metrics SELECT * FROM try;
    RAISE 'accepted' USING ERRCODE = 'ZZZZZ';
EXCEPTION WHEN check_violation OR not_null_violation OR unique_violation OR foreign_key_violation THEN
    GET STACKED DIAGNOSTICS violated = CONSTRAINT_NAME;
    RETURN SQLSTATE || ' ' || CASE violated WHEN '' THEN SQLERRM ELSE violated END;
WHEN OTHERS THEN
    RETURN SQLERRM;
END
$$;
SELECT c AS change, try(c) FROM unnest(ARRAY[
    'weight = 1', 'metric = ''''', 'factor = ''none''', 'position = 1', 'event_type = NULL',
    'aggregate = ''median''', 'aggregate = ''sum''', 'aggregate = ''sum'', field = ''amount''', 'field = ''amount''', 'aggregate = ''sum'', field = ''''',
    'aggregate = ''distinct'', field = ''a'', measure = ''sum''', 'measure = ''mean''', 'measure = ''sum''',
    'aggregate = ''ratio'', filter = ''$.a == 1''', 'aggregate = ''ratio'', measure = ''sum''',
    'aggregate = ''ratio'', measure = ''sum'', field = ''a'', base_filter = ''$.a > 1''', 'base_filter = ''$.a > 1''',
    'aggregate = ''growth''', 'aggregate = ''active_days''', 'aggregate = ''days_since_last''',
    'window_days = 0', 'window_days = 731', 'window_days = 730', 'curve = NULL', 'weight = NULL', 'weight = -1', 'weight = ''NaN''', 'missing = NULL',
    'missing = ''guess''', 'missing = ''score''', 'missing = ''score'', missing_score = 70', 'missing_score = 70',
    'missing = ''score'', missing_score = 101', 'missing = ''score'', missing_score = ''NaN''',
    'penalty = 5', 'penalty = 5, curve = NULL, weight = NULL, missing = NULL',
    'penalty = 0, curve = NULL, weight = NULL, missing = NULL', 'penalty = ''NaN'', curve = NULL, weight = NULL, missing = NULL',
    'penalty = 5, curve = NULL, weight = NULL, missing = NULL, aggregate = ''sum'', field = ''a''', 'curve = ''1:0 0:1''', 'curve = ''nonsense''']) c;
INSERT INTO chs.targets (scorecard, factor, metric, segment, target) VALUES ('default', 'api_usage', 'api_calls', 'none', 1);
INSERT INTO chs.targets (scorecard, factor, metric, segment, target) VALUES ('default', 'api_usage', 'api_calls', NULL, 1);
INSERT INTO chs.targets (scorecard, factor, metric, segment, target) VALUES ('default', 'api_usage', 'api_calls', 'smb', 0);
INSERT INTO chs.targets (scorecard, factor, metric, segment, target) VALUES ('default', 'api_usage', 'api_error_rate', NULL, 0);
INSERT INTO chs.targets (scorecard, factor, metric, segment, target) VALUES ('default', 'api_usage', 'api_error_rate', NULL, 'Infinity');
INSERT INTO chs.targets (scorecard, factor, metric, segment, target) VALUES ('default', 'api_usage', 'api_error_rate', NULL, 'NaN');
ROLLBACK;
\set ON_ERROR_ROLLBACK off

-- Versions that are published stay as they are.
DELETE FROM chs.scorecard_versions;
\echo :LAST_ERROR_SQLSTATE
UPDATE chs.scorecard_versions SET note = 'other';
TRUNCATE chs.scorecard_versions CASCADE;

-- Documents that nobody published.
SELECT chs.document_series('{}');
SELECT chs.document_series('[]');
SELECT chs.document_series('{"scorecards": {"s": {"factors": [{"factor": "f", "weight": 1, "metrics": [{"metric": "m"}]}]}}}');
SELECT * FROM chs_activity_score(NULL, '{}', NULL, '2020-01-01', '2024-01-01');
SELECT * FROM chs_activity_score(NULL, '{"default": "none", "segments": {}, "scorecards": {}}', NULL, '2020-01-01', '2024-01-01');
SELECT chs_activity_agg('{"default": 1}', 'login', '{}', '2024-01-01');

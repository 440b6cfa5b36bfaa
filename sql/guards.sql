-- What the tables of the draft refuse, and what they say.
\set ECHO none \i test/refusal.sql \set ECHO all
\pset format unaligned
\pset tuples_only on

\echo # scorecards
SELECT refusal(s) FROM unnest(ARRAY[
    $$INSERT INTO chs.scorecards (scorecard) VALUES ('')$$,
    $$INSERT INTO chs.scorecards (scorecard, min_coverage) VALUES ('x', 1.01)$$,
    $$INSERT INTO chs.scorecards (scorecard, min_coverage) VALUES ('x', 'NaN')$$,
    $$INSERT INTO chs.scorecards (scorecard, healthy_from) VALUES ('x', -1)$$,
    $$INSERT INTO chs.scorecards (scorecard, healthy_from) VALUES ('x', NULL)$$,
    $$INSERT INTO chs.scorecards (scorecard, at_risk_from) VALUES ('x', 101)$$,
    $$INSERT INTO chs.scorecards (scorecard, healthy_from, at_risk_from) VALUES ('x', 50, 60)$$,
    $$INSERT INTO chs.scorecards (scorecard, grace) VALUES ('x', NULL)$$,
    $$INSERT INTO chs.scorecards (scorecard, is_default) VALUES ('x', NULL)$$,
    $$INSERT INTO chs.scorecards (scorecard, trend_days) VALUES ('x', 0)$$,
    $$INSERT INTO chs.scorecards (scorecard, trend_band) VALUES ('x', 200)$$,
    $$INSERT INTO chs.scorecards (scorecard, is_default) VALUES ('second', true)$$,
    $$UPDATE chs.scorecards SET is_default = true WHERE scorecard = 'volume_only'$$,
    $$DELETE FROM chs.scorecards WHERE scorecard = 'default'$$]) s;
BEGIN;
UPDATE chs.scorecards SET is_default = (scorecard = 'volume_only');
UPDATE chs.scorecards SET is_default = (scorecard = 'default');
UPDATE chs.scorecards SET is_default = false;
SELECT chs_publish();
ROLLBACK;

\echo # factors
SELECT refusal(s) FROM unnest(ARRAY[
    $$INSERT INTO chs.factors (scorecard, factor, weight) VALUES ('default', '', 1)$$,
    $$INSERT INTO chs.factors (scorecard, factor, weight) VALUES ('default', 'x', -1)$$,
    $$UPDATE chs.factors SET weight = -0.1 WHERE (scorecard, factor) = ('default', 'api_usage')$$,
    $$INSERT INTO chs.factors (scorecard, factor, weight) VALUES ('default', 'x', NULL)$$,
    $$INSERT INTO chs.factors (scorecard, factor, weight) VALUES ('default', 'x', 'NaN')$$,
    $$INSERT INTO chs.factors (scorecard, factor, weight) VALUES ('default', 'x', 'Infinity')$$,
    $$INSERT INTO chs.factors (scorecard, factor, weight, position) VALUES ('default', 'x', 1, 1)$$,
    $$INSERT INTO chs.factors (scorecard, factor, weight) VALUES ('none', 'x', 1)$$]) s;

\echo # metrics
CREATE FUNCTION with_changes(changes text) RETURNS text LANGUAGE sql AS $f$
    SELECT refusal(format($$CREATE TEMP TABLE try AS SELECT * FROM chs.metrics WHERE (scorecard, metric) = ('default', 'api_calls');
        UPDATE try SET metric = 'm', position = NULL;
        UPDATE try SET %s;
        INSERT INTO chs.metrics SELECT * FROM try$$, changes));
$f$;
CREATE TABLE change (n integer GENERATED ALWAYS AS IDENTITY, change text);
INSERT INTO change (change) VALUES
    ('weight = 1'), ('metric = '''''), ('factor = ''none'''), ('position = 1'), ('event_type = NULL'), ('event_type = '''''),
    ('aggregate = ''median'''), ('aggregate = NULL'), ('aggregate = ''sum'''), ('aggregate = ''sum'', field = ''amount'''), ('field = ''amount'''), ('aggregate = ''sum'', field = '''''),
    ('aggregate = ''distinct'', field = ''a'', measure = ''sum'''), ('measure = ''mean'''), ('measure = ''sum'''), ('measure = NULL'),
    ('aggregate = ''ratio'', filter = ''$.a == 1'''), ('aggregate = ''ratio'', measure = ''sum'''), ('aggregate = ''ratio'', field = ''a'''),
    ('aggregate = ''ratio'', measure = ''sum'', field = ''a'', base_filter = ''$.a > 1'''), ('base_filter = ''$.a > 1'''),
    ('aggregate = ''growth'''), ('aggregate = ''of_usual'''), ('aggregate = ''of_usual'', window_days = 366'), ('aggregate = ''active_days'''), ('aggregate = ''days_since_last'''),
    ('window_days = 0'), ('window_days = -7'), ('window_days = 731'), ('window_days = 730'), ('window_days = NULL'),
    ('curve = NULL'), ('weight = NULL'), ('weight = -1'), ('weight = ''NaN'''), ('weight = 1e7'), ('missing = NULL'),
    ('missing = ''guess'''), ('missing = ''score'''), ('missing = ''score'', missing_score = 70'), ('missing_score = 70'),
    ('missing = ''score'', missing_score = 101'), ('missing = ''score'', missing_score = ''NaN'''),
    ('penalty = 5'), ('penalty = 5, curve = NULL, weight = NULL, missing = NULL'), ('penalty = 5, curve = NULL, weight = NULL'),
    ('penalty = 5, curve = NULL'), ('penalty = 0, curve = NULL, weight = NULL, missing = NULL'), ('penalty = ''NaN'', curve = NULL, weight = NULL, missing = NULL'),
    ('penalty = 5, curve = NULL, weight = NULL, missing = NULL, aggregate = ''sum'', field = ''a'''),
    ('curve = ''1:0 0:1'''), ('curve = ''0:0 0:1'''), ('curve = ''0:0 1:101'''), ('curve = ''0:-1 1:100'''), ('curve = ''nonsense'''), ('curve = ''0:0;1:100'''), ('curve = ''0'''), ('curve = '''''),
    ('filter = ''$.status = "failed"'''), ('filter = ''status == "failed"'''), ('filter = '''''), ('filter = ''$.a == 1 and $.b == 2'''),
    ('filter = ''$.a like_regex "("'''), ('filter = ''$.a == $limit'''), ('filter = ''$.a == "$" || $.b == "\"$x"'''), ('filter = ''$.a == 1'''),
    ('aggregate = ''ratio'', base_filter = ''$.a > > 1'''), ('aggregate = ''ratio'', base_filter = ''$.a == $b'''),
    ('description = ''anything''');
SELECT change || E'\n    ' || with_changes(change) FROM change ORDER BY n;

\echo # targets and segments
SELECT refusal(s) FROM unnest(ARRAY[
    $$INSERT INTO chs.targets (scorecard, factor, metric, segment, target) VALUES ('default', 'api_usage', 'api_error_rate', 'smb', 0)$$,
    $$INSERT INTO chs.targets (scorecard, factor, metric, segment, target) VALUES ('default', 'api_usage', 'api_error_rate', NULL, 0)$$,
    $$INSERT INTO chs.targets (scorecard, factor, metric, segment, target) VALUES ('default', 'api_usage', 'api_error_rate', NULL, -1)$$,
    $$INSERT INTO chs.targets (scorecard, factor, metric, segment, target) VALUES ('default', 'api_usage', 'api_error_rate', NULL, NULL)$$,
    $$INSERT INTO chs.targets (scorecard, factor, metric, segment, target) VALUES ('default', 'api_usage', 'api_error_rate', NULL, 'Infinity')$$,
    $$INSERT INTO chs.targets (scorecard, factor, metric, segment, target) VALUES ('default', 'api_usage', 'api_error_rate', NULL, 'NaN')$$,
    $$INSERT INTO chs.targets (scorecard, factor, metric, segment, target) VALUES ('default', 'support_tickets', 'urgent', NULL, 1)$$,
    $$INSERT INTO chs.targets (scorecard, factor, metric, segment, target) VALUES ('default', 'api_usage', 'api_calls', 'none', 1)$$,
    $$INSERT INTO chs.targets (scorecard, factor, metric, segment, target) VALUES ('default', 'api_usage', 'none', NULL, 1)$$,
    $$INSERT INTO chs.targets (scorecard, factor, metric, segment, target) VALUES ('default', 'api_usage', 'api_calls', NULL, 1)$$,
    $$INSERT INTO chs.segments (segment, scorecard) VALUES ('', 'default')$$,
    $$INSERT INTO chs.segments (segment, scorecard) VALUES ('x', 'none')$$]) s;

\echo # recommendations
SELECT refusal(s) FROM unnest(ARRAY[
    $$INSERT INTO chs.recommendations (recommendation, action) VALUES ('', 'call')$$,
    $$INSERT INTO chs.recommendations (recommendation, action) VALUES ('x', '')$$,
    $$INSERT INTO chs.recommendations (recommendation, action, factor) VALUES ('x', 'call', '')$$,
    $$INSERT INTO chs.recommendations (recommendation, action, priority) VALUES ('x', 'call', 0)$$,
    $$INSERT INTO chs.recommendations (recommendation, action, score_from) VALUES ('x', 'call', -1)$$,
    $$INSERT INTO chs.recommendations (recommendation, action, score_below) VALUES ('x', 'call', 'NaN')$$,
    $$INSERT INTO chs.recommendations (recommendation, action, score_from, score_below) VALUES ('x', 'call', 50, 50)$$,
    $$INSERT INTO chs.recommendations (recommendation, action, no_data, score_below) VALUES ('x', 'call', true, 50)$$,
    $$INSERT INTO chs.recommendations (recommendation, action, no_data) VALUES ('x', 'call', NULL)$$]) s;

-- What is refused leaves the draft as it is.
SELECT chs.draft_document() = document AS unchanged FROM chs.scorecard_versions WHERE version = 1;

\echo # where triggers do not fire, constraints are left
ALTER TABLE chs.metrics DISABLE TRIGGER metrics_guard;
SELECT change || ': ' || split_part(with_changes(change || ', position = COALESCE(position, 99)'), ' | ', 1) FROM change WHERE change NOT LIKE '%position%' ORDER BY n;
ALTER TABLE chs.metrics ENABLE TRIGGER metrics_guard;
SELECT refusal(s) FROM unnest(ARRAY[
    $$INSERT INTO chs.factors (scorecard, factor, position, weight) VALUES ('default', 'x', 9, -1)$$,
    $$INSERT INTO chs.targets (scorecard, factor, metric, segment, target) VALUES ('default', 'api_usage', 'api_error_rate', 'smb', 0)$$,
    $$INSERT INTO chs.segments (segment, scorecard) VALUES ('', 'default')$$]) s,
    LATERAL (SELECT set_config('session_replication_role', 'replica', true)) o;
RESET session_replication_role;

-- Filters are kept as PostgreSQL prints them; a row without a position is the last one.
BEGIN;
INSERT INTO chs.factors (scorecard, factor, weight) VALUES ('default', 'x', 1);
INSERT INTO chs.metrics (scorecard, factor, metric, event_type, aggregate, filter, window_days, curve, weight, missing)
SELECT 'default', 'x', 'm' || n, 'login', 'count', 'strict   $.a==1', 30, '0:0 1:100', 1, 'zero' FROM generate_series(1, 2) n;
SELECT position FROM chs.factors WHERE factor = 'x';
SELECT metric, position, filter FROM chs.metrics WHERE factor = 'x' ORDER BY 1;
ROLLBACK;
DROP FUNCTION with_changes;
DROP TABLE change;

-- Back-tests: what they refuse, what they count, and who sees which report; test/prediction proves the figures.
\set VERBOSITY terse
SET client_min_messages = warning;
SET datestyle TO iso;
-- 200 customers log in every day for a year, until they leave; the score of the others is flat.
INSERT INTO chs.customers (customer_id, name, segment, created_at, churned_at) OVERRIDING SYSTEM VALUE
SELECT n, 'c-' || n, CASE n % 2 WHEN 0 THEN 'smb' ELSE 'startup' END, '2022-12-01 00:00+00',
       CASE WHEN n <= 80 THEN '2023-04-01 12:00+00'::timestamptz + n * 3 * interval '1 day' END FROM generate_series(1, 200) n;
SELECT chs_backtest();
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT n, 'login', jsonb_build_object('ip_address', '::1', 'user_id', d % (2 + n % 5)), '2023-01-01 08:00+00'::timestamptz + d * interval '1 day'
FROM generate_series(1, 200) n, generate_series(0, 364) d
WHERE n > 80 OR d < 60 + n * 3 OR d % 7 = 0 AND d < 91 + n * 3;
-- One type of events tells of the outcome.
INSERT INTO chs.event_types (event_type) VALUES ('cancel_page');
INSERT INTO chs.customer_events (customer_id, event_type, occurred_at)
SELECT n, 'cancel_page', '2023-03-30 08:00+00'::timestamptz + n * 3 * interval '1 day' FROM generate_series(1, 80) n;
-- Nothing that there is no data for; what is refused says what would do.
SELECT chs_backtest('gone');
SELECT chs_backtest('no:fun');
SELECT chs_backtest(horizon => 0);
SELECT chs_backtest(gap => -1);
SELECT chs_backtest(every => '1 hour');
SELECT chs_backtest(since => '2023-06-01', until => '2023-05-01');
SELECT chs_backtest(since => '-infinity');
SELECT chs_backtest(segment => 'nobody');
SELECT chs_backtest(sample => -1);
SELECT chs_backtest(document => '{}');
SELECT chs_backtest(since => '1900-01-01', every => '1 day');
SELECT chs_backtest_report(4711);
\set VERBOSITY default
SELECT chs_backtest(since => '2023-12-01', until => '2023-12-20');
SELECT chs_backtest('gone');
\set VERBOSITY terse
-- A report, by default from when the longest window is full to the last whose outcome is known.
SELECT chs_backtest(horizon => 60) AS first \gset
SELECT outcome, horizon, gap, first_origin, last_origin, every, version, customers, created_by = current_user AS mine, report ->> 'known_from' AS known_from, report ->> 'known_to' AS known_to
FROM chs.backtests WHERE backtest = :first;
SELECT figure, round(value::numeric, 3) AS value, round(low::numeric, 3) AS low, round(high::numeric, 3) AS high, round(compared_with::numeric, 3) AS compared_with, verdict
FROM chs.backtest_figures WHERE backtest = :first ORDER BY ordinal;
SELECT origin, rows, leaving, in_gap, unknown, round(rate::numeric, 3) AS rate, round(auc::numeric, 3) AS auc, round(psi::numeric, 3) AS psi FROM chs.backtest_origins WHERE backtest = :first ORDER BY origin;
SELECT * FROM chs.backtest_statuses WHERE backtest = :first;
SELECT score_from, rows, leaving FROM chs.backtest_bands WHERE backtest = :first ORDER BY 1;
SELECT factor, metric, weight, round(auc::numeric, 3) AS auc, round(missing::numeric, 3) AS missing, suspected_leak FROM chs.backtest_metrics WHERE backtest = :first AND missing < 1;
SELECT jsonb_array_elements_text(report -> 'warnings') FROM chs.backtests WHERE backtest = :first;
SELECT chs_backtest_report(:first);
-- The same again; also after others have come, and after what happened later has been changed.
CREATE FUNCTION regress_chs_report(n integer) RETURNS jsonb LANGUAGE sql AS $$ SELECT report - '{looked_at}'::text[] FROM chs.backtests WHERE backtest = n $$;
SELECT regress_chs_report(chs_backtest(horizon => 60)) = regress_chs_report(:first) AS same;
CREATE TABLE regress_chs_later AS SELECT * FROM chs.customer_events WHERE occurred_at >= '2023-09-01 00:00+00';
SELECT chs_backtest('churned', 60, 0, '2023-04-01', '2023-07-01') AS before \gset
DELETE FROM chs.customer_events WHERE occurred_at >= '2023-09-01 00:00+00';
UPDATE chs.customers SET churned_at = '2023-12-31 00:00+00' WHERE churned_at >= '2023-08-31 00:00+00';
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at) VALUES (200, 'login', '{"ip_address": "::1"}', '2023-12-31 00:00+00');
CREATE FUNCTION regress_chs_of_rows(n integer) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_array(report -> 'origins', report -> 'bands', report -> 'statuses', report -> 'metrics',
        (SELECT jsonb_agg(f) FROM jsonb_array_elements(report -> 'figures') f WHERE f ->> 'figure' !~ 'lead|warned|alarms|precision|changes|recorded')) FROM chs.backtests WHERE backtest = n
$$;
SELECT regress_chs_of_rows(chs_backtest('churned', 60, 0, '2023-04-01', '2023-07-01')) = regress_chs_of_rows(:before) AS same;
-- Everybody twice: the same figures, a narrower interval.
CREATE TEMP TABLE chs_backtest_rows AS
SELECT r.origin, r.customer_id, r.score, r.status, r.leaves, r.age, r.since_last, r.events, r.metric_scores
FROM chs.outcome_rows('churned', 60, 0, '{2023-05-01,2023-06-01,2023-07-01}', (SELECT document FROM chs.scorecard_versions WHERE version = 1), chs.backtest_customers(NULL, NULL), true) r;
CREATE FUNCTION regress_chs_figures() RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_object_agg(f ->> 'figure', f) FROM jsonb_array_elements(chs.backtest_report_of_rows(60, 0) -> 'figures') f $$;
SELECT regress_chs_figures() AS once \gset
INSERT INTO chs_backtest_rows SELECT origin, customer_id + 100000, score, status, leaves, age, since_last, events, metric_scores FROM chs_backtest_rows;
SELECT regress_chs_figures() AS twice \gset
SELECT f, abs((:'once'::jsonb #>> ARRAY[f, 'value'])::float8 - (:'twice'::jsonb #>> ARRAY[f, 'value'])::float8) < 1e-12 AS same
FROM unnest('{auc,auc_since_last,auc_events,capture,rate,calibration_error,healthy_leavers}'::text[]) f;
SELECT round((((o #>> '{auc,high}')::float8 - (o #>> '{auc,low}')::float8) / ((t #>> '{auc,high}')::float8 - (t #>> '{auc,low}')::float8))::numeric, 2) AS narrower
FROM (SELECT :'once'::jsonb AS o, :'twice'::jsonb AS t) x;
DROP TABLE chs_backtest_rows;
-- A sample, a segment, a draft, a gap; nobody who left.
SELECT chs_backtest(horizon => 60, sample => 50) AS a, chs_backtest(horizon => 60, segment => 'smb') AS b, chs_backtest(horizon => 60, document => chs_scorecard_export()) AS c \gset
SELECT customers, segment, sample, version IS NULL AS draft FROM chs.backtests WHERE backtest IN (:a, :b, :c) ORDER BY backtest;
SELECT chs_backtest('churned', 60, 0, '2023-04-01', '2023-07-01', min_age => 150) AS a \gset
SELECT origin, rows FROM chs.backtest_origins WHERE backtest = :a;
SELECT chs_backtest('churned', 60, 30, '2023-04-01', '2023-07-01') AS a \gset
SELECT figure, value FROM chs.backtest_figures WHERE backtest = :a AND figure IN ('in_gap', 'leaving') ORDER BY 1;
INSERT INTO chs.outcomes (customer_id, outcome, happened_at) VALUES (150, 'sued', '2023-06-01 00:00+00');
SELECT chs_backtest('sued', 30, 0, '2023-07-01', '2023-08-01') AS nobody \gset
SELECT figure, value, verdict FROM chs.backtest_figures WHERE backtest = :nobody AND figure IN ('auc', 'gain', 'capture', 'leaving', 'brier_skill', 'psi');
SELECT chs_backtest_report(:nobody) LIMIT 2;
-- Who sees some customers judges these, and sees these reports.
CREATE ROLE regress_chs_smb;
SELECT chs_grant('regress_chs_smb', 'read');
SET ROLE regress_chs_smb;
SELECT chs_backtest(horizon => 60);
RESET ROLE;
SELECT chs_grant('regress_chs_smb', 'administer');
ALTER TABLE chs.customers ENABLE ROW LEVEL SECURITY;
CREATE POLICY smb ON chs.customers TO regress_chs_smb USING (segment = 'smb');
SET ROLE regress_chs_smb;
SELECT count(*) FROM chs.backtests;
SELECT chs_backtest(horizon => 60) > 0 AS made;
SELECT customers, created_by FROM chs.backtests;
SELECT count(DISTINCT backtest) FROM chs.backtest_figures;
SELECT chs_backtest_report(:first) LIMIT 1;
INSERT INTO chs.backtests (outcome, horizon, gap, first_origin, last_origin, every, document, customers, report, created_by) VALUES ('churned', 1, 1, '2023-01-01', '2023-01-01', '1 day', '{}', 1, '{}', 'postgres');
UPDATE chs.backtests SET customers = 1;
DELETE FROM chs.backtests;
RESET ROLE;
SELECT count(*) > 5 AS others FROM chs.backtests;
DROP POLICY smb ON chs.customers;
ALTER TABLE chs.customers DISABLE ROW LEVEL SECURITY;
DROP OWNED BY regress_chs_smb;
DROP ROLE regress_chs_smb;
-- Not before what retention has kept.
SET chs.event_retention = '150d';
SELECT events_deleted > 0 AS deleted FROM chs_apply_retention();
RESET chs.event_retention;
CREATE FUNCTION regress_chs_error(query text, OUT message text, OUT hint text) RETURNS record LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE query;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
    message := regexp_replace(message, '\d{4}-\d\d-\d\d', 'DAY', 'g');
    hint := regexp_replace(hint, '\d{4}-\d\d-\d\d', 'DAY', 'g');
END
$$;
SELECT * FROM regress_chs_error($$SELECT chs_backtest('churned', 60, since => '2023-04-01')$$);
DROP TABLE regress_chs_later;
DROP FUNCTION regress_chs_report, regress_chs_of_rows, regress_chs_figures, regress_chs_error;
DROP EXTENSION chs;
CREATE EXTENSION chs;

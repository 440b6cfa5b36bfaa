-- What chs_lint finds.  The shipped draft is clean.
SELECT * FROM chs_lint();

-- One of each kind, one after the other; what each adds is shown.
CREATE FUNCTION lint_of(statement text) RETURNS TABLE (severity text, object text, message text, hint text) LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        EXECUTE statement;
        RAISE 'undo' USING ERRCODE = 'ZZZZZ', DETAIL = (SELECT COALESCE(jsonb_agg(to_jsonb(l)), '[]') FROM chs_lint() l);
    EXCEPTION WHEN SQLSTATE 'ZZZZZ' THEN
        DECLARE
            detail text;
        BEGIN
            GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
            RETURN QUERY SELECT r.* FROM jsonb_to_recordset(detail::jsonb) r(severity text, object text, message text, hint text)
            EXCEPT SELECT * FROM chs_lint() ORDER BY 1, 2, 3;
        END;
    END;
END
$$;
\pset format unaligned
\pset tuples_only on
\pset fieldsep ' | '
SELECT s.statement, l.* FROM unnest(ARRAY[
    $$UPDATE chs.scorecards SET is_default = false$$,
    $$INSERT INTO chs.scorecards (scorecard) VALUES ('bare')$$,
    $$UPDATE chs.scorecards SET trend_band = 0, at_risk_from = healthy_from, min_coverage = 1 WHERE scorecard = 'default'$$,
    $$INSERT INTO chs.factors (scorecard, factor, weight) VALUES ('default', 'sentiment', 0.1)$$,
    $$DELETE FROM chs.metrics WHERE factor = 'support_tickets' AND scorecard = 'default' AND penalty IS NULL$$,
    $$UPDATE chs.metrics SET weight = 0 WHERE (scorecard, factor) = ('default', 'api_usage')$$,
    $$UPDATE chs.factors SET weight = 0 WHERE (scorecard, factor) = ('default', 'api_usage')$$,
    $$UPDATE chs.factors SET weight = 0 WHERE (scorecard, factor) = ('default', 'api_usage');
      INSERT INTO chs.segment_weights VALUES ('default', 'api_usage', NULL, 'smb', 1)$$,
    $$UPDATE chs.metrics SET filter = NULL WHERE (scorecard, metric) = ('default', 'api_error_rate')$$,
    $$UPDATE chs.metrics SET aggregate = 'days_since_last', missing = 'missing', missing_score = NULL, curve = '0:100 29:0' WHERE (scorecard, metric) = ('default', 'ticket_volume')$$,
    $$UPDATE chs.metrics SET aggregate = 'days_since_last', missing = 'zero', curve = '0:100 29:0', missing_score = NULL WHERE (scorecard, metric) = ('default', 'ticket_volume')$$,
    $$UPDATE chs.metrics SET filter = '$.bot' WHERE (scorecard, metric) = ('default', 'logins')$$,
    $$UPDATE chs.metrics SET filter = '$.bot != true' WHERE (scorecard, metric) = ('default', 'logins')$$,
    $$UPDATE chs.metrics SET filter = 'exists($.bot)' WHERE (scorecard, metric) = ('default', 'logins')$$,
    $$INSERT INTO chs.metrics (scorecard, factor, metric, event_type, aggregate, window_days, curve, weight, missing)
      VALUES ('default', 'feature_adoption', 'logins_again', 'login', 'count', 30, '0:0 20:100', 1, 'zero')$$,
    $$UPDATE chs.metrics SET curve = '0:0 1:100 2:50' WHERE (scorecard, metric) = ('default', 'logins')$$,
    $$UPDATE chs.metrics SET curve = '5:50' WHERE (scorecard, metric) = ('default', 'logins')$$,
    $$DELETE FROM chs.targets WHERE (scorecard, metric) = ('default', 'logins')$$,
    $$UPDATE chs.metrics SET curve = '0:0 600:100' WHERE (scorecard, metric) = ('default', 'session_duration')$$,
    $$UPDATE chs.metrics SET curve = '0:0 90:100' WHERE (scorecard, metric) = ('default', 'on_time_rate')$$,
    $$UPDATE chs.metrics SET aggregate = 'active_days', curve = '0:0 31:100' WHERE (scorecard, metric) = ('default', 'logins');
      DELETE FROM chs.targets WHERE (scorecard, metric) = ('default', 'logins')$$,
    $$INSERT INTO chs.segments (segment) VALUES ('agency')$$,
    $$INSERT INTO chs.segments (segment) VALUES ('agency'); INSERT INTO chs.customers (customer_id, segment) VALUES (10, 'agency')$$,
    $$INSERT INTO chs.customers (customer_id) VALUES (10)$$,
    $$INSERT INTO chs.segment_weights VALUES ('volume_only', 'api_usage', NULL, 'smb', 1)$$,
    $$INSERT INTO chs.segment_weights (scorecard, factor, segment, weight) SELECT 'default', factor, 'startup', 0 FROM chs.factors WHERE scorecard = 'default'$$,
    $$UPDATE chs.metrics SET event_type = 'logon' WHERE (scorecard, metric) = ('default', 'session_duration')$$,
    $$UPDATE chs.recommendations SET factor = 'no_such' WHERE recommendation = 'login_low'$$,
    $$SET LOCAL chs.event_retention = '90d'$$,
    $$INSERT INTO chs.event_types (event_type) VALUES ('survey');
      UPDATE chs.metrics SET event_type = 'survey' WHERE (scorecard, metric) = ('default', 'session_duration')$$]) WITH ORDINALITY s(statement, n)
LEFT JOIN LATERAL lint_of(s.statement) l ON true ORDER BY n, l.severity, l.object, l.message;

-- Events: some types arrive, and are folded or not.
INSERT INTO chs.customers (customer_id, segment) VALUES (1, 'smb');
INSERT INTO chs.customer_events (customer_id, event_type, event_data)
SELECT 1, t, '{"endpoint": "/", "ip_address": "::1", "amount": 1, "feature_name": "f"}' FROM unnest('{api_call,login,payment}'::text[]) t;
SELECT FROM chs_process_queue();
SELECT * FROM chs_lint();
INSERT INTO chs.customer_events (customer_id, event_type, event_data) SELECT 1, t, '{"feature_name": "f"}' FROM unnest('{feature_use,support_ticket}'::text[]) t;
SELECT * FROM chs_lint();

SET client_min_messages = warning;
DROP FUNCTION lint_of;
DROP EXTENSION chs CASCADE;
CREATE EXTENSION chs;

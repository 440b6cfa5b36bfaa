-- The shipped rows: two scorecards, three segments, and a publication.

INSERT INTO chs.scorecards (scorecard, description, is_default, min_coverage, grace) VALUES
    ('default', 'five weighted factors; the weight of missing data moves to what is known', true, 0.5, true),
    ('volume_only', 'the simple classic calculation: one volume per factor less penalties, missing data is zero', false, 0, false);

INSERT INTO chs.segments (segment, description, scorecard) VALUES
    ('enterprise', 'large companies', 'default'),
    ('smb', 'small and medium-sized companies', 'default'),
    ('startup', 'young companies', 'default');

INSERT INTO chs.factors (scorecard, factor, position, weight, description)
SELECT s.scorecard, f.*
FROM chs.scorecards s, (VALUES
    ('api_usage',          1, 0.30, 'how much and how well the API is used'),
    ('login_frequency',    2, 0.20, 'how often and by how many people the product is used'),
    ('payment_timeliness', 3, 0.25, 'whether invoices are paid, and on time'),
    ('feature_adoption',   4, 0.15, 'how much of the product is used'),
    ('support_tickets',    5, 0.10, 'how much help is needed, and how good it is')) f;

INSERT INTO chs.metrics (scorecard, factor, metric, position, event_type, aggregate, measure, field,
                         filter, base_filter, window_days, curve, weight, missing, missing_score, description) VALUES
    ('default', 'api_usage', 'api_calls', 1, 'api_call', 'count', 'count', NULL,
     NULL, NULL, 30, '0:0 1:100', 0.70, 'zero', NULL, 'API calls'),
    ('default', 'api_usage', 'endpoint_diversity', 2, 'api_call', 'distinct', 'count', 'endpoint',
     NULL, NULL, 30, '0:0 1:100', 0.15, 'missing', NULL, 'different endpoints called'),
    ('default', 'api_usage', 'api_error_rate', 3, 'api_call', 'ratio', 'count', NULL,
     '$.status_code >= 400 || $.response_code >= 400', NULL, 30, '0:100 0.25:0', 0.15, 'missing', NULL,
     'share of API calls that failed'),

    ('default', 'login_frequency', 'logins', 1, 'login', 'count', 'count', NULL,
     NULL, NULL, 30, '0:0 1:100', 0.70, 'zero', NULL, 'logins'),
    ('default', 'login_frequency', 'session_duration', 2, 'login', 'avg', 'count', 'session_duration',
     NULL, NULL, 30, '0:0 1:100', 0.15, 'missing', NULL, 'mean session, seconds'),
    ('default', 'login_frequency', 'active_users', 3, 'login', 'distinct', 'count', 'user_id',
     NULL, NULL, 30, '0:0 1:100', 0.15, 'missing', NULL, 'different people who logged in'),

    ('default', 'payment_timeliness', 'on_time_rate', 1, 'payment', 'ratio', 'count', NULL,
     '$.status == "paid_on_time" || $.status == "completed" || !exists($.status ? (@ != null)) && !exists($.days_late ? (@ > 0))',
     NULL, 90, '0:0 1:100', 0.70, 'missing', NULL, 'share of payments made on time'),
    ('default', 'payment_timeliness', 'payment_delay', 2, 'payment', 'avg', 'count', 'days_late',
     NULL, NULL, 90, '0:100 30:0', 0.15, 'missing', NULL, 'mean days late'),
    ('default', 'payment_timeliness', 'outstanding_share', 3, 'payment', 'ratio', 'sum', 'amount',
     '$.status == "overdue" || $.status == "failed" || $.status == "pending"', NULL,
     90, '0:100 0.5:0', 0.15, 'missing', NULL, 'share of the amount that is not paid'),

    ('default', 'feature_adoption', 'features_used', 1, 'feature_use', 'distinct', 'count', 'feature_name',
     NULL, NULL, 30, '0:0 1:100', 0.80, 'zero', NULL, 'different features used'),
    ('default', 'feature_adoption', 'advanced_share', 2, 'feature_use', 'ratio', 'distinct', 'feature_name',
     '$.tier == "advanced"', '$.tier != null', 30, '0:0 1:100', 0.20, 'missing', NULL,
     'share of the used features that are advanced'),

    ('default', 'support_tickets', 'ticket_volume', 1, 'support_ticket', 'count', 'count', NULL,
     NULL, NULL, 30, '0:100 1:80 2:80 3:60 4:60 5:40 6:40 12:10', 0.60, 'score', 100, 'support tickets opened'),
    ('default', 'support_tickets', 'resolution_time', 2, 'support_ticket', 'avg', 'count', 'resolution_time',
     NULL, NULL, 30, '1:100 3:0', 0.20, 'missing', NULL, 'mean time to resolve, seconds'),
    ('default', 'support_tickets', 'satisfaction', 3, 'support_ticket', 'avg', 'count', 'satisfaction',
     NULL, NULL, 30, '1:0 5:100', 0.20, 'missing', NULL, 'mean satisfaction, 1 to 5');

INSERT INTO chs.metrics (scorecard, factor, metric, position, event_type, aggregate, filter, window_days, penalty, description) VALUES
    ('default', 'payment_timeliness', 'overdue', 4, 'payment', 'count', '$.status == "overdue"', 90, 20, 'overdue payments'),
    ('default', 'payment_timeliness', 'failed', 5, 'payment', 'count', '$.status == "failed"', 90, 10, 'failed payments'),
    ('default', 'payment_timeliness', 'late_or_pending', 6, 'payment', 'count',
     '$.status == "paid_late" || $.status == "pending"', 90, 5, 'payments paid late or pending'),
    ('default', 'support_tickets', 'urgent', 4, 'support_ticket', 'count', '$.priority == "urgent"', 30, 10, 'urgent tickets'),
    ('default', 'support_tickets', 'high_priority', 5, 'support_ticket', 'count', '$.priority == "high"', 30, 5, 'tickets of high priority');

INSERT INTO chs.targets (scorecard, factor, metric, segment, target) VALUES
    ('default', 'api_usage', 'api_calls', 'enterprise', 1000),
    ('default', 'api_usage', 'api_calls', 'smb', 500),
    ('default', 'api_usage', 'api_calls', 'startup', 200),
    ('default', 'api_usage', 'api_calls', NULL, 300),
    ('default', 'api_usage', 'endpoint_diversity', NULL, 5),
    ('default', 'login_frequency', 'logins', NULL, 20),
    ('default', 'login_frequency', 'session_duration', NULL, 600),
    ('default', 'login_frequency', 'active_users', 'enterprise', 10),
    ('default', 'login_frequency', 'active_users', 'smb', 5),
    ('default', 'login_frequency', 'active_users', 'startup', 2),
    ('default', 'feature_adoption', 'features_used', NULL, 8),
    ('default', 'feature_adoption', 'advanced_share', NULL, 0.3),
    ('default', 'support_tickets', 'resolution_time', 'enterprise', 86400),
    ('default', 'support_tickets', 'resolution_time', 'smb', 2 * 86400),
    ('default', 'support_tickets', 'resolution_time', 'startup', 3 * 86400);

-- volume_only: the first metric of each factor has all of its weight, payments without
-- history score 70, and penalties are the same.
INSERT INTO chs.metrics (scorecard, factor, metric, position, event_type, aggregate, measure, field,
                         filter, base_filter, window_days, curve, weight, missing, missing_score, description)
SELECT 'volume_only', factor, metric, position, event_type, aggregate, measure, field, filter, base_filter, window_days,
       curve, 1, CASE WHEN metric = 'on_time_rate' THEN 'score' ELSE missing END,
       CASE WHEN metric = 'on_time_rate' THEN 70 ELSE missing_score END, description
FROM chs.metrics WHERE scorecard = 'default' AND position = 1;
INSERT INTO chs.metrics (scorecard, factor, metric, position, event_type, aggregate, filter, window_days, penalty, description)
SELECT 'volume_only', factor, metric, position, event_type, aggregate, filter, window_days, penalty, description
FROM chs.metrics WHERE scorecard = 'default' AND penalty IS NOT NULL;
INSERT INTO chs.targets (scorecard, factor, metric, segment, target)
SELECT 'volume_only', t.factor, t.metric, t.segment, t.target
FROM chs.targets t JOIN chs.metrics m ON (m.scorecard, m.factor, m.metric) = ('volume_only', t.factor, t.metric)
WHERE t.scorecard = 'default';

INSERT INTO chs.recommendations (recommendation, segment, score_from, score_below, priority, action) VALUES
    ('whole_sponsor', 'enterprise', 0, 65, 1,
     'Bring in an executive sponsor of your own: sponsors talking to each other reach the budget, which the daily contacts do not control.');

SELECT @extschema@.chs_publish('as shipped'::text, NULL::text);

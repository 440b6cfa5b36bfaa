-- The scorecard that the RavenStack company (credit: River at Rivalytics) would write
-- for itself: it has no API calls and no logins, but feature use, revenue and
-- satisfaction.  With the shipped ones it uses every aggregate.  Written as a user
-- writes it, with plain SQL on the draft.

INSERT INTO chs.scorecards (scorecard, description, min_coverage) VALUES
    ('ravenstack', 'feature use, revenue and service', 0.5);
INSERT INTO chs.factors (scorecard, factor, position, weight, description) VALUES
    ('ravenstack', 'adoption', 1, 5, 'how much of the product is used, and whether it grows'),
    ('ravenstack', 'revenue',  2, 3, 'what the customer pays, and whether it grows'),
    ('ravenstack', 'service',  3, 2, 'how well help works');
INSERT INTO chs.metrics (scorecard, factor, metric, position, event_type, aggregate, measure, field, filter,
                         window_days, curve, weight, missing, missing_score) VALUES
    ('ravenstack', 'adoption', 'days_active', 1, 'feature_use', 'active_days', 'count', NULL, NULL,
     30, '0:0 1:100', 4, 'zero', NULL),
    ('ravenstack', 'adoption', 'last_use', 2, 'feature_use', 'days_since_last', 'count', NULL, NULL,
     60, '0:100 7:80 30:20 60:0', 3, 'score', 0),
    ('ravenstack', 'adoption', 'use_growth', 3, 'feature_use', 'growth', 'count', NULL, NULL,
     30, '-1:0 0:60 1:100', 2, 'missing', NULL),
    ('ravenstack', 'adoption', 'uses', 4, 'feature_use', 'sum', 'count', 'usage_count', NULL,
     30, '0:0 1:100', 1, 'zero', NULL),
    ('ravenstack', 'adoption', 'beta_share', 5, 'feature_use', 'ratio', 'sum', 'usage_count', '$.beta == true',
     90, '0:50 0.5:100', 1, 'missing', NULL),
    ('ravenstack', 'adoption', 'feature_growth', 6, 'feature_use', 'growth', 'distinct', 'feature_name', NULL,
     45, '-1:0 0:60 1:100', 1, 'missing', NULL),
    ('ravenstack', 'revenue', 'revenue', 1, 'payment', 'sum', 'count', 'amount', NULL,
     30, '0:0 1:100', 1, 'zero', NULL),
    ('ravenstack', 'revenue', 'revenue_growth', 2, 'payment', 'growth', 'sum', 'amount', NULL,
     90, '-0.5:0 0:70 0.5:100', 1, 'missing', NULL),
    ('ravenstack', 'service', 'csat', 1, 'support_ticket', 'avg', 'count', 'satisfaction', NULL,
     90, '1:0 5:100', 5, 'missing', NULL),
    ('ravenstack', 'service', 'urgent_time', 2, 'support_ticket', 'avg', 'count', 'resolution_time',
     '$.priority == "urgent"', 90, '0.5:100 2:0', 3, 'missing', NULL),
    ('ravenstack', 'service', 'last_ticket', 3, 'support_ticket', 'days_since_last', 'count', NULL, NULL,
     90, '0:0 30:100', 2, 'score', 100);
INSERT INTO chs.metrics (scorecard, factor, metric, position, event_type, aggregate, filter, window_days, penalty) VALUES
    ('ravenstack', 'service', 'escalated', 4, 'support_ticket', 'count', '$.escalated == true', 90, 15);
INSERT INTO chs.targets (scorecard, factor, metric, segment, target) VALUES
    ('ravenstack', 'adoption', 'days_active', 'enterprise', 4),
    ('ravenstack', 'adoption', 'days_active', NULL, 3),
    ('ravenstack', 'adoption', 'uses', NULL, 30),
    ('ravenstack', 'revenue', 'revenue', 'enterprise', 20000),
    ('ravenstack', 'revenue', 'revenue', 'smb', 15000),
    ('ravenstack', 'revenue', 'revenue', 'startup', 12000),
    ('ravenstack', 'service', 'urgent_time', NULL, 86400);

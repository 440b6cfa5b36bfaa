-- Recommendations: which apply, in which order, and what they say would be gained.
\set VERBOSITY terse
SET client_min_messages = warning;
-- What ships: at least three per factor and six for the whole score, every score from 0 to 100 is spoken of.
SELECT factor, count(*), min(score_from), max(score_below), count(*) FILTER (WHERE no_data) AS no_data FROM chs.recommendations GROUP BY 1 ORDER BY 1;
SELECT s AS score_without_advice FROM generate_series(0, 100) s
WHERE NOT EXISTS (SELECT FROM chs.recommendations r WHERE r.factor IS NULL AND r.segment IS NULL AND chs.recommendation_applies(r, s));
SELECT count(*) AS overlapping FROM chs.recommendations a JOIN chs.recommendations b USING (factor)
WHERE a.recommendation < b.recommendation AND NOT a.no_data AND NOT b.no_data AND a.score_from < b.score_below AND b.score_from < a.score_below;

INSERT INTO chs.customers (customer_id, name, segment, created_at) OVERRIDING SYSTEM VALUE VALUES
    (1, 'silent', 'enterprise', '2020-01-01 00:00+00'), (2, 'active', 'startup', '2020-01-01 00:00+00'), (3, 'new', NULL, now()), (4, 'gone', 'startup', '2020-01-01 00:00+00');
INSERT INTO chs.customer_events (customer_id, event_type, event_data)
SELECT 2, 'api_call', jsonb_build_object('endpoint', n % 7) FROM generate_series(1, 300) n
UNION ALL SELECT 2, 'login', jsonb_build_object('ip_address', '::1', 'user_id', n % 3, 'session_duration', 900) FROM generate_series(1, 10) n
UNION ALL SELECT 2, 'feature_use', jsonb_build_object('feature_name', n) FROM generate_series(1, 9) n
UNION ALL SELECT 2, 'payment', '{"amount": 10, "status": "paid_on_time"}'
UNION ALL SELECT 2, 'payment', '{"amount": 10, "status": "overdue"}'
UNION ALL SELECT 2, 'support_ticket', '{"priority": "urgent"}';
UPDATE chs.customers SET churned_at = now() WHERE customer_id = 4;
SELECT FROM chs_process_queue();
SELECT customer_id, r.rank, r.recommendation, r.factor, r.priority, round(r.gain::numeric, 2) AS gain, r.score
FROM generate_series(1, 4) customer_id, chs_recommendations(customer_id) r ORDER BY 1, 2;
-- What is lost, by the metric and penalty that lose it.
SELECT r.factor, m.metric, m.value, m.target, m.score, round(m.gain::numeric, 2) AS gain
FROM chs_recommendations(2) r, jsonb_to_recordset(r.details -> 'metrics') m(metric text, value float8, target float8, score float8, gain float8)
WHERE r.factor IS NOT NULL ORDER BY r.rank, m.gain DESC;
-- The points to be had are those that the score gains: 100 less the score is the sum over the factors with data.
SELECT c.customer_id, round((100 - chs_score(c.customer_id))::numeric, 2) AS to_be_had, round(sum((100 - e.score) * e.effective_weight)::numeric, 2) AS by_factors
FROM chs.customers c, chs_explain(c.customer_id) e WHERE e.metric IS NULL AND c.customer_id <= 2 GROUP BY 1 ORDER BY 1;
-- The view says the same of what is stored, but of nobody who left.
SELECT customer_id, rank, recommendation, factor, action, priority, round(gain::numeric, 9), score FROM chs.recommendations_current
EXCEPT SELECT c.customer_id, r.rank, r.recommendation, r.factor, r.action, r.priority, round(r.gain::numeric, 9), r.score FROM chs.customers c, chs_recommendations(c.customer_id) r;
SELECT (SELECT count(*) FROM chs.recommendations_current) = (SELECT count(*) FROM chs.customers c, chs_recommendations(c.customer_id)) AS as_many;
SELECT DISTINCT customer_id, name, segment, status, factor IS NULL AS whole FROM chs.recommendations_current ORDER BY 1, 5;

-- Rules are part of the draft: they count when they are published.
INSERT INTO chs.recommendations (recommendation, scorecard, segment, factor, score_below, action)
VALUES ('own', 'default', 'startup', 'login_frequency', 90, 'Ours.'), ('elsewhere', 'volume_only', NULL, NULL, NULL, 'Of another scorecard.'),
       ('no_such_factor', NULL, NULL, 'weather', NULL, 'Of no factor.');
UPDATE chs.recommendations SET priority = 5 WHERE recommendation = 'login_partial';
SELECT count(*) FROM chs_recommendations(2) WHERE recommendation = 'own';
SELECT chs_publish('our own') > 1;
SELECT recommendation, priority FROM chs_recommendations(2) WHERE factor = 'login_frequency' OR recommendation IN ('elsewhere', 'no_such_factor') ORDER BY rank;
SELECT count(*) FROM chs_recommendations(1) WHERE recommendation = 'own';
SELECT recommendation, scorecard, segment, factor, score_from, score_below, priority, no_data
FROM jsonb_populate_recordset(NULL::chs.recommendations, chs.live_recommendations()) WHERE recommendation IN ('own', 'elsewhere');
SELECT chs.live_recommendations() = chs.draft_recommendations() AS same;

-- A reader of scores needs nothing more; a stranger learns nothing.
CREATE ROLE regress_chs_reader;
SET ROLE regress_chs_reader;
SELECT count(*) FROM chs_recommendations(2);
SELECT count(*) FROM chs.recommendations_current;
RESET ROLE;
GRANT SELECT ON chs.customers TO regress_chs_reader;
SET ROLE regress_chs_reader;
SELECT count(*) FROM chs_recommendations(2);
SELECT count(*) FROM chs.recommendations_current;
RESET ROLE;
DROP OWNED BY regress_chs_reader;
DROP ROLE regress_chs_reader;
SELECT chs_recommendations(99);
SELECT chs_recommendations(NULL);

-- What the table refuses.
INSERT INTO chs.recommendations (recommendation, action) VALUES ('', 'x');
INSERT INTO chs.recommendations (recommendation, action) VALUES ('x', '');
INSERT INTO chs.recommendations (recommendation, action, score_from, score_below) VALUES ('x', 'x', 50, 50);
INSERT INTO chs.recommendations (recommendation, action, score_from) VALUES ('x', 'x', -1);
INSERT INTO chs.recommendations (recommendation, action, score_below) VALUES ('x', 'x', 101);
INSERT INTO chs.recommendations (recommendation, action, priority) VALUES ('x', 'x', 0);
INSERT INTO chs.recommendations (recommendation, action, no_data, score_from) VALUES ('x', 'x', true, 10);
INSERT INTO chs.recommendations (recommendation, action, segment) VALUES ('x', 'x', 'none');
INSERT INTO chs.recommendations (recommendation, action, scorecard) VALUES ('x', 'x', 'none');

DROP EXTENSION chs;
CREATE EXTENSION chs;

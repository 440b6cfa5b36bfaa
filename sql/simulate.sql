-- Simulating the draft: what it says is what publishing then gives.
INSERT INTO chs.customers (customer_id, name, segment, created_at, churned_at) VALUES
    (1, 'steady', 'smb', '2020-01-01', NULL), (2, 'slipping', 'smb', '2020-01-01', NULL), (3, 'large', 'enterprise', '2020-01-01', NULL),
    (4, 'new', NULL, now(), NULL), (5, 'gone', 'startup', '2020-01-01', now() - interval '3 days');
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT c, t, jsonb_build_object('endpoint', n % 5, 'ip_address', '::1', 'amount', 10, 'feature_name', n % (9 - c), 'user_id', n % 3), now() - n * interval '1 day'
FROM generate_series(1, 5) c, unnest('{api_call,login,payment,feature_use}'::text[]) t, generate_series(c - 1, 40 / c) n, generate_series(1, 20 / c) m;
SELECT FROM chs_process_queue();
-- Not folded, and not committed.
INSERT INTO chs.customer_events (customer_id, event_type, event_data) SELECT 2, 'login', '{"ip_address": "::1"}' FROM generate_series(1, 3);

CREATE VIEW simulated AS SELECT customer_id, name, segment, active, live_score, live_status, draft_score, draft_status, score_change FROM chs_simulate();
-- The draft is what is live.
SELECT count(*) AS customers, bool_and(live_score IS NOT DISTINCT FROM draft_score AND live_status = draft_status AND live_scorecard = draft_scorecard) AS same FROM chs_simulate();

-- A sample: so many customers, or a fraction of them, the same ones each time and with what all of them give.
SELECT s AS sample, count(*) AS customers, count(*) FILTER (WHERE a.customer_id = b.customer_id) AS again,
       count(*) FILTER (WHERE a IS NOT DISTINCT FROM e) AS as_among_all
FROM unnest('{0.0001,0.999999999,1,3,5,1000,1e300}'::double precision[]) s,
     LATERAL ROWS FROM (chs_simulate(sample => s)) a,
     LATERAL (SELECT b.customer_id FROM chs_simulate(sample => s) b WHERE b.customer_id = a.customer_id) b,
     LATERAL (SELECT e FROM chs_simulate() e WHERE e.customer_id = a.customer_id) e(e) GROUP BY s ORDER BY s;
SELECT count(*) FROM chs_simulate(sample => 0);
SELECT count(*) FROM chs_simulate(sample => 'NaN');
SELECT count(*) FROM chs_simulate(sample => -5);
-- Of a large table little is read, and not only neighbours.
BEGIN;
INSERT INTO chs.customers (customer_id, created_at) SELECT n, now() FROM generate_series(100, 20000) n;
ANALYZE chs.customers;
SELECT count(*) AS customers, count(DISTINCT customer_id / 2000) >= 9 AS from_everywhere FROM chs.sample_customers(40) customer_id;
SELECT count(*) BETWEEN 1500 AND 2500 AS about_a_tenth FROM chs.sample_customers(0.1);
ROLLBACK;

-- A draft that needs nothing new, and one that does.
UPDATE chs.targets SET target = target * 2 WHERE metric = 'api_calls';
UPDATE chs.segments SET scorecard = 'volume_only' WHERE segment = 'enterprise';
INSERT INTO chs.segment_weights VALUES ('default', 'login_frequency', NULL, 'smb', 0.9);
TABLE simulated ORDER BY 1;
BEGIN;
CREATE TEMP TABLE said AS SELECT * FROM chs_simulate();
SELECT FROM chs_publish('cheap');
SELECT count(*) AS customers, bool_and(h.score IS NOT DISTINCT FROM s.draft_score AND h.status = s.draft_status AND h.scorecard = s.draft_scorecard) AS came_true
FROM said s, chs.health_now(customer_id) h;
ROLLBACK;
INSERT INTO chs.metrics (scorecard, factor, metric, event_type, aggregate, window_days, curve, weight, missing)
VALUES ('default', 'login_frequency', 'login_days', 'login', 'active_days', 60, '0:0 60:100', 1, 'zero');
SELECT customer_id, draft_score IS DISTINCT FROM live_score AS differs FROM simulated ORDER BY 1;
BEGIN;
CREATE TEMP TABLE said AS SELECT * FROM chs_simulate();
SELECT FROM chs_publish('dear');
CALL chs_recalculate_all();
SELECT count(*) AS customers, bool_and(h.score IS NOT DISTINCT FROM s.draft_score AND h.status = s.draft_status AND h.scorecard = s.draft_scorecard) AS came_true
FROM said s, chs.health_now(customer_id) h;
-- Back again, as a document.
SELECT count(*) AS customers, bool_and(b.draft_score IS NOT DISTINCT FROM s.live_score AND b.live_score IS NOT DISTINCT FROM s.draft_score) AS as_it_was
FROM chs_simulate(chs_scorecard_export(1)) b JOIN said s USING (customer_id);
ROLLBACK;
-- As of an earlier day, by the rules of today.
SELECT s.customer_id, s.active, s.live_score IS NOT DISTINCT FROM h.score AS as_live, s.draft_score IS NOT DISTINCT FROM d.score AS as_drafted,
       s.draft_score <> t.draft_score AS differs
FROM chs_simulate(as_of => now() - interval '20 days') s JOIN simulated t USING (customer_id),
     chs.health_now(s.customer_id, now() - interval '20 days', 1) h, chs.health_by(chs.draft_document(), s.customer_id, now() - interval '20 days') d
ORDER BY 1;
BEGIN;
SELECT FROM chs_publish('later');
CALL chs_recalculate_all();
SELECT count(*) AS customers, bool_and(live_score IS NOT DISTINCT FROM draft_score) AS same FROM chs_simulate(as_of => '2021-01-01');
ROLLBACK;
SELECT count(*) FROM chs_simulate('{"default": "x", "segments": {}, "scorecards": {}}');
SELECT score, status, version FROM chs.health_by(chs.draft_document(), 99);
SELECT * FROM chs.health_by(NULL, 1);

-- Whoever simulates may execute it, reads the draft, and sees the customers that he may see.
CREATE ROLE regress_chs_analyst;
GRANT SELECT ON ALL TABLES IN SCHEMA chs TO regress_chs_analyst;
SET ROLE regress_chs_analyst;
SELECT count(*) FROM chs_simulate();
SELECT score FROM chs.health_by(chs_scorecard_export(1), 1);
RESET ROLE;
GRANT EXECUTE ON FUNCTION chs_simulate(jsonb, double precision, timestamptz), chs.health_by(jsonb, bigint, timestamptz) TO regress_chs_analyst;
REVOKE SELECT ON chs.metrics, chs.customer_events FROM regress_chs_analyst;
SET ROLE regress_chs_analyst;
SELECT count(*) FROM chs_simulate();
RESET ROLE;
GRANT SELECT ON chs.metrics TO regress_chs_analyst;
ALTER TABLE chs.customers ENABLE ROW LEVEL SECURITY;
CREATE POLICY smb ON chs.customers USING (segment = 'smb');
SET ROLE regress_chs_analyst;
SELECT customer_id FROM chs_simulate() ORDER BY 1;
SELECT count(*) >= 0 AS lint FROM chs_lint();
RESET ROLE;
DROP OWNED BY regress_chs_analyst;
DROP ROLE regress_chs_analyst;
DROP VIEW simulated;
SET client_min_messages = warning;
DROP EXTENSION chs CASCADE;
CREATE EXTENSION chs;

-- What publishing does to activities: nothing, unless they lack what the version needs.
INSERT INTO chs.customers (customer_id, segment, created_at) SELECT n, 'smb', '2020-01-01' FROM generate_series(1, 6) n;
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT c, 'login', jsonb_build_object('ip_address', n % (c + 3)), now() - n * interval '1 day' FROM generate_series(1, 5) c, generate_series(0, 50) n;
CALL chs_recalculate_all();
CREATE VIEW exact AS
SELECT count(*) AS customers, bool_and(h.score IS NOT DISTINCT FROM s.score AND h.factor_scores IS NOT DISTINCT FROM s.factor_scores AND h.version = v.version) AS exact
FROM chs.customers c
CROSS JOIN (SELECT version, document FROM chs.scorecard_versions ORDER BY version DESC LIMIT 1) v
CROSS JOIN LATERAL chs.health_now(c.customer_id) h
CROSS JOIN LATERAL (SELECT chs_activity_agg(v.document, e.event_type, e.event_data, e.occurred_at) AS activity
                    FROM chs.customer_events e WHERE e.customer_id = c.customer_id) a
CROSS JOIN LATERAL chs_activity_score(a.activity, v.document, c.segment, c.created_at, now()) s;
-- The rows as they lie in the table: version and place of each.
CREATE VIEW stored AS SELECT customer_id, xmin::text AS written_by, ctid::text AS place, series_version, activity::text AS activity FROM chs.activity;
CREATE TEMP TABLE before AS TABLE stored;

-- Weights, curves, targets, bounds, penalties, what no data means; a metric, and a shorter window, of what is counted anyway;
-- segments, other scorecards: nothing is written to chs.activity.
UPDATE chs.factors SET weight = weight * 2 WHERE factor = 'login_frequency';
UPDATE chs.metrics SET curve = '0:10 2:90', weight = 3, missing = 'score', missing_score = 5 WHERE (scorecard, metric) = ('default', 'logins');
UPDATE chs.targets SET target = 33 WHERE metric = 'logins';
UPDATE chs.scorecards SET min_coverage = 0.1, healthy_from = 60, at_risk_from = 30, grace = false, trend_band = 1;
UPDATE chs.metrics SET penalty = 7 WHERE metric = 'urgent';
INSERT INTO chs.metrics (scorecard, factor, metric, event_type, aggregate, window_days, curve, weight, missing)
VALUES ('default', 'login_frequency', 'login_days', 'login', 'active_days', 14, '0:0 14:100', 1, 'zero');
INSERT INTO chs.segments (segment, scorecard) VALUES ('agency', 'volume_only');
INSERT INTO chs.segment_weights VALUES ('default', 'login_frequency', NULL, 'smb', 0.7);
DELETE FROM chs.metrics WHERE metric = 'endpoint_diversity';
SELECT chs_publish('needs nothing new');
TABLE exact;
CALL chs_recalculate_all();
TABLE exact;
SELECT count(*) AS rescored FROM chs.customer_health WHERE version = 2;
SELECT count(*) AS touched FROM (TABLE stored EXCEPT TABLE before) t;
SELECT job FROM chs.progress WHERE job = 'backfill';

-- A field that was never counted: one customer after the other, each when it is folded or scored, and exact all the time.
INSERT INTO chs.metrics (scorecard, factor, metric, event_type, aggregate, field, window_days, curve, weight, missing)
VALUES ('default', 'login_frequency', 'addresses', 'login', 'distinct', 'ip_address', 30, '0:0 10:100', 1, 'zero');
SELECT chs_publish('needs addresses');
TABLE exact;
SELECT count(*) AS touched FROM (TABLE stored EXCEPT TABLE before) t;
SELECT job FROM chs.progress WHERE job = 'backfill';
SELECT chs_recalculate(2) IS NOT NULL AS scored;
SELECT job, phase, done, total, percent, finished_at IS NULL AS goes_on FROM chs.progress WHERE job = 'backfill';
INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (4, 'login', '{"ip_address": 99}');
TABLE exact;
SELECT chs_process_queue();
TABLE exact;
SELECT job, done, total, percent FROM chs.progress WHERE job = 'backfill';
SELECT array_agg(customer_id ORDER BY 1) AS backfilled FROM chs.activity WHERE series_version = 3;
-- Weights meanwhile, which need nothing beyond that.
UPDATE chs.factors SET weight = weight + 1 WHERE factor = 'login_frequency';
SELECT chs_publish('weights, before all are counted');
TABLE exact;
CALL chs_recalculate_all();
SELECT job, state, phase, done, total, percent FROM chs.progress WHERE job = 'backfill';
SELECT DISTINCT series_version FROM chs.activity;
TABLE exact;
SELECT count(*) AS differences FROM chs_verify();
-- Again; a rebuild does as well.
UPDATE chs.metrics SET window_days = 60 WHERE metric = 'addresses';
SELECT chs_publish('a longer window');
CALL chs_rebuild();
SELECT job, state, phase, done, total, percent FROM chs.progress WHERE job = 'backfill';
TABLE exact;
-- As part of a transaction that goes nowhere.
BEGIN;
UPDATE chs.metrics SET window_days = 90 WHERE metric = 'addresses';
SELECT chs_publish('undone');
SELECT chs_recalculate(1) IS NOT NULL AS scored;
SELECT job, phase, done, total FROM chs.progress WHERE job = 'backfill';
TABLE exact;
ROLLBACK;
SELECT job, phase, done, total FROM chs.progress WHERE job = 'backfill';
TABLE exact;
DROP VIEW exact, stored;
SET client_min_messages = warning;
DROP EXTENSION chs CASCADE;
CREATE EXTENSION chs;

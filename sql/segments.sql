-- Segments choose their scorecard, and may have weights and targets of their own.
\set ECHO none \i test/refusal.sql \set ECHO all
INSERT INTO chs.customers (customer_id, segment, created_at) VALUES (1, 'smb', '2020-01-01'), (2, NULL, '2020-01-01');
-- A new event type counts nothing yet, but is recorded at once.
INSERT INTO chs.event_types (event_type) VALUES ('visit');
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT c, 'visit', '{}', now() - n * interval '1 day' FROM generate_series(1, 2) c, generate_series(0, 14) n;
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT c, 'login', '{"ip_address": "::1"}', now() - n * interval '1 day' FROM generate_series(1, 2) c, generate_series(0, 5) n;
SELECT FROM chs_process_queue();
-- So is a new segment; until it is published its customers are scored by the default scorecard.
INSERT INTO chs.segments (segment, scorecard) VALUES ('agency', 'volume_only'), ('plain', NULL);
UPDATE chs.customers SET segment = 'agency' WHERE customer_id = 2;
INSERT INTO chs.customers (customer_id, segment, created_at) VALUES (3, 'plain', '2020-01-01');
SELECT customer_id, scorecard, score, coverage FROM chs.customers, chs.health_now(customer_id) ORDER BY 1;

INSERT INTO chs.metrics (scorecard, factor, metric, event_type, aggregate, window_days, curve, weight, missing)
VALUES ('default', 'login_frequency', 'visits', 'visit', 'count', 30, '0:0 20:100', 1, 'zero');
UPDATE chs.scorecards SET min_coverage = 0;
SELECT chs_publish('visits, and segments');
CALL chs_recalculate_all();
SELECT customer_id, scorecard, score, coverage FROM chs.customers, chs.health_now(customer_id) ORDER BY 1;

-- smb: logins matter more to the score, and visits less to logins.
INSERT INTO chs.segment_weights (scorecard, factor, metric, segment, weight)
VALUES ('default', 'login_frequency', NULL, 'smb', 0.8), ('default', 'login_frequency', 'visits', 'smb', 0.3),
       ('default', 'api_usage', NULL, 'smb', 0), ('volume_only', 'api_usage', NULL, 'smb', 7);
INSERT INTO chs.targets (scorecard, factor, metric, segment, target) VALUES ('default', 'login_frequency', 'logins', 'smb', 6);
SELECT chs_publish('weights of smb');
UPDATE chs.segments SET scorecard = 'default' WHERE segment = 'agency';
SELECT chs_publish('agency as all');
SELECT customer_id, factor, metric, target, score, weight, round(effective_weight::numeric, 4) AS effective, round(contribution::numeric, 4) AS contribution
FROM generate_series(1, 2) customer_id, chs_explain(customer_id) WITH ORDINALITY e
WHERE factor = 'login_frequency' AND (metric IS NULL OR weight = 0 OR effective_weight > 0) OR metric IS NULL ORDER BY 1, e.ordinality;
SELECT customer_id, chs_score(customer_id) FROM chs.customers ORDER BY 1;
CALL chs_recalculate_all();
SELECT * FROM chs_verify();

-- Stored health and history name the segment, and the views show its weights.
SELECT customer_id, segment, scorecard, version, score = chs_score(customer_id) AS exact FROM chs.customer_health ORDER BY 1;
SELECT customer_id, factor_name, score, weight, round(effective_weight::numeric, 4) AS effective, round(contribution::numeric, 4) AS contribution
FROM chs.factor_breakdown WHERE customer_id IN (1, 2) AND contribution IS NOT NULL ORDER BY 1, position;
SELECT DISTINCT ON (h.customer_id, factor_name) h.customer_id, h.segment, factor_name, f.weight, round((details ->> 'contribution')::numeric, 4) AS contribution
FROM chs.factor_scores f JOIN chs.health_scores h USING (customer_id, health_score_id)
WHERE h.version = 4 AND h.customer_id IN (1, 2) AND details -> 'contribution' <> 'null' ORDER BY h.customer_id, factor_name, health_score_id DESC;
-- Recomputed from their version, after the customers have gone to other segments.
UPDATE chs.customers SET segment = CASE segment WHEN 'smb' THEN 'agency' ELSE 'smb' END;
SELECT FROM chs_process_queue();
SELECT count(DISTINCT h.segment) AS segments, count(*) > 3 AS some, bool_and(h.score IS NOT DISTINCT FROM s.score AND h.status = s.status
           AND h.coverage = s.coverage AND h.trend IS NOT DISTINCT FROM s.trend AND h.factor_scores IS NOT DISTINCT FROM s.factor_scores) AS recomputed
FROM chs.health_scores h JOIN chs.scorecard_versions v USING (version) JOIN chs.customers c USING (customer_id),
     LATERAL (SELECT chs_activity_agg(v.document, e.event_type, e.event_data, e.occurred_at) AS activity
              FROM chs.customer_events e WHERE e.customer_id = h.customer_id) a,
     LATERAL chs_activity_score(a.activity, v.document, h.segment, c.created_at, h.as_of + interval '12 hours') s
WHERE version > 1;

-- Guards.
\set SHOW_CONTEXT never
SELECT refusal(s) FROM unnest(ARRAY[
    $$INSERT INTO chs.segment_weights (scorecard, factor, segment, weight) VALUES ('default', 'login_frequency', 'smb', 1)$$,
    $$INSERT INTO chs.segment_weights (scorecard, factor, segment, weight) VALUES ('default', 'support_tickets', 'smb', -1)$$,
    $$INSERT INTO chs.segment_weights (scorecard, factor, metric, segment, weight) VALUES ('default', 'support_tickets', 'satisfaction', 'smb', 'NaN')$$,
    $$INSERT INTO chs.segment_weights (scorecard, factor, metric, segment, weight) VALUES ('default', 'support_tickets', 'satisfaction', 'smb', NULL)$$,
    $$INSERT INTO chs.segment_weights (scorecard, factor, metric, segment, weight) VALUES ('default', 'support_tickets', 'urgent', 'smb', 1)$$,
    $$INSERT INTO chs.segment_weights (scorecard, factor, metric, segment, weight) VALUES ('default', 'support_tickets', 'none', 'smb', 1)$$,
    $$INSERT INTO chs.segment_weights (scorecard, factor, segment, weight) VALUES ('default', 'support_tickets', 'none', 1)$$,
    $$INSERT INTO chs.segment_weights (scorecard, factor, segment, weight) VALUES ('default', 'support_tickets', NULL, 1)$$,
    $$DELETE FROM chs.segments WHERE segment = 'agency'$$]) s \g (format=unaligned tuples_only=on)
DELETE FROM chs.customers;
DELETE FROM chs.segments WHERE segment = 'agency';
SELECT segment, count(*) FROM chs.segment_weights GROUP BY 1;
SET client_min_messages = warning;
DROP EXTENSION chs CASCADE;
CREATE EXTENSION chs;

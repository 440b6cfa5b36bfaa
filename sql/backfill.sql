-- What publishing does to activities: nothing, unless they lack what the version needs.  Then it waits for them.
\pset format unaligned
\pset tuples_only on
INSERT INTO chs.customers (customer_id, segment, created_at) SELECT n, 'smb', '2020-01-01' FROM generate_series(1, 6) n;
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT c, 'login', jsonb_build_object('ip_address', n % (c + 3)), now() - n * interval '1 day' FROM generate_series(1, 5) c, generate_series(0, 50) n;
CALL chs_recalculate_all();
CREATE VIEW exact AS
SELECT count(*) AS customers, bool_and(h.score IS NOT DISTINCT FROM s.score AND h.factor_scores IS NOT DISTINCT FROM s.factor_scores AND h.version = v.version) AS exact
FROM chs.customers c
CROSS JOIN (SELECT version, document FROM chs.scorecard_versions WHERE live_at IS NOT NULL ORDER BY version DESC LIMIT 1) v
CROSS JOIN LATERAL chs.health_now(c.customer_id) h
CROSS JOIN LATERAL (SELECT chs_activity_agg(v.document, e.event_type, e.event_data, e.occurred_at) AS activity
                    FROM chs.customer_events e WHERE e.customer_id = c.customer_id) a
CROSS JOIN LATERAL chs_activity_score(a.activity, v.document, c.segment, c.created_at, now()) s;
CREATE VIEW versions AS SELECT version, live_at IS NOT NULL AS live, series_version, note FROM chs.scorecard_versions ORDER BY version;
CREATE FUNCTION counted(number integer) RETURNS bigint[] LANGUAGE sql AS 'SELECT array_agg(customer_id ORDER BY customer_id) FROM chs.activity WHERE series_version = number';
CREATE FUNCTION addresses(customer bigint) RETURNS double precision LANGUAGE sql AS $$SELECT value FROM chs_explain(customer) WHERE metric = 'addresses'$$;
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

-- A field that was never counted: until all activities count it, the version before goes on, and is exact.
INSERT INTO chs.metrics (scorecard, factor, metric, event_type, aggregate, field, window_days, curve, weight, missing)
VALUES ('default', 'login_frequency', 'addresses', 'login', 'distinct', 'ip_address', 30, '0:0 10:100', 1, 'zero');
CREATE TEMP TABLE said AS SELECT customer_id, draft_score FROM chs_simulate();
SELECT chs_publish('needs addresses');
TABLE versions;
TABLE exact;
SELECT live_at FROM chs.scorecard_versions WHERE version = 3;
SELECT count(*) AS touched FROM (TABLE stored EXCEPT TABLE before) t;
-- By its number it can be asked already, which reads the raw events; and the draft is what was published.
SELECT count(*) AS as_simulated FROM said WHERE draft_score = chs_score(customer_id, NULL, 3);
SELECT count(*) FROM chs.draft_changes;
-- One customer after the other; folding alone adds to what is there, and makes nothing again.
SELECT chs_recalculate(2) IS NOT NULL AS scored;
INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (2, 'login', '{"ip_address": 98}'), (4, 'login', '{"ip_address": 99}');
TABLE exact;
SELECT chs_process_queue();
TABLE exact;
SELECT counted(1), counted(3), addresses(4);
SELECT * FROM chs_verify();
-- Weights meanwhile, which need nothing beyond that: what has been counted is of use for this version, and the one before it never is live.
UPDATE chs.factors SET weight = weight + 1 WHERE factor = 'login_frequency';
SELECT chs_publish('weights, before all are counted');
TABLE versions;
TABLE exact;
CALL chs_recalculate_all();
TABLE versions;
SELECT counted(3), addresses(4), (SELECT count(*) FROM chs.customer_health WHERE version = 4) AS rescored;
TABLE exact;
SELECT * FROM chs_verify();
-- Again; a rebuild does as well.  Events that came meanwhile count by both.
UPDATE chs.metrics SET window_days = 60 WHERE metric = 'addresses';
SELECT chs_publish('a longer window');
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at) VALUES (4, 'login', '{"ip_address": 97}', now() - interval '40 days');
TABLE exact;
CALL chs_rebuild();
TABLE versions;
SELECT counted(5), addresses(4), (SELECT count(*) FROM chs.customer_health WHERE version = 5) AS rescored;
TABLE exact;
SELECT * FROM chs_verify();
-- Back while one waits: it needs nothing, and is live at once.
INSERT INTO chs.metrics (scorecard, factor, metric, event_type, aggregate, field, window_days, curve, weight, missing)
VALUES ('default', 'login_frequency', 'places', 'login', 'distinct', 'place', 30, '0:0 10:100', 1, 'zero');
SELECT chs_publish('needs places');
SELECT chs_recalculate(1) IS NOT NULL AS scored;
SELECT chs_rollback(5);
TABLE versions;
INSERT INTO chs.customer_events (customer_id, event_type, event_data) SELECT n, 'login', '{"ip_address": 96}' FROM generate_series(1, 6) n;
TABLE exact;
SELECT chs_process_queue();
TABLE exact;
SELECT counted(5), counted(6);
CALL chs_recalculate_all();
TABLE exact;
SELECT * FROM chs_verify();
-- As part of a transaction: one that goes nowhere, and one that does all of it.
BEGIN;
UPDATE chs.metrics SET window_days = 90 WHERE metric = 'addresses';
SELECT chs_publish('undone');
SELECT chs_recalculate(1) IS NOT NULL AS scored;
TABLE exact;
ROLLBACK;
TABLE exact;
BEGIN;
UPDATE chs.metrics SET window_days = 90 WHERE metric = 'addresses';
SELECT chs_publish('done');
SAVEPOINT a;
CALL chs_recalculate_all();
SELECT live FROM versions WHERE note = 'done';
TABLE exact;
ROLLBACK TO a;
SELECT live FROM versions WHERE note = 'done';
TABLE exact;
CALL chs_recalculate_all();
COMMIT;
SELECT live FROM versions WHERE note = 'done';
TABLE exact;
SELECT * FROM chs_verify();
-- Whoever fails does not hold it up; others are not made again a second time.
CREATE SCHEMA failing;
CREATE FUNCTION failing.opinion(customer_id bigint, as_of timestamptz) RETURNS double precision
    LANGUAGE plpgsql STABLE AS $$BEGIN IF customer_id = 3 THEN RAISE 'no opinion of customer 3'; END IF; RETURN 50; END$$;
SELECT chs_add_factor('opinion', 0.1, 'failing.opinion');
SELECT chs_publish('an opinion');
UPDATE chs.metrics SET window_days = 45 WHERE metric = 'addresses';
SELECT chs_publish('fails for one') AS number \gset
CALL chs_recalculate_all();
SELECT live FROM versions WHERE note = 'fails for one';
SELECT customer_id, message FROM chs.failures;
SELECT counted(:number);
CREATE OR REPLACE FUNCTION failing.opinion(customer_id bigint, as_of timestamptz) RETURNS double precision LANGUAGE sql STABLE AS 'SELECT 50.0';
SELECT chs_rebuild(3);
DELETE FROM chs.failures;
SELECT counted(:number);
SELECT count(*) AS rescored FROM chs.customer_health WHERE version = :number;
SELECT chs_drop_factor('opinion');
-- A source that cannot be read does: without its events no activity can be made again.
CREATE TABLE visits (customer bigint, at timestamptz);
SELECT chs_attach('visits', 'customer', '''login''', 'at', '''{"ip_address": 1}''::jsonb') > 1 AS attached;
CALL chs_recalculate_all();
ALTER TABLE visits RENAME customer TO account;
UPDATE chs.metrics SET window_days = 50 WHERE metric = 'addresses';
SELECT chs_publish('cannot be counted');
SET client_min_messages = warning;
CALL chs_recalculate_all();
RESET client_min_messages;
SELECT live FROM versions WHERE note = 'cannot be counted';
SELECT count(chs_score(customer_id)) AS scored FROM chs.customers;
-- Attaching has all made again, by what was published last.
SELECT chs_detach('visits');
SELECT live, note FROM versions ORDER BY version DESC LIMIT 2;
TABLE exact;
CALL chs_recalculate_all();
TABLE exact;
SELECT * FROM chs_verify();
DROP FUNCTION counted, addresses;
DROP VIEW exact, stored, versions;
SET client_min_messages = warning;
DROP SCHEMA failing CASCADE;
DROP TABLE visits;
DROP EXTENSION chs CASCADE;
CREATE EXTENSION chs;

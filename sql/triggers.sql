-- Trigger functions that are called or attached in ways that are not theirs.
SELECT chs.capture();
\echo :LAST_ERROR_SQLSTATE
SELECT chs.capture_flush();
SELECT chs.capture_truncate();
SELECT chs.capture_customer();
SELECT chs.invalidate();
SELECT chs.scorecard_versions_guard();

INSERT INTO chs.customers (customer_id, created_at) VALUES (42, '2020-01-01');
SELECT FROM chs_process_queue();

-- On a table that only looks like the real one, nobody gains the right to add to a score.
CREATE TABLE lookalike (LIKE chs.customer_events INCLUDING DEFAULTS);
ALTER TABLE lookalike ALTER event_id SET DEFAULT 1;
CREATE TRIGGER "00_chs_capture" AFTER INSERT OR UPDATE OR DELETE ON lookalike FOR EACH ROW EXECUTE FUNCTION chs.capture();
INSERT INTO lookalike (customer_id, event_type, event_data) VALUES (42, 'login', '{"ip_address": "::1"}');
\echo :LAST_ERROR_SQLSTATE
DROP TRIGGER "00_chs_capture" ON lookalike;
CREATE TRIGGER "00_chs_capture" AFTER INSERT ON lookalike FOR EACH STATEMENT EXECUTE FUNCTION chs.capture_flush();
INSERT INTO lookalike (customer_id, event_type, event_data) VALUES (42, 'login', '{"ip_address": "::1"}');
DROP TRIGGER "00_chs_capture" ON lookalike;
CREATE TRIGGER "00_chs_capture" AFTER TRUNCATE ON lookalike FOR EACH STATEMENT EXECUTE FUNCTION chs.capture_truncate();
TRUNCATE lookalike;
DROP TABLE lookalike;
CREATE TABLE lookalike (a integer);
CREATE TRIGGER "00_chs_capture" AFTER INSERT ON lookalike FOR EACH ROW EXECUTE FUNCTION chs.capture();
INSERT INTO lookalike VALUES (1);
DROP TRIGGER "00_chs_capture" ON lookalike;
CREATE TRIGGER "00_chs_capture" AFTER INSERT OR UPDATE OR DELETE ON lookalike FOR EACH ROW EXECUTE FUNCTION chs.capture_customer();
INSERT INTO lookalike VALUES (1);
DROP TRIGGER "00_chs_capture" ON lookalike;
CREATE TRIGGER "00_chs_capture" BEFORE INSERT ON lookalike FOR EACH ROW EXECUTE FUNCTION chs.invalidate();
INSERT INTO lookalike VALUES (1);
DROP TABLE lookalike;

-- On the real one, at the wrong time or level.
CREATE TRIGGER wrong BEFORE INSERT ON chs.customer_events FOR EACH ROW EXECUTE FUNCTION chs.capture();
INSERT INTO chs.customer_events (customer_id, event_type) VALUES (42, 'support_ticket');
DROP TRIGGER wrong ON chs.customer_events;
CREATE TRIGGER wrong AFTER INSERT ON chs.customer_events FOR EACH STATEMENT EXECUTE FUNCTION chs.capture();
INSERT INTO chs.customer_events (customer_id, event_type) VALUES (42, 'support_ticket');
DROP TRIGGER wrong ON chs.customer_events;
CREATE TRIGGER wrong AFTER INSERT ON chs.customer_events FOR EACH ROW EXECUTE FUNCTION chs.capture_flush();
INSERT INTO chs.customer_events (customer_id, event_type) VALUES (42, 'support_ticket');
DROP TRIGGER wrong ON chs.customer_events;
CREATE TRIGGER wrong BEFORE INSERT ON chs.customer_events FOR EACH STATEMENT EXECUTE FUNCTION chs.capture_flush();
INSERT INTO chs.customer_events (customer_id, event_type) VALUES (42, 'support_ticket');
DROP TRIGGER wrong ON chs.customer_events;
CREATE TRIGGER wrong AFTER INSERT ON chs.customer_events FOR EACH ROW EXECUTE FUNCTION chs.capture_truncate();
INSERT INTO chs.customer_events (customer_id, event_type) VALUES (42, 'support_ticket');
DROP TRIGGER wrong ON chs.customer_events;
CREATE TRIGGER wrong AFTER INSERT ON chs.customer_events FOR EACH ROW EXECUTE FUNCTION chs.capture_customer();
INSERT INTO chs.customer_events (customer_id, event_type) VALUES (42, 'support_ticket');
DROP TRIGGER wrong ON chs.customer_events;
CREATE TRIGGER wrong AFTER INSERT ON chs.customers FOR EACH ROW EXECUTE FUNCTION chs.capture();
INSERT INTO chs.customers (customer_id, created_at) VALUES (43, '2020-01-01');
DROP TRIGGER wrong ON chs.customers;
CREATE VIEW seen AS SELECT * FROM chs.customer_events;
CREATE TRIGGER wrong INSTEAD OF INSERT ON seen FOR EACH ROW EXECUTE FUNCTION chs.capture();
INSERT INTO seen (customer_id, event_type, event_data) VALUES (42, 'support_ticket', '{}');
DROP VIEW seen;

-- Nothing of it came through.
SELECT count(*) FROM chs.customer_events;
SELECT * FROM chs_verify();
INSERT INTO chs.customer_events (customer_id, event_type) VALUES (42, 'support_ticket');
SELECT value FROM chs_explain(42) WHERE metric = 'ticket_volume';
SELECT * FROM chs_verify();
DELETE FROM chs.customers;
SELECT FROM chs_process_queue();

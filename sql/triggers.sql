-- Trigger functions that are called or attached in ways that are not theirs.
\pset format unaligned
\pset tuples_only on
\set ECHO none \i test/refusal.sql \set ECHO all
SELECT refusal(s) FROM unnest(ARRAY['SELECT chs.capture()', 'SELECT chs.capture_flush()', 'SELECT chs.capture_truncate()',
    'SELECT chs.capture_customer()', 'SELECT chs.invalidate()', 'SELECT chs.scorecard_versions_guard()']) s \g (format=unaligned tuples_only=on)

INSERT INTO chs.customers (customer_id, created_at) VALUES (42, '2020-01-01');
SELECT FROM chs_process_queue();

-- On a table that only looks like the real one, nobody gains the right to add to a score; nor does a function work
-- at the wrong time or level of the real one.
CREATE TABLE lookalike (LIKE chs.customer_events INCLUDING DEFAULTS);
ALTER TABLE lookalike ALTER event_id SET DEFAULT 1;
CREATE TABLE unlike (a integer);
CREATE VIEW seen AS SELECT * FROM chs.customer_events;
SELECT refusal(format('CREATE TRIGGER %s %s EXECUTE FUNCTION chs.%s(); %s', CASE WHEN on_table ~ 'like' THEN '"00_chs_capture"' ELSE 'wrong' END, "when", f,
    CASE WHEN "when" LIKE '%TRUNCATE%' THEN 'TRUNCATE ' || on_table
         WHEN on_table = 'unlike' THEN 'INSERT INTO unlike VALUES (1)'
         WHEN on_table = 'chs.customers' THEN 'INSERT INTO chs.customers (customer_id, created_at) VALUES (43, ''2020-01-01'')'
         ELSE format('INSERT INTO %s (customer_id, event_type, event_data) VALUES (42, ''support_ticket'', ''{}'')', on_table) END))
FROM (VALUES
    ('lookalike', 'AFTER INSERT OR UPDATE OR DELETE ON lookalike FOR EACH ROW', 'capture'),
    ('lookalike', 'AFTER INSERT ON lookalike', 'capture_flush'),
    ('lookalike', 'AFTER TRUNCATE ON lookalike', 'capture_truncate'),
    ('unlike', 'AFTER INSERT ON unlike FOR EACH ROW', 'capture'),
    ('unlike', 'AFTER INSERT OR UPDATE OR DELETE ON unlike FOR EACH ROW', 'capture_customer'),
    ('unlike', 'BEFORE INSERT ON unlike FOR EACH ROW', 'invalidate'),
    ('chs.customer_events', 'BEFORE INSERT ON chs.customer_events FOR EACH ROW', 'capture'),
    ('chs.customer_events', 'AFTER INSERT ON chs.customer_events', 'capture'),
    ('chs.customer_events', 'AFTER INSERT ON chs.customer_events FOR EACH ROW', 'capture_flush'),
    ('chs.customer_events', 'BEFORE INSERT ON chs.customer_events', 'capture_flush'),
    ('chs.customer_events', 'AFTER INSERT ON chs.customer_events FOR EACH ROW', 'capture_truncate'),
    ('chs.customer_events', 'AFTER INSERT ON chs.customer_events FOR EACH ROW', 'capture_customer'),
    ('chs.customers', 'AFTER INSERT ON chs.customers FOR EACH ROW', 'capture'),
    ('seen', 'INSTEAD OF INSERT ON seen FOR EACH ROW', 'capture')) t (on_table, "when", f) \g (format=unaligned tuples_only=on)
DROP TABLE lookalike, unlike;
DROP VIEW seen;

-- Nothing of it came through.
SELECT count(*) FROM chs.customer_events;
SELECT * FROM chs_verify();
INSERT INTO chs.customer_events (customer_id, event_type) VALUES (42, 'support_ticket');
SELECT value FROM chs_explain(42) WHERE metric = 'ticket_volume';
SELECT * FROM chs_verify();
DELETE FROM chs.customers;
SELECT FROM chs_process_queue();

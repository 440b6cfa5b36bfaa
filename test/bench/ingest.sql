-- The tables that the benchmark of ingest compares: bare, with foreign keys, and with triggers by hand.
SET search_path = bench, public;

CREATE TABLE bare (LIKE chs.customer_events INCLUDING ALL);

CREATE TABLE foreign_keys (LIKE chs.customer_events INCLUDING ALL,
    FOREIGN KEY (customer_id) REFERENCES chs.customers, FOREIGN KEY (event_type) REFERENCES chs.event_types);

CREATE TABLE row_queue (customer_id bigint NOT NULL, queued_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE row_trigger (LIKE chs.customer_events INCLUDING ALL);
CREATE FUNCTION queue_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO bench.row_queue (customer_id) VALUES (NEW.customer_id);
    RETURN NULL;
END
$$;
CREATE TRIGGER queue AFTER INSERT ON row_trigger FOR EACH ROW EXECUTE FUNCTION queue_row();

CREATE TABLE statement_queue (LIKE row_queue INCLUDING ALL);
CREATE TABLE statement_trigger (LIKE chs.customer_events INCLUDING ALL);
CREATE FUNCTION queue_statement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO bench.statement_queue (customer_id) SELECT DISTINCT customer_id FROM inserted;
    RETURN NULL;
END
$$;
CREATE TRIGGER queue AFTER INSERT ON statement_trigger REFERENCING NEW TABLE AS inserted
    FOR EACH STATEMENT EXECUTE FUNCTION queue_statement();

CREATE TABLE counters (customer_id bigint, day date, event_type text, n bigint NOT NULL, PRIMARY KEY (customer_id, day, event_type))
    WITH (fillfactor = 70);
CREATE TABLE roll_up_trigger (LIKE chs.customer_events INCLUDING ALL);
CREATE FUNCTION roll_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- In the order of the key, so that two of them do not block each other for ever.
    INSERT INTO bench.counters AS c
    SELECT customer_id, (occurred_at AT TIME ZONE 'UTC')::date, event_type, count(*) FROM inserted GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (customer_id, day, event_type) DO UPDATE SET n = c.n + excluded.n;
    RETURN NULL;
END
$$;
CREATE TRIGGER roll_up AFTER INSERT ON roll_up_trigger REFERENCING NEW TABLE AS inserted
    FOR EACH STATEMENT EXECUTE FUNCTION roll_up();

-- These only grow: a vacuum that happens to fall into a measurement says nothing.
ALTER TABLE chs.customer_events SET (autovacuum_enabled = false);
ALTER TABLE bare SET (autovacuum_enabled = false);
ALTER TABLE foreign_keys SET (autovacuum_enabled = false);
ALTER TABLE row_trigger SET (autovacuum_enabled = false);
ALTER TABLE statement_trigger SET (autovacuum_enabled = false);
ALTER TABLE roll_up_trigger SET (autovacuum_enabled = false);

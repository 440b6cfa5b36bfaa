-- The least that a table of events can have.
CREATE TABLE bench.one_key (LIKE chs.customer_events INCLUDING DEFAULTS INCLUDING IDENTITY, PRIMARY KEY (event_id));
ALTER TABLE bench.one_key SET (autovacuum_enabled = false);

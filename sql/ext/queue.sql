-- The queue of deltas not yet folded, and the activities they are folded into.
-- Both are derived from the events, and never dumped.

-- In an order that needs no padding.
CREATE TABLE chs.queue (
    xid            xid8 NOT NULL,
    customer_id    bigint NOT NULL,
    enqueued_at    timestamptz NOT NULL,
    series_version integer NOT NULL,
    rebuild        boolean NOT NULL,
    delta          @extschema@.chs_activity
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
        autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 0,
        autovacuum_analyze_threshold = 100000);
-- Minimum and maximum of transactions in ranges of pages, the maximum rounded up.
CREATE FUNCTION chs.xid8_add_value(internal, internal, internal, internal) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'chs_xid8_add_value';
COMMENT ON FUNCTION chs.xid8_add_value(internal, internal, internal, internal) IS
    'BRIN support: widens a range of pages to hold a transaction, the maximum rounded up';
CREATE OPERATOR CLASS chs.xid8_minmax_ops FOR TYPE xid8 USING brin AS
    OPERATOR 1 pg_catalog.<, OPERATOR 2 pg_catalog.<=, OPERATOR 3 pg_catalog.=, OPERATOR 4 pg_catalog.>=, OPERATOR 5 pg_catalog.>,
    FUNCTION 1 pg_catalog.brin_minmax_opcinfo(internal),
    FUNCTION 2 chs.xid8_add_value(internal, internal, internal, internal),
    FUNCTION 3 pg_catalog.brin_minmax_consistent(internal, internal, internal),
    FUNCTION 4 pg_catalog.brin_minmax_union(internal, internal, internal);
COMMENT ON OPERATOR CLASS chs.xid8_minmax_ops USING brin IS 'minimum and maximum of transactions in ranges of pages';
COMMENT ON OPERATOR FAMILY chs.xid8_minmax_ops USING brin IS 'minimum and maximum of transactions in ranges of pages';
CREATE INDEX queue_xid_idx ON chs.queue USING brin (xid chs.xid8_minmax_ops) WITH (pages_per_range = 16);
CREATE INDEX queue_customer_id_idx ON chs.queue (customer_id, xid);
COMMENT ON TABLE chs.queue IS 'deltas not yet folded into chs.activity';
COMMENT ON COLUMN chs.queue.customer_id IS 'whose delta it is';
COMMENT ON COLUMN chs.queue.enqueued_at IS 'when it was appended';
COMMENT ON COLUMN chs.queue.xid IS 'transaction that appended the row; folding follows this order';
COMMENT ON COLUMN chs.queue.delta IS 'the activity of the events of one statement; NULL: nothing to add, just score';
COMMENT ON COLUMN chs.queue.rebuild IS 'rebuild the activity from the raw events';
COMMENT ON COLUMN chs.queue.series_version IS 'the scorecard version whose series the delta counts';

-- An update on the same page logs what lies between the first and the last byte
-- that change, so what every fold changes stays together: folded_to and the
-- beginning of an activity.
CREATE TABLE chs.activity (
    customer_id    bigint PRIMARY KEY,
    folded_to      xid8 NOT NULL,
    series_version integer NOT NULL,
    activity       @extschema@.chs_activity NOT NULL
    -- an activity does not compress, so a row is left uncompressed as long as it fits
) WITH (fillfactor = 70, toast_tuple_target = 8160);
ALTER TABLE chs.activity ADD CONSTRAINT activity_customer_id_fkey
    FOREIGN KEY (customer_id) REFERENCES chs.customers ON UPDATE CASCADE ON DELETE CASCADE;
-- Written only by the fold, which has looked up the customer.
ALTER TABLE chs.activity DISABLE TRIGGER ALL;
COMMENT ON TABLE chs.activity IS 'the folded summary of each customer';
COMMENT ON COLUMN chs.activity.customer_id IS 'the customer';
COMMENT ON COLUMN chs.activity.activity IS 'the summary of the events';
COMMENT ON COLUMN chs.activity.series_version IS 'the scorecard version whose series it counts';
COMMENT ON COLUMN chs.activity.folded_to IS 'queue rows of earlier transactions have been folded';

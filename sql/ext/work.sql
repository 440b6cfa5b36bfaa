-- Manual work: what workers do by themselves.

CREATE FUNCTION @extschema@.chs_process_queue(max_deltas bigint DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chs_process_queue';
COMMENT ON FUNCTION @extschema@.chs_process_queue(bigint)
    IS 'folds queued deltas, all or at most max_deltas, scores their customers, and returns the number of deltas';

CREATE FUNCTION @extschema@.chs_recalculate(customer_id bigint) RETURNS double precision
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chs_recalculate';
COMMENT ON FUNCTION @extschema@.chs_recalculate(bigint)
    IS 'folds what is queued for a customer, scores it, stores its health, and returns the score';

CREATE FUNCTION @extschema@.chs_rebuild(customer_id bigint) RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chs_rebuild';
COMMENT ON FUNCTION @extschema@.chs_rebuild(bigint)
    IS 'rebuilds the activity of a customer from the raw events, scores it, and returns 1';

-- For all customers; these commit as they go, see chs.progress.
CREATE PROCEDURE @extschema@.chs_recalculate_all()
    LANGUAGE c AS 'MODULE_PATHNAME', 'chs_recalculate_all';
COMMENT ON PROCEDURE @extschema@.chs_recalculate_all()
    IS 'folds the queue and scores every customer, in slices; see chs.progress';

CREATE PROCEDURE @extschema@.chs_rebuild()
    LANGUAGE c AS 'MODULE_PATHNAME', 'chs_rebuild_all';
COMMENT ON PROCEDURE @extschema@.chs_rebuild()
    IS 'rebuilds the activities of all customers from the raw events and scores them, in slices; see chs.progress';

REVOKE EXECUTE ON FUNCTION @extschema@.chs_process_queue(bigint) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION @extschema@.chs_recalculate(bigint) FROM PUBLIC;
REVOKE EXECUTE ON PROCEDURE @extschema@.chs_recalculate_all() FROM PUBLIC;
REVOKE EXECUTE ON PROCEDURE @extschema@.chs_rebuild() FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION @extschema@.chs_rebuild(bigint) FROM PUBLIC;

-- Tells the background processes that this database has the extension now.
CREATE FUNCTION chs.wake_worker() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chs_wake_worker';
COMMENT ON FUNCTION chs.wake_worker() IS 'makes the worker look at this database after the transaction has committed';
REVOKE EXECUTE ON FUNCTION chs.wake_worker() FROM PUBLIC;
SELECT chs.wake_worker();

-- What the background workers are doing.

CREATE FUNCTION chs.worker_status_now(
        OUT worker integer, OUT pid integer, OUT state text, OUT started_at timestamptz,
        OUT last_batch_at timestamptz, OUT last_batch_deltas bigint, OUT last_batch_customers bigint,
        OUT deltas_per_second double precision, OUT customers_per_second double precision,
        OUT last_error text, OUT last_error_at timestamptz, OUT lag_seconds double precision)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 2 AS 'MODULE_PATHNAME', 'chs_worker_status';
COMMENT ON FUNCTION chs.worker_status_now() IS 'what chs.worker_status shows, from shared memory';

CREATE VIEW chs.worker_status WITH (security_invoker) AS
SELECT worker, pid, state, started_at, last_batch_at, last_batch_deltas, last_batch_customers,
       deltas_per_second, customers_per_second, last_error, last_error_at, lag_seconds
FROM chs.worker_status_now();
COMMENT ON VIEW chs.worker_status IS 'the background workers of this database; no rows if chs is not preloaded, since there are none then';
COMMENT ON COLUMN chs.worker_status.worker IS '1 is the first; others help it with a backlog';
COMMENT ON COLUMN chs.worker_status.pid IS 'its process, as in pg_stat_activity; NULL while there is nothing to do';
COMMENT ON COLUMN chs.worker_status.state IS 'starting, folding, rescoring, housekeeping, waiting (for more work), held up (by the restore of a dump), away (it comes when there is work), failed (it will be restarted in a while), disabled (chs.enabled is off), paused (by chs_pause()) or passed over (the database is not in chs.databases, is a template, or does not allow connections)';
COMMENT ON COLUMN chs.worker_status.started_at IS 'when it was last started';
COMMENT ON COLUMN chs.worker_status.last_batch_at IS 'when it last committed a batch, since the server was started';
COMMENT ON COLUMN chs.worker_status.last_batch_deltas IS 'queued deltas in that batch';
COMMENT ON COLUMN chs.worker_status.last_batch_customers IS 'customers of those deltas';
COMMENT ON COLUMN chs.worker_status.deltas_per_second IS 'deltas folded per second of work, over its last ten to twenty seconds of work';
COMMENT ON COLUMN chs.worker_status.customers_per_second IS 'customers folded per second of work, over the same time';
COMMENT ON COLUMN chs.worker_status.last_error IS 'the last error that ended a worker of this database, or one of its tasks other than scoring, since the server was started; errors about one customer are in chs.failures';
COMMENT ON COLUMN chs.worker_status.last_error_at IS 'when that was';
COMMENT ON COLUMN chs.worker_status.lag_seconds IS 'how many seconds ago the oldest work that is not done yet was committed; 0 if there is none';

-- For those who monitor the server; an error may name a customer.
REVOKE EXECUTE ON FUNCTION chs.worker_status_now() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION chs.worker_status_now() TO pg_monitor;
GRANT SELECT ON chs.worker_status TO pg_monitor;

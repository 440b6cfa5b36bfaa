-- What the background workers are doing.

CREATE FUNCTION chs.worker_status_now(
        OUT worker integer, OUT pid integer, OUT state text, OUT started_at timestamptz,
        OUT last_batch_at timestamptz, OUT last_batch_deltas bigint, OUT last_batch_customers bigint,
        OUT deltas_per_second double precision, OUT customers_per_second double precision,
        OUT last_error text, OUT last_error_at timestamptz, OUT lag_seconds double precision,
        OUT left_customers bigint, OUT in_way xid, OUT slow_customers bigint, OUT slow_because text, OUT rescored_to bigint)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 2 AS 'MODULE_PATHNAME', 'chs_worker_status';
COMMENT ON FUNCTION chs.worker_status_now() IS 'what chs.worker_status shows, from shared memory';

CREATE VIEW chs.worker_status WITH (security_invoker) AS
SELECT worker, pid, state, started_at, last_batch_at, last_batch_deltas, last_batch_customers,
       deltas_per_second, customers_per_second, last_error, last_error_at, lag_seconds, left_customers,
       (SELECT string_agg(who, '; ' ORDER BY who) FROM (
            SELECT 'process ' || b.pid || concat(' of ' || a.usename, ', ' || a.state,
                   ', in a transaction for ' || date_trunc('second', clock_timestamp() - a.xact_start)) AS who
            FROM (SELECT unnest(pg_blocking_pids(w.pid)) AS pid
                  UNION SELECT l.pid FROM pg_locks l
                  WHERE l.locktype = 'transactionid' AND l.transactionid = w.in_way AND l.mode = 'ExclusiveLock' AND l.granted) b
            LEFT JOIN pg_stat_activity a USING (pid)
            WHERE b.pid <> 0
            UNION
            SELECT 'prepared transaction ' || quote_literal(p.gid) || ' of ' || p.owner
                   || ', for ' || date_trunc('second', clock_timestamp() - p.prepared)
            FROM pg_prepared_xacts p
            WHERE p.database = current_database()
              AND (p.transaction = w.in_way
                   OR 0 = ANY (pg_blocking_pids(w.pid)) AND EXISTS (
                       SELECT FROM pg_locks h JOIN pg_locks r
                         ON (h.locktype, h.database, h.relation, h.classid, h.objid, h.transactionid)
                            IS NOT DISTINCT FROM (r.locktype, r.database, r.relation, r.classid, r.objid, r.transactionid)
                       WHERE h.granted AND NOT r.granted AND r.pid = w.pid
                         AND h.virtualtransaction IN (SELECT x.virtualtransaction FROM pg_locks x
                                                      WHERE x.locktype = 'transactionid' AND x.transactionid = p.transaction
                                                        AND x.mode = 'ExclusiveLock' AND x.granted)))) b) AS in_the_way,
       slow_customers, slow_because, rescored_to
FROM chs.worker_status_now() w;
COMMENT ON VIEW chs.worker_status IS 'the background workers of this database; no rows if chs is not preloaded, since there are none then';
COMMENT ON COLUMN chs.worker_status.worker IS '1 is the first; others help it with a backlog, except for 9, which folds slow customers, of which it keeps no count';
COMMENT ON COLUMN chs.worker_status.pid IS 'its process, as in pg_stat_activity; NULL while there is nothing to do';
COMMENT ON COLUMN chs.worker_status.state IS 'starting, folding, folding slow customers, rescoring, housekeeping, waiting (for more work), held up (by the restore of a dump), away (it comes when there is work), failed (it will be restarted in a while), disabled (chs.enabled is off), paused (by chs_pause()) or excluded (the database is not in chs.databases, is a template, or does not allow connections)';
COMMENT ON COLUMN chs.worker_status.started_at IS 'when it was last started';
COMMENT ON COLUMN chs.worker_status.last_batch_at IS 'when it last committed a batch, since the server was started';
COMMENT ON COLUMN chs.worker_status.last_batch_deltas IS 'queued deltas in that batch';
COMMENT ON COLUMN chs.worker_status.last_batch_customers IS 'customers of those deltas';
COMMENT ON COLUMN chs.worker_status.deltas_per_second IS 'deltas folded per second of work, over its last ten to twenty seconds of work';
COMMENT ON COLUMN chs.worker_status.customers_per_second IS 'customers folded per second of work, over the same time';
COMMENT ON COLUMN chs.worker_status.last_error IS 'the last error that ended a worker of this database, or one of its tasks other than scoring, since the server was started; errors about one customer are in chs.failures';
COMMENT ON COLUMN chs.worker_status.last_error_at IS 'when that was';
COMMENT ON COLUMN chs.worker_status.lag_seconds IS 'how many seconds ago the oldest work that is not done yet was committed; 0 if there is none';
COMMENT ON COLUMN chs.worker_status.left_customers IS 'customers that it has left for later, since somebody has them locked, they fail (chs.failures), or they are slow; at most 1024';
COMMENT ON COLUMN chs.worker_status.in_the_way IS 'who holds up the worker itself, by a lock on a table, or one of those customers: processes, with their transactions, and prepared transactions; NULL: nobody';
COMMENT ON COLUMN chs.worker_status.slow_customers IS 'customers that wait, apart from all others, because a plug-in or the expressions of an attached table take long for them; at most 64 are listed at a time';
COMMENT ON COLUMN chs.worker_status.slow_because IS 'what took long when the latest of them was set apart, since the server was started';
COMMENT ON COLUMN chs.worker_status.rescored_to IS 'how far it has come in a pass over all customers, by ascending customer_id, for a new day or version, or for a version that waits until activities count what it needs; NULL unless it is rescoring';

-- For those who monitor the server; an error may name a customer.
REVOKE EXECUTE ON FUNCTION chs.worker_status_now() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION chs.worker_status_now() TO pg_monitor;
GRANT SELECT ON chs.worker_status TO pg_monitor;

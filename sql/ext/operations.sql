-- Operations: long jobs and what can be seen of them.

-- Derived state, never dumped.
CREATE TABLE chs.jobs (
    job              text PRIMARY KEY,
    phase            text NOT NULL,
    done             bigint NOT NULL,
    total            bigint NOT NULL,
    last_customer_id bigint,
    basis            text NOT NULL,
    pid              integer,
    lock_number      integer NOT NULL,
    started_at       timestamptz NOT NULL,
    run_started_at   timestamptz NOT NULL,
    run_started_done bigint NOT NULL,
    updated_at       timestamptz NOT NULL,
    finished_at      timestamptz
) WITH (fillfactor = 50);
COMMENT ON TABLE chs.jobs IS 'the latest run of each long job, and where the next call goes on with one that was interrupted; delete its row to have it begin anew';
COMMENT ON COLUMN chs.jobs.job IS 'rebuild or recalculate';
COMMENT ON COLUMN chs.jobs.phase IS 'what it is at';
COMMENT ON COLUMN chs.jobs.done IS 'customers that are done';
COMMENT ON COLUMN chs.jobs.total IS 'customers that there are to do';
COMMENT ON COLUMN chs.jobs.last_customer_id IS 'customers up to this one are done; NULL: none';
COMMENT ON COLUMN chs.jobs.basis IS 'what the results depend on; with another one the job begins anew';
COMMENT ON COLUMN chs.jobs.pid IS 'process of the session that runs it, or ran it when it was interrupted; NULL: finished';
COMMENT ON COLUMN chs.jobs.lock_number IS 'objsubid of the lock on the extension that this session holds while it runs the job';
COMMENT ON COLUMN chs.jobs.started_at IS 'when it was begun';
COMMENT ON COLUMN chs.jobs.run_started_at IS 'when it was begun or gone on with last';
COMMENT ON COLUMN chs.jobs.run_started_done IS 'customers that were done then';
COMMENT ON COLUMN chs.jobs.updated_at IS 'when the row was stored last';
COMMENT ON COLUMN chs.jobs.finished_at IS 'when it was finished; NULL: it runs, or was interrupted';

CREATE VIEW chs.progress WITH (security_invoker) AS
SELECT j.job,
       CASE WHEN j.finished_at IS NOT NULL THEN 'finished' WHEN r.running THEN 'running' ELSE 'interrupted' END AS state,
       j.phase, j.done, j.total,
       CASE WHEN j.total > 0 THEN round(100.0 * j.done / j.total, 1) ELSE 100 END::double precision AS percent,
       j.started_at, j.updated_at, j.finished_at,
       ((j.done - j.run_started_done) / s.seconds)::double precision AS rate,
       CASE WHEN r.running AND j.done > j.run_started_done
            THEN j.updated_at + (j.total - j.done) / ((j.done - j.run_started_done) / s.seconds) * interval '1 second'
       END AS estimated_end,
       CASE WHEN r.running THEN j.pid END AS pid
FROM chs.jobs j
CROSS JOIN LATERAL (
    SELECT greatest(extract(epoch FROM j.updated_at - j.run_started_at), 0.001)::double precision AS seconds) s
CROSS JOIN LATERAL (
    SELECT j.finished_at IS NULL AND EXISTS (
        SELECT FROM pg_locks l
        WHERE l.locktype = 'object' AND l.classid = 'pg_extension'::regclass
          AND l.objid = (SELECT e.oid FROM pg_extension e WHERE e.extname = 'chs')
          AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
          AND l.objsubid = j.lock_number AND l.pid = j.pid) AS running) r;
COMMENT ON VIEW chs.progress IS 'how far long jobs are; a job that commits as it goes can be watched from other sessions';
COMMENT ON COLUMN chs.progress.job IS 'rebuild (CALL chs_rebuild()) or recalculate (CALL chs_recalculate_all())';
COMMENT ON COLUMN chs.progress.state IS 'running, finished, or interrupted: the next call goes on where it stopped';
COMMENT ON COLUMN chs.progress.phase IS 'what it is at';
COMMENT ON COLUMN chs.progress.done IS 'customers that are done';
COMMENT ON COLUMN chs.progress.total IS 'customers that there are to do';
COMMENT ON COLUMN chs.progress.percent IS 'done of total';
COMMENT ON COLUMN chs.progress.started_at IS 'when it was begun';
COMMENT ON COLUMN chs.progress.updated_at IS 'when it stored its progress last';
COMMENT ON COLUMN chs.progress.finished_at IS 'when it was finished';
COMMENT ON COLUMN chs.progress.rate IS 'customers a second, since it was begun or gone on with';
COMMENT ON COLUMN chs.progress.estimated_end IS 'when it will be finished at this rate; NULL unless it is running';
COMMENT ON COLUMN chs.progress.pid IS 'process of the session that runs it, for pg_cancel_backend(); NULL unless it is running';

-- The numbers tell nothing about any one customer.
GRANT SELECT ON chs.jobs, chs.progress TO pg_monitor;

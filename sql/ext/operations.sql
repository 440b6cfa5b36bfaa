-- Operations: pausing, the queue, long jobs.

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
COMMENT ON TABLE chs.jobs IS 'internal: the latest run of each long job, and where the next call resumes if it was interrupted; delete its row to make it start over';
COMMENT ON COLUMN chs.jobs.job IS 'rebuild, recalculate or history';
COMMENT ON COLUMN chs.jobs.phase IS 'what it is doing';
COMMENT ON COLUMN chs.jobs.done IS 'customers done so far';
COMMENT ON COLUMN chs.jobs.total IS 'customers to be done in total';
COMMENT ON COLUMN chs.jobs.last_customer_id IS 'customers up to this one are done; NULL: none';
COMMENT ON COLUMN chs.jobs.basis IS 'what the results depend on; if this changes, the job starts over';
COMMENT ON COLUMN chs.jobs.pid IS 'process of the session that runs it, or ran it when it was interrupted; NULL: finished';
COMMENT ON COLUMN chs.jobs.lock_number IS 'objsubid of the lock on the extension that this session holds while it runs the job';
COMMENT ON COLUMN chs.jobs.started_at IS 'when it was started';
COMMENT ON COLUMN chs.jobs.run_started_at IS 'when it was last started or resumed';
COMMENT ON COLUMN chs.jobs.run_started_done IS 'customers that were done then';
COMMENT ON COLUMN chs.jobs.updated_at IS 'when the row was last updated';
COMMENT ON COLUMN chs.jobs.finished_at IS 'when it was finished; NULL: it is running, or was interrupted';

CREATE FUNCTION chs.begin_job(job text, basis text, pid integer, lock_number integer, OUT done bigint, OUT last_customer_id bigint)
    RETURNS record
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    started_at timestamptz;
BEGIN
    UPDATE chs.jobs j SET pid = begin_job.pid, run_started_at = clock_timestamp(), run_started_done = j.done
    WHERE j.job = begin_job.job AND j.basis = begin_job.basis AND j.finished_at IS NULL AND j.last_customer_id IS NOT NULL
    RETURNING j.done, j.last_customer_id, j.started_at INTO done, last_customer_id, started_at;
    IF FOUND THEN
        RAISE NOTICE 'resuming the job "%" that began at %, after customer %', job, started_at, last_customer_id
            USING HINT = 'To make it start over, delete its row in chs.jobs first.';
        RETURN;
    END IF;
    done := 0;
    INSERT INTO chs.jobs AS j (job, phase, done, total, basis, pid, lock_number, started_at, run_started_at, run_started_done, updated_at)
    SELECT $1, 'starting', 0, (SELECT count(*) FROM chs.customers), $2, $3, $4, n, n, 0, n FROM clock_timestamp() n
    ON CONFLICT ON CONSTRAINT jobs_pkey DO UPDATE
    SET (phase, done, total, last_customer_id, basis, pid, started_at, run_started_at, run_started_done, updated_at, finished_at) =
        ROW (excluded.phase, 0, excluded.total, NULL, excluded.basis, excluded.pid, excluded.started_at,
             excluded.started_at, 0, excluded.started_at, NULL);
END
$$;
COMMENT ON FUNCTION chs.begin_job(text, text, integer, integer)
    IS 'begins a job, or resumes an interrupted one on the same basis: how many customers are done, up to which';
REVOKE EXECUTE ON FUNCTION chs.begin_job(text, text, integer, integer) FROM PUBLIC;

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
COMMENT ON VIEW chs.progress IS 'the progress of long jobs; a job that commits as it goes can be watched from other sessions';
COMMENT ON COLUMN chs.progress.job IS 'rebuild (CALL chs_rebuild()), recalculate (CALL chs_recalculate_all()) or history (CALL chs_backfill_history())';
COMMENT ON COLUMN chs.progress.state IS 'running, finished or interrupted (the next call resumes where it stopped)';
COMMENT ON COLUMN chs.progress.phase IS 'what it is doing';
COMMENT ON COLUMN chs.progress.done IS 'customers done so far';
COMMENT ON COLUMN chs.progress.total IS 'customers to be done in total';
COMMENT ON COLUMN chs.progress.percent IS 'done of total';
COMMENT ON COLUMN chs.progress.started_at IS 'when it was started';
COMMENT ON COLUMN chs.progress.updated_at IS 'when it last stored its progress';
COMMENT ON COLUMN chs.progress.finished_at IS 'when it was finished';
COMMENT ON COLUMN chs.progress.rate IS 'customers per second since it was last started or resumed';
COMMENT ON COLUMN chs.progress.estimated_end IS 'when it will be finished at this rate; NULL unless it is running';
COMMENT ON COLUMN chs.progress.pid IS 'process of the session that runs it, for pg_cancel_backend(); NULL unless it is running';

-- Holds a row while the workers of this database are paused; not dumped, since another
-- database has its own reasons.
CREATE TABLE chs.pause (
    one       boolean PRIMARY KEY DEFAULT true CHECK (one),
    reason    text,
    paused_by text NOT NULL,
    paused_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE chs.pause IS 'internal: holds a row while the workers of this database are paused by chs_pause()';
COMMENT ON COLUMN chs.pause.one IS 'there is at most one row';
COMMENT ON COLUMN chs.pause.reason IS 'why, in the words of whoever paused them';
COMMENT ON COLUMN chs.pause.paused_by IS 'who paused them';
COMMENT ON COLUMN chs.pause.paused_at IS 'since when';

CREATE FUNCTION @extschema@.chs_pause(reason text DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chs_pause';
COMMENT ON FUNCTION @extschema@.chs_pause(text)
    IS 'stops the workers of this database, even across restarts, until chs_resume(); waits for what they are doing';
CREATE FUNCTION @extschema@.chs_resume() RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chs_resume';
COMMENT ON FUNCTION @extschema@.chs_resume() IS 'lets the workers of this database work again; false if they were not paused';

CREATE FUNCTION chs.queue_status_now(
        OUT depth bigint, OUT is_estimate boolean, OUT oldest_at timestamptz, OUT oldest_age_seconds double precision,
        OUT lag_seconds double precision, OUT held_back bigint, OUT failing bigint)
    RETURNS record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'chs_queue_status';
COMMENT ON FUNCTION chs.queue_status_now() IS 'what chs.queue_status shows';

CREATE VIEW chs.queue_status WITH (security_invoker) AS
SELECT q.depth, q.is_estimate, q.oldest_at, q.oldest_age_seconds, q.lag_seconds, q.held_back, q.failing,
       pg_total_relation_size('chs.queue') AS total_bytes,
       p.paused_at IS NOT NULL AS paused, p.paused_at, p.paused_by, p.reason AS pause_reason
FROM chs.queue_status_now() q LEFT JOIN chs.pause p ON true;
COMMENT ON VIEW chs.queue_status IS 'one row: how much is waiting to be folded, and for how long';
COMMENT ON COLUMN chs.queue_status.depth IS 'queued deltas';
COMMENT ON COLUMN chs.queue_status.is_estimate IS 'whether depth and ages are estimates, as they are for a long queue';
COMMENT ON COLUMN chs.queue_status.oldest_at IS 'when the transaction of the oldest one began; NULL if there is none';
COMMENT ON COLUMN chs.queue_status.oldest_age_seconds IS 'how long ago that was';
COMMENT ON COLUMN chs.queue_status.lag_seconds IS 'the same without deltas that are held back: how far stored health lags behind the events; 0 if it does not';
COMMENT ON COLUMN chs.queue_status.held_back IS 'deltas of customers whose score fails, which are retried from time to time';
COMMENT ON COLUMN chs.queue_status.failing IS 'customers whose score fails, see chs.failures';
COMMENT ON COLUMN chs.queue_status.total_bytes IS 'size of the queue with its indexes';
COMMENT ON COLUMN chs.queue_status.paused IS 'whether the workers are paused';
COMMENT ON COLUMN chs.queue_status.paused_at IS 'since when';
COMMENT ON COLUMN chs.queue_status.paused_by IS 'by whom';
COMMENT ON COLUMN chs.queue_status.pause_reason IS 'why';

-- Stored health states the version and day that it is for, so it is not wrong; but it
-- must be possible to see when workers fail to keep up.
CREATE VIEW chs.stale_health WITH (security_invoker) AS
SELECT c.customer_id, c.name, r.reason, h.version, h.as_of, h.calculated_at
FROM (SELECT v.version, v.series_version, (now() AT TIME ZONE 'UTC')::date AS today
      FROM chs.scorecard_versions v WHERE v.live_at IS NOT NULL ORDER BY v.version DESC LIMIT 1) live
CROSS JOIN chs.customers c
LEFT JOIN chs.customer_health h USING (customer_id)
LEFT JOIN chs.activity a USING (customer_id)
CROSS JOIN LATERAL (
    SELECT CASE WHEN h.customer_id IS NULL THEN 'new'
                WHEN h.version <> live.version THEN 'version'
                WHEN a.series_version < live.series_version THEN 'activity'
                WHEN h.as_of < least(live.today, (c.churned_at AT TIME ZONE 'UTC')::date)
                     OR h.active <> COALESCE((c.churned_at AT TIME ZONE 'UTC')::date > live.today, true) THEN 'day'
           END AS reason) r
WHERE r.reason IS NOT NULL;
COMMENT ON VIEW chs.stale_health IS 'customers whose stored health is not of the live version and today: normally none, except shortly after publishing and at the beginning of a UTC day; reads the health of all customers';
COMMENT ON COLUMN chs.stale_health.customer_id IS 'the customer';
COMMENT ON COLUMN chs.stale_health.name IS 'its name';
COMMENT ON COLUMN chs.stale_health.reason IS 'new (not scored yet), version (scored by a version other than the live one), activity (lacks what the live version needs), or day (scored for an earlier day)';
COMMENT ON COLUMN chs.stale_health.version IS 'the version that it was scored by';
COMMENT ON COLUMN chs.stale_health.as_of IS 'the UTC day that it was scored for';
COMMENT ON COLUMN chs.stale_health.calculated_at IS 'when that was';

REVOKE EXECUTE ON FUNCTION @extschema@.chs_pause(text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION @extschema@.chs_resume() FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION chs.queue_status_now() FROM PUBLIC;

-- For those who monitor the server: none of this says anything about a customer.
GRANT EXECUTE ON FUNCTION chs.queue_status_now() TO pg_monitor;
GRANT SELECT ON chs.jobs, chs.progress, chs.pause, chs.queue_status TO pg_monitor;

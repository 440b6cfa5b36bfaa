/*
 * progress.c
 *	  The table chs.jobs: the progress of long jobs.
 *
 * A job is a procedure that works in slices, by ascending customer.  Each slice is
 * a transaction, which also stores the progress of the job, so that others can
 * watch it, and a job that was cancelled or crashed can resume there.  When called
 * in a transaction block, a job does everything in that transaction.
 *
 * While a job runs, its session holds a lock on the extension that contains the
 * job's number, so that it cannot run twice at a time, and others can see that it
 * runs.  It is a session lock of the kind that is released when a transaction
 * aborts.
 */
#include "store/progress.h"

#include "access/xact.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/spi.h"
#include "store/claim.h"

static const char *const job_names[] = {
	[JOB_REBUILD] = "rebuild",
	[JOB_RECALCULATE] = "recalculate",
	[JOB_HISTORY] = "history"
};

static LOCKTAG
job_lock_tag(const Job *job)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, ExtensionRelationId, get_extension_oid("chs", false),
					   job->kind);
	return tag;
}

static void
lock_job(const Job *job)
{
	LOCKTAG		tag = job_lock_tag(job);

	if (LockAcquire(&tag, ExclusiveLock, job->commits, true) == LOCKACQUIRE_NOT_AVAIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("another session is running the job \"%s\"", job_names[job->kind]),
				 errhint("See chs.progress.")));
}

static void
commit(const Job *job)
{
	if (job->commits)
		SPI_commit();
	else
		CommandCounterIncrement();
}

/*
 * Resumes the job where an interrupted run left it, if that had the same basis.
 * Returns whether there was one.
 */
static bool
resume(Job *job, const char *basis)
{
	Oid			types[] = {TEXTOID, TEXTOID, INT4OID};
	Datum		args[3];
	bool		isnull;

	args[0] = CStringGetTextDatum(job_names[job->kind]);
	args[1] = CStringGetTextDatum(basis);
	args[2] = Int32GetDatum(MyProcPid);
	chs_spi_execute_as_owner("UPDATE chs.jobs SET pid = $3, run_started_at = clock_timestamp(),"
							 " run_started_done = done"
							 " WHERE job = $1 AND basis = $2"
							 " AND finished_at IS NULL AND last_customer_id IS NOT NULL"
							 " RETURNING done, last_customer_id, started_at",
							 lengthof(types), types, args, NULL);
	if (SPI_processed == 0)
		return false;
	job->done = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
											&isnull));
	job->last_customer_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
														SPI_tuptable->tupdesc, 2, &isnull));
	ereport(NOTICE,
			(errmsg("resuming the job \"%s\" that began at %s, after customer %lld",
					job_names[job->kind],
					SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3),
					(long long) job->last_customer_id),
			 errhint("To make it start over, delete its row in chs.jobs first.")));
	return true;
}

/*
 * chs_progress_begin begins a job, which must be the first thing that a procedure
 * does, and connects to SPI until chs_progress_end.  An interrupted run is resumed
 * unless its basis, that is, what its results depend on, was a different one.
 */
void
chs_progress_begin(Job *job, JobKind kind, FunctionCallInfo fcinfo, const char *basis)
{
	Oid			types[] = {TEXTOID, TEXTOID, INT4OID, INT4OID};
	Datum		args[4];

	job->kind = kind;
	job->commits = fcinfo->context != NULL && IsA(fcinfo->context, CallContext) &&
		!castNode(CallContext, fcinfo->context)->atomic && !IsSubTransaction();
	job->done = 0;
	job->last_customer_id = PG_INT64_MIN;
	chs_claim_check_transaction();
	if (SPI_connect_ext(job->commits ? SPI_OPT_NONATOMIC : 0) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	lock_job(job);
	if (!resume(job, basis))
	{
		args[0] = CStringGetTextDatum(job_names[kind]);
		args[1] = CStringGetTextDatum(basis);
		args[2] = Int32GetDatum(MyProcPid);
		args[3] = Int32GetDatum(kind);
		chs_spi_execute_as_owner("INSERT INTO chs.jobs (job, phase, done, total, basis, pid,"
								 "  lock_number, started_at, run_started_at, run_started_done,"
								 "  updated_at)"
								 " SELECT $1, 'starting', 0, (SELECT count(*) FROM chs.customers),"
								 "  $2, $3, $4, n, n, 0, n FROM clock_timestamp() n"
								 " ON CONFLICT (job) DO UPDATE SET (phase, done, total,"
								 "  last_customer_id, basis, pid, started_at, run_started_at,"
								 "  run_started_done, updated_at, finished_at) ="
								 " ROW(excluded.phase, 0, excluded.total,"
								 "  NULL, excluded.basis, excluded.pid, excluded.started_at,"
								 "  excluded.started_at, 0, excluded.started_at, NULL)",
								 lengthof(types), types, args, NULL);
	}
	commit(job);
}

/*
 * chs_progress_store stores the progress of a job, together with what the
 * transaction did for it.  Pointers into the live version become invalid.
 */
void
chs_progress_store(Job *job, const char *phase)
{
	Oid			types[] = {TEXTOID, TEXTOID, INT8OID, INT8OID};
	Datum		args[4];

	args[0] = CStringGetTextDatum(job_names[job->kind]);
	args[1] = CStringGetTextDatum(phase);
	args[2] = Int64GetDatum(job->done);
	args[3] = Int64GetDatum(job->last_customer_id);
	chs_spi_execute_as_owner("UPDATE chs.jobs SET phase = $2, done = $3,"
							 " total = greatest(total, $3), last_customer_id = $4,"
							 " updated_at = clock_timestamp() WHERE job = $1",
							 lengthof(types), types, args,
							 job->last_customer_id == PG_INT64_MIN ? "   n" : NULL);
	commit(job);
}

/* chs_progress_end marks a job finished. */
void
chs_progress_end(Job *job)
{
	Oid			types[] = {TEXTOID, INT8OID};
	Datum		args[2];
	LOCKTAG		tag = job_lock_tag(job);

	args[0] = CStringGetTextDatum(job_names[job->kind]);
	args[1] = Int64GetDatum(job->done);
	chs_spi_execute_as_owner("UPDATE chs.jobs SET phase = 'finished', done = $2, total = $2,"
							 " pid = NULL, updated_at = clock_timestamp(),"
							 " finished_at = clock_timestamp() WHERE job = $1",
							 lengthof(types), types, args, NULL);
	commit(job);
	if (job->commits)
		(void) LockRelease(&tag, ExclusiveLock, true);
	SPI_finish();
}

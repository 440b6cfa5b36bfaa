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
 * chs_progress_begin begins a job, which must be the first thing that a procedure
 * does, and connects to SPI until chs_progress_end.  An interrupted run is resumed
 * unless its basis, that is, what its results depend on, was a different one.
 */
void
chs_progress_begin(Job *job, JobKind kind, FunctionCallInfo fcinfo, const char *basis)
{
	Oid			types[] = {TEXTOID, TEXTOID, INT4OID, INT4OID};
	Datum		args[4];
	bool		isnull;

	job->kind = kind;
	job->commits = fcinfo->context != NULL && IsA(fcinfo->context, CallContext) &&
		!castNode(CallContext, fcinfo->context)->atomic && !IsSubTransaction();
	chs_claim_check_transaction();
	if (SPI_connect_ext(job->commits ? SPI_OPT_NONATOMIC : 0) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	lock_job(job);
	args[0] = CStringGetTextDatum(job_names[kind]);
	args[1] = CStringGetTextDatum(basis);
	args[2] = Int32GetDatum(MyProcPid);
	args[3] = Int32GetDatum(kind);
	chs_spi_execute_as_owner("SELECT done, last_customer_id FROM chs.begin_job($1, $2, $3, $4)",
							 lengthof(types), types, args, NULL);
	job->done = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
											&isnull));
	job->last_customer_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
														SPI_tuptable->tupdesc, 2, &isnull));
	if (isnull)
		job->last_customer_id = PG_INT64_MIN;
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

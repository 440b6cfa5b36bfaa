/*
 * worker.c
 *	  A worker keeps the scores of one database fresh.
 *
 * It folds the queue, rescores everyone whose health is of an earlier day or
 * version, and does housekeeping, in this order and in small transactions, so
 * that what is fresh never waits for long.  Without work it lingers for a second,
 * and leaves: CREATE DATABASE ... TEMPLATE and DROP DATABASE, which wait up to
 * five seconds for a database to be left, find it left.
 */
#include "worker.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "customer.h"
#include "everyone.h"
#include "fmgr.h"
#include "fold.h"
#include "housekeeping.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "restore.h"
#include "settings.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "worker_shared.h"

/* A worker without work stays so long, in milliseconds. */
#define LINGER_MS 1000
#define RESTORE_POLL_MS 250		/* while a dump is restored */
#define MAX_LINGER_MS 30000		/* while it waits for a customer that is locked */

/*
 * Under steady load the queue is folded so often at most, in milliseconds: many
 * commits at once cost a fraction of what each by itself does.  The first commit
 * after a pause does not wait.
 */
#define PACE_MS 10

/* So many customers are rescored between two looks at the queue, at most. */
#define RESCORE_SLICE 1000

/* So many batches are folded between two slices of rescoring, at most. */
#define FOLD_BETWEEN_SLICES 8

static DatabaseSlot *my_database = NULL;
static WorkerSlot *my_slot = NULL;

PGDLLEXPORT void chs_worker_main(Datum arg);

/* chs_worker_argument makes the argument of a worker's main function. */
Datum
chs_worker_argument(Oid database, int number)
{
	return UInt64GetDatum(((uint64) number << 32) | database);
}

/* ---------------------------------------------------- coming and going */

/*
 * Settings of a database or role are for its users.  The health that the worker
 * stores can be made again from what is durable, so it need not wait for disks.
 */
static void
set_own_settings(void)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"statement_timeout", "0"},
		{CHS_TRANSACTION_TIMEOUT, "0"},
		{"lock_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"idle_session_timeout", "0"},
		{"synchronous_commit", "off"},
		{"max_parallel_workers_per_gather", "0"}
	};

	for (size_t i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

static void
detach(int code, Datum arg pg_attribute_unused())
{
	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	my_slot->pid = 0;
	my_slot->latch = NULL;
	my_slot->ended_well = code == 0;
	LWLockRelease(chs_worker_shared->lock);
	chs_worker_wake_launcher();
}

/*
 * Takes the place of a worker; false where it is taken, by one that an earlier
 * launcher started.
 */
static bool
attach(Oid database, int number)
{
	bool		is_free;

	my_database = chs_worker_slot(database);
	if (my_database == NULL)
		return false;
	my_slot = &my_database->workers[number];
	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	is_free = my_slot->pid == 0;
	if (is_free)
	{
		my_slot->pid = MyProcPid;
		my_slot->latch = MyLatch;
	}
	LWLockRelease(chs_worker_shared->lock);
	if (is_free)
		before_shmem_exit(detach, (Datum) 0);
	return is_free;
}

static void
set_state(DatabaseState state)
{
	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	my_database->state = state;
	LWLockRelease(chs_worker_shared->lock);
}

/* Leaves, as there is nothing more to do in such a database. */
pg_noreturn static void
leave(DatabaseState state)
{
	set_state(state);
	proc_exit(0);
}

/*
 * The launcher has looked, but the database may have become a template since:
 * that must stay free of sessions, even if it has the extension.
 */
static bool
database_is_for_workers(void)
{
	HeapTuple	tuple;
	bool		is_template;
	bool		is_listed;

	StartTransactionCommand();
	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(MyDatabaseId));
	is_template = HeapTupleIsValid(tuple) && ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;
	is_listed = HeapTupleIsValid(tuple) &&
		chs_settings_lists_database(NameStr(((Form_pg_database) GETSTRUCT(tuple))->datname));
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	CommitTransactionCommand();
	return is_listed && !is_template;
}

/* Leaves if it is switched off, or works for other databases now. */
static void
leave_if_unwanted(bool settings_changed)
{
	if (!chs_enabled)
	{
		/* for when it is enabled again */
		pg_atomic_write_u32(&my_database->dirty, 1);
		proc_exit(0);
	}
	if (settings_changed && !database_is_for_workers())
		leave(DATABASE_PASSED_OVER);
}

/* -------------------------------------------------------------- its work */

/*
 * Starts a transaction in which the extension stays installed; leaves where it
 * is not.  DROP EXTENSION waits for one batch at most.
 */
static void
begin_installed(const char *activity)
{
	Oid			extension;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, activity);
	extension = get_extension_oid("chs", true);
	if (OidIsValid(extension))
	{
		LockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock);
		if (get_extension_oid("chs", true) == extension)
			return;
	}
	CommitTransactionCommand();
	leave(DATABASE_NOT_INSTALLED);
}

/* The same, once no dump is being restored, and none begins to be until the transaction ends. */
static void
begin_batch(const char *activity)
{
	for (;;)
	{
		begin_installed(activity);
		if (chs_restore_lock_out())
			return;
		CommitTransactionCommand();
		/* not in the lock's queue, where other sessions of the restore would come behind */
		pgstat_report_activity(STATE_IDLE, "waiting for the end of a restore");
		(void) WaitLatch(NULL, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, RESTORE_POLL_MS, PG_WAIT_EXTENSION);
		CHECK_FOR_INTERRUPTS();
	}
}

static void
end_batch(void)
{
	CommitTransactionCommand();
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	CHECK_FOR_INTERRUPTS();
}

/* Rescoring of everyone, when a day begins or a version is published. */
typedef struct Rescoring
{
	bool		done;
	int32		day;
	int			version;
	int64		last_customer_id;
	bool		skipped;
} Rescoring;

/* What a worker is at. */
typedef struct Work
{
	FoldProgress folding;
	Rescoring	rescoring;
	int			housekeeping;	/* the step that is next */
} Work;

/*
 * Folds the queue to its end, or as far as goes between two slices of rescoring.
 * Returns whether the end was reached.
 */
static bool
fold_queue(Work *work)
{
	bool		complete = false;

	for (int i = 0; !complete && (work->rescoring.done || i < FOLD_BETWEEN_SLICES); i++)
	{
		if (ConfigReloadPending)
			break;
		begin_batch("folding the queue");
		(void) chs_fold_batch(&work->folding, chs_batch_size, &complete);
		end_batch();
	}
	return complete;
}

/* Rescores the next slice of the customers whose health is stale. */
static void
rescore_slice(Rescoring *rescoring)
{
	ClaimRequest claim = {.kind = CLAIM_PART,.parts = 1};
	int			limit = Min(chs_batch_size, RESCORE_SLICE);
	int32		today;
	int			version;

	begin_batch("scoring the customers for a new day or scorecard version");
	today = chs_customer_today();
	chs_catalog_recheck_live();
	version = chs_catalog_live()->version;
	if (today != rescoring->day || version != rescoring->version)
		*rescoring = (Rescoring) {
		.day = today,.version = version,.last_customer_id = PG_INT64_MIN
	};
	if (!rescoring->done)
		rescoring->done = chs_everyone_rescore_stale(&claim, &rescoring->last_customer_id, limit, &rescoring->skipped) < limit;
	end_batch();
}

/*
 * Does one slice of a step of housekeeping; returns whether there is more.  What
 * fails must not keep scores from being fresh: it is logged, and tried again next
 * time.
 */
static bool
keep_house_slice(HousekeepingStep step)
{
	volatile bool more = false;

	PG_TRY();
	{
		begin_batch("housekeeping");
		more = step();
		end_batch();
	}
	PG_CATCH();
	{
		EmitErrorReport();
		AbortCurrentTransaction();
		FlushErrorState();
		pgstat_report_activity(STATE_IDLE, NULL);
	}
	PG_END_TRY();
	return more;
}

/* Does the next slice of housekeeping, if it is time; returns whether there is more. */
static bool
keep_house(Work *work)
{
	HousekeepingStep step = chs_housekeeping_steps[work->housekeeping];

	if (GetCurrentTimestamp() < my_database->next_housekeeping)
		return false;
	if (step == NULL)
	{
		work->housekeeping = 0;
		my_database->next_housekeeping = GetCurrentTimestamp() + chs_naptime * USECS_PER_SEC;
		return false;
	}
	if (!keep_house_slice(step))
		work->housekeeping++;
	return true;
}

/* Waits to be woken; returns false if that did not happen within the time. */
static bool
wait_for_work(int milliseconds)
{
	static uint32 wait_event = 0;
	static uint32 pace_wait_event = 0;
	TimestampTz since = GetCurrentTimestamp();
	long		passed;
	int			rc = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							   milliseconds, chs_wait_event(wait_event, "ChsWorkerMain"));

	if ((rc & WL_TIMEOUT) && pg_atomic_read_u32(&my_database->dirty) == 0)
		return false;
	passed = TimestampDifferenceMilliseconds(since, GetCurrentTimestamp());
	if (passed < PACE_MS)
		(void) WaitLatch(NULL, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, PACE_MS - passed,
						 chs_wait_event(pace_wait_event, "ChsWorkerPace"));
	return true;
}

/* Works until there is nothing to do. */
static void
work_on(void)
{
	Work		work = {.folding = {.claim = {.kind = CLAIM_PART,.parts = 1},.pass.context = TopMemoryContext}};
	int			linger = LINGER_MS;

	for (;;)
	{
		bool		folded;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		leave_if_unwanted(chs_settings_reload());
		pg_atomic_write_u32(&my_database->dirty, 0);
		folded = fold_queue(&work);
		rescore_slice(&work.rescoring);
		set_state(DATABASE_INSTALLED);
		if (!folded || !work.rescoring.done || keep_house(&work))
			continue;			/* fresh events come first */
		if (wait_for_work(linger))
		{
			linger = LINGER_MS;
			continue;
		}
		/* customers that were busy are tried again, less and less often */
		if (!work.folding.skipped && !work.rescoring.skipped)
			return;				/* whoever marks it dirty now wakes the launcher */
		linger = Min(linger * 2, MAX_LINGER_MS);
		if (work.rescoring.skipped)
			work.rescoring = (Rescoring) {0};
	}
}

/* chs_worker_main works for one database until there is nothing to do. */
void
chs_worker_main(Datum arg)
{
	Oid			database = (Oid) DatumGetUInt64(arg);
	int			number = DatumGetUInt64(arg) >> 32;

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	if (!attach(database, number))
		proc_exit(0);
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	set_own_settings();
	pgstat_report_appname("chs worker");
	if (!database_is_for_workers())
		leave(DATABASE_PASSED_OVER);
	work_on();
	proc_exit(0);
}

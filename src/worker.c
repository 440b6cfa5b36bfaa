/*
 * worker.c
 *	  The background worker: a launcher, and a worker for each database with work.
 *
 * The launcher is there while the server is.  It connects to no database, so it
 * is in nobody's way, and keeps a table of databases in shared memory.  A commit
 * that queued something marks its database dirty and wakes the worker that is
 * there, or else the launcher, which starts one.  A worker folds the queue,
 * rescores everyone whose health is of an earlier day or version, lingers for a
 * second, and leaves: so CREATE DATABASE ... TEMPLATE and DROP DATABASE, which
 * wait up to five seconds for a database to be left, find it left.
 *
 *		unknown ──first look──► installed ◄──► dirty, worker running
 *		   │                        │
 *		   └──► not installed ◄─────┘    (a commit with chs in it: dirty again)
 *
 * When the launcher starts, every database is unknown, and is looked at once.
 *
 * Exit code 0 of a worker is a proper end; the launcher starts another after any
 * other one, waiting longer each time.
 */
#include "worker.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "customer.h"
#include "fmgr.h"
#include "fold.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "settings.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/procsignal.h"
#include "storage/shmem.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* So many databases can have a worker. */
#define MAX_DATABASES 256

/* A worker without work stays so long, in milliseconds. */
#define LINGER_MS 1000
#define MAX_LINGER_MS 30000		/* while it waits for a customer that is locked */

/*
 * Under steady load the queue is folded so often at most, in milliseconds: many
 * commits at once cost a fraction of what each by itself does.  The first commit
 * after a pause does not wait.
 */
#define PACE_MS 10

/* After failing, a worker is started again after a second, then two, and so on. */
#define MAX_BACKOFF_S 300

typedef enum DatabaseState
{
	DATABASE_UNKNOWN,
	DATABASE_INSTALLED,
	DATABASE_NOT_INSTALLED
} DatabaseState;

/* Protected by the lock, but for dirty. */
typedef struct DatabaseSlot
{
	Oid			database;		/* InvalidOid: free */
	DatabaseState state;
	pg_atomic_uint32 dirty;		/* something may be there to do */
	Latch	   *worker_latch;	/* NULL: no worker is there */
	bool		ended_well;		/* set by a worker that ends properly */
} DatabaseSlot;

typedef struct WorkerShared
{
	LWLock	   *lock;
	Latch	   *launcher_latch;
	DatabaseSlot slots[MAX_DATABASES];
} WorkerShared;

/* What the launcher knows of the worker that it started for a slot. */
typedef struct LaunchedWorker
{
	BackgroundWorkerHandle *handle; /* NULL: none */
	int			failures;		/* in a row */
	TimestampTz not_before;		/* of the next start */
} LaunchedWorker;

static WorkerShared *shared = NULL;
static DatabaseSlot *my_slot = NULL;
static shmem_request_hook_type previous_shmem_request_hook = NULL;
static shmem_startup_hook_type previous_shmem_startup_hook = NULL;

PGDLLEXPORT void chs_launcher_main(Datum arg);
PGDLLEXPORT void chs_worker_main(Datum arg);

/* ---------------------------------------------------------- shared memory */

static void
request_shared_memory(void)
{
	if (previous_shmem_request_hook)
		previous_shmem_request_hook();
	RequestAddinShmemSpace(sizeof(WorkerShared));
	RequestNamedLWLockTranche("chs", 1);
}

static void
start_shared_memory(void)
{
	bool		found;

	if (previous_shmem_startup_hook)
		previous_shmem_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("chs", sizeof(WorkerShared), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(WorkerShared));
		shared->lock = &GetNamedLWLockTranche("chs")->lock;
		for (int i = 0; i < MAX_DATABASES; i++)
			pg_atomic_init_u32(&shared->slots[i].dirty, 0);
	}
	LWLockRelease(AddinShmemInitLock);
}

/* Finds the slot of a database; the caller holds the lock. */
static DatabaseSlot *
find_slot(Oid database)
{
	for (int i = 0; i < MAX_DATABASES; i++)
		if (shared->slots[i].database == database)
			return &shared->slots[i];
	return NULL;
}

/* Finds or makes the slot of a database; NULL where there are too many. */
static DatabaseSlot *
make_slot(Oid database)
{
	DatabaseSlot *slot;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = find_slot(database);
	if (slot == NULL && (slot = find_slot(InvalidOid)) != NULL)
	{
		slot->database = database;
		slot->state = DATABASE_UNKNOWN;
		slot->worker_latch = NULL;
		slot->ended_well = false;
		pg_atomic_write_u32(&slot->dirty, 0);
	}
	LWLockRelease(shared->lock);
	return slot;
}

/* Marks a database dirty and wakes who looks after it. */
static void
mark_dirty(DatabaseSlot *slot)
{
	/* if it is dirty already, somebody is awake */
	if (pg_atomic_exchange_u32(&slot->dirty, 1) == 0)
	{
		Latch	   *latch;

		LWLockAcquire(shared->lock, LW_SHARED);
		latch = slot->worker_latch ? slot->worker_latch : shared->launcher_latch;
		if (latch)
			SetLatch(latch);
		LWLockRelease(shared->lock);
	}
}

static bool wake_at_commit = false;

/*
 * chs_worker_wake_at_commit has the current database looked at when the
 * transaction has committed.  COMMIT PREPARED wakes nobody; for that there is
 * chs.naptime.
 */
void
chs_worker_wake_at_commit(void)
{
	wake_at_commit = shared != NULL;
}

/* Must not fail: the transaction has ended. */
static void
wake_at_transaction_end(XactEvent event, void *arg pg_attribute_unused())
{
	static DatabaseSlot *slot = NULL;

	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	if (wake_at_commit && event == XACT_EVENT_COMMIT)
	{
		/* the launcher may have given the slot to another database */
		if (slot == NULL || slot->database != MyDatabaseId)
			slot = make_slot(MyDatabaseId);
		if (slot != NULL)
			mark_dirty(slot);
	}
	wake_at_commit = false;
}

/* chs_wake_worker has the worker look at this database after commit. */
PG_FUNCTION_INFO_V1(chs_wake_worker);
Datum
chs_wake_worker(PG_FUNCTION_ARGS)
{
	chs_worker_wake_at_commit();
	PG_RETURN_VOID();
}

/* -------------------------------------------------------------- the worker */

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
detach_worker(int code, Datum arg pg_attribute_unused())
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	my_slot->worker_latch = NULL;
	my_slot->ended_well = code == 0;
	if (shared->launcher_latch)
		SetLatch(shared->launcher_latch);
	LWLockRelease(shared->lock);
}

static void
set_state(DatabaseState state)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	my_slot->state = state;
	LWLockRelease(shared->lock);
}

/*
 * Starts a transaction in which the extension stays installed; false, without a
 * transaction, where it is not.  DROP EXTENSION waits for one batch at most.
 */
static bool
begin_batch(const char *activity)
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
			return true;
	}
	CommitTransactionCommand();
	return false;
}

static void
end_batch(void)
{
	CommitTransactionCommand();
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	CHECK_FOR_INTERRUPTS();
}

/* Reads the settings again if they changed; tells whether it did. */
static bool
reload_if_asked(void)
{
	if (!ConfigReloadPending)
		return false;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	return true;
}

/* Folds the queue to its end; false where the extension is gone. */
static bool
drain_queue(FoldProgress *progress)
{
	bool		complete = false;

	while (!complete && chs_enabled)
	{
		if (!begin_batch("folding the queue"))
			return false;
		(void) chs_fold_batch(progress, chs_batch_size, &complete);
		end_batch();
		(void) reload_if_asked();
	}
	return true;
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

/*
 * Rescores the next slice of the customers whose health is stale; false where
 * the extension is gone.
 */
static bool
rescore_slice(Rescoring *rescoring)
{
	int32		today;
	int			version;
	int			n;

	if (!begin_batch("scoring the customers for a new day or scorecard version"))
		return false;
	today = chs_customer_today();
	chs_catalog_recheck_live();
	version = chs_catalog_live()->version;
	if (today != rescoring->day || version != rescoring->version)
		*rescoring = (Rescoring) {
		.day = today,.version = version,.last_customer_id = PG_INT64_MIN
	};
	if (!rescoring->done)
	{
		n = chs_fold_rescore_stale(&rescoring->last_customer_id, chs_batch_size, &rescoring->skipped);
		rescoring->done = n < chs_batch_size;
	}
	end_batch();
	return true;
}

/* A template must stay free of sessions, even if it has the extension. */
static bool
database_is_template(void)
{
	HeapTuple	tuple;
	bool		is_template;

	StartTransactionCommand();
	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(MyDatabaseId));
	is_template = HeapTupleIsValid(tuple) && ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	CommitTransactionCommand();
	return is_template;
}

/* chs_worker_main works for one database until there is nothing to do. */
void
chs_worker_main(Datum arg)
{
	Oid			database = DatumGetObjectId(arg);
	FoldProgress progress = {0};
	Rescoring	rescoring = {0};
	int			linger = LINGER_MS;
	TimestampTz drained_at;

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();

	my_slot = make_slot(database);
	if (my_slot == NULL)
		proc_exit(0);
	before_shmem_exit(detach_worker, (Datum) 0);
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	my_slot->worker_latch = MyLatch;
	LWLockRelease(shared->lock);

	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	set_own_settings();
	pgstat_report_appname("chs worker");
	if (database_is_template())
	{
		set_state(DATABASE_NOT_INSTALLED);
		proc_exit(0);
	}

	for (;;)
	{
		int			rc;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		(void) reload_if_asked();
		if (!chs_enabled)
		{
			/* for when it is enabled again */
			pg_atomic_write_u32(&my_slot->dirty, 1);
			proc_exit(0);
		}
		pg_atomic_write_u32(&my_slot->dirty, 0);
		if (!drain_queue(&progress) || !rescore_slice(&rescoring))
		{
			set_state(DATABASE_NOT_INSTALLED);
			proc_exit(0);
		}
		set_state(DATABASE_INSTALLED);
		drained_at = GetCurrentTimestamp();
		if (!rescoring.done)
			continue;			/* fresh events come first */

		rc = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					   linger, PG_WAIT_EXTENSION);
		if (!(rc & WL_TIMEOUT) || pg_atomic_read_u32(&my_slot->dirty) != 0)
		{
			long		since = TimestampDifferenceMilliseconds(drained_at, GetCurrentTimestamp());

			if (since < PACE_MS)
				(void) WaitLatch(NULL, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, PACE_MS - since, PG_WAIT_EXTENSION);
			linger = LINGER_MS;
			continue;
		}
		/* customers that were busy are tried again, less and less often */
		if (!progress.skipped && !rescoring.skipped)
			proc_exit(0);		/* whoever marks it dirty now wakes the launcher */
		linger = Min(linger * 2, MAX_LINGER_MS);
		if (rescoring.skipped)
			rescoring = (Rescoring) {0};
	}
}

/* ------------------------------------------------------------ the launcher */

/*
 * Looks through the databases: makes a slot for each that may be connected to,
 * and frees those of the ones that are gone.
 */
static void
look_through_databases(void)
{
	bool		there[MAX_DATABASES] = {false};
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);
		DatabaseSlot *slot;

		/* -2: invalid, of a DROP DATABASE that was interrupted */
		if (!database->datallowconn || database->datistemplate || database->datconnlimit == -2)
			continue;
		slot = make_slot(database->oid);
		if (slot == NULL)
		{
			ereport(LOG,
					(errmsg("chs cannot look after database \"%s\"", NameStr(database->datname)),
					 errdetail("It looks after %d databases at most.", MAX_DATABASES)));
			continue;
		}
		there[slot - shared->slots] = true;
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_DATABASES; i++)
		if (!there[i] && shared->slots[i].worker_latch == NULL)
			shared->slots[i].database = InvalidOid;
	LWLockRelease(shared->lock);
}

/* Takes note of a worker that has ended; false while it runs. */
static bool
has_ended(LaunchedWorker *worker, DatabaseSlot *slot)
{
	pid_t		pid;

	if (worker->handle == NULL)
		return true;
	if (GetBackgroundWorkerPid(worker->handle, &pid) != BGWH_STOPPED)
		return false;
	pfree(worker->handle);
	worker->handle = NULL;
	if (slot->ended_well)
		worker->failures = 0;
	else
	{
		int			delay = Min(1 << Min(worker->failures, 16), MAX_BACKOFF_S);

		worker->failures++;
		worker->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), delay * 1000);
		/* what it was to do is still to be done */
		pg_atomic_write_u32(&slot->dirty, 1);
	}
	return true;
}

static void
start_worker(LaunchedWorker *launched, Oid database)
{
	BackgroundWorker worker;
	MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION | BGWORKER_INTERRUPTIBLE;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "chs", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "chs_worker_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "chs worker", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "chs worker", BGW_MAXLEN);
	worker.bgw_main_arg = ObjectIdGetDatum(database);
	worker.bgw_notify_pid = MyProcPid;
	if (!RegisterDynamicBackgroundWorker(&worker, &launched->handle))
	{
		if (launched->failures++ == 0)
			ereport(LOG,
					(errmsg("chs could not start a worker"),
					 errhint("Increase \"max_worker_processes\".")));
		launched->handle = NULL;
		launched->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 5000);
	}
	MemoryContextSwitchTo(caller);
}

/*
 * Starts workers for the databases that need one.  Returns in how many
 * milliseconds one that failed may be started again, at most the given number.
 */
static long
start_workers(LaunchedWorker *workers, long timeout)
{
	for (int i = 0; i < MAX_DATABASES; i++)
	{
		DatabaseSlot *slot = &shared->slots[i];
		TimestampTz now;

		if (!OidIsValid(slot->database) || !has_ended(&workers[i], slot) || !chs_enabled)
			continue;
		if (slot->state != DATABASE_UNKNOWN && pg_atomic_read_u32(&slot->dirty) == 0)
			continue;
		now = GetCurrentTimestamp();
		if (workers[i].not_before > now)
		{
			timeout = Min(timeout, TimestampDifferenceMilliseconds(now, workers[i].not_before));
			continue;
		}
		slot->ended_well = false;
		start_worker(&workers[i], slot->database);
	}
	return Max(timeout, 1);
}

/*
 * Has all databases with the extension looked at; but a worker that is there
 * looks anyway, and must not be kept from leaving.
 */
static void
mark_installed_dirty(void)
{
	for (int i = 0; i < MAX_DATABASES; i++)
		if (OidIsValid(shared->slots[i].database) && shared->slots[i].state == DATABASE_INSTALLED &&
			shared->slots[i].worker_latch == NULL)
			mark_dirty(&shared->slots[i]);
}

static void
detach_launcher(int code pg_attribute_unused(), Datum arg pg_attribute_unused())
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->launcher_latch = NULL;
	LWLockRelease(shared->lock);
}

/* chs_launcher_main starts workers until the server stops. */
void
chs_launcher_main(Datum arg pg_attribute_unused())
{
	static LaunchedWorker workers[MAX_DATABASES];
	TimestampTz next_look = 0;

	/* what it does is short, so that it can leave quietly between two looks */
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname("chs launcher");

	before_shmem_exit(detach_launcher, (Datum) 0);
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->launcher_latch = MyLatch;
	LWLockRelease(shared->lock);

	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		TimestampTz midnight = (now / USECS_PER_DAY + 1) * USECS_PER_DAY;
		long		timeout;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		/* exit code 1: started again, unless the server stops */
		if (ShutdownRequestPending)
			proc_exit(1);
		/* the nap may be shorter now */
		if (reload_if_asked() || now >= next_look)
		{
			look_through_databases();
			mark_installed_dirty();
			/* also as soon as a UTC day begins */
			next_look = Min(TimestampTzPlusMilliseconds(now, (int64) chs_naptime * 1000), midnight);
		}
		timeout = start_workers(workers, Max(TimestampDifferenceMilliseconds(now, next_look), 1));
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 timeout, PG_WAIT_EXTENSION);
	}
}

/*
 * chs_worker_init registers for the end of transactions, and, when the library is
 * being preloaded, the launcher.
 */
void
chs_worker_init(void)
{
	BackgroundWorker worker;

	RegisterXactCallback(wake_at_transaction_end, NULL);
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;

	previous_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_shared_memory;
	previous_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_shared_memory;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 5;
	strlcpy(worker.bgw_library_name, "chs", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "chs_launcher_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "chs launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "chs launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

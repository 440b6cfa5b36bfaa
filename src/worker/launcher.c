/*
 * launcher.c
 *	  The launcher starts workers for the databases that need them.
 *
 * It runs as long as the server, connects to no database, so that it is in nobody's
 * way, and watches the slots in shared memory.  A commit that queued something
 * marks its database dirty and wakes the running worker or else the launcher, which
 * starts one.
 *
 *		new ──look──► unknown ──first worker──► installed ◄──► dirty, worker running
 *		 │               │                        │
 *		 │               └──► not installed ◄─────┘    (a commit with chs in it: dirty again)
 *		 └──► excluded: a template, closed to connections, or not in chs.databases
 *
 * When the launcher starts, every database that is not excluded is unknown, and a
 * worker checks it once.
 *
 * Exit code 0 of a worker is a proper end; after any other one the launcher starts
 * another worker, waiting longer each time.
 */
#include "worker/launcher.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/settings.h"
#include "base/wake.h"
#include "base/worker_shared.h"
#include "worker/worker_life.h"

/*
 * After failing, a worker is started again after a second, then two, and so on; or
 * after a second if something happens that may have removed the cause: a commit with
 * work for it, chs_resume(), or a reload.
 */
#define MIN_BACKOFF_MS 1000
#define MAX_BACKOFF_S 300

/* How long to wait if a worker could not be started. */
#define NO_PLACE_WAIT_MS 5000

/* What the launcher knows about a worker that it started. */
typedef struct LaunchedWorker
{
	BackgroundWorkerHandle *handle; /* NULL: none */
	TimestampTz started_at;
	int			failures;		/* in a row */
	TimestampTz failed_at;
	TimestampTz not_before;		/* of the next start */
} LaunchedWorker;

static LaunchedWorker launched[MAX_DATABASES][WORKER_SLOTS];

PGDLLEXPORT void chs_launcher_main(Datum arg);

/* Whether a database is one that may be connected to. */
static bool
is_for_workers(Form_pg_database database)
{
	/* -2: invalid, left by an interrupted DROP DATABASE */
	return database->datallowconn && !database->datistemplate && database->datconnlimit != -2 &&
		chs_settings_lists_database(NameStr(database->datname));
}

/* A lack of slots is reported once. */
static void
complain_of_too_many(Form_pg_database database)
{
	static bool complained = false;

	if (!complained)
		ereport(LOG,
				(errmsg("chs cannot serve database \"%s\", and possibly others",
						NameStr(database->datname)),
				 errdetail("It serves at most %d databases.", MAX_DATABASES),
				 errhint("Name those that need it in \"chs.databases\".")));
	complained = true;
}

/*
 * Records what the row of a database says; for one that is excluded, only if it
 * has a slot already.
 */
static void
note_database(Form_pg_database database, bool *there)
{
	bool		wanted = is_for_workers(database);
	DatabaseSlot *slot = wanted ? chs_worker_slot(database->oid) : NULL;

	if (wanted && slot == NULL)
	{
		complain_of_too_many(database);
		return;
	}
	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	if (!wanted)
		slot = chs_worker_find_slot(database->oid);
	if (slot != NULL)
	{
		there[slot - chs_worker_shared->databases] = true;
		if (!wanted)
			slot->state = DATABASE_EXCLUDED;
		else if (slot->state == DATABASE_NEW || slot->state == DATABASE_EXCLUDED)
			slot->state = DATABASE_UNKNOWN;
	}
	LWLockRelease(chs_worker_shared->lock);
}

/* Forgets the workers of a database that has been dropped. */
static void
forget_workers(LaunchedWorker *workers)
{
	for (int number = 0; number < WORKER_SLOTS; number++)
		if (workers[number].handle != NULL)
			pfree(workers[number].handle);
	memset(workers, 0, WORKER_SLOTS * sizeof(LaunchedWorker));
}

/*
 * Looks through pg_database: creates a slot for each database, and frees the
 * slots of dropped ones.
 */
static void
list_databases_now(void)
{
	bool		there[MAX_DATABASES];
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	/* one that is created meanwhile may not be seen, and keeps its slot */
	LWLockAcquire(chs_worker_shared->lock, LW_SHARED);
	for (int i = 0; i < MAX_DATABASES; i++)
		there[i] = !OidIsValid(chs_worker_shared->databases[i].database);
	LWLockRelease(chs_worker_shared->lock);

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
		note_database((Form_pg_database) GETSTRUCT(tuple), there);
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();

	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_DATABASES; i++)
		if (!there[i] && !chs_worker_is_there(&chs_worker_shared->databases[i]))
		{
			chs_worker_shared->databases[i].database = InvalidOid;
			forget_workers(launched[i]);
		}
	LWLockRelease(chs_worker_shared->lock);
}

/* Handles the end of a worker; false while it runs. */
static bool
has_ended(LaunchedWorker *worker, DatabaseSlot *slot, int number)
{
	pid_t		pid;

	/* also one that an earlier launcher started */
	if (worker->handle == NULL)
		return slot->workers[number].pid == 0;
	if (GetBackgroundWorkerPid(worker->handle, &pid) != BGWH_STOPPED)
		return false;
	pfree(worker->handle);
	worker->handle = NULL;
	if (slot->workers[number].ended_well)
		worker->failures = 0;
	else if (slot->workers[number].terminated)
		pg_atomic_write_u32(&slot->dirty, 1);
	else
	{
		TimestampTz now = GetCurrentTimestamp();
		int			delay;

		/* one that always has work never ends properly */
		if (TimestampDifferenceExceeds(worker->started_at, now, MAX_BACKOFF_S * 1000))
			worker->failures = 0;
		delay = Min(1 << Min(worker->failures, 16), MAX_BACKOFF_S);
		worker->failures++;
		worker->failed_at = now;
		pg_atomic_write_u32(&slot->backing_off, 1);
		worker->not_before = TimestampTzPlusMilliseconds(now, delay * 1000);
		/* its work is still to be done, if the database still exists */
		pg_atomic_write_u32(&slot->dirty, 1);
		chs_wake_to_list_databases();
	}
	return slot->workers[number].pid == 0;
}

static void
start_worker(LaunchedWorker *launch, DatabaseSlot *slot, int number)
{
	BackgroundWorker worker;
	MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

	slot->workers[number].ended_well = slot->workers[number].terminated = false;
	launch->started_at = GetCurrentTimestamp();
	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags =
		BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION | BGWORKER_INTERRUPTIBLE;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "chs", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "chs_worker_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "chs worker", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "chs worker", BGW_MAXLEN);
	worker.bgw_main_arg = chs_worker_argument(slot->database, number);
	worker.bgw_notify_pid = MyProcPid;
	if (number == SLOW_WORKER)
		slot->no_place_for_slow = false;
	if (!RegisterDynamicBackgroundWorker(&worker, &launch->handle))
	{
		if (number == SLOW_WORKER)
			slot->no_place_for_slow = true;
		/* without another worker, the first one merely takes longer */
		if (launch->failures++ == 0)
			ereport(number == 0 || number == SLOW_WORKER ? LOG : DEBUG1,
					(errmsg("chs could not start a worker"),
					 errhint("Increase \"max_worker_processes\".")));
		launch->handle = NULL;
		launch->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), NO_PLACE_WAIT_MS);
	}
	MemoryContextSwitchTo(caller);
}

/* Whether customers that were skipped are to be tried again. */
static bool
is_due(const DatabaseSlot *slot)
{
	return slot->retry_at != 0 && slot->retry_at <= GetCurrentTimestamp();
}

/* Whether a worker of a database is needed; further ones only beside the first. */
static bool
is_needed(DatabaseSlot *slot, int number)
{
	if (!chs_enabled || slot->kept_out_by != 0)
		return false;
	/* it may have been dropped */
	if (chs_worker_shared->list_databases)
		return false;
	if (number == SLOW_WORKER)
		return slot->state == DATABASE_INSTALLED && slot->nslow > 0;
	if (number > 0)
		return number < Min(slot->wanted, chs_max_workers) && slot->workers[0].pid != 0;
	switch (slot->state)
	{
		case DATABASE_UNKNOWN:
			return true;
		case DATABASE_INSTALLED:
		case DATABASE_NOT_INSTALLED:
			return pg_atomic_read_u32(&slot->dirty) != 0 || is_due(slot);
		default:
			return false;
	}
}

/*
 * Starts a worker of a database, if it is needed.  Returns the milliseconds until that
 * is to be looked at again, at most the given number.
 */
static long
start_if_needed(DatabaseSlot *slot, LaunchedWorker *launch, int number, long timeout)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!has_ended(launch, slot, number))
		return timeout;
	if (!is_needed(slot, number))
	{
		if (number == 0 && slot->retry_at != 0 && !is_due(slot))
			return Min(timeout, TimestampDifferenceMilliseconds(now, slot->retry_at));
		return timeout;
	}
	if (launch->failed_at != 0 && pg_atomic_read_u32(&slot->backing_off) == 0)
		launch->not_before =
			Min(launch->not_before, TimestampTzPlusMilliseconds(launch->failed_at, MIN_BACKOFF_MS));
	if (launch->not_before > now)
		return Min(timeout, TimestampDifferenceMilliseconds(now, launch->not_before));
	start_worker(launch, slot, number);
	return timeout;
}

/*
 * Starts workers for the databases that need some.  Returns the milliseconds until
 * one that failed may be started again, at most the given number.
 *
 * What is shared is read without the lock.  Whoever changes it so that a worker is
 * needed wakes the launcher afterwards, and one that is started though it is not
 * needed any more finds that out with the lock (see attach), or has nothing to do.
 */
static long
start_workers(long timeout)
{
	for (int i = 0; i < MAX_DATABASES; i++)
	{
		DatabaseSlot *slot = &chs_worker_shared->databases[i];

		for (int number = 0; OidIsValid(slot->database) && number < WORKER_SLOTS; number++)
			timeout = start_if_needed(slot, &launched[i][number], number, timeout);
	}
	return Max(timeout, 1);
}

/*
 * Causes all databases with the extension to be looked at.  A running worker does
 * so anyway, and must not be kept from leaving, unless it must learn that a day has
 * begun.
 */
static void
mark_installed_dirty(bool day_began, bool reloaded)
{
	if (!chs_enabled)
		return;
	for (int i = 0; i < MAX_DATABASES; i++)
	{
		DatabaseSlot *slot = &chs_worker_shared->databases[i];

		/* its chs_resume() may have been prepared, and not have told anybody */
		if (OidIsValid(slot->database))
		{
			chs_worker_unpause(slot);
			if (reloaded)
				chs_wake_failed(slot);
		}
		if (OidIsValid(slot->database) && slot->state == DATABASE_INSTALLED &&
			(day_began || slot->workers[0].pid == 0))
			chs_wake_worker_of(slot);
	}
}

/*
 * Whether databases may have been created, dropped or renamed since the last look.
 * No worker is started before the next one.
 */
static bool
is_listing_wanted(void)
{
	bool		wanted;

	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	wanted = chs_worker_shared->list_databases;
	chs_worker_shared->list_databases = false;
	/* one that a commit told of */
	for (int i = 0; i < MAX_DATABASES; i++)
		wanted |= OidIsValid(chs_worker_shared->databases[i].database) &&
			chs_worker_shared->databases[i].state == DATABASE_NEW;
	LWLockRelease(chs_worker_shared->lock);
	return wanted;
}

static void
attach_launcher(void)
{
	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	chs_worker_shared->launcher_latch = MyLatch;
	LWLockRelease(chs_worker_shared->lock);
}

static void
detach_launcher(int code pg_attribute_unused(), Datum arg pg_attribute_unused())
{
	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	chs_worker_shared->launcher_latch = NULL;
	LWLockRelease(chs_worker_shared->lock);
}

/* chs_launcher_main starts workers until the server stops. */
void
chs_launcher_main(Datum arg pg_attribute_unused())
{
	static uint32 wait_event = 0;
	TimestampTz next_look = 0;
	TimestampTz midnight = 0;

	/* what it does takes little time, so that it can exit between two looks */
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname("chs launcher");
	before_shmem_exit(detach_launcher, (Datum) 0);
	attach_launcher();

	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		bool		look;
		bool		reloaded;
		long		timeout;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		/* exit code 1: started again, unless the server stops */
		if (ShutdownRequestPending)
			proc_exit(1);
		look = is_listing_wanted();
		/* the nap time may be shorter now */
		reloaded = chs_settings_reload();
		if (reloaded || now >= next_look)
		{
			list_databases_now();
			mark_installed_dirty(now >= midnight, reloaded);
			/* also as soon as a UTC day begins */
			midnight = (now / USECS_PER_DAY + 1) * USECS_PER_DAY;
			next_look = Min(TimestampTzPlusMilliseconds(now, (int64) chs_naptime * 1000), midnight);
		}
		else if (look)
			list_databases_now();
		timeout = start_workers(Max(TimestampDifferenceMilliseconds(now, next_look), 1));
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 timeout, chs_wait_event(wait_event, "ChsLauncherMain"));
	}
}

/* chs_launcher_init registers the launcher when the library is preloaded. */
void
chs_launcher_init(void)
{
	BackgroundWorker worker;

	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
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

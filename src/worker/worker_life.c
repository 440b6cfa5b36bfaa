/*
 * worker_life.c
 *	  How a worker starts, leaves, and stays out of everybody's way.
 *
 * Each batch is a separate transaction, before which the worker checks whether it
 * should run: the extension may be gone, or the database paused or being restored.
 */
#include "worker/worker_life.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/chore.h"
#include "base/settings.h"
#include "base/slow.h"
#include "base/wake.h"
#include "base/worker_shared.h"
#include "base/worker_status.h"
#include "store/restore.h"
#include "worker/pause.h"

/* How often to check whether a restore has ended, in milliseconds. */
#define RESTORE_POLL_MS 250


static emit_log_hook_type previous_emit_log_hook = NULL;

/* chs_worker_argument makes the argument of a worker's main function. */
Datum
chs_worker_argument(Oid database, int number)
{
	return UInt64GetDatum(((uint64) number << 32) | database);
}

/*
 * Settings of a database or role are meant for users.  The health that the worker
 * stores can be rebuilt from durable data, so it need not wait for disks.
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
		/* chs_catalog_become_owner would change it again and again */
		{"session_replication_role", "replica"},
		{"max_parallel_workers_per_gather", "0"}
	};

	for (size_t i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

/* chs_worker_is_first tells whether this is the first worker; others only help it. */
bool
chs_worker_is_first(void)
{
	return chs_worker_self == &chs_worker_database->workers[0];
}

/* chs_worker_is_for_slow tells whether this is the worker for slow customers. */
bool
chs_worker_is_for_slow(void)
{
	return chs_worker_self == &chs_worker_database->workers[SLOW_WORKER];
}

static void
detach(int code, Datum arg pg_attribute_unused())
{
	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	chs_worker_self->pid = 0;
	chs_worker_self->latch = NULL;
	chs_worker_self->ended_well = code == 0;
	if (!chs_worker_is_for_slow())
		chs_worker_database->generation++;
	else
		chs_slow_end(chs_worker_database);
	/* one that leaves is not wanted again until the first worker asks for it */
	chs_worker_database->wanted =
		Max(Min(chs_worker_database->wanted, chs_worker_self - chs_worker_database->workers), 1);
	if (chs_worker_is_first())
	{
		/* what it leaves behind continues to wait */
		if (chs_worker_database->working_since != 0)
			pg_atomic_write_u64(&chs_worker_database->waiting_since,
								chs_worker_database->working_since);
		chs_worker_database->working_since = 0;
	}
	else if (chs_worker_database->workers[0].latch)
		SetLatch(chs_worker_database->workers[0].latch);	/* its part is larger now */
	LWLockRelease(chs_worker_shared->lock);
	chs_wake_launcher();
}

/*
 * Takes the place of a worker; false if it is taken, by one that an earlier
 * launcher started, or if no worker is allowed.
 */
static bool
attach(Oid database, int number)
{
	bool		is_free;

	chs_worker_database = chs_worker_slot(database);
	if (chs_worker_database == NULL)
		return false;
	chs_worker_self = &chs_worker_database->workers[number];
	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	is_free = chs_worker_self->pid == 0 && chs_worker_database->kept_out_by == 0;
	if (is_free)
	{
		chs_worker_self->pid = MyProcPid;
		chs_worker_self->latch = MyLatch;
		chs_worker_self->state = WORKER_STARTING;
		chs_worker_self->started_at = GetCurrentTimestamp();
		if (number == 0)
			chs_worker_database->retry_at = 0;
		if (!chs_worker_is_for_slow())
			chs_worker_database->generation++;
	}
	LWLockRelease(chs_worker_shared->lock);
	if (is_free)
		before_shmem_exit(detach, (Datum) 0);
	return is_free;
}

/*
 * chs_worker_set_state records the state in which a worker found the database,
 * except that the launcher knows better whether it allows connections.
 */
void
chs_worker_set_state(DatabaseState state)
{
	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	if (chs_worker_database->state != DATABASE_EXCLUDED)
		chs_worker_database->state = state;
	LWLockRelease(chs_worker_shared->lock);
}

/*
 * An administrator who terminates a worker knows about it, and for a server
 * shutdown it does not matter: nothing is lost, so this needs no log entry.
 */
static void
hide_end_by_administrator(ErrorData *error)
{
	if (error->elevel == FATAL && error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
		error->output_to_server = false;
	if (previous_emit_log_hook)
		previous_emit_log_hook(error);
}

/* chs_worker_error_context adds the database to messages in the log. */
void
chs_worker_error_context(void *arg pg_attribute_unused())
{
	if (chs_chore_name() == NULL)
		errcontext("chs worker in database \"%s\"", NameStr(chs_worker_database_name));
	else
		errcontext("chs worker in database \"%s\", %s", NameStr(chs_worker_database_name),
				   chs_chore_name());
}

/* Leaves, because there is nothing left to do in a database in this state. */
pg_noreturn static void
leave(DatabaseState state)
{
	chs_worker_set_state(state);
	proc_exit(0);
}

/*
 * The launcher has checked, but the database may have become a template since,
 * which must stay free of sessions even if it has the extension.
 */
static bool
database_is_for_workers(void)
{
	HeapTuple	tuple;
	bool		result = false;

	StartTransactionCommand();
	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(MyDatabaseId));
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);

		chs_worker_database_name = database->datname;
		result = !database->datistemplate &&
			chs_settings_lists_database(NameStr(database->datname));
		ReleaseSysCache(tuple);
	}
	CommitTransactionCommand();
	return result;
}

/*
 * chs_worker_is_excluded tells whether the launcher has found that the database
 * must no longer be connected to.
 */
bool
chs_worker_is_excluded(void)
{
	return chs_worker_database->state == DATABASE_EXCLUDED;
}

/*
 * chs_worker_leave_if_unwanted leaves if workers are switched off, or this one
 * is no longer needed.
 */
void
chs_worker_leave_if_unwanted(bool settings_changed)
{
	if (!chs_enabled)
	{
		/* for when it is enabled again */
		pg_atomic_write_u32(&chs_worker_database->dirty, 1);
		proc_exit(0);
	}
	if (chs_worker_is_excluded())
		proc_exit(0);
	if (settings_changed && !database_is_for_workers())
		leave(DATABASE_EXCLUDED);
	if (!chs_worker_is_for_slow() &&
		chs_worker_self - chs_worker_database->workers >= chs_max_workers)
		proc_exit(0);
}

/*
 * Starts a transaction in which the extension, which is returned, stays installed;
 * leaves if it is not.  DROP EXTENSION waits for at most one batch.
 */
static Oid
begin_installed(WorkerState state)
{
	static const char *const activities[] = {
		[WORKER_FOLDING] = "chs: folding the queue",
		[WORKER_FOLDING_SLOW] = "chs: folding slow customers",
		[WORKER_RESCORING] = "chs: scoring customers for a new day or scorecard version",
		[WORKER_HOUSEKEEPING] = "chs: housekeeping"
	};
	Oid			extension;

	chs_worker_status_state(chs_worker_self, state);
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, activities[state]);
	extension = get_extension_oid("chs", true);
	if (OidIsValid(extension))
	{
		LockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock);
		if (get_extension_oid("chs", true) == extension)
			return extension;
	}
	CommitTransactionCommand();
	leave(DATABASE_NOT_INSTALLED);
}

/* Leaves if the database is paused, until chs_resume(); the queue continues to wait. */
static void
leave_if_paused(void)
{
	TimestampTz since = chs_worker_database->working_since;

	if (!chs_pause_is_on())
		return;
	chs_worker_set_state(DATABASE_PAUSED);
	/* an earlier chs_resume() has not seen that state */
	if (!chs_pause_is_on())
	{
		chs_worker_set_state(DATABASE_INSTALLED);
		return;
	}
	CommitTransactionCommand();
	if (chs_worker_is_first())
	{
		if (since != 0)
			pg_atomic_write_u64(&chs_worker_database->waiting_since, since);
		pg_atomic_write_u32(&chs_worker_database->dirty, since != 0);
	}
	proc_exit(0);
}

/*
 * chs_worker_begin_batch starts a transaction in which the extension, which is
 * returned, stays installed, and no dump is being restored.  Leaves if the
 * extension is gone or the database is paused.
 */
Oid
chs_worker_begin_batch(WorkerState state)
{
	static uint32 wait_event = 0;

	for (;;)
	{
		Oid			extension = begin_installed(state);

		leave_if_paused();
		if (chs_restore_lock_out())
			return extension;
		CommitTransactionCommand();
		/*
		 * without queueing for the lock, which would make other sessions of the
		 * restore wait behind this one
		 */
		chs_worker_status_state(chs_worker_self, WORKER_HELD_UP);
		pgstat_report_activity(STATE_IDLE, "chs: waiting for the end of a restore");
		(void) WaitLatch(NULL, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, RESTORE_POLL_MS,
						 chs_wait_event(wait_event, "ChsWorkerRestore"));
		CHECK_FOR_INTERRUPTS();
		chs_worker_leave_if_unwanted(chs_settings_reload());
	}
}

/* chs_worker_end_batch commits the transaction. */
void
chs_worker_end_batch(void)
{
	CommitTransactionCommand();
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	CHECK_FOR_INTERRUPTS();
}

/*
 * A worker that leaves, though some customers were skipped, comes again after so
 * long, or up to so long.
 */
#define MIN_RETRY_DELAY_MS 5000
#define MAX_RETRY_DELAY_MS 60000

/*
 * chs_worker_schedule_retry tells the launcher when to start a worker even if nothing is
 * committed: later, and less and less often, or not at all.
 */
void
chs_worker_schedule_retry(bool later)
{
	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	chs_worker_database->retry_delay = !later ? 0 :
		Min(Max(chs_worker_database->retry_delay * 2, MIN_RETRY_DELAY_MS), MAX_RETRY_DELAY_MS);
	chs_worker_database->retry_at = !later ? 0 :
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), chs_worker_database->retry_delay);
	LWLockRelease(chs_worker_shared->lock);
}

/*
 * chs_worker_begin turns the process into a worker, according to its argument, and
 * ends it if there is no place or no need for one.
 */
void
chs_worker_begin(Datum arg)
{
	Oid			database = (Oid) DatumGetUInt64(arg);
	int			number = DatumGetUInt64(arg) >> 32;

	previous_emit_log_hook = emit_log_hook;
	emit_log_hook = hide_end_by_administrator;
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	if (!attach(database, number))
		proc_exit(0);
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	set_own_settings();
	pgstat_report_appname(number == 0 ? "chs worker" : psprintf("chs worker %d", number + 1));
	if (!database_is_for_workers())
		leave(DATABASE_EXCLUDED);
}

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
#include "pause.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "progress.h"
#include "restore.h"
#include "settings.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "worker_status.h"

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

/*
 * So many customers are looked at for stale health between two looks at the queue;
 * more while few of them are stale, and fewer where it takes longer than so long, in
 * milliseconds.
 */
#define RESCORE_SLICE 1000
#define MIN_RESCORE_SLICE 10
#define MAX_RESCORE_SLICE 8000
#define RESCORE_SLICE_MS 200

/* So many batches are folded between two slices of rescoring, at most. */
#define FOLD_BETWEEN_SLICES 8

/* After so many full batches, or more where that has not helped, a further worker is called to help. */
#define CALL_AFTER 4
#define MAX_CALL_AFTER 4096

static DatabaseSlot *my_database = NULL;
static WorkerSlot *my_slot = NULL;
static NameData my_database_name;
static emit_log_hook_type previous_emit_log_hook = NULL;

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

static bool
is_first(void)
{
	return my_slot == &my_database->workers[0];
}

static void
detach(int code, Datum arg pg_attribute_unused())
{
	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	my_slot->pid = 0;
	my_slot->latch = NULL;
	my_slot->ended_well = code == 0;
	my_database->comings++;
	/* whoever leaves is not wanted again before the first worker says so */
	my_database->wanted = Max(Min(my_database->wanted, my_slot - my_database->workers), 1);
	if (is_first())
	{
		/* what it leaves behind goes on waiting */
		if (my_database->working_since != 0)
			pg_atomic_write_u64(&my_database->waiting_since, my_database->working_since);
		my_database->working_since = 0;
	}
	else if (my_database->workers[0].latch)
		SetLatch(my_database->workers[0].latch);	/* its part is larger now */
	LWLockRelease(chs_worker_shared->lock);
	chs_worker_wake_launcher();
}

/*
 * Takes the place of a worker; false where it is taken, by one that an earlier
 * launcher started, or where none may come.
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
	is_free = my_slot->pid == 0 && my_database->kept_out_by == 0;
	if (is_free)
	{
		my_slot->pid = MyProcPid;
		my_slot->latch = MyLatch;
		my_slot->state = WORKER_STARTING;
		my_slot->started_at = GetCurrentTimestamp();
		my_database->comings++;
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

/*
 * An administrator who ends a worker knows, and whoever stops the server need not:
 * nothing is lost, so that this is no line for the log.
 */
static void
hide_end_by_administrator(ErrorData *error)
{
	if (error->elevel == FATAL && error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
		error->output_to_server = false;
	if (previous_emit_log_hook)
		previous_emit_log_hook(error);
}

/* Tells in the log which database a message is about. */
static void
add_error_context(void *arg pg_attribute_unused())
{
	errcontext("chs worker in database \"%s\"", NameStr(my_database_name));
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
	bool		result = false;

	StartTransactionCommand();
	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(MyDatabaseId));
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);

		my_database_name = database->datname;
		result = !database->datistemplate && chs_settings_lists_database(NameStr(database->datname));
		ReleaseSysCache(tuple);
	}
	CommitTransactionCommand();
	return result;
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
	if (my_slot - my_database->workers >= chs_max_workers)
		proc_exit(0);
}

/* -------------------------------------------------------------- its work */

/*
 * Starts a transaction in which the extension, which is returned, stays
 * installed; leaves where it is not.  DROP EXTENSION waits for one batch at most.
 */
static Oid
begin_installed(WorkerState state)
{
	static const char *const activities[] = {
		[WORKER_FOLDING] = "chs: folding the queue",
		[WORKER_RESCORING] = "chs: scoring customers for a new day or scorecard version",
		[WORKER_KEEPING_HOUSE] = "chs: housekeeping"
	};
	Oid			extension;

	chs_worker_status_state(my_slot, state);
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

/* Leaves if the database is paused, until chs_resume(); what waits to be folded goes on waiting. */
static void
leave_if_paused(void)
{
	TimestampTz since = my_database->working_since;

	if (!chs_pause_is_on())
		return;
	set_state(DATABASE_PAUSED);
	/* a chs_resume() that came before that has not seen it */
	if (!chs_pause_is_on())
	{
		set_state(DATABASE_INSTALLED);
		return;
	}
	CommitTransactionCommand();
	if (is_first())
	{
		if (since != 0)
			pg_atomic_write_u64(&my_database->waiting_since, since);
		pg_atomic_write_u32(&my_database->dirty, since != 0);
	}
	proc_exit(0);
}

/* The same, once no dump is being restored, and none begins to be until the transaction ends. */
static Oid
begin_batch(WorkerState state)
{
	static uint32 wait_event = 0;

	for (;;)
	{
		Oid			extension = begin_installed(state);

		leave_if_paused();
		if (chs_restore_lock_out())
			return extension;
		CommitTransactionCommand();
		/* not in the lock's queue, where other sessions of the restore would come behind */
		chs_worker_status_state(my_slot, WORKER_HELD_UP);
		pgstat_report_activity(STATE_IDLE, "chs: waiting for the end of a restore");
		(void) WaitLatch(NULL, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, RESTORE_POLL_MS,
						 chs_wait_event(wait_event, "ChsWorkerRestore"));
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
	Oid			extension;
	int32		day;
	int			version;
	int64		last_customer_id;
	int			slice;			/* the size of the next one */
	bool		skipped;
	int64		ncustomers;		/* scored so far */
	TimestampTz started_at;
} Rescoring;

/* What a worker is at. */
typedef struct Work
{
	uint32		comings;		/* of workers, as last seen */
	FoldProgress folding;
	int			full_batches;	/* one after the other */
	int			call_after;		/* so many of them a further worker is called */
	Rescoring	rescoring;
	int			housekeeping;	/* the step that is next */
} Work;

/*
 * The customers are shared out among the workers that are there.  Whenever one
 * comes or goes all of them begin again, each with its new part, at what was known
 * to be folded when one worker was alone: so nothing that somebody left is missed.
 * While they do not agree yet, what two want one of them gets, see claim.c.
 */
static void
take_part(Work *work)
{
	ClaimRequest *claim = &work->folding.claim;
	int			parts = claim->parts;
	FullTransactionId from;

	if (work->comings == my_database->comings)
		return;
	LWLockAcquire(chs_worker_shared->lock, LW_SHARED);
	work->comings = my_database->comings;
	from = my_database->folded_before;
	*claim = (ClaimRequest) {
		.kind = CLAIM_PART
	};
	for (WorkerSlot *worker = my_database->workers; worker < my_database->workers + MAX_WORKERS; worker++)
	{
		if (worker->pid == 0)
			continue;
		claim->parts++;
		if (worker < my_slot)
			claim->part++;
	}
	LWLockRelease(chs_worker_shared->lock);

	work->folding.in_pass = work->folding.skipped = false;
	/* the first worker relies on nothing that another one has left */
	work->folding.next_from = parts == 0 && is_first() ? InvalidFullTransactionId : from;
	/* where there is nothing to do for others, as with a few customers, they are called ever less */
	if (claim->parts < parts && work->call_after < MAX_CALL_AFTER)
		work->call_after *= 2;
	work->full_batches = 0;
	work->rescoring = (Rescoring) {0};
}

/* Notes how far the queue is folded, and how many workers it is worth. */
static void
note_progress(Work *work, bool complete)
{
	int			wanted;

	work->full_batches++;
	if (complete)
	{
		work->full_batches = 0;
		work->call_after = CALL_AFTER;
	}
	wanted = Min(work->folding.claim.parts + work->full_batches / work->call_after, chs_max_workers);
	if (work->folding.claim.parts == 1)
		my_database->folded_before = work->folding.pass.from;
	if (is_first() && wanted > my_database->wanted)
	{
		my_database->wanted = wanted;
		chs_worker_wake_launcher();
	}
	else if (is_first() && complete)
		my_database->wanted = 1;
}

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
		TimestampTz start = GetCurrentTimestamp();
		int64		deltas;

		if (ConfigReloadPending)
			break;
		take_part(work);
		(void) begin_batch(WORKER_FOLDING);
		deltas = chs_fold_batch(&work->folding, chs_batch_size, &complete);
		end_batch();
		if (deltas > 0)
			chs_worker_status_batch(my_slot, deltas, work->folding.ncustomers, GetCurrentTimestamp() - start);
		note_progress(work, complete);
	}
	return complete;
}

/* Notes that everyone's health is of a day and version, so that no further worker looks. */
static void
note_rescored(const Rescoring *rescoring)
{
	my_database->rescored_extension = rescoring->extension;
	my_database->rescored_day = rescoring->day;
	my_database->rescored_version = rescoring->version;
	if (rescoring->ncustomers >= RESCORE_SLICE)
		ereport(LOG,
				(errmsg("chs scored %lld customers of database \"%s\" for a new day or scorecard version in %.1f s",
						(long long) rescoring->ncustomers, NameStr(my_database_name),
						(GetCurrentTimestamp() - rescoring->started_at) / (double) USECS_PER_SEC),
				 errhidecontext(true)));
}

/* Whether everyone's health is known to be of the day and version already. */
static bool
is_rescored(const Rescoring *rescoring)
{
	return my_database->rescored_extension == rescoring->extension &&
		my_database->rescored_day == rescoring->day &&
		my_database->rescored_version == rescoring->version;
}

/*
 * How many customers the next slice is to look at, after one of which so many were
 * stale and which took so long.  Those whose activities are made again from their
 * events take a thousand times as long as others.
 */
static int
next_slice(int limit, int nscored, long milliseconds)
{
	if (milliseconds > RESCORE_SLICE_MS)
		return Max((int) ((int64) limit * RESCORE_SLICE_MS / milliseconds), MIN_RESCORE_SLICE);
	if (nscored > limit / 8)
		return Min(limit * 2, RESCORE_SLICE);
	return Min(limit * 2, MAX_RESCORE_SLICE);
}

/* Rescores the next slice of the customers whose health is stale. */
static void
rescore_slice(Work *work)
{
	Rescoring  *rescoring = &work->rescoring;
	Rescoring	now = {.last_customer_id = PG_INT64_MIN,.slice = RESCORE_SLICE};
	bool		is_everyone;
	int			limit;
	int			nscored;
	int			n;

	take_part(work);
	now.extension = begin_batch(WORKER_RESCORING);
	now.started_at = GetCurrentTimestamp();
	now.day = chs_customer_today();
	chs_catalog_recheck_live();
	now.version = chs_catalog_live()->version;
	if (now.extension != rescoring->extension || now.day != rescoring->day || now.version != rescoring->version)
	{
		*rescoring = now;
		rescoring->done = is_rescored(rescoring);
	}
	if (rescoring->done)
	{
		end_batch();
		return;
	}
	limit = Min(rescoring->slice, chs_batch_size);
	n = chs_everyone_rescore_stale(&work->folding.claim, &rescoring->last_customer_id, limit,
								   &nscored, &rescoring->skipped);
	rescoring->done = n < limit;
	is_everyone = rescoring->done && !rescoring->skipped && work->folding.claim.parts == 1;
	if (is_everyone)
		chs_progress_end_backfill();
	end_batch();
	rescoring->ncustomers += nscored;
	rescoring->slice = next_slice(limit, nscored, TimestampDifferenceMilliseconds(now.started_at, GetCurrentTimestamp()));
	if (is_everyone)
		note_rescored(rescoring);
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
		(void) begin_batch(WORKER_KEEPING_HOUSE);
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

	if (!is_first() || GetCurrentTimestamp() - my_database->kept_house_at < chs_naptime * USECS_PER_SEC)
		return false;
	if (step == NULL)
	{
		work->housekeeping = 0;
		my_database->kept_house_at = GetCurrentTimestamp();
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
	Work		work = {.folding.pass.context = TopMemoryContext,.call_after = CALL_AFTER};
	int			linger = LINGER_MS;

	for (;;)
	{
		bool		folded;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		leave_if_unwanted(chs_settings_reload());
		if (is_first())
		{
			pg_atomic_write_u32(&my_database->dirty, 0);
			chs_worker_status_begin_work(my_database);
		}
		folded = fold_queue(&work);
		rescore_slice(&work);
		set_state(DATABASE_INSTALLED);
		if (!folded || !work.rescoring.done)
			continue;			/* fresh events come first */
		if (!is_first())
			return;
		chs_worker_status_end_work(my_database);
		if (keep_house(&work))
			continue;
		chs_worker_status_state(my_slot, WORKER_WAITING);
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
	ErrorContextCallback context = {.callback = add_error_context};

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
		leave(DATABASE_PASSED_OVER);

	error_context_stack = &context;
	/* the process ends by any error, but chs.worker_status is to show it */
	PG_TRY();
	{
		work_on();
	}
	PG_CATCH();
	{
		chs_worker_status_error(my_database);
		PG_RE_THROW();
	}
	PG_END_TRY();
	proc_exit(0);
}

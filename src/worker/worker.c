/*
 * worker.c
 *	  A worker keeps the scores of one database fresh.
 *
 * It folds the queue, rescores everyone whose health is of an earlier day or
 * version, and does housekeeping, in this order and in small transactions, so that
 * fresh events never wait for long.  Without work it lingers for a second, and
 * exits.
 */
#include "base/compat.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"

#include "base/chore.h"
#include "base/settings.h"
#include "base/slow.h"
#include "base/wake.h"
#include "base/worker_shared.h"
#include "base/worker_status.h"
#include "engine/everyone.h"
#include "engine/fold.h"
#include "engine/pass.h"
#include "engine/publish.h"
#include "store/claim.h"
#include "store/customer.h"
#include "store/live.h"
#include "worker/housekeeping.h"
#include "worker/worker_life.h"

/* How long a worker without work stays, in milliseconds. */
#define LINGER_MS 1000
#define MAX_LINGER_MS 30000		/* while a version waits to become live, or the like */

/*
 * If all customers to be tried again wait for so many milliseconds between two
 * attempts, it leaves as well.
 */
#define STAY_FOR_RETRY_MS 1000

/*
 * The minimum interval between folds under steady load, in milliseconds: folding
 * many commits together costs a fraction of folding each by itself.  The first
 * commit after a pause does not wait.
 */
#define PACE_MS 10

/*
 * How many customers are checked for stale health between two looks at the queue;
 * more while few of them are stale, and fewer if that takes longer than this many
 * milliseconds.
 */
#define RESCORE_SLICE 1000
#define MIN_RESCORE_SLICE 10
#define MAX_RESCORE_SLICE 8000
#define RESCORE_SLICE_MS 200

/* The maximum number of batches that are folded between two slices of rescoring. */
#define FOLD_BETWEEN_SLICES 8

/*
 * After this many full batches, or more if that has not helped before, another
 * worker is called to help.
 */
#define CALL_AFTER 4
#define MAX_CALL_AFTER 4096

PGDLLEXPORT void chs_worker_main(Datum arg);

/* Rescoring of everyone, when a day begins or a version is published. */
typedef struct Rescoring
{
	bool		done;			/* everyone's health is of this day and version: */
	Oid			extension;
	int32		day;
	int			version;
	int			waiting;		/* the version that waits to become live, or 0 */
	EveryonePass pass;
	bool		again;			/* the version could not become live yet */
	int			slice;			/* the size of the next one */
	int64		ncustomers;		/* scored so far */
	TimestampTz started_at;
} Rescoring;

/* What a worker is doing. */
typedef struct Work
{
	uint32		generation;		/* of the workers, as last seen */
	FoldProgress folding;
	int			full_batches;	/* one after the other */
	int			call_after;		/* after which another worker is called */
	Rescoring	rescoring;
	uint32		releases;		/* of customers by sessions, as last seen */
	int			housekeeping;	/* the step that is next */
} Work;

/*
 * Divides the customers among the present workers.  Whenever one starts or ends, all of
 * them begin anew, each with its new part, from what was known to be folded when there
 * was only one worker, so that nothing is missed.  Until they agree, a customer that
 * two of them want goes to one of them, see claim.c.
 */
static void
take_part(Work *work)
{
	Part	   *part = &work->folding.part;
	int			parts = part->count;
	FullTransactionId from;

	if (work->generation == chs_worker_database->generation)
		return;
	LWLockAcquire(chs_worker_shared->lock, LW_SHARED);
	work->generation = chs_worker_database->generation;
	from = chs_worker_database->folded_before;
	*part = (Part) {0};
	for (int i = 0; i < MAX_WORKERS; i++)
	{
		if (chs_worker_database->workers[i].pid == 0)
			continue;
		part->count++;
		if (&chs_worker_database->workers[i] < chs_worker_self)
			part->number++;
	}
	LWLockRelease(chs_worker_shared->lock);

	work->folding.in_pass = work->folding.again = work->folding.overflowed = false;
	work->folding.nretries = work->folding.nrunning = 0;
	/* the first worker does not rely on anything that another one has left */
	work->folding.next_from = parts == 0 && chs_worker_is_first() ? InvalidFullTransactionId : from;
	/* one that has ended had nothing to do, as with few customers: the next is called later */
	if (part->count < parts && work->call_after < MAX_CALL_AFTER)
		work->call_after *= 2;
	work->full_batches = 0;
	work->rescoring = (Rescoring) {0};
}

/*
 * Records how far the queue is folded, and has the launcher start another worker
 * after so many full batches that more are worth it.
 */
static void
record_progress(Work *work, bool complete)
{
	DatabaseSlot *slot = chs_worker_database;
	int			wanted = 1;
	bool		more;

	work->full_batches++;
	if (complete)
	{
		work->full_batches = 0;
		work->call_after = CALL_AFTER;
	}
	else
		wanted = Min(work->folding.part.count + work->full_batches / work->call_after,
					 chs_max_workers);
	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	if (work->folding.part.count == 1)
		slot->folded_before = chs_pass_folded_before(&work->folding);
	more = chs_worker_is_first() && wanted > slot->wanted;
	if (more || (chs_worker_is_first() && complete))
		slot->wanted = wanted;
	LWLockRelease(chs_worker_shared->lock);
	if (more)
		chs_wake_launcher();
}

/* Whether everyone's health is known to be of the day and version already, and no version waits. */
static bool
is_rescored(const Rescoring *rescoring)
{
	bool		same;

	LWLockAcquire(chs_worker_shared->lock, LW_SHARED);
	same = chs_worker_database->rescored_extension == rescoring->extension &&
		chs_worker_database->rescored_day == rescoring->day &&
		chs_worker_database->rescored_version == rescoring->version;
	LWLockRelease(chs_worker_shared->lock);
	return same && rescoring->waiting == 0;
}

/*
 * Looks, within a batch, whether the day or the version is another one than that of
 * which everyone's health is, or is made to be.
 */
static void
check_day_and_version(Rescoring *rescoring, Oid extension)
{
	Rescoring	now = {.pass.last_customer_id = PG_INT64_MIN,.slice = RESCORE_SLICE};

	now.extension = extension;
	now.started_at = GetCurrentTimestamp();
	now.day = chs_customer_today();
	now.waiting = chs_publish_waiting();
	now.version = chs_live_version()->version;
	if (now.extension == rescoring->extension && now.day == rescoring->day &&
		now.version == rescoring->version && now.waiting == rescoring->waiting)
		return;
	*rescoring = now;
	rescoring->done = is_rescored(rescoring);
}

/*
 * Folds the queue to its end, or as much as is allowed between two slices of
 * rescoring.  Returns whether the end was reached.
 */
static bool
fold_queue(Work *work)
{
	bool		complete = false;

	for (int i = 0; !complete && (work->rescoring.done || i < FOLD_BETWEEN_SLICES); i++)
	{
		TimestampTz start = GetCurrentTimestamp();
		Oid			extension;
		int64		deltas;

		if (ConfigReloadPending || chs_worker_is_excluded())
			break;
		take_part(work);
		extension = chs_worker_begin_batch(WORKER_FOLDING);
		deltas = chs_pass_batch(&work->folding, chs_batch_size, &complete);
		check_day_and_version(&work->rescoring, extension);
		chs_worker_end_batch();
		if (deltas > 0)
			chs_worker_status_batch(chs_worker_self, deltas, work->folding.ncustomers,
									GetCurrentTimestamp() - start);
		chs_worker_status_retries(chs_worker_self, work->folding.nretries, work->folding.blocker);
		record_progress(work, complete);
	}
	return complete;
}

/*
 * Tries customers again that were skipped, when that is due; all of them if a session has ended
 * a transaction that may have had them.
 */
static void
retry_customers(Work *work)
{
	uint32		releases = pg_atomic_read_u32(&chs_worker_database->releases);

	if (work->releases != releases)
		chs_pass_retry_now(&work->folding);
	work->releases = releases;
	if (chs_pass_retry_due_at(&work->folding) > GetCurrentTimestamp())
		return;
	(void) chs_worker_begin_batch(WORKER_FOLDING);
	chs_pass_retry(&work->folding);
	chs_worker_end_batch();
	chs_worker_status_retries(chs_worker_self, work->folding.nretries, work->folding.blocker);
}

/* Milliseconds until that is due; -1: there are none. */
static long
retry_due_in(const Work *work)
{
	if (!chs_pass_has_retries(&work->folding))
		return -1;
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
										   chs_pass_retry_due_at(&work->folding));
}

/* Records that everyone's health is of a day and version, so that no other worker checks. */
static void
record_rescored(const Rescoring *rescoring)
{
	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	chs_worker_database->rescored_extension = rescoring->extension;
	chs_worker_database->rescored_day = rescoring->day;
	chs_worker_database->rescored_version = rescoring->version;
	LWLockRelease(chs_worker_shared->lock);
	if (rescoring->ncustomers >= RESCORE_SLICE)
		ereport(LOG,
				(errmsg("chs scored %lld customers of database \"%s\""
						" for a new day or scorecard version in %.1f s",
						(long long) rescoring->ncustomers, NameStr(chs_worker_database_name),
						(GetCurrentTimestamp() - rescoring->started_at) / (double) USECS_PER_SEC),
				 errhidecontext(true)));
}

/*
 * The number of customers to check in the next slice, given how many were stale in
 * the last one and how long it took.  Customers whose activities are rebuilt from
 * their events take a thousand times as long as others.
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

/*
 * At the end of a pass over all customers: makes the version live that waited for it,
 * or requests another pass.  Otherwise everyone's health is of the day and version, or
 * the customer is queued.
 */
static bool
end_pass(const Work *work, Rescoring *rescoring)
{
	if (work->folding.part.count > 1)
		return false;			/* the last remaining worker passes over everyone again */
	rescoring->again = rescoring->waiting > 0 && !chs_publish_make_live(rescoring->waiting, false);
	return rescoring->waiting == 0;
}

/* Rescores the next slice of the customers whose health is stale, if there may be any. */
static void
rescore_slice(Work *work)
{
	Rescoring  *rescoring = &work->rescoring;
	TimestampTz start;
	long		took;
	bool		is_everyone;
	int			limit;
	int			nscored;
	int			n;

	take_part(work);
	if (rescoring->done)
		return;
	check_day_and_version(rescoring, chs_worker_begin_batch(WORKER_RESCORING));
	if (rescoring->done)
	{
		chs_worker_end_batch();
		return;
	}
	start = GetCurrentTimestamp();
	limit = Min(rescoring->slice, chs_batch_size);
	n = chs_everyone_rescore_stale(&work->folding.part, &rescoring->pass, limit, &nscored);
	rescoring->done = n < limit;
	chs_worker_status_pass(chs_worker_self, rescoring->pass.last_customer_id);
	is_everyone = rescoring->done && end_pass(work, rescoring);
	chs_worker_end_batch();
	took = TimestampDifferenceMilliseconds(start, GetCurrentTimestamp());
	rescoring->ncustomers += nscored;
	if (rescoring->pass.nput_off > 0)
		rescoring->slice = Max(nscored - rescoring->pass.nput_off, MIN_RESCORE_SLICE);
	else
		rescoring->slice = next_slice(limit, nscored, took);
	if (is_everyone)
		record_rescored(rescoring);
}

/*
 * Does one slice of a step of housekeeping; returns whether there is more.  A
 * failure must not keep scores from being fresh, and the step is tried again next
 * time.
 */
static bool
do_housekeeping_slice(const HousekeepingStep *step)
{
	volatile bool more = false;

	chs_chore_begin(step->chore);
	PG_TRY();
	{
		(void) chs_worker_begin_batch(WORKER_HOUSEKEEPING);
		chs_chore_limit_waits();
		more = step->slice();
		chs_worker_end_batch();
		chs_chore_end();
	}
	PG_CATCH();
	{
		chs_chore_fail();
		AbortCurrentTransaction();
		FlushErrorState();
		pgstat_report_activity(STATE_IDLE, NULL);
	}
	PG_END_TRY();
	return more;
}

/* Does the next slice of housekeeping, if it is due; returns whether there is more. */
static bool
do_housekeeping(Work *work)
{
	const HousekeepingStep *step = &chs_housekeeping_steps[work->housekeeping];

	if (!chs_worker_is_first() ||
		GetCurrentTimestamp() - chs_worker_database->housekeeping_at < chs_naptime * USECS_PER_SEC)
		return false;
	if (step->slice == NULL)
	{
		work->housekeeping = 0;
		chs_worker_database->housekeeping_at = GetCurrentTimestamp();
		return false;
	}
	if (!do_housekeeping_slice(step))
		work->housekeeping++;
	return true;
}

/*
 * Waits to be woken; returns false if that did not happen within the time.  A
 * commit's setting of the latch may be gone, since whoever waits for a lock resets
 * it, too; that the database is dirty stays.
 */
static bool
wait_for_work(int milliseconds)
{
	static uint32 wait_event = 0;
	static uint32 pace_wait_event = 0;
	TimestampTz since = GetCurrentTimestamp();
	long		passed;
	int			rc = 0;

	if (pg_atomic_read_u32(&chs_worker_database->dirty) == 0)
		rc = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					   milliseconds, chs_wait_event(wait_event, "ChsWorkerMain"));
	if ((rc & WL_TIMEOUT) && pg_atomic_read_u32(&chs_worker_database->dirty) == 0)
		return false;
	passed = TimestampDifferenceMilliseconds(since, GetCurrentTimestamp());
	if (passed < PACE_MS)
		(void) WaitLatch(NULL, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, PACE_MS - passed,
						 chs_wait_event(pace_wait_event, "ChsWorkerPace"));
	return true;
}

/*
 * Folds the next of the customers for whom other people's code takes long (see slow.c), in
 * its own transaction, for as long as that takes; what is queued for them stays there until
 * then.  False if there is none.
 */
static bool
fold_next_slow(void)
{
	int64		customer_id;

	if (!chs_slow_next(&customer_id))
		return false;
	(void) chs_worker_begin_batch(WORKER_FOLDING_SLOW);
	chs_slow_set_budget(false);
	chs_fold_slow(customer_id);
	chs_slow_set_budget(true);
	chs_worker_end_batch();
	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	chs_slow_end(chs_worker_database);
	LWLockRelease(chs_worker_shared->lock);
	return true;
}

/* Folds slow customers until there are none, and lingers as others do. */
static void
fold_slow_customers(void)
{
	static uint32 wait_event = 0;
	int			rc = 0;

	while (!(rc & WL_TIMEOUT))
	{
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		chs_worker_leave_if_unwanted(chs_settings_reload());
		if (fold_next_slow())
			continue;
		chs_worker_status_state(chs_worker_self, WORKER_WAITING);
		rc = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LINGER_MS,
					   chs_wait_event(wait_event, "ChsWorkerMain"));
	}
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
		long		due_in;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		chs_worker_leave_if_unwanted(chs_settings_reload());
		if (chs_worker_is_first())
		{
			pg_atomic_write_u32(&chs_worker_database->dirty, 0);
			chs_worker_status_begin_work(chs_worker_database);
		}
		folded = fold_queue(&work);
		rescore_slice(&work);
		retry_customers(&work);
		chs_worker_set_state(DATABASE_INSTALLED);
		if (!folded || !work.rescoring.done)
			continue;			/* fresh events come first */
		if (!chs_worker_is_first())
			return;
		chs_worker_status_end_work(chs_worker_database);
		if (do_housekeeping(&work))
			continue;
		/* if there is no place for the worker that does it, one slow customer at a time */
		if (chs_worker_database->no_place_for_slow &&
			pg_atomic_read_u32(&chs_worker_database->dirty) == 0 && fold_next_slow())
			continue;
		chs_worker_status_state(chs_worker_self, WORKER_WAITING);
		due_in = retry_due_in(&work);
		if (!work.folding.again && !work.rescoring.again)
			linger = LINGER_MS;
		if (wait_for_work(due_in < 0 ? linger : Max(Min(due_in, linger), 1)))
		{
			linger = LINGER_MS;
			continue;
		}
		/* it has not been idle for long enough, or they are tried often enough to stay */
		if (due_in >= 0 &&
			(due_in < linger || chs_pass_retry_delay(&work.folding) < STAY_FOR_RETRY_MS))
			continue;
		/* other workers leave retries to the first */
		if (!work.folding.again && !work.rescoring.again && work.folding.part.count == 1)
		{
			chs_worker_schedule_retry(due_in >= 0);
			return;				/* from now on a commit wakes the launcher */
		}
		if (work.rescoring.again)
			work.rescoring = (Rescoring) {0};
		linger = Min(linger * 2, MAX_LINGER_MS);
	}
}

/* chs_worker_main works for one database until there is nothing to do. */
void
chs_worker_main(Datum arg)
{
	ErrorContextCallback context = {.callback = chs_worker_error_context};

	chs_worker_begin(arg);
	error_context_stack = &context;
	/* any error ends the process, but chs.worker_status must show it */
	PG_TRY();
	{
		if (chs_worker_is_for_slow())
			fold_slow_customers();
		else
			work_on();
	}
	PG_CATCH();
	{
		chs_worker_status_error(chs_worker_database);
		PG_RE_THROW();
	}
	PG_END_TRY();
	proc_exit(0);
}

/*
 * wake.c
 *	  Waking the worker of a database, or the launcher, when there may be something to do.
 *
 * A transaction that leaves work for the worker says so at any time, and marks its
 * database as dirty when it has committed.  The flag stays until the worker begins to
 * look, so a wake-up cannot be lost; the latch only makes it prompt.
 */
#include "base/wake.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "storage/latch.h"
#include "utils/timestamp.h"

#include "base/worker_shared.h"

/*
 * chs_wake_worker_of marks a database as dirty and wakes its first worker, or the
 * launcher to start one.  May be called outside a transaction; must not fail.
 */
void
chs_wake_worker_of(DatabaseSlot *slot)
{
	if (pg_atomic_read_u64(&slot->waiting_since) == 0)
		pg_atomic_write_u64(&slot->waiting_since, GetCurrentTimestamp());
	chs_wake_failed(slot);
	/* whoever marked it before has woken somebody */
	if (pg_atomic_exchange_u32(&slot->dirty, 1) == 0)
	{
		Latch	   *latch;

		LWLockAcquire(chs_worker_shared->lock, LW_SHARED);
		latch = slot->workers[0].latch ? slot->workers[0].latch : chs_worker_shared->launcher_latch;
		if (latch)
			SetLatch(latch);
		LWLockRelease(chs_worker_shared->lock);
	}
}

/*
 * chs_wake_failed has the launcher start a worker that has failed again at once, as
 * what happened may have removed the cause.
 */
void
chs_wake_failed(DatabaseSlot *slot)
{
	if (pg_atomic_read_u32(&slot->backing_off) != 0 &&
		pg_atomic_exchange_u32(&slot->backing_off, 0) != 0)
		chs_wake_launcher();
}

/* chs_wake_launcher has the launcher look at the slots. */
void
chs_wake_launcher(void)
{
	LWLockAcquire(chs_worker_shared->lock, LW_SHARED);
	if (chs_worker_shared->launcher_latch)
		SetLatch(chs_worker_shared->launcher_latch);
	LWLockRelease(chs_worker_shared->lock);
}

/*
 * chs_wake_to_list_databases has the launcher look through pg_database, since
 * databases may have come or gone.
 */
void
chs_wake_to_list_databases(void)
{
	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	chs_worker_shared->list_databases = true;
	if (chs_worker_shared->launcher_latch)
		SetLatch(chs_worker_shared->launcher_latch);
	LWLockRelease(chs_worker_shared->lock);
}

/*
 * chs_wake_if_installed wakes the worker of the current database, and returns true,
 * unless a worker has found that it does not have the extension.
 */
bool
chs_wake_if_installed(void)
{
	DatabaseSlot *slot;

	LWLockAcquire(chs_worker_shared->lock, LW_SHARED);
	slot = chs_worker_find_slot(MyDatabaseId);
	if (slot != NULL && slot->state == DATABASE_NOT_INSTALLED)
		slot = NULL;
	LWLockRelease(chs_worker_shared->lock);
	if (slot != NULL)
		chs_wake_worker_of(slot);
	return slot != NULL;
}

static bool wake_at_commit = false;
static bool resume_at_commit = false;

/*
 * chs_wake_at_commit wakes the worker of the current database when the
 * transaction has committed.
 */
void
chs_wake_at_commit(void)
{
	wake_at_commit = chs_worker_shared != NULL;
}

/*
 * chs_wake_to_retry has workers try the customers again that they have skipped
 * because a transaction had claimed them: the one that ends, perhaps.  Must not fail.
 */
void
chs_wake_to_retry(void)
{
	DatabaseSlot *slot;

	if (chs_worker_shared == NULL || chs_worker_self != NULL)
		return;
	LWLockAcquire(chs_worker_shared->lock, LW_SHARED);
	slot = chs_worker_find_slot(MyDatabaseId);
	LWLockRelease(chs_worker_shared->lock);
	if (slot == NULL)
		return;
	(void) pg_atomic_fetch_add_u32(&slot->releases, 1);
	/* if there is no worker, and none is to be started for them, none were skipped */
	if (slot->retry_at != 0 || slot->workers[0].pid != 0)
		chs_wake_worker_of(slot);
}

/*
 * chs_wake_resumed_at_commit does the same as chs_wake_at_commit, and has a worker
 * look whether the current database is still paused.
 */
void
chs_wake_resumed_at_commit(void)
{
	resume_at_commit = wake_at_commit = chs_worker_shared != NULL;
}

/*
 * Whether a transaction that has just been committed may have been there to commit
 * a prepared one.  Whoever applies what is replicated does that without a statement
 * (see utility.c), in a transaction that itself writes nothing, and has few other
 * ones of that kind.
 */
static bool
may_have_committed_prepared(void)
{
	return chs_worker_shared != NULL && IsLogicalWorker() &&
		!TransactionIdIsValid(GetTopTransactionIdIfAny());
}

/* This must not fail, because the transaction has ended. */
static void
wake_at_transaction_end(XactEvent event, void *arg pg_attribute_unused())
{
	static DatabaseSlot *slot = NULL;

	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	if (event == XACT_EVENT_COMMIT && may_have_committed_prepared())
		(void) chs_wake_if_installed();
	if (wake_at_commit && event == XACT_EVENT_COMMIT)
	{
		/* the launcher may have given the slot to another database */
		if (slot == NULL || slot->database != MyDatabaseId)
			slot = chs_worker_slot(MyDatabaseId);
		if (slot != NULL && resume_at_commit)
		{
			chs_worker_unpause(slot);
			chs_wake_launcher();
		}
		if (slot != NULL)
			chs_wake_worker_of(slot);
	}
	wake_at_commit = resume_at_commit = false;
}

/* chs_wake_worker has the worker look at this database after commit. */
PG_FUNCTION_INFO_V1(chs_wake_worker);
Datum
chs_wake_worker(PG_FUNCTION_ARGS)
{
	chs_wake_at_commit();
	PG_RETURN_VOID();
}

/* chs_wake_init registers what is done at the end of transactions. */
void
chs_wake_init(void)
{
	RegisterXactCallback(wake_at_transaction_end, NULL);
}

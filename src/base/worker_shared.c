/*
 * worker_shared.c
 *	  What the launcher, the workers and the sessions share, and how a commit wakes whoever must know about it.
 */
#include "base/worker_shared.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

WorkerShared *chs_worker_shared = NULL;
DatabaseSlot *chs_worker_database = NULL;
WorkerSlot *chs_worker_self = NULL;
NameData	chs_worker_database_name;

static shmem_request_hook_type previous_shmem_request_hook = NULL;
static shmem_startup_hook_type previous_shmem_startup_hook = NULL;

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
	chs_worker_shared = ShmemInitStruct("chs", sizeof(WorkerShared), &found);
	if (!found)
	{
		memset(chs_worker_shared, 0, sizeof(WorkerShared));
		chs_worker_shared->lock = &GetNamedLWLockTranche("chs")->lock;
		for (int i = 0; i < MAX_DATABASES; i++)
		{
			pg_atomic_init_u32(&chs_worker_shared->databases[i].dirty, 0);
			pg_atomic_init_u32(&chs_worker_shared->databases[i].releases, 0);
			pg_atomic_init_u32(&chs_worker_shared->databases[i].backing_off, 0);
			pg_atomic_init_u64(&chs_worker_shared->databases[i].waiting_since, 0);
		}
	}
	LWLockRelease(AddinShmemInitLock);
}

/*
 * chs_worker_find_slot finds the slot of a database, NULL if there is none; the
 * caller holds the lock.
 */
DatabaseSlot *
chs_worker_find_slot(Oid database)
{
	for (int i = 0; i < MAX_DATABASES; i++)
		if (chs_worker_shared->databases[i].database == database)
			return &chs_worker_shared->databases[i];
	return NULL;
}

/* chs_worker_slot finds or creates the slot of a database; NULL if there are too many. */
DatabaseSlot *
chs_worker_slot(Oid database)
{
	DatabaseSlot *slot;

	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	slot = chs_worker_find_slot(database);
	if (slot == NULL && (slot = chs_worker_find_slot(InvalidOid)) != NULL)
	{
		memset(slot, 0, sizeof(DatabaseSlot));
		slot->database = database;
		slot->wanted = 1;
		pg_atomic_init_u32(&slot->dirty, 0);
		pg_atomic_init_u32(&slot->releases, 0);
		pg_atomic_init_u32(&slot->backing_off, 0);
		pg_atomic_init_u64(&slot->waiting_since, 0);
	}
	LWLockRelease(chs_worker_shared->lock);
	return slot;
}

/*
 * chs_worker_folded_before returns the transaction before which nothing is queued
 * any more in the current database, as far as workers know.
 */
FullTransactionId
chs_worker_folded_before(void)
{
	FullTransactionId before = InvalidFullTransactionId;
	DatabaseSlot *slot;

	if (chs_worker_shared == NULL)
		return before;
	LWLockAcquire(chs_worker_shared->lock, LW_SHARED);
	slot = chs_worker_find_slot(MyDatabaseId);
	if (slot != NULL)
		before = slot->folded_before;
	LWLockRelease(chs_worker_shared->lock);
	return before;
}

/* chs_worker_is_there tells whether a database has any worker; the caller holds the lock. */
bool
chs_worker_is_there(const DatabaseSlot *slot)
{
	for (int i = 0; i < WORKER_SLOTS; i++)
		if (slot->workers[i].pid != 0)
			return true;
	return false;
}

/*
 * chs_worker_mark_dirty marks a database dirty and wakes the process in charge: the
 * first worker if it runs, otherwise the launcher.
 */
void
chs_worker_mark_dirty(DatabaseSlot *slot)
{
	if (pg_atomic_read_u64(&slot->waiting_since) == 0)
		pg_atomic_write_u64(&slot->waiting_since, GetCurrentTimestamp());
	chs_worker_try_anew(slot);
	/* if it is dirty already, somebody is awake */
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
 * chs_worker_try_anew has the launcher start a worker that failed without waiting any
 * longer: what happened may have removed the cause.
 */
void
chs_worker_try_anew(DatabaseSlot *slot)
{
	if (pg_atomic_read_u32(&slot->backing_off) != 0 && pg_atomic_exchange_u32(&slot->backing_off, 0) != 0)
		chs_worker_wake_launcher();
}

/* chs_worker_wake_launcher makes the launcher look at the slots. */
void
chs_worker_wake_launcher(void)
{
	LWLockAcquire(chs_worker_shared->lock, LW_SHARED);
	if (chs_worker_shared->launcher_latch)
		SetLatch(chs_worker_shared->launcher_latch);
	LWLockRelease(chs_worker_shared->lock);
}

/* chs_worker_look_again makes the launcher look through the databases. */
void
chs_worker_look_again(void)
{
	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	chs_worker_shared->look_again = true;
	if (chs_worker_shared->launcher_latch)
		SetLatch(chs_worker_shared->launcher_latch);
	LWLockRelease(chs_worker_shared->lock);
}

/*
 * chs_worker_wake_if_installed causes the current database to be looked at, and
 * returns true, unless a worker has found that it does not have the extension.
 */
bool
chs_worker_wake_if_installed(void)
{
	DatabaseSlot *slot;

	LWLockAcquire(chs_worker_shared->lock, LW_SHARED);
	slot = chs_worker_find_slot(MyDatabaseId);
	if (slot != NULL && slot->state == DATABASE_NOT_INSTALLED)
		slot = NULL;
	LWLockRelease(chs_worker_shared->lock);
	if (slot != NULL)
		chs_worker_mark_dirty(slot);
	return slot != NULL;
}

static bool wake_at_commit = false;
static bool resume_at_commit = false;

/*
 * chs_worker_wake_at_commit has the current database looked at when the
 * transaction has committed.
 */
void
chs_worker_wake_at_commit(void)
{
	wake_at_commit = chs_worker_shared != NULL;
}

/*
 * chs_worker_retry has workers try again the customers that they have left: the
 * transaction that ends may have had some.  Must not fail.
 */
void
chs_worker_retry(void)
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
	/* nobody has left anything if no worker is there, or expected */
	if (slot->come_at != 0 || slot->workers[0].pid != 0)
		chs_worker_mark_dirty(slot);
}

/*
 * chs_worker_resume_at_commit has a worker look whether the current database is
 * still paused when the transaction has committed.
 */
void
chs_worker_resume_at_commit(void)
{
	resume_at_commit = wake_at_commit = chs_worker_shared != NULL;
}

/* chs_worker_unpause has a worker look whether a database is still paused. */
void
chs_worker_unpause(DatabaseSlot *slot)
{
	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	if (slot->state == DATABASE_PAUSED)
		slot->state = DATABASE_UNKNOWN;
	LWLockRelease(chs_worker_shared->lock);
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
	return chs_worker_shared != NULL && IsLogicalWorker() && !TransactionIdIsValid(GetTopTransactionIdIfAny());
}

/* This must not fail, because the transaction has ended. */
static void
wake_at_transaction_end(XactEvent event, void *arg pg_attribute_unused())
{
	static DatabaseSlot *slot = NULL;

	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	if (event == XACT_EVENT_COMMIT && may_have_committed_prepared())
		(void) chs_worker_wake_if_installed();
	if (wake_at_commit && event == XACT_EVENT_COMMIT)
	{
		/* the launcher may have given the slot to another database */
		if (slot == NULL || slot->database != MyDatabaseId)
			slot = chs_worker_slot(MyDatabaseId);
		if (slot != NULL && resume_at_commit)
		{
			chs_worker_unpause(slot);
			chs_worker_wake_launcher();
		}
		if (slot != NULL)
			chs_worker_mark_dirty(slot);
	}
	wake_at_commit = resume_at_commit = false;
}

/* chs_wake_worker has the worker look at this database after commit. */
PG_FUNCTION_INFO_V1(chs_wake_worker);
Datum
chs_wake_worker(PG_FUNCTION_ARGS)
{
	chs_worker_wake_at_commit();
	PG_RETURN_VOID();
}

/*
 * chs_worker_shared_init registers a callback for the end of transactions and, when
 * the library is preloaded, requests shared memory.
 */
void
chs_worker_shared_init(void)
{
	RegisterXactCallback(wake_at_transaction_end, NULL);
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	previous_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_shared_memory;
	previous_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_shared_memory;
}

/*
 * worker_shared.c
 *	  Shared memory of the launcher, the workers and the sessions.
 */
#include "base/worker_shared.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

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
	Assert(LWLockHeldByMe(chs_worker_shared->lock));
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
	Assert(LWLockHeldByMe(chs_worker_shared->lock));
	for (int i = 0; i < WORKER_SLOTS; i++)
		if (slot->workers[i].pid != 0)
			return true;
	return false;
}

/* chs_worker_unpause lets a worker look whether a database is still paused. */
void
chs_worker_unpause(DatabaseSlot *slot)
{
	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	if (slot->state == DATABASE_PAUSED)
		slot->state = DATABASE_UNKNOWN;
	LWLockRelease(chs_worker_shared->lock);
}

/*
 * chs_worker_shared_init requests shared memory when the library is preloaded; without
 * it there are no workers.
 */
void
chs_worker_shared_init(void)
{
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	previous_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_shared_memory;
	previous_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_shared_memory;
}

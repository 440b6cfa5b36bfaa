/*
 * claim.c
 *	  Who folds which customers.
 *
 * Whoever writes the row of a customer in chs.customer_health first has claimed the
 * customer until the end of the transaction: folding writes this row before anything
 * else of the customer, waits for nobody who has written it since the snapshot was
 * taken, and leaves the customer for later instead.  So a transaction that stays open
 * holds up the customers that it has folded, and nobody else; a row that was written
 * as the snapshot sees it is still the latest, so nothing of the customer has been
 * folded since; and there is no lock for which a worker could wait.  Whoever deletes
 * or renumbers a customer waits for the claim, see gone.c, or keeps others from it.
 *
 * Several workers divide the customers among themselves, so that they rarely meet.
 */
#include "store/claim.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/fmgrprotos.h"

#include "base/worker_shared.h"

/* Advisory locks of users have 1 or 2 in the last field. */
#define CLAIM_LOCK_FIELD4 0x6368

static uint32
hash_of(int64 customer_id)
{
	return DatumGetUInt32(DirectFunctionCall1(hashint8, Int64GetDatum(customer_id)));
}

static LOCKTAG
lock_tag(int64 customer_id)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, hash_of(customer_id), CLAIM_LOCK_FIELD4);
	return tag;
}

/* chs_part_has tells whether a customer belongs to a part. */
bool
chs_part_has(const Part *part, int64 customer_id)
{
	return part->count <= 1 || hash_of(customer_id) % part->count == (uint32) part->number;
}

/*
 * chs_claim_new is for a customer that has no health yet: nobody else inserts the
 * row until chs_claim_new_end.  False if somebody is about to.  Two who both saw that
 * there is none would else wait for each other, to learn whether it is unique.
 */
bool
chs_claim_new(int64 customer_id)
{
	LOCKTAG		tag = lock_tag(customer_id);

	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/* chs_claim_new_end ends that; an error does it, too. */
void
chs_claim_new_end(int64 customer_id)
{
	LOCKTAG		tag = lock_tag(customer_id);
	bool		released PG_USED_FOR_ASSERTS_ONLY = LockRelease(&tag, ExclusiveLock, false);

	Assert(released);
}

/*
 * chs_claim_wait_for_workers waits for the batches that workers are folding, which
 * are short and wait for no session.  Returns whether there were any.
 */
bool
chs_claim_wait_for_workers(void)
{
	TransactionId xids[MAX_WORKERS];
	int			n = 0;
	DatabaseSlot *slot;

	if (chs_worker_shared == NULL)
		return false;
	LWLockAcquire(chs_worker_shared->lock, LW_SHARED);
	slot = chs_worker_find_slot(MyDatabaseId);
	for (int i = 0; slot != NULL && i < MAX_WORKERS; i++)
	{
		int			pid = slot->workers[i].pid;
		PGPROC	   *proc = pid != 0 && pid != MyProcPid ? BackendPidGetProc(pid) : NULL;

		if (proc != NULL && TransactionIdIsValid(proc->xid))
			xids[n++] = proc->xid;
	}
	LWLockRelease(chs_worker_shared->lock);
	for (int i = 0; i < n; i++)
		XactLockTableWait(xids[i], NULL, NULL, XLTW_None);
	return n > 0;
}

/*
 * chs_claim_check_transaction raises an error if the transaction cannot store
 * scores.
 */
void
chs_claim_check_transaction(void)
{
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("scores cannot be stored in a transaction of isolation level %s",
						IsolationIsSerializable() ? "SERIALIZABLE" : "REPEATABLE READ"),
				 errhint("Use a transaction of isolation level READ COMMITTED; chs_score() works"
						 " in any.")));
	PreventCommandIfReadOnly("folding");
}

/*
 * slow.c
 *	  Customers that are set apart, as other people's code takes long for them.
 *
 * Workers whose time for such code is limited (see budget.c) list them for one more
 * worker of the database, see worker.c.  An entry may get lost, with the worker
 * or because there are too many; it is repeated while anything is queued.
 */
#include "base/slow.h"

#include "mb/pg_wchar.h"
#include "storage/latch.h"

#include "base/worker_shared.h"

static bool has_budget = true;

/*
 * chs_slow_has_budget tells whether this process folds for everyone now, so that slow
 * customers must not hold it up.
 */
bool
chs_slow_has_budget(void)
{
	return chs_worker_self != NULL && has_budget;
}

/* chs_slow_set_budget says whether it does so from now on. */
void
chs_slow_set_budget(bool on)
{
	has_budget = on;
}

/* chs_slow_offer has a customer folded by the worker for slow ones. */
void
chs_slow_offer(int64 customer_id)
{
	DatabaseSlot *slot = chs_worker_database;
	Latch	   *latch;
	int			i = 0;

	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	while (i < slot->nslow && slot->slow[i] != customer_id)
		i++;
	if (i == slot->nslow && i < MAX_SET_APART)
		slot->slow[slot->nslow++] = customer_id;
	latch = slot->workers[SLOW_WORKER].latch;
	if (latch == NULL)
		latch = chs_worker_shared->launcher_latch;
	if (latch)
		SetLatch(latch);
	LWLockRelease(chs_worker_shared->lock);
}

/* chs_slow_note records why the latest customer was set apart, for chs.worker_status. */
void
chs_slow_note(const char *why)
{
	int			length = pg_mbcliplen(why, strlen(why), MAX_ERROR_LENGTH - 1);

	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	memcpy(chs_worker_database->slow_because, why, length);
	chs_worker_database->slow_because[length] = '\0';
	LWLockRelease(chs_worker_shared->lock);
}

/*
 * chs_slow_next returns the next customer, which stays listed while it is folded; false if
 * there is none.
 */
bool
chs_slow_next(int64 *customer_id)
{
	DatabaseSlot *slot = chs_worker_database;

	LWLockAcquire(chs_worker_shared->lock, LW_SHARED);
	*customer_id = slot->slow[0];
	slot->folding_slow = slot->nslow > 0;
	LWLockRelease(chs_worker_shared->lock);
	return slot->folding_slow;
}

/*
 * chs_slow_end removes that one from the list, when it has been folded, or tried.  The
 * caller holds the lock.
 */
void
chs_slow_end(DatabaseSlot *slot)
{
	Assert(LWLockHeldByMeInMode(chs_worker_shared->lock, LW_EXCLUSIVE));
	if (!slot->folding_slow)
		return;
	Assert(slot->nslow > 0);
	slot->folding_slow = false;
	memmove(&slot->slow[0], &slot->slow[1], --slot->nslow * sizeof(int64));
}

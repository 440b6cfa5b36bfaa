/*
 * slow.c
 *	  Customers that are set apart, as other people's code takes long for them.
 *
 * Workers that are in a hurry (see hurry.c) offer them to one more worker of the
 * database, which is not.  It folds one after the other, each in its own transaction,
 * for as long as that takes; what is queued for them stays there until then.  An offer
 * may get lost, with the worker or because there are too many; it is repeated while
 * anything is queued.
 */
#include "slow.h"

#include "fold.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "settings.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"
#include "worker_life.h"
#include "worker_status.h"

/* How long the worker stays without work, in milliseconds. */
#define LINGER_MS 1000

static bool is_patient = false;

/* chs_slow_is_in_hurry tells whether this process folds for everyone now, so that slow customers must not hold it up. */
bool
chs_slow_is_in_hurry(void)
{
	return chs_worker_self != NULL && !is_patient;
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
	latch = slot->workers[SLOW_WORKER].latch ? slot->workers[SLOW_WORKER].latch : chs_worker_shared->launcher_latch;
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

/* The next customer, which stays listed while it is folded; false if there is none. */
static bool
next_customer(int64 *customer_id)
{
	DatabaseSlot *slot = chs_worker_database;

	LWLockAcquire(chs_worker_shared->lock, LW_SHARED);
	*customer_id = slot->slow[0];
	slot->folding_slow = slot->nslow > 0;
	LWLockRelease(chs_worker_shared->lock);
	return slot->folding_slow;
}

/* Removes that one from the list, when it has been folded, or tried; the caller holds the lock. */
void
chs_slow_end(DatabaseSlot *slot)
{
	if (!slot->folding_slow)
		return;
	slot->folding_slow = false;
	memmove(&slot->slow[0], &slot->slow[1], --slot->nslow * sizeof(int64));
}

/* chs_slow_fold_next folds the next of the slow customers; false if there is none. */
bool
chs_slow_fold_next(void)
{
	int64		customer_id;

	if (!next_customer(&customer_id))
		return false;
	(void) chs_worker_begin_batch(WORKER_FOLDING_SLOW);
	is_patient = true;
	chs_fold_apart(customer_id);
	is_patient = false;
	chs_worker_end_batch();
	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	chs_slow_end(chs_worker_database);
	LWLockRelease(chs_worker_shared->lock);
	return true;
}

/* chs_slow_work folds slow customers until there are none. */
void
chs_slow_work(void)
{
	static uint32 wait_event = 0;
	int			rc = 0;

	while (!(rc & WL_TIMEOUT))
	{
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		chs_worker_leave_if_unwanted(chs_settings_reload());
		if (chs_slow_fold_next())
			continue;
		chs_worker_status_state(chs_worker_self, WORKER_WAITING);
		rc = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LINGER_MS,
					   chs_wait_event(wait_event, "ChsWorkerMain"));
	}
}

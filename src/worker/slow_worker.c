/*
 * slow_worker.c
 *	  The worker that folds customers for whom other people's code takes long.
 *
 * It takes them from the list of slow.c, one after the other, each in its own
 * transaction, for as long as that takes; what is queued for them stays there until
 * then.
 */
#include "worker/slow_worker.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"

#include "base/settings.h"
#include "base/slow.h"
#include "base/worker_shared.h"
#include "base/worker_status.h"
#include "engine/fold.h"
#include "worker/worker_life.h"

/* How long the worker stays without work, in milliseconds. */
#define LINGER_MS 1000

/* chs_slow_worker_fold_next folds the next of the slow customers; false if there is none. */
bool
chs_slow_worker_fold_next(void)
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

/* chs_slow_worker_run folds slow customers until there are none. */
void
chs_slow_worker_run(void)
{
	static uint32 wait_event = 0;
	int			rc = 0;

	while (!(rc & WL_TIMEOUT))
	{
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		chs_worker_leave_if_unwanted(chs_settings_reload());
		if (chs_slow_worker_fold_next())
			continue;
		chs_worker_status_state(chs_worker_self, WORKER_WAITING);
		rc = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LINGER_MS,
					   chs_wait_event(wait_event, "ChsWorkerMain"));
	}
}

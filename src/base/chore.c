/*
 * chore.c
 *	  Things that workers do besides scoring, of which each may fail by itself.
 *
 * If a chore fails, or a lock that it needs is not to be had, scores are kept fresh
 * nevertheless.  chs.worker_status shows the error, with the time of the last attempt;
 * it is logged once, until the chore succeeds or fails for another reason.
 */
#include "base/chore.h"

#include "utils/guc.h"

#include "base/worker_shared.h"
#include "base/worker_status.h"

static const char *const chore_names[CHORES] = {
	[CHORE_DELETE_EVENTS] = "deleting old events",
	[CHORE_DELETE_HISTORY] = "deleting old history",
	[CHORE_DELETE_REJECTED] = "deleting old rejected rows",
	[CHORE_COUNT_DAYS] = "counting days"
};

#define NO_CHORE CHORES
static Chore current = NO_CHORE;

/* Remembers the logged error of a chore, 0 for none; returns whether it is a different one. */
static bool
note_error(Chore chore, uint32 error)
{
	bool		is_new;

	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	is_new = chs_worker_database->chore_errors[chore] != error;
	chs_worker_database->chore_errors[chore] = error;
	LWLockRelease(chs_worker_shared->lock);
	return is_new;
}

/* chs_chore_begin begins a chore of this worker, until chs_chore_end or chs_chore_fail. */
void
chs_chore_begin(Chore chore)
{
	current = chore;
}

/* How long a chore waits for a lock, of a row or a table. */
#define LOCK_TIMEOUT "500ms"

/*
 * chs_chore_limit_waits has the chore fail rather than wait for somebody's transaction
 * for long, as fresh scores would wait with it; until the end of the transaction.
 */
void
chs_chore_limit_waits(void)
{
	(void) set_config_option("lock_timeout", LOCK_TIMEOUT, PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/* chs_chore_end records that the chore has succeeded. */
void
chs_chore_end(void)
{
	(void) note_error(current, 0);
	current = NO_CHORE;
}

/* chs_chore_fail records the error that is being handled as the failure of the chore. */
void
chs_chore_fail(void)
{
	if (note_error(current, chs_worker_status_error(chs_worker_database)))
		EmitErrorReport();
	current = NO_CHORE;
}

/* chs_chore_name names the current chore for the log; NULL if there is none. */
const char *
chs_chore_name(void)
{
	return current == NO_CHORE ? NULL : chore_names[current];
}

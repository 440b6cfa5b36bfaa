/*
 * housekeeping.c
 *	  What workers do besides scoring: in small slices while no fresh events are
 *	  waiting, or together with a batch.
 */
#include "worker/housekeeping.h"

#include "access/xact.h"
#include "utils/guc.h"
#include "utils/resowner.h"

#include "base/chore.h"
#include "engine/retention.h"
#include "store/daily_counts.h"

/* In the order in which they are done. */
const HousekeepingStep chs_housekeeping_steps[] = {
	{CHORE_DELETE_EVENTS, chs_retention_delete_events},
	{CHORE_DELETE_HISTORY, chs_retention_delete_history},
	{CHORE_DELETE_REJECTED, chs_retention_delete_rejected},
	{CHORE_COUNT_DAYS, chs_daily_counts_step},
	{0, NULL}
};

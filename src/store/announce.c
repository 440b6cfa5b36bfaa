/*
 * announce.c
 *	  Announcing changes of status by NOTIFY on channel chs_status.
 *
 * The announcement says nothing of whose status it was, since every session of the
 * database can listen, so there is at most one for a transaction: PostgreSQL merges
 * equal ones.  Whoever listens reads chs_status_changes().
 */
#include "store/announce.h"

#include "commands/async.h"
#include "fmgr.h"
#include "utils/fmgroids.h"

#include "base/settings.h"

#define STATUS_CHANNEL "chs_status"

/*
 * If a session listens without reading, the server's notification queue fills up,
 * of which the server warns, and when it is full, the transactions of everybody who
 * notifies fail.  Scores take precedence: from this share on nothing is announced.
 */
#define QUEUE_SHARE 0.75

/* chs_announce announces, when the transaction commits, that statuses have changed. */
void
chs_announce(void)
{
	if (chs_announce_status &&
		DatumGetFloat8(OidFunctionCall0(F_PG_NOTIFICATION_QUEUE_USAGE)) < QUEUE_SHARE)
		Async_Notify(STATUS_CHANNEL, NULL);
}

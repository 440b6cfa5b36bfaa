/*
 * announce.c
 *	  Announcing changes of status by NOTIFY on channel chs_status.
 *
 * Whoever stores the change announces it in the same transaction, so that it is
 * announced once, and only if it commits.
 */
#include "store/announce.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "common/shortest_dec.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/syscache.h"

#include "base/catalog.h"
#include "base/settings.h"
#include "base/worker_shared.h"
#include "score/score.h"

#define STATUS_CHANNEL "chs_status"

/*
 * If a session listens without reading, the server's notification queue fills up,
 * and when it is full, the transactions of everybody who notifies fail.  So
 * announcements stop when the queue is filled to the first share, and resume when
 * it is down to the second.
 */
#define STOP_FROM 0.75
#define RESUME_UNDER 0.5

/* The largest share that one transaction may use, in case others announce at the same time. */
#define TRANSACTION_SHARE 0.1

/* The maximum overhead of a notification in that queue, in bytes. */
#define NOTIFICATION_OVERHEAD 32

/* The number of announcements after which the fill level of the queue is checked again. */
#define LOOK_AFTER 256

/*
 * Whether the notification queue has room, given the share in use.  The last result
 * is shared by all processes, so that each change is logged once.
 */
static bool
has_room(double used)
{
	static bool had_no_room_here = false;
	bool	   *had_no_room = chs_worker_shared ? &chs_worker_shared->announcing_nothing : &had_no_room_here;
	bool		room = used < (*had_no_room ? RESUME_UNDER : STOP_FROM);

	if (!room && !*had_no_room)
		ereport(LOG,
				(errmsg("chs does not announce changes of status while the notification queue is nearly full"),
				 errhint("A listening session has kept a transaction open for a long time; see pg_stat_activity.")));
	if (room && *had_no_room)
		ereport(LOG,
				(errmsg("chs has resumed announcing changes of status")));
	*had_no_room = !room;
	return room;
}

/*
 * Whether an announcement of a size in bytes can be made; scores must be kept fresh
 * even if nobody can be told.
 */
static bool
there_is_room(int length)
{
	static TimestampTz transaction = 0;
	static int	announced;		/* by this transaction, at whose end they go to the queue */
	static uint64 bytes;
	static bool room;
	static bool too_many;
	TimestampTz now = GetCurrentTransactionStartTimestamp();

	if (transaction != now)
	{
		transaction = now;
		announced = 0;
		bytes = 0;
		too_many = false;
	}
	if (announced++ % LOOK_AFTER == 0)
		room = has_room(DatumGetFloat8(OidFunctionCall0(F_PG_NOTIFICATION_QUEUE_USAGE)));
	if (!room || too_many)
		return false;
	bytes += length + strlen(STATUS_CHANNEL) + NOTIFICATION_OVERHEAD;
	too_many = bytes > (uint64) chs_notification_pages * BLCKSZ * TRANSACTION_SHARE;
	if (too_many)
		ereport(LOG,
				(errmsg("chs announces only some of the changes of status"),
				 errdetail("The transaction has so many that they might not fit into the notification queue.")));
	return !too_many;
}

/* Whether some roles may see only some customers; it is unknown which role listens. */
static bool
customers_are_limited(void)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(chs_catalog_relation(CHS_CUSTOMERS)));
	bool		limited = HeapTupleIsValid(tuple) && ((Form_pg_class) GETSTRUCT(tuple))->relrowsecurity;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return limited;
}

static void
append_score(StringInfo payload, const char *key, KnownScore known)
{
	appendStringInfo(payload, ", \"%s\": %s", key,
					 known.status == STATUS_UNKNOWN ? "null" : double_to_shortest_decimal(known.score));
}

/*
 * chs_announce_status announces that the status of a customer has changed, when
 * the transaction commits.
 */
void
chs_announce_status(int64 customer_id, KnownScore before, KnownScore after, TimestampTz calculated_at)
{
	StringInfoData payload;
	char		time[MAXDATELEN + 1];
	int			utc = 0;

	if (!chs_announce_status_changes || customers_are_limited())
		return;
	initStringInfo(&payload);
	appendStringInfo(&payload, "{\"customer_id\": %lld, \"old_status\": \"%s\", \"new_status\": \"%s\"",
					 (long long) customer_id, chs_score_status_name(before.status), chs_score_status_name(after.status));
	append_score(&payload, "old_score", before);
	append_score(&payload, "new_score", after);
	appendStringInfo(&payload, ", \"calculated_at\": \"%s\"}",
					 JsonEncodeDateTime(time, TimestampTzGetDatum(calculated_at), TIMESTAMPTZOID, &utc));
	if (there_is_room(payload.len))
		Async_Notify(STATUS_CHANNEL, payload.data);
	pfree(payload.data);
}

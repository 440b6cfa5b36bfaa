/*
 * announce.c
 *	  Telling whoever listens of changes of status, by NOTIFY on channel chs_status.
 *
 * Whoever stores the change announces it, in the same transaction: so it is
 * announced once, and only if it is committed.
 */
#include "announce.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "common/shortest_dec.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "settings.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/syscache.h"

#define STATUS_CHANNEL "chs_status"

/*
 * Where a session listens and does not read, the server's queue of notifications
 * fills, and full it makes the transactions of everybody who notifies fail.
 */
#define MAX_QUEUE_USAGE 0.75

/* How often, at most, it is looked at how full that queue is: once for so many announcements. */
#define LOOK_AFTER 256

/*
 * Whether there is room for announcements; scores have to be kept fresh whether
 * anybody can be told or not.
 */
static bool
there_is_room(void)
{
	static int	announced = 0;
	static bool room = true;
	static TimestampTz looked_at = 0;
	TimestampTz now = GetCurrentTransactionStartTimestamp();

	if (announced++ % LOOK_AFTER == 0 || looked_at != now)
	{
		bool		had_room = room;

		room = DatumGetFloat8(OidFunctionCall0(F_PG_NOTIFICATION_QUEUE_USAGE)) < MAX_QUEUE_USAGE;
		if (had_room && !room)
			ereport(LOG,
					(errmsg("chs does not announce changes of status while the notification queue is nearly full"),
					 errhint("A session that listens has a transaction open that is long; see pg_stat_activity.")));
	}
	looked_at = now;
	return room;
}

/* Whether some may see some customers only; whoever listens, nobody knows which. */
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

	if (!chs_announce_status_changes || customers_are_limited() || !there_is_room())
		return;
	initStringInfo(&payload);
	appendStringInfo(&payload, "{\"customer_id\": %lld, \"old_status\": \"%s\", \"new_status\": \"%s\"",
					 (long long) customer_id, chs_score_status_name(before.status), chs_score_status_name(after.status));
	append_score(&payload, "old_score", before);
	append_score(&payload, "new_score", after);
	appendStringInfo(&payload, ", \"calculated_at\": \"%s\"}",
					 JsonEncodeDateTime(time, TimestampTzGetDatum(calculated_at), TIMESTAMPTZOID, &utc));
	Async_Notify(STATUS_CHANNEL, payload.data);
	pfree(payload.data);
}

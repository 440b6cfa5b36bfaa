/*
 * publish.c
 *	  Publishing, and versions that wait to become live.
 *
 * A version that needs what activities do not count waits, while the one before goes
 * on: it scores, and activities count what either needs.  Whoever passes over
 * everyone, mostly a worker, has each activity count that, and at the end of the pass
 * makes the version live.  Those whose activities could not be made again, because
 * that failed or they were locked, do not hold it up: their scores are made from the
 * raw events until they can.
 *
 * Activities know what they count by their series_version: it is that of the version,
 * live or waiting, whose series were counted besides those of what was live then.  So
 * while a version is live, activities of its series_version and of all later ones
 * hold what it needs.
 */
#include "compat.h"

#include "access/xact.h"
#include "catalog.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "progress.h"
#include "publish.h"
#include "source.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"
#include "worker.h"

/* The lock of publishing is tried for so often, and so many milliseconds apart. */
#define LOCK_TRIES 10
#define LOCK_PAUSE_MS 10

/* chs_publish_waiting returns the version that waits to become live; 0 if none does. */
int
chs_publish_waiting(void)
{
	const Live *live;

	chs_catalog_recheck_live();
	live = chs_catalog_live();
	return live->newest > live->version ? live->newest : 0;
}

/* Whether the events of all sources can be read; if not, what waits had better go on waiting. */
static bool
can_be_counted(const Live *live)
{
	for (int i = 0; i < live->nsources; i++)
		if (chs_source_trouble(live, &live->sources[i]) != NULL)
			return false;
	return true;
}

/* Notes in a version's row that it is live; that nothing else of it changes a trigger sees to. */
static void
store_live(int version)
{
	Oid			types[] = {INT4OID};
	Datum		args[] = {Int32GetDatum(version)};
	OwnerRights saved;

	chs_catalog_become_owner(&saved);
	chs_catalog_stop_triggers();
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("UPDATE chs.scorecard_versions SET live_at = clock_timestamp(), changed_by_xid = pg_current_xact_id()"
							  " WHERE version = $1", lengthof(types), types, args, NULL, false, 0) != SPI_OK_UPDATE ||
		SPI_processed != 1)
		elog(ERROR, "could not update chs.scorecard_versions");
	SPI_finish();
	chs_catalog_become_caller(&saved);
	CacheInvalidateRelcacheByRelid(chs_catalog_relation(CHS_SCORECARD_VERSIONS));
	CommandCounterIncrement();
}

/*
 * Takes the lock of publishing, as chs.publish() does; or, if it is not to be waited
 * for, tries for a moment: whoever was woken by a commit that published comes before
 * that lets go of its locks.
 */
static bool
lock_publishing(bool wait)
{
	Oid			relid = chs_catalog_relation(CHS_SCORECARD_VERSIONS);
	static uint32 wait_event = 0;

	if (wait)
		LockRelationOid(relid, ShareRowExclusiveLock);
	for (int i = 0; !wait; i++)
	{
		if (ConditionalLockRelationOid(relid, ShareRowExclusiveLock))
			break;
		if (i == LOCK_TRIES)
			return false;
		(void) WaitLatch(NULL, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LOCK_PAUSE_MS,
						 chs_wait_event(wait_event, "ChsWorkerPublish"));
		CHECK_FOR_INTERRUPTS();
	}
	return true;
}

/*
 * chs_publish_make_live makes a version live that has been waiting, after a pass
 * over everyone that has activities count what it needs.  False if it does not wait
 * any more, or has to wait on: for a source that cannot be read, or for somebody who
 * is publishing, unless that one is to be waited for.
 */
bool
chs_publish_make_live(int version, bool wait)
{
	if (!lock_publishing(wait) || chs_publish_waiting() != version || !can_be_counted(chs_catalog_live()))
		return false;
	PushActiveSnapshot(GetTransactionSnapshot());
	store_live(version);
	PopActiveSnapshot();
	chs_progress_end_backfill();
	chs_worker_wake_at_commit();
	return true;
}

/*
 * chs_publish freezes the draft as a new version, with the rights of the owner: who
 * may publish need not be able to write versions of another making.
 */
PG_FUNCTION_INFO_V1(chs_publish);
Datum
chs_publish(PG_FUNCTION_ARGS)
{
	Oid			types[] = {TEXTOID};
	Datum		args[] = {PG_ARGISNULL(0) ? (Datum) 0 : PG_GETARG_DATUM(0)};
	Datum		version;
	bool		isnull;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	chs_catalog_execute("SELECT chs.publish($1)", lengthof(types), types, args, PG_ARGISNULL(0) ? "n" : NULL);
	version = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	SPI_finish();
	PG_RETURN_DATUM(version);
}

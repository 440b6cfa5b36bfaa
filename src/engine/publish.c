/*
 * publish.c
 *	  Publishing, and versions that wait to become live.
 *
 * A version that needs something that activities do not count waits.  Meanwhile the
 * one before it stays live and gives the scores, and activities come to count what
 * either needs: a pass over all customers, usually by a worker, brings each
 * activity up to date, and makes the version live at its end.  Customers whose
 * activities could not be rebuilt, because that failed or they were locked, do not
 * hold it up: they are scored from the raw events until it succeeds.
 *
 * The series_version of an activity says what it counts: the series of that
 * version, live or waiting, in addition to those of the version that was live at
 * the time.  So while a version is live, activities with its series_version or a
 * later one hold what it needs.
 */
#include "engine/publish.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"

#include "base/catalog.h"
#include "base/spi.h"
#include "base/wake.h"
#include "source/source.h"
#include "store/live.h"

/* How often the lock of publishing is tried, and how many milliseconds apart. */
#define LOCK_TRIES 10
#define LOCK_PAUSE_MS 10

/* chs_publish_waiting returns the version that waits to become live; 0 if none does. */
int
chs_publish_waiting(void)
{
	const Live *live;

	chs_live_recheck();
	live = chs_live_version();
	return live->newest > live->version ? live->newest : 0;
}

/* Records in a version's row that it is live; a trigger sees that nothing else changes. */
static void
store_live(int version)
{
	Oid			types[] = {INT4OID};
	Datum		args[] = {Int32GetDatum(version)};
	OwnerRights saved;

	chs_spi_begin(&saved);
	if (SPI_execute_with_args("UPDATE chs.scorecard_versions SET live_at = clock_timestamp()"
							  " WHERE version = $1",
							  lengthof(types), types, args, NULL, false, 0) != SPI_OK_UPDATE ||
		SPI_processed != 1)
		elog(ERROR, "could not update chs.scorecard_versions");
	chs_spi_end(&saved);
	CacheInvalidateRelcacheByRelid(chs_catalog_relation(CHS_SCORECARD_VERSIONS));
	CommandCounterIncrement();
}

/*
 * Takes the lock of publishing, as chs.publish() does; or, if not allowed to wait,
 * tries for a moment only: whoever was woken by a commit that published may arrive
 * before that releases its locks.
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
 * chs_publish_make_live makes a waiting version live, after a pass over all
 * customers that made activities count what it needs.  Returns false if it no
 * longer waits or must continue to wait: for a source that cannot be read, or for
 * somebody who is publishing, unless told to wait for that.
 */
bool
chs_publish_make_live(int version, bool wait)
{
	if (!lock_publishing(wait) || chs_publish_waiting() != version ||
		!chs_source_all_readable(chs_live_version()))
		return false;
	PushActiveSnapshot(GetTransactionSnapshot());
	store_live(version);
	PopActiveSnapshot();
	chs_wake_at_commit();
	return true;
}

/*
 * chs_publish_again has all activities rebuilt from the raw events, because the
 * sources have changed, by publishing a version like the latest one.  No activity
 * serves any version until then, so a waiting version has nothing to wait for.
 * Customers that failed because of a source are tried again at once, since the
 * version is a different one.  Within SPI, with the rights of the owner.
 */
void
chs_publish_again(const char *note)
{
	Oid			type = TEXTOID;
	Datum		arg = CStringGetTextDatum(note);

	/* one publisher at a time; scoring only reads and does not wait */
	LockRelationOid(chs_catalog_relation(CHS_SCORECARD_VERSIONS), ShareRowExclusiveLock);
	chs_spi_execute_now(NULL, "WITH latest AS (SELECT * FROM chs.scorecard_versions"
						"  ORDER BY version DESC LIMIT 1),"
						" factors AS (INSERT INTO chs.scorecard_version_factors"
						"  SELECT latest.version + 1, f.scorecard, f.ordinal, f.factor, f.weight,"
						" f.segment_weights"
						"  FROM latest JOIN chs.scorecard_version_factors f USING (version))"
						" INSERT INTO chs.scorecard_versions (version, live_at, published_by, note,"
						" document, series_version, recommendations)"
						" SELECT version + 1, now(), session_user, $1, document, version + 1,"
						" recommendations FROM latest",
						1, &type, &arg, NULL);
}

/*
 * chs_publish freezes the draft as a new version, with the rights of the owner:
 * those who may publish need not be able to write arbitrary versions.  The version
 * names the current role of the caller.
 */
PG_FUNCTION_INFO_V1(chs_publish);
Datum
chs_publish(PG_FUNCTION_ARGS)
{
	Oid			types[] = {TEXTOID, TEXTOID, TEXTOID};
	Datum		args[] = {
		PG_ARGISNULL(0) ? (Datum) 0 : PG_GETARG_DATUM(0),
		CStringGetTextDatum(GetUserNameFromId(GetUserId(), false)),
		PG_ARGISNULL(1) ? (Datum) 0 : PG_GETARG_DATUM(1)
	};
	char		nulls[] = {PG_ARGISNULL(0) ? 'n' : ' ', ' ', PG_ARGISNULL(1) ? 'n' : ' '};
	Datum		version;
	bool		isnull;

	SPI_connect();
	chs_spi_execute_as_owner("SELECT chs.publish($1, $2, $3)", lengthof(types), types, args,
							 nulls);
	version = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	SPI_finish();
	PG_RETURN_DATUM(version);
}

/*
 * pause.c
 *	  Pausing the workers of a database: the table chs.pause, which holds a row while
 *	  they are paused.
 */
#include "worker/pause.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"

#include "base/catalog.h"
#include "base/spi.h"
#include "base/wake.h"

/* chs_pause_is_on tells whether workers are paused, according to what is committed now. */
bool
chs_pause_is_on(void)
{
	Relation	rel = table_open(chs_catalog_relation(CHS_PAUSE), AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	bool		paused = HeapTupleIsValid(systable_getnext(scan));

	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return paused;
}

/*
 * chs_pause stops the workers of this database from the commit on, until
 * chs_resume.  Waits for running batches to end, and lets none begin before the
 * transaction ends.
 */
PG_FUNCTION_INFO_V1(chs_pause);
Datum
chs_pause(PG_FUNCTION_ARGS)
{
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		args[2];

	PreventCommandIfReadOnly("chs_pause()");
	/* workers hold this in share mode during each batch */
	LockDatabaseObject(ExtensionRelationId, get_extension_oid("chs", false), 0,
					   AccessExclusiveLock);
	args[0] = PG_ARGISNULL(0) ? (Datum) 0 : PG_GETARG_DATUM(0);
	args[1] = CStringGetTextDatum(GetUserNameFromId(GetSessionUserId(), false));
	SPI_connect();
	chs_spi_execute_as_owner("INSERT INTO chs.pause (reason, paused_by) VALUES ($1, $2)"
							 " ON CONFLICT (one) DO UPDATE SET (reason, paused_by, paused_at) ="
							 " ROW(excluded.reason, excluded.paused_by, excluded.paused_at)",
							 lengthof(types), types, args, PG_ARGISNULL(0) ? "n " : NULL);
	SPI_finish();
	PG_RETURN_VOID();
}

/* chs_resume lets the workers of this database work again; false if they were not paused. */
PG_FUNCTION_INFO_V1(chs_resume);
Datum
chs_resume(PG_FUNCTION_ARGS)
{
	uint64		n;

	PreventCommandIfReadOnly("chs_resume()");
	SPI_connect();
	chs_spi_execute_as_owner("DELETE FROM chs.pause", 0, NULL, NULL, NULL);
	n = SPI_processed;
	SPI_finish();
	chs_wake_resumed_at_commit();
	PG_RETURN_BOOL(n > 0);
}

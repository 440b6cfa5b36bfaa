/*
 * recommendation.c
 *	  The published recommendations.
 */
#include "base/compat.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"

#include "base/catalog.h"
#include "store/live.h"

/*
 * chs_live_recommendations returns those of the live version, to callers who may
 * not have the right to read that table.
 */
PG_FUNCTION_INFO_V1(chs_live_recommendations);
Datum
chs_live_recommendations(PG_FUNCTION_ARGS pg_attribute_unused())
{
	MemoryContext caller = CurrentMemoryContext;
	Oid			types[] = {INT4OID};
	Datum		args[] = {Int32GetDatum(chs_live_at(GetActiveSnapshot())->version)};
	OwnerRights saved;
	Jsonb	   *recommendations;
	bool		isnull;

	chs_catalog_become_reader(&saved);
	SPI_connect();
	if (SPI_execute_with_args("SELECT recommendations FROM chs.scorecard_versions"
							  " WHERE version = $1",
							  lengthof(types), types, args, NULL, true, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not read chs.scorecard_versions");
	caller = MemoryContextSwitchTo(caller);
	recommendations = DatumGetJsonbPCopy(SPI_getbinval(SPI_tuptable->vals[0],
													 SPI_tuptable->tupdesc, 1, &isnull));
	MemoryContextSwitchTo(caller);
	SPI_finish();
	chs_catalog_become_caller(&saved);
	PG_RETURN_JSONB_P(recommendations);
}

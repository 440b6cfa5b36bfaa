/*
 * existing.c
 *	  The rows that an attached table has.
 */
#include "attach/existing.h"

#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "base/catalog.h"
#include "base/spi.h"
#include "source/mapping.h"
#include "source/mapping_rows.h"
#include "source/source.h"
#include "store/live.h"
#include "store/sources.h"

/* The number of rows that are evaluated at once. */
#define ROWS_AT_ONCE 256

/*
 * chs_existing_any tells whether a table has rows, or may have some elsewhere.  Within SPI,
 * with the rights of the owner.
 */
bool
chs_existing_any(Oid relation)
{
	ListCell   *lc;

	foreach(lc, find_all_inheritors(relation, AccessShareLock, NULL))
		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_FOREIGN_TABLE)
			return true;
	return chs_spi_execute_now(NULL, psprintf("SELECT FROM %s LIMIT 1", chs_source_rows(relation)),
							   0, NULL, NULL, NULL) > 0;
}

/*
 * chs_existing_rows evaluates all rows of a table that the active snapshot sees, and
 * hands them over, so many at a time, in a memory context that lasts until the next
 * ones.  They are read with the rights of the table's owner.  Within SPI.
 */
void
chs_existing_rows(const Source *source,
				  void (*take) (const ExistingRows *rows, void *arg), void *arg)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "chs existing rows",
												  ALLOCSET_DEFAULT_SIZES);
	char	   *sql = psprintf("SELECT r.*, r.tableoid FROM %s r",
							   chs_source_rows(source->relation));
	OwnerRights saved;
	Portal		portal;
	uint64		n;

	chs_catalog_become_role(get_role_oid(source->owner, false), &saved);
	portal = SPI_cursor_open_with_args(NULL, sql, 0, NULL, NULL, NULL, true, 0);
	chs_catalog_become_caller(&saved);
	do
	{
		MemoryContext caller;
		SPITupleTable *found;
		ExistingRows rows;

		SPI_cursor_fetch(portal, true, ROWS_AT_ONCE);
		n = SPI_processed;
		found = SPI_tuptable;
		caller = MemoryContextSwitchTo(scratch);
		/* what is taken may have it compiled again */
		rows.mapping = chs_source_compile(chs_live_version(), source, source->relation)->mapping;
		rows.n = (int) n;
		rows.tuples = palloc(ROWS_AT_ONCE * sizeof(HeapTuple));
		rows.relations = palloc(ROWS_AT_ONCE * sizeof(Oid));
		rows.mapped = palloc(ROWS_AT_ONCE * sizeof(MappedRow));
		for (uint64 i = 0; i < n; i++)
		{
			HeapTuple	row = found->vals[i];
			TupleDesc	desc = found->tupdesc;
			bool		isnull;

			rows.tuples[i] = chs_mapping_row_of_result(rows.mapping, row, desc);
			rows.relations[i] = DatumGetObjectId(SPI_getbinval(row, desc, desc->natts, &isnull));
		}
		if (n > 0)
		{
			chs_mapping_evaluate(rows.mapping, rows.tuples, rows.n, rows.mapped);
			take(&rows, arg);
		}
		MemoryContextSwitchTo(caller);
		MemoryContextReset(scratch);
		SPI_freetuptable(found);
	} while (n > 0);
	SPI_cursor_close(portal);
	MemoryContextDelete(scratch);
}

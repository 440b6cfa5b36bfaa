/*
 * retry.c
 *	  Taking in rows that were put aside, once the cause is gone.
 */
#include "attached.h"

#include "access/htup_details.h"
#include "capture.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "rejected.h"
#include "synced.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* So many rows are tried at once. */
#define ROWS_AT_ONCE 256

/* Rows of one source. */
typedef struct Retry
{
	const Source *source;
	Mapping    *mapping;
	MemoryContext context;
	int			n;
	int64		ids[ROWS_AT_ONCE];
	Datum		documents[ROWS_AT_ONCE];
	HeapTuple	tuples[ROWS_AT_ONCE];
} Retry;

/* Makes rows of the table of the copies, with its owner's rights, since its types may be his. */
static void
make_rows(void *arg)
{
	Retry	   *r = arg;
	Oid			type = JSONBARRAYOID;
	Datum		array = PointerGetDatum(construct_array(r->documents, r->n, JSONBOID, -1, false, TYPALIGN_INT));
	OwnerRights saved;

	chs_catalog_become_role(r->mapping->owner, &saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(psprintf("SELECT p.* FROM pg_catalog.unnest($1) j, pg_catalog.jsonb_populate_record(NULL::%s, j) p",
									   chs_source_name(r->source)), 1, &type, &array, NULL, true, 0) != SPI_OK_SELECT ||
		SPI_processed != (uint64) r->n)
		elog(ERROR, "could not make rows of the copies");
	for (int i = 0; i < r->n; i++)
	{
		MemoryContext caller = MemoryContextSwitchTo(r->context);

		r->tuples[i] = chs_mapping_row_of_result(r->mapping, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
		MemoryContextSwitchTo(caller);
	}
	SPI_finish();
	chs_catalog_become_caller(&saved);
}

static void
execute(const char *sql, int nargs, Oid *types, Datum *args)
{
	if (SPI_execute_with_args(sql, nargs, types, args, NULL, false, 0) < 0)
		elog(ERROR, "could not write chs.rejected_events");
}

/* Writes down that a row was taken in, or why not. */
static void
note_result(int64 id, const Trouble *trouble)
{
	Oid			types[] = {INT8OID, TEXTOID, TEXTOID, BOOLOID};
	Datum		args[4] = {Int64GetDatum(id)};

	if (trouble == NULL)
		execute("DELETE FROM chs.rejected_events WHERE rejected_id = $1", 1, types, args);
	else
	{
		args[1] = CStringGetTextDatum(unpack_sql_state(trouble->sqlerrcode));
		args[2] = CStringGetTextDatum(trouble->message);
		execute("UPDATE chs.rejected_events SET sqlstate = $2, reason = $3"
				" WHERE rejected_id = $1 AND (sqlstate, reason) <> ($2, $3)", 3, types, args);
	}
}

/* Tries rows; returns how many were taken in. */
static int64
try_rows(Retry *r)
{
	MappedRow  *mapped = palloc(Max(r->n, 1) * sizeof(MappedRow));
	Trouble    *trouble = r->mapping->broken ? r->mapping->broken : chs_mapping_try(make_rows, r);
	int64		taken = 0;

	if (trouble != NULL && r->n > 1 && r->mapping->broken == NULL)
	{
		/* each by itself */
		for (int i = 0; i < r->n; i++)
		{
			Retry	   *one = palloc(sizeof(Retry));

			*one = (Retry) {
				.source = r->source,.mapping = r->mapping,.context = r->context,.n = 1
			};
			one->ids[0] = r->ids[i];
			one->documents[0] = r->documents[i];
			taken += try_rows(one);
		}
		return taken;
	}
	if (trouble == NULL)
		chs_mapping_evaluate(r->mapping, r->tuples, r->n, mapped);
	for (int i = 0; i < r->n; i++)
	{
		const Trouble *why = trouble;

		if (why == NULL)
			why = r->source->of_customers ? chs_synced_take(r->source, NULL, &mapped[i]) :
				chs_attached_retry(chs_catalog_live(), r->source, &mapped[i]);
		note_result(r->ids[i], why);
		taken += why == NULL;
	}
	return taken;
}

/* Tries all rows of a source; within SPI, with the owner's rights. */
static int64
retry_source(int source_id)
{
	Oid			types[] = {INT4OID, INT8OID};
	int64		taken = 0;
	int64		last = 0;
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "chs retried rows", ALLOCSET_DEFAULT_SIZES);
	uint64		n;

	do
	{
		const Source *found = chs_source_find(chs_catalog_live(), source_id);
		Source		source;
		Retry	   *r;
		Datum		args[] = {Int32GetDatum(source_id), Int64GetDatum(last)};
		MemoryContext caller;

		if (found == NULL)
			break;
		source = *found;
		if (SPI_execute_with_args("SELECT rejected_id, event_row FROM chs.rejected_events"
								  " WHERE source_id = $1 AND rejected_id > $2 AND event_row IS NOT NULL ORDER BY rejected_id LIMIT "
								  CppAsString2(ROWS_AT_ONCE), 2, types, args, NULL, true, 0) != SPI_OK_SELECT)
			elog(ERROR, "could not read chs.rejected_events");
		n = SPI_processed;
		caller = MemoryContextSwitchTo(scratch);
		r = palloc0(sizeof(Retry));
		r->source = &source;
		r->mapping = chs_source_compile(chs_catalog_live(), &source, source.relation)->mapping;
		r->context = scratch;
		for (uint64 i = 0; i < n; i++)
		{
			bool		isnull;

			r->ids[i] = last = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
			r->documents[i] = JsonbPGetDatum(DatumGetJsonbPCopy(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull)));
		}
		r->n = (int) n;
		if (n > 0)
			taken += try_rows(r);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(scratch);
	} while (n == ROWS_AT_ONCE);
	MemoryContextDelete(scratch);
	return taken;
}

/* chs_retry_rejected takes in what can be used now, of a table or of all. */
PG_FUNCTION_INFO_V1(chs_retry_rejected);
Datum
chs_retry_rejected(PG_FUNCTION_ARGS)
{
	OwnerRights saved;
	int64		taken = 0;
	int		   *source_ids;
	uint64		n;

	chs_catalog_become_owner(&saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute(PG_ARGISNULL(0) ? "SELECT source_id FROM chs.sources WHERE source_id > 1 ORDER BY kind, source_id" :
					psprintf("SELECT source_id FROM chs.sources WHERE source_id > 1 AND relation = %u ORDER BY kind, source_id",
							 PG_GETARG_OID(0)), true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read chs.sources");
	n = SPI_processed;
	if (n == 0 && !PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("%s is not attached", get_rel_name(PG_GETARG_OID(0)) ? get_rel_name(PG_GETARG_OID(0)) : "the table"),
				 errhint("chs.sources lists the tables that are.")));
	source_ids = palloc(Max(n, 1) * sizeof(int));
	for (uint64 i = 0; i < n; i++)
	{
		bool		isnull;

		source_ids[i] = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
	}
	for (uint64 i = 0; i < n; i++)
		taken += retry_source(source_ids[i]);
	SPI_finish();
	chs_catalog_become_caller(&saved);
	chs_capture_flush_pending();
	PG_RETURN_INT64(taken);
}

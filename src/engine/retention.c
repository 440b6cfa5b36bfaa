/*
 * retention.c
 *	  Deleting what no longer has to be kept.
 *
 * What may be deleted, and the progress of a pass, are decided in SQL
 * (sql/ext/retention.sql).  Here is what SQL cannot do: deleting events without
 * having their customers rebuilt, since no window reaches them; and raising an
 * error if a past score would need deleted events.
 */
#include "engine/retention.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/catalog.h"
#include "base/settings.h"
#include "base/spi.h"
#include "engine/capture.h"
#include "score/scorecard.h"
#include "score/values.h"

/* The numbers of customers looked at, and of rows deleted, in a slice of a worker. */
#define WORKER_SLICE 1000

/* Columns of chs.retention. */
#define RETENTION_KIND 1
#define RETENTION_KEPT_FROM 2

/* chs_retention_setting returns a setting as an interval, NULL if it is off. */
PG_FUNCTION_INFO_V1(chs_retention_setting);
Datum
chs_retention_setting(PG_FUNCTION_ARGS)
{
	const char *kind = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int			minutes = strcmp(kind, "events") == 0 ? chs_event_retention :
		strcmp(kind, "history") == 0 ? chs_history_retention : chs_rejected_retention;
	Interval   *result = palloc0(sizeof(Interval));

	if (minutes == 0)
		PG_RETURN_NULL();
	result->day = minutes / (24 * 60);
	result->time = (int64) (minutes % (24 * 60)) * USECS_PER_MINUTE;
	PG_RETURN_INTERVAL_P(result);
}

/*
 * chs_document_reach returns how many days of events the scores of a published
 * document need: its longest window, extended by what its trend looks back to.
 */
PG_FUNCTION_INFO_V1(chs_document_reach);
Datum
chs_document_reach(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(chs_scorecard_compiled(PG_GETARG_DATUM(0))->max_keep);
}

/*
 * chs_delete_old_events calls chs.delete_events() with the rights of the owner, without
 * having the customers rebuilt whose events of UTC days before one it deletes.
 */
PG_FUNCTION_INFO_V1(chs_delete_old_events);
Datum
chs_delete_old_events(PG_FUNCTION_ARGS)
{
	Oid			types[] = {INT8OID, INT8OID, DATEOID, INT4OID};
	Datum		args[4];
	OwnerRights saved;
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2];

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	for (int i = 0; i < 4; i++)
		args[i] = PG_GETARG_DATUM(i);
	chs_spi_begin(&saved);
	chs_capture_ignore_deletes((TimestampTz) PG_GETARG_DATEADT(2) * USECS_PER_DAY);
	PG_TRY();
	{
		chs_spi_execute("SELECT deleted, last_customer_id FROM chs.delete_events($1, $2, $3, $4)",
						lengthof(types), types, args, NULL);
	}
	PG_FINALLY();
	{
		/* also if a trigger of the table failed */
		chs_capture_ignore_deletes(DT_NOBEGIN);
	}
	PG_END_TRY();
	for (int i = 0; i < 2; i++)
		values[i] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1, &nulls[i]);
	chs_spi_end(&saved);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}

/*
 * chs_retention_kept_from returns the first UTC day from which all events still exist,
 * as a snapshot sees it.
 */
int32
chs_retention_kept_from(Snapshot snapshot)
{
	Relation	rel = table_open(chs_catalog_relation(CHS_RETENTION), AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	HeapTuple	tuple;
	int32		day = PG_INT32_MIN;

	/* a row or two */
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		char	   *kind = TextDatumGetCString(heap_getattr(tuple, RETENTION_KIND,
															RelationGetDescr(rel), &isnull));
		Datum		kept_from = heap_getattr(tuple, RETENTION_KEPT_FROM, RelationGetDescr(rel),
											 &isnull);

		if (strcmp(kind, "events") == 0 && !isnull)
			day = DatumGetDateADT(kept_from);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return day;
}

/*
 * chs_retention_check_past raises an error if a score of a past day, by a version
 * and scorecard, would need raw events that have been deleted.
 */
void
chs_retention_check_past(int version, const Scorecard *scorecard, int32 as_of_day)
{
	int32		kept_from = chs_retention_kept_from(GetActiveSnapshot());
	int32		first = as_of_day - chs_scorecard_reach(scorecard) + 1;

	if (first >= kept_from)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("scores as of %s by version %d can no longer be calculated",
					chs_value_day(as_of_day), version),
			 errdetail("They need events from %s on; those before %s have been deleted, see"
					   " chs.event_retention.",
					   chs_value_day(first), chs_value_day(kept_from)),
			 errhint("What was calculated at that time is in chs.health_scores.")));
}

/* Deletes the next rows of a kind, and returns whether there may be more. */
static bool
delete_slice(const char *kind)
{
	OwnerRights saved;
	bool		isnull;
	bool		more;

	PushActiveSnapshot(GetTransactionSnapshot());
	chs_spi_begin(&saved);
	if (SPI_execute(psprintf("SELECT more FROM chs.delete_old('%s'::text, %d::bigint, false)", kind,
							 WORKER_SLICE), false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not delete old %s", kind);
	more = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	chs_spi_end(&saved);
	PopActiveSnapshot();
	return more;
}

/*
 * chs_apply_retention deletes what need not be kept, up to a number of rows, with
 * the rights of the owner.
 */
PG_FUNCTION_INFO_V1(chs_apply_retention);
Datum
chs_apply_retention(PG_FUNCTION_ARGS)
{
	Oid			types[] = {INT8OID};
	Datum		args[] = {PG_ARGISNULL(0) ? (Datum) 0 : PG_GETARG_DATUM(0)};
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3];

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	SPI_connect();
	chs_spi_execute_as_owner("SELECT * FROM chs.apply_retention($1)", 1, types, args,
							 PG_ARGISNULL(0) ? "n" : NULL);
	for (int i = 0; i < 3; i++)
		values[i] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1, &nulls[i]);
	SPI_finish();
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}

/* chs_retention_delete_events is a step of housekeeping. */
bool
chs_retention_delete_events(void)
{
	return chs_event_retention != 0 && delete_slice("events");
}

/* chs_retention_delete_history is a step of housekeeping. */
bool
chs_retention_delete_history(void)
{
	return chs_history_retention != 0 && delete_slice("history");
}

/* chs_retention_delete_rejected is a step of housekeeping. */
bool
chs_retention_delete_rejected(void)
{
	return chs_rejected_retention != 0 && delete_slice("rejected");
}

/*
 * event_days.c
 *	  The days on which customers had events, of many customers at once.
 *
 * They are counted from the raw events of all sources, as for a score.  Like the score
 * itself, they are shown to whoever may see the customer.
 */
#include "base/compat.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/date.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "activity/activity.h"
#include "base/catalog.h"
#include "base/spi.h"
#include "score/days.h"
#include "score/scorecard.h"
#include "score/values.h"
#include "source/raw.h"
#include "source/rewritten.h"
#include "source/slice.h"
#include "store/live.h"

/* The number of customers whose events are read at once. */
#define SLICE_CUSTOMERS 5000

/* The customers of a list that the caller sees, ascending. */
static int64 *
visible_customers(Datum listed, int *n)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid			type = INT8ARRAYOID;
	int64	   *customer_ids;

	SPI_connect();
	*n = (int) chs_spi_select("SELECT customer_id FROM chs.customers"
							  " WHERE customer_id OPERATOR(pg_catalog.=) ANY ($1)"
							  " ORDER BY customer_id", 1, &type, &listed);
	customer_ids = MemoryContextAlloc(caller, Max(*n, 1) * sizeof(int64));
	for (int i = 0; i < *n; i++)
	{
		bool		isnull;

		customer_ids[i] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
													  1, &isnull));
	}
	SPI_finish();
	return customer_ids;
}

static int
compare_cells(const void *a, const void *b)
{
	int32		x = ((const Cell *) a)->day;
	int32		y = ((const Cell *) b)->day;

	return (x > y) - (x < y);
}

/*
 * Returns the row of a customer: the days with events of any series that counts some,
 * ascending, and how many there had been by the end of each.
 */
static void
put_customer(ReturnSetInfo *rsinfo, int64 customer_id, const ActivityData *activity)
{
	int			ncells = 0;
	int			ndays = 0;
	int64		events = 0;
	Cell	   *cells;
	Datum	   *days;
	Datum	   *counts;
	Datum		values[3];
	bool		nulls[3] = {false, false, false};

	for (int i = 0; i < activity->nseries; i++)
		ncells += activity->series[i].kind == SERIES_COUNT ? activity->series[i].ncells : 0;
	cells = palloc(Max(ncells, 1) * sizeof(Cell));
	days = palloc(Max(ncells, 1) * sizeof(Datum));
	counts = palloc(Max(ncells, 1) * sizeof(Datum));
	ncells = 0;
	for (int i = 0; i < activity->nseries; i++)
		for (int j = 0; j < activity->series[i].ncells; j++)
			if (activity->series[i].kind == SERIES_COUNT)
				cells[ncells++] = activity->series[i].cells[j];
	qsort(cells, ncells, sizeof(Cell), compare_cells);
	for (int i = 0; i < ncells; i++)
	{
		events += cells[i].n;
		if (ndays == 0 || cells[i].day != cells[i - 1].day)
			days[ndays++] = DateADTGetDatum(cells[i].day);
		counts[ndays - 1] = Int64GetDatum(events);
	}
	values[0] = Int64GetDatum(customer_id);
	values[1] = PointerGetDatum(construct_array(days, ndays, DATEOID, sizeof(DateADT), true,
												TYPALIGN_INT));
	values[2] = PointerGetDatum(construct_array(counts, ndays, INT8OID, sizeof(int64),
												FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* Returns the rows of the requested customers, whose numbers ascend. */
static void
put_slice(ReturnSetInfo *rsinfo, const RawRequest *request, const Jsonb *document)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(caller, "chs event days of a customer",
												  ALLOCSET_DEFAULT_SIZES);
	EventSlice *slice = chs_slice_read(request, document);

	chs_rewritten_check(request->live);
	for (int i = 0; i < request->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(scratch);
		put_customer(rsinfo, request->customer_ids[i],
					 chs_slice_activity(slice, request->customer_ids[i]));
		MemoryContextReset(scratch);
	}
	MemoryContextSwitchTo(caller);
	chs_slice_end(slice);
	MemoryContextDelete(scratch);
}

/*
 * chs_event_days returns, for each customer of a list that the caller sees, the days
 * between two, both included, with events that a document counts, and how many there
 * had been since the first by the end of each.
 */
PG_FUNCTION_INFO_V1(chs_event_days);
Datum
chs_event_days(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Jsonb	   *document;
	RawRequest	request = {0};
	int64	   *customer_ids;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext slice;
	int			n;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(3))
		return (Datum) 0;
	document = PG_GETARG_JSONB_P(0);
	request.first_day = PG_GETARG_DATEADT(2);
	request.last_day = PG_GETARG_DATEADT(3);
	chs_days_check(request.first_day);
	chs_days_check(request.last_day);
	request.live = chs_live_variant(chs_live_at(GetActiveSnapshot()), UNPUBLISHED,
									chs_scorecard_compile(document));
	customer_ids = visible_customers(PG_GETARG_DATUM(1), &n);
	slice = AllocSetContextCreate(caller, "chs event days", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(slice);
	for (int i = 0; i < n; i += SLICE_CUSTOMERS)
	{
		request.customer_ids = customer_ids + i;
		request.n = Min(n - i, SLICE_CUSTOMERS);
		request.scattered = chs_slice_scattered(&request);
		put_slice(rsinfo, &request, document);
		MemoryContextReset(slice);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(slice);
	return (Datum) 0;
}

/*
 * chs_late_events returns how many rows of chs.customer_events the customers of a list
 * that the caller sees have between two days, both included, and how many of these were
 * recorded more than a day late.
 */
PG_FUNCTION_INFO_V1(chs_late_events);
Datum
chs_late_events(PG_FUNCTION_ARGS)
{
	Oid			types[] = {INT8ARRAYOID, DATEOID, DATEOID};
	Datum		args[3];
	Datum		values[2];
	bool		nulls[2] = {false, false};
	OwnerRights saved;
	Datum	   *numbers;
	int64	   *customer_ids;
	int			n;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_NULL();
	customer_ids = visible_customers(PG_GETARG_DATUM(0), &n);
	numbers = palloc(Max(n, 1) * sizeof(Datum));
	for (int i = 0; i < n; i++)
		numbers[i] = Int64GetDatum(customer_ids[i]);
	args[0] = PointerGetDatum(construct_array(numbers, n, INT8OID, sizeof(int64),
											  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	args[1] = PG_GETARG_DATUM(1);
	args[2] = PG_GETARG_DATUM(2);
	chs_catalog_become_reader(&saved);
	SPI_connect();
	(void) chs_spi_select("SELECT count(*), count(*) FILTER"
						  " (WHERE recorded_at > occurred_at + interval '1 day')"
						  " FROM chs.customer_events WHERE customer_id = ANY ($1)"
						  " AND occurred_at >= ($2)::timestamp AT TIME ZONE 'UTC'"
						  " AND occurred_at < ($3 + 1)::timestamp AT TIME ZONE 'UTC'",
						  lengthof(types), types, args);
	for (int i = 0; i < 2; i++)
		values[i] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1, &nulls[i]);
	SPI_finish();
	chs_catalog_become_caller(&saved);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(chs_value_result_type(fcinfo), values,
													  nulls)));
}

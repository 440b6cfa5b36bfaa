/*
 * slice.c
 *	  The activities of many customers, made from raw events at once.
 *
 * chs.customer_events is read by one query with the aggregate, which PostgreSQL may
 * run in parallel, and may do by the index or by sorting or hashing, on disk where
 * memory does not suffice; attached tables are read for all customers at once.
 */
#include "source/slice.h"

#include "catalog/pg_type.h"
#include "executor/tstoreReceiver.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "activity/activity.h"
#include "activity/activity_merge.h"
#include "activity/activity_read.h"
#include "base/catalog.h"
#include "source/raw.h"
#include "store/customer.h"

struct EventSlice
{
	MemoryContext context;		/* holds all of it */
	Tuplestorestate *own;		/* (customer_id, activity) of chs.customer_events, ascending */
	TupleTableSlot *row;		/* the next of these, or empty at the end */
	RawActivities *attached;	/* of attached tables; NULL: there are none */
};

/* Customers are scattered if so many times as many numbers lie between them. */
#define SCATTERED 4

/*
 * chs_slice_scattered tells whether so few of the customers between the first and the last
 * may have been requested that their events are better searched for customer by customer.
 */
bool
chs_slice_scattered(const RawRequest *request)
{
	return request->n > 0 &&
		((uint64) request->customer_ids[request->n - 1] - (uint64) request->customer_ids[0]) /
		SCATTERED > (uint64) request->n;
}

/* The start of a day as an argument of the query. */
static ParamExternData
start_of_day(int64 day)
{
	TimestampTz start = day * USECS_PER_DAY < MIN_TIMESTAMP ? DT_NOBEGIN :
		day * USECS_PER_DAY >= END_TIMESTAMP ? DT_NOEND : day * USECS_PER_DAY;

	return (ParamExternData) {
		.value = TimestampTzGetDatum(start),.pflags = PARAM_FLAG_CONST,.ptype = TIMESTAMPTZOID
	};
}

/* Reads chs.customer_events for the range of the customers, as the active snapshot sees it. */
static void
read_own(const RawRequest *request, const Jsonb *document, Tuplestorestate *into)
{
	SPIExecuteOptions options = {.read_only = true};
	OwnerRights saved;
	char	   *query;
	Datum	   *numbers = palloc(request->n * sizeof(Datum));

	chs_catalog_become_reader(&saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	for (int i = 0; i < request->n; i++)
		numbers[i] = Int64GetDatum(request->customer_ids[i]);
	options.params = makeParamList(4);
	options.params->params[0] = (ParamExternData) {
		.value = JsonbPGetDatum(document),.pflags = PARAM_FLAG_CONST,.ptype = JSONBOID
	};
	options.params->params[1] = start_of_day(request->first_day);
	options.params->params[2] = start_of_day((int64) request->last_day + 1);
	options.params->params[3] = (ParamExternData) {
		.value = PointerGetDatum(construct_array(numbers, request->n, INT8OID, sizeof(int64),
												 FLOAT8PASSBYVAL, TYPALIGN_DOUBLE)),
		.pflags = PARAM_FLAG_CONST,.ptype = INT8ARRAYOID
	};
	options.dest = CreateDestReceiver(DestTuplestore);
	SetTuplestoreDestReceiverParams(options.dest, into, CurrentMemoryContext, true, NULL, NULL);
	query = psprintf("SELECT customer_id,"
					 " %s.chs_activity_agg($1, event_type, event_data, occurred_at)"
					 " FROM chs.customer_events WHERE occurred_at >= $2 AND occurred_at < $3"
					 " AND customer_id >= " INT64_FORMAT " AND customer_id <= " INT64_FORMAT "%s"
					 " GROUP BY customer_id ORDER BY customer_id",
					 quote_identifier(get_namespace_name(chs_catalog_extension_schema())),
					 request->customer_ids[0], request->customer_ids[request->n - 1],
					 request->scattered ? " AND customer_id = ANY ($4)" : "");
	if (SPI_execute_extended(query, &options) != SPI_OK_SELECT)
		elog(ERROR, "could not read chs.customer_events");
	SPI_finish();
	chs_catalog_become_caller(&saved);
}

/* A row that was read from a file is allocated where the slice is, as it outlives the call. */
static void
next_row(EventSlice *slice)
{
	MemoryContext caller = MemoryContextSwitchTo(slice->context);

	if (!tuplestore_gettupleslot(slice->own, true, false, slice->row))
		ExecClearTuple(slice->row);
	MemoryContextSwitchTo(caller);
}

/*
 * chs_slice_read reads the requested events of the customers, one or more, whose numbers
 * must ascend, as the active snapshot sees them; request->live counts by the
 * document.  Allocates in the current memory context, at most work_mem for the
 * activities.  Raises an error if the events of a source cannot be read.
 */
EventSlice *
chs_slice_read(const RawRequest *request, const Jsonb *document)
{
	EventSlice *slice = palloc0(sizeof(EventSlice));
	TupleDesc	desc = CreateTemplateTupleDesc(2);

	TupleDescInitEntry(desc, 1, "customer_id", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 2, "activity",
					   get_atttype(chs_catalog_relation(CHS_ACTIVITY), ACTIVITY_ACTIVITY), -1, 0);
	slice->context = CurrentMemoryContext;
	slice->own = tuplestore_begin_heap(false, false, work_mem);
	slice->row = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	read_own(request, document, slice->own);
	if (request->live->nsources > 1)
	{
		RawRequest	attached = *request;

		attached.attached_only = true;
		slice->attached = chs_raw_read(&attached);
	}
	next_row(slice);
	return slice;
}

/*
 * chs_slice_activity returns the activity of one of the customers, never pruned, in the
 * current memory context.  Customers must be asked for in ascending order.
 */
ActivityData *
chs_slice_activity(EventSlice *slice, int64 customer_id)
{
	ActivityData *data = chs_activity_empty(DAY_NEVER);
	bool		isnull;

	while (!TTS_EMPTY(slice->row) &&
		   DatumGetInt64(slot_getattr(slice->row, 1, &isnull)) < customer_id)
		next_row(slice);
	if (!TTS_EMPTY(slice->row) &&
		DatumGetInt64(slot_getattr(slice->row, 1, &isnull)) == customer_id)
		data = chs_activity_decode(DatumGetActivity(slot_getattr(slice->row, 2, &isnull)));
	if (slice->attached != NULL)
		data = chs_activity_merge_two(data, chs_raw_activity(slice->attached, customer_id));
	return data;
}

/* chs_slice_end frees what was read. */
void
chs_slice_end(EventSlice *slice)
{
	ExecDropSingleTupleTableSlot(slice->row);
	tuplestore_end(slice->own);
}

/*
 * queue_status.c
 *	  What chs.queue_status shows.
 */
#include "base/compat.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "store/failure.h"
#include "store/queue.h"

/* Columns of chs.queue_status_now(). */
enum
{
	STATUS_DEPTH = 0,
	STATUS_IS_ESTIMATE,
	STATUS_OLDEST_AT,
	STATUS_OLDEST_AGE,
	STATUS_LAG,
	STATUS_HELD_BACK,
	STATUS_FAILING,
	STATUS_COLUMNS
};

static double
seconds_since(TimestampTz time)
{
	return time == DT_NOEND ? 0 : Max(GetCurrentTimestamp() - time, 0) / (double) USECS_PER_SEC;
}

/*
 * chs_queue_status returns how much is queued for all customers, visible or not; so
 * it is meant for monitoring roles.
 */
PG_FUNCTION_INFO_V1(chs_queue_status);
Datum
chs_queue_status(PG_FUNCTION_ARGS)
{
	QueueState	state = chs_queue_state(GetActiveSnapshot());
	TupleDesc	desc;
	Datum		values[STATUS_COLUMNS];
	bool		nulls[STATUS_COLUMNS] = {0};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[STATUS_DEPTH] = Int64GetDatum(state.depth);
	values[STATUS_IS_ESTIMATE] = BoolGetDatum(state.estimated);
	values[STATUS_OLDEST_AT] = TimestampTzGetDatum(state.oldest_at);
	nulls[STATUS_OLDEST_AT] = state.oldest_at == DT_NOEND;
	values[STATUS_OLDEST_AGE] = Float8GetDatum(seconds_since(state.oldest_at));
	values[STATUS_LAG] = Float8GetDatum(seconds_since(state.oldest_free_at));
	values[STATUS_HELD_BACK] = Int64GetDatum(state.held_back);
	values[STATUS_FAILING] = Int64GetDatum(chs_failure_count(GetActiveSnapshot()));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

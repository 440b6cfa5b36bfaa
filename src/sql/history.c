/*
 * history.c
 *	  Scores of past days as users ask for them.
 *
 * Like the score itself, a past score is shown to whoever may see the customer.
 */
#include "base/compat.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "activity/activity.h"
#include "activity/activity_merge.h"
#include "activity/activity_read.h"
#include "base/spi.h"
#include "base/try.h"
#include "engine/past.h"
#include "engine/plugin.h"
#include "score/days.h"
#include "score/values.h"
#include "source/raw.h"
#include "source/rewritten.h"
#include "source/slice.h"
#include "sql/customer_score.h"
#include "store/customer.h"
#include "store/live.h"

/* Days that are shown if no first one is named. */
#define DEFAULT_DAYS 90

/* Reads the arguments (from_day, to_day) as a list of days. */
static int32 *
days_arguments(FunctionCallInfo fcinfo, int *ndays)
{
	int32		to = PG_ARGISNULL(2) ? chs_customer_today() : PG_GETARG_DATEADT(2);
	int32		from;
	int32	   *days;

	chs_days_check(to);
	from = PG_ARGISNULL(1) ? to - DEFAULT_DAYS + 1 : PG_GETARG_DATEADT(1);
	chs_days_check(from);
	if (from > to)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"from_day\" (%s) must not be after \"to_day\" (%s)",
						chs_value_day(from), chs_value_day(to))));
	if ((int64) to - from >= MAX_DAYS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the history of more than %d days cannot be calculated at once",
						MAX_DAYS)));
	*ndays = to - from + 1;
	days = palloc(*ndays * sizeof(int32));
	for (int i = 0; i < *ndays; i++)
		days[i] = from + i;
	return days;
}

/* The columns day, those of chs_value_score, scorecard and version. */
#define HISTORY_COLUMNS (SCORE_COLUMNS + 3)

static void
put_score(int32 day, const PastScore *s, Datum *values, bool *nulls)
{
	values[0] = DateADTGetDatum(day);
	nulls[0] = false;
	chs_value_score(s->scorecard, s->score, values + 1, nulls + 1);
	values[1 + SCORE_COLUMNS] = CStringGetTextDatum(s->scorecard->name);
	nulls[1 + SCORE_COLUMNS] = false;
	values[2 + SCORE_COLUMNS] = Int32GetDatum(s->version->version);
	nulls[2 + SCORE_COLUMNS] = s->version->version == UNPUBLISHED;
}

/* chs_history returns a customer's score as of each of some days, from one pass over the events. */
PG_FUNCTION_INFO_V1(chs_history);
Datum
chs_history(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Customer	customer;
	Past	   *past;
	ActivityData *activity;
	PastScore  *scores;
	PluginCalls *calls;
	int32	   *days;
	int			ndays;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	days = days_arguments(fcinfo, &ndays);
	chs_customer_find_as_caller(PG_GETARG_INT64(0), &customer);
	past = chs_past_begin(chs_live_at(GetActiveSnapshot()),
						  PG_ARGISNULL(3) ? PAST_VERSION_OF_DAY : PG_GETARG_INT32(3),
						  NULL, days, ndays);
	calls = chs_plugin_begin(CurrentMemoryContext);
	activity = chs_past_activity(past, &customer);
	scores = chs_past_score(past, &customer, chs_activity_view_of(activity), days[0], calls);
	chs_plugin_end(calls);
	for (int i = 0; i < ndays; i++)
	{
		const PastScore *s = &scores[i];
		Datum		values[HISTORY_COLUMNS];
		bool		nulls[HISTORY_COLUMNS];

		if (s->score == NULL)
			chs_past_check(past, s->version, &customer, Min(days[i], customer.last_day));
		put_score(days[i], s, values, nulls);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* ------------------------------------------------------------- everyone */

/* The number of customers whose events are read at once. */
#define SLICE_CUSTOMERS 5000

/* Scoring many customers. */
typedef struct Everyone
{
	ReturnSetInfo *rsinfo;
	const Past *past;
	Datum		listed;			/* the only customers, or 0: all */
	bool		metrics;		/* are wanted, too */
	EventSlice *slice;
	PluginCalls *calls;
	const Customer *customer;	/* the current one */
	MemoryContext context;		/* lasts as long as this */
	int			nfailed;
	const char *message;		/* of the first failure */
} Everyone;

/* Lists the next customers that the caller sees, of a list if there is one, up to a limit. */
static Customer *
list_customers(Datum listed, int64 after, int64 upto, int *n)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid			types[] = {INT8OID, INT8OID, INT8ARRAYOID};
	Datum		args[] = {Int64GetDatum(after), Int64GetDatum(upto), listed};
	Customer   *customers;

	SPI_connect();
	*n = (int) chs_spi_select(psprintf("SELECT customer_id, segment, created_at, churned_at"
									   " FROM chs.customers"
									   " WHERE customer_id OPERATOR(pg_catalog.>) $1"
									   " AND customer_id OPERATOR(pg_catalog.<=) $2%s"
									   " ORDER BY customer_id LIMIT %d",
									   listed == 0 ? "" :
									   " AND customer_id OPERATOR(pg_catalog.=) ANY ($3)",
									   SLICE_CUSTOMERS),
							  listed == 0 ? 2 : 3, types, args);
	caller = MemoryContextSwitchTo(caller);
	customers = palloc(Max(*n, 1) * sizeof(Customer));
	for (int i = 0; i < *n; i++)
	{
		NullableDatum columns[4];

		for (int j = 0; j < 4; j++)
			columns[j].value = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
											 j + 1, &columns[j].isnull);
		chs_customer_set(&customers[i], DatumGetInt64(columns[0].value),
						 columns[1], columns[2], columns[3]);
	}
	MemoryContextSwitchTo(caller);
	SPI_finish();
	return customers;
}

/* The first day of a customer: that of its creation, or of its first event if that was before. */
static int32
first_day(const Customer *customer, const ActivityData *activity)
{
	int32		first = customer->created_day;

	for (int i = 0; i < activity->nseries; i++)
		if (activity->series[i].ncells > 0)
			first = Min(first, chs_activity_first_day(&activity->series[i]));
	return first;
}

/* Scores the current customer, and returns its rows. */
static void
score_customer(void *arg)
{
	Everyone   *e = arg;
	const Customer *customer = e->customer;
	ActivityData *activity = chs_slice_activity(e->slice, customer->customer_id);
	int32		first = first_day(customer, activity);
	PastScore  *scores = chs_past_score(e->past, customer, chs_activity_view_of(activity), first,
										e->calls);

	for (int i = 0; i < e->past->ndays; i++)
	{
		Datum		values[HISTORY_COLUMNS + 4];
		bool		nulls[HISTORY_COLUMNS + 4];

		if (scores[i].score == NULL || e->past->days[i] < first ||
			e->past->days[i] > customer->last_day)
			continue;
		values[0] = Int64GetDatum(customer->customer_id);
		nulls[0] = false;
		nulls[1] = customer->segment == NULL;
		values[1] = nulls[1] ? (Datum) 0 : CStringGetTextDatum(customer->segment);
		put_score(e->past->days[i], &scores[i], values + 2, nulls + 2);
		nulls[HISTORY_COLUMNS + 2] = nulls[HISTORY_COLUMNS + 3] = true;
		if (e->metrics)
			chs_value_metrics(scores[i].scorecard, scores[i].score, values + HISTORY_COLUMNS + 2,
							  nulls + HISTORY_COLUMNS + 2);
		tuplestore_putvalues(e->rsinfo->setResult, e->rsinfo->setDesc, values, nulls);
	}
}

/* Whether any version has plug-ins, which may fail. */
static bool
has_functions(const Past *past)
{
	for (int i = 0; i < past->nversions; i++)
		if (past->versions[i].published->nfunctions > 0)
			return true;
	return false;
}

/* Scores the current customer; one whose plug-ins fail is left out. */
static void
try_customer(Everyone *e)
{
	ErrorData  *error;

	if (!has_functions(e->past))
	{
		score_customer(e);
		return;
	}
	error = chs_try(score_customer, e);
	if (error == NULL)
		return;
	/* locks that prepared functions rely on may be gone */
	chs_plugin_end(e->calls);
	e->calls = chs_plugin_begin(e->context);
	if (e->nfailed++ == 0)
		e->message = MemoryContextStrdup(e->context, error->message);
}

/* Scores the next customers, and returns how many there were, and the last one in *last. */
static int
score_slice(Everyone *e, int64 upto, int64 *last)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(caller, "chs past of a customer",
												  ALLOCSET_DEFAULT_SIZES);
	int			n;
	Customer   *customers = list_customers(e->listed, *last, upto, &n);
	int64	   *customer_ids = palloc(Max(n, 1) * sizeof(int64));
	RawRequest	request = {
		.live = e->past->counting,.n = n,.customer_ids = customer_ids,
		.first_day = chs_past_first_event(e->past, DAY_NO_END),
		.last_day = e->past->days[e->past->ndays - 1]
	};

	for (int i = 0; i < n; i++)
		*last = customer_ids[i] = customers[i].customer_id;
	request.scattered = e->listed != 0 && chs_slice_scattered(&request);
	if (n > 0)
	{
		e->slice = chs_slice_read(&request, e->past->document);
		chs_rewritten_check(request.live);
	}
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(scratch);
		e->customer = &customers[i];
		try_customer(e);
		MemoryContextReset(scratch);
	}
	MemoryContextSwitchTo(caller);
	if (n > 0)
		chs_slice_end(e->slice);
	MemoryContextDelete(scratch);
	return n;
}

/*
 * chs_score_history scores the customers that the caller sees, within a range, as of each
 * of the days from its first event or creation to the day on which it churned, each by
 * the version that was live then, by the one that is named, or by a document; with the
 * values and scores of the metrics, if these are wanted, in place of the trend.  Days
 * for which events have been deleted have no rows.
 */
PG_FUNCTION_INFO_V1(chs_score_history);
Datum
chs_score_history(PG_FUNCTION_ARGS)
{
	Everyone	e = {
		.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo,.context = CurrentMemoryContext,
		.listed = PG_ARGISNULL(5) ? 0 : PG_GETARG_DATUM(5),
		.metrics = !PG_ARGISNULL(6) && PG_GETARG_BOOL(6)
	};
	Past	   *past;
	int64		last = PG_ARGISNULL(3) ? PG_INT64_MIN : PG_GETARG_INT64(3);
	int64		upto = PG_ARGISNULL(4) ? PG_INT64_MAX : PG_GETARG_INT64(4);
	MemoryContext slice;
	int32	   *days;
	int			ndays = 0;

	InitMaterializedSRF(fcinfo, 0);
	days = PG_ARGISNULL(0) ? NULL : chs_days_of_array(PG_GETARG_ARRAYTYPE_P(0), &ndays);
	if (ndays == 0)
		return (Datum) 0;
	past = chs_past_begin(chs_live_at(GetActiveSnapshot()),
						  PG_ARGISNULL(2) ? PAST_VERSION_OF_DAY : PG_GETARG_INT32(2),
						  PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1), days, ndays);
	past->trends = !e.metrics;
	e.past = past;
	e.calls = chs_plugin_begin(e.context);
	slice = AllocSetContextCreate(e.context, "chs past of customers", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(slice);
	while (score_slice(&e, upto, &last) == SLICE_CUSTOMERS)
		MemoryContextReset(slice);
	MemoryContextSwitchTo(e.context);
	chs_plugin_end(e.calls);
	MemoryContextDelete(slice);
	if (e.nfailed > 0)
		ereport(WARNING,
				(errmsg_plural("the past of %d customer could not be scored",
							   "the past of %d customers could not be scored",
							   e.nfailed, e.nfailed),
				 errdetail("The first error was: %s", e.message)));
	return (Datum) 0;
}

/*
 * customer_score.c
 *	  The score of a customer as users ask for it.
 *
 * The row of the customer is read with the caller's own rights, so that whoever may
 * not see a customer, for lack of privileges or because of row-level security, does
 * not get its score.  What the score rests on is then read with the engine's rights.
 */
#include "sql/customer_score.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "activity/activity.h"
#include "activity/activity_merge.h"
#include "activity/activity_read.h"
#include "base/catalog.h"
#include "engine/capture.h"
#include "engine/plugin.h"
#include "engine/retention.h"
#include "score/count.h"
#include "score/explain.h"
#include "score/score.h"
#include "score/scorecard.h"
#include "score/values.h"
#include "source/raw.h"
#include "store/customer.h"
#include "store/live.h"
#include "store/missing.h"
#include "store/queue.h"

/* Everything that a score of one customer needs. */
typedef struct CustomerScore
{
	int64		customer_id;
	const Live *version;		/* by which it is scored */
	const Scorecard *scorecard;
	const ActivityView *activity;
	ScoreSubject subject;
} CustomerScore;

/* Whether the caller may see every customer, which makes a query unnecessary. */
static bool
caller_sees_all(void)
{
	Oid			customers = chs_catalog_relation(CHS_CUSTOMERS);

	return pg_class_aclcheck(customers, GetUserId(), ACL_SELECT) == ACLCHECK_OK &&
		check_enable_rls(customers, InvalidOid, true) != RLS_ENABLED;
}

/* Refuses a caller who may not read the table, and says what would help. */
static void
check_may_read(void)
{
	static const char *const columns[] = {"customer_id", "segment", "created_at", "churned_at"};
	Oid			customers = chs_catalog_relation(CHS_CUSTOMERS);

	if (pg_class_aclcheck(customers, GetUserId(), ACL_SELECT) == ACLCHECK_OK)
		return;
	for (size_t i = 0; i < lengthof(columns); i++)
		if (pg_attribute_aclcheck(customers, get_attnum(customers, columns[i]), GetUserId(),
								  ACL_SELECT) != ACLCHECK_OK)
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied for table %s", "customers"),
					 errhint("To read scores, a role needs what chs_grant(%s, 'read') grants.",
							 quote_literal_cstr(GetUserNameFromId(GetUserId(), false)))));
}

/* Reads the customer by a query with the caller's rights, or raises an error. */
static void
query_as_caller(int64 customer_id, Customer *customer)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext caller = CurrentMemoryContext;
	Oid			types[] = {INT8OID};
	Datum		args[1];
	HeapTuple	tuple;
	TupleDesc	desc;
	NullableDatum columns[3];

	check_may_read();
	SPI_connect();
	if (plan == NULL)
	{
		SPIPlanPtr	fresh = SPI_prepare("SELECT segment, created_at, churned_at FROM chs.customers"
										" WHERE customer_id OPERATOR(pg_catalog.=) $1", 1, types);

		if (fresh == NULL || SPI_keepplan(fresh) != 0)
			elog(ERROR, "could not prepare the query of a customer");
		plan = fresh;
	}
	args[0] = Int64GetDatum(customer_id);
	if (SPI_execute_plan(plan, args, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read chs.customers");
	if (SPI_processed == 0)
		chs_customer_not_found(customer_id);
	tuple = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	for (size_t i = 0; i < lengthof(columns); i++)
		columns[i].value = SPI_getbinval(tuple, desc, i + 1, &columns[i].isnull);
	caller = MemoryContextSwitchTo(caller);
	chs_customer_set(customer, customer_id, columns[0], columns[1], columns[2]);
	MemoryContextSwitchTo(caller);
	SPI_finish();
}

/*
 * chs_customer_find_as_caller reads the row of a customer as the caller sees it,
 * or raises an error.
 */
void
chs_customer_find_as_caller(int64 customer_id, Customer *customer)
{
	if (!caller_sees_all())
		query_as_caller(customer_id, customer);
	else if (!chs_customer_find(customer_id, GetActiveSnapshot(), customer))
		chs_customer_not_found(customer_id);
}

/*
 * Makes an activity for the score of a day from the raw events, or raises an error if
 * some of the required events have been deleted; those of the current score are always
 * kept.
 */
static ActivityView *
activity_from_past(const Customer *customer, const Live *live, const Live *version,
				   const Scorecard *scorecard, int32 as_of_day)
{
	/* what is published today, or simulated, counts the events that still exist */
	if ((version != live && version->version != UNPUBLISHED) ||
		as_of_day != Min(chs_customer_today(), customer->last_day))
		chs_retention_check_past(version->version, scorecard, as_of_day);
	return chs_activity_view_of(chs_raw_customer_activity(customer->customer_id, version,
														  as_of_day, as_of_day));
}

/*
 * chs_customer_activity returns the activity that a version needs for the score of
 * a day, as the active snapshot sees it: what is folded, merged with what is
 * queued; or, if those cannot provide it, made from the raw events.
 */
const ActivityView *
chs_customer_activity(const Customer *customer, const Live *live, const Live *version,
					  const Scorecard *scorecard, int32 as_of_day)
{
	Snapshot	snapshot = GetActiveSnapshot();
	StoredActivity stored;
	QueuedDeltas queued;
	const ActivityView *view;

	/* the snapshot may see events that are neither folded nor queued */
	if (chs_capture_is_pending() || !chs_scorecard_serves(live->published, version->published) ||
		chs_missing_has(live, customer->customer_id, snapshot))
		return activity_from_past(customer, live, version, scorecard, as_of_day);
	stored = chs_customer_stored(customer->customer_id, snapshot);
	queued = chs_queue_of_customer(customer->customer_id, stored.folded_to, live->series_version,
								   snapshot);
	view = stored.view;
	if (!queued.rebuild && chs_customer_is_current(&stored, live))
	{
		if (queued.ndeltas > 0)
		{
			ActivityData *delta = chs_activity_merge_many(queued.deltas, queued.ndeltas);

			view = chs_activity_view_of(chs_activity_merge_two(chs_activity_cells_of(stored.view),
															   delta));
		}
		if (view->day <= as_of_day)
			return view;
	}
	return activity_from_past(customer, live, version, scorecard, as_of_day);
}

/* The version that a day is scored by if none is named, valid until another one is requested. */
static const Live *
version_of_day(const Live *live, int32 as_of_day)
{
	if (as_of_day >= chs_customer_today())
		return live;
	return chs_live_of_day(live, ((int64) as_of_day + 1) * USECS_PER_DAY);
}

/* Completes what is needed to score a customer as of a day by cs->version. */
static void
read_activity(CustomerScore *cs, const Customer *customer, int32 as_of_day, const Live *live)
{
	cs->customer_id = customer->customer_id;
	cs->scorecard = chs_scorecard_of_segment(cs->version->published, customer->segment);
	cs->subject.segment = customer->segment;
	cs->subject.created_day = customer->created_day;
	cs->subject.as_of_day = Min(as_of_day, customer->last_day);
	cs->activity = chs_customer_activity(customer, live, cs->version, cs->scorecard,
										 cs->subject.as_of_day);
}

/*
 * Reads the arguments (customer_id, as_of, version) that the functions share, and
 * loads what they need; false if the customer is NULL.
 */
static bool
customer_arguments(FunctionCallInfo fcinfo, CustomerScore *cs)
{
	Customer	customer;
	const Live *live;
	int32		as_of_day;

	if (PG_ARGISNULL(0))
		return false;
	as_of_day = PG_ARGISNULL(1) ? chs_customer_today() : chs_count_day(PG_GETARG_TIMESTAMPTZ(1));
	chs_customer_find_as_caller(PG_GETARG_INT64(0), &customer);
	live = chs_live_at(GetActiveSnapshot());
	cs->version = PG_ARGISNULL(2) ? version_of_day(live, as_of_day) :
		chs_live_of_version(live, PG_GETARG_INT32(2));
	read_activity(cs, &customer, as_of_day, live);
	return true;
}

/*
 * Likewise the arguments (document, customer_id, as_of): the customer is scored as
 * if that document were published.
 */
static bool
document_arguments(FunctionCallInfo fcinfo, CustomerScore *cs)
{
	Customer	customer;
	const Live *live;
	const Live *version;
	int32		as_of_day;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		return false;
	as_of_day = PG_ARGISNULL(2) ? chs_customer_today() : chs_count_day(PG_GETARG_TIMESTAMPTZ(2));
	chs_customer_find_as_caller(PG_GETARG_INT64(1), &customer);
	live = chs_live_at(GetActiveSnapshot());
	version = chs_live_variant(live, UNPUBLISHED, chs_scorecard_compiled(PG_GETARG_DATUM(0)));
	cs->version = version;
	read_activity(cs, &customer, as_of_day, live);
	return true;
}

/* The input of scoring, including the values of plug-ins. */
static ScoreInput *
prepare(const CustomerScore *cs, PluginDays days)
{
	ScoreInput *input = chs_score_prepare(cs->version->published, cs->activity);

	if (cs->scorecard->has_functions)
	{
		PluginCalls *calls = chs_plugin_begin(CurrentMemoryContext);

		(void) chs_plugin_add_values(calls, input, cs->scorecard, cs->customer_id,
									 cs->subject.as_of_day, days);
		chs_plugin_end(calls);
	}
	return input;
}

static Score *
calculate(const CustomerScore *cs)
{
	return chs_score_calculate(prepare(cs, PLUGIN_TREND), cs->scorecard, &cs->subject);
}

static Score *
score_of_day(const CustomerScore *cs)
{
	return chs_score_of_day(prepare(cs, PLUGIN_ONE_DAY), cs->scorecard, &cs->subject);
}

/* chs_score returns the score of a customer. */
PG_FUNCTION_INFO_V1(chs_score);
Datum
chs_score(PG_FUNCTION_ARGS)
{
	CustomerScore cs;
	Score	   *score;

	if (!customer_arguments(fcinfo, &cs))
		PG_RETURN_NULL();
	score = score_of_day(&cs);
	if (score->status == STATUS_UNKNOWN)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(score->score);
}

/* chs_status returns the status of a customer. */
PG_FUNCTION_INFO_V1(chs_status);
Datum
chs_status(PG_FUNCTION_ARGS)
{
	CustomerScore cs;

	if (!customer_arguments(fcinfo, &cs))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(chs_score_status_name(score_of_day(&cs)->status)));
}

/* chs_explain explains the score of a customer. */
PG_FUNCTION_INFO_V1(chs_explain);
Datum
chs_explain(PG_FUNCTION_ARGS)
{
	CustomerScore cs;

	if (customer_arguments(fcinfo, &cs))
		chs_explain_rows(fcinfo, prepare(&cs, PLUGIN_EVERY_DAY), cs.scorecard, &cs.subject);
	else
		InitMaterializedSRF(fcinfo, 0);
	return (Datum) 0;
}

/*
 * chs_explain_until explains what the score would be, by a version, if nothing had happened
 * after a day, and plug-ins had no data.
 */
PG_FUNCTION_INFO_V1(chs_explain_until);
Datum
chs_explain_until(PG_FUNCTION_ARGS)
{
	CustomerScore cs;
	ActivityData *activity;

	(void) customer_arguments(fcinfo, &cs);
	activity = chs_raw_customer_activity(cs.customer_id, cs.version, cs.subject.as_of_day,
										 Min(chs_count_day(PG_GETARG_TIMESTAMPTZ(3)),
											 cs.subject.as_of_day));
	chs_explain_rows(fcinfo,
					 chs_score_prepare(cs.version->published, chs_activity_view_of(activity)),
					 cs.scorecard, &cs.subject);
	return (Datum) 0;
}

/* Returns a row with the contents of customer_health. */
static Datum
health_row(FunctionCallInfo fcinfo, const CustomerScore *cs)
{
	TupleDesc	tupdesc = chs_value_result_type(fcinfo);
	Datum		values[SCORE_COLUMNS + 3];
	bool		nulls[SCORE_COLUMNS + 3] = {0};

	chs_value_score(cs->scorecard, calculate(cs), values, nulls);
	values[5] = CStringGetTextDatum(cs->scorecard->name);
	values[6] = Int32GetDatum(cs->version->version);
	nulls[6] = cs->version->version == UNPUBLISHED;
	values[7] = DateADTGetDatum(cs->subject.as_of_day);
	return HeapTupleGetDatum(heap_form_tuple(tupdesc, values, nulls));
}

/* chs_health_now returns the contents of customer_health, calculated now. */
PG_FUNCTION_INFO_V1(chs_health_now);
Datum
chs_health_now(PG_FUNCTION_ARGS)
{
	CustomerScore cs;

	if (!customer_arguments(fcinfo, &cs))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(health_row(fcinfo, &cs));
}

/* chs_health_by returns the same as if a document were published. */
PG_FUNCTION_INFO_V1(chs_health_by);
Datum
chs_health_by(PG_FUNCTION_ARGS)
{
	CustomerScore cs;

	if (!document_arguments(fcinfo, &cs))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(health_row(fcinfo, &cs));
}

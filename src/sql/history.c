/*
 * history.c
 *	  Scores of past days as users ask for them.
 *
 * Like the score itself, a past score is shown to whoever may see the customer.
 */
#include "base/compat.h"

#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/snapmgr.h"

#include "activity/activity_read.h"
#include "engine/past.h"
#include "engine/plugin.h"
#include "score/explain.h"
#include "sql/customer_score.h"
#include "store/customer.h"
#include "store/live.h"

/* Days that are shown if no first one is named. */
#define DEFAULT_DAYS 90

/* The most days that are scored at once: a century. */
#define MAX_DAYS 36525

/* Reads the arguments (from_day, to_day) as a list of days. */
static int32 *
days_arguments(FunctionCallInfo fcinfo, int *ndays)
{
	int32		to = PG_ARGISNULL(2) ? chs_customer_today() : PG_GETARG_DATEADT(2);
	int32		from = PG_ARGISNULL(1) ? to - DEFAULT_DAYS + 1 : PG_GETARG_DATEADT(1);
	int32	   *days;

	if (DATE_NOT_FINITE(to) || DATE_NOT_FINITE(from))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("days must be finite")));
	if (from > to)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"from_day\" (%s) must not be after \"to_day\" (%s)",
						chs_explain_day(from), chs_explain_day(to))));
	if ((int64) to - from >= MAX_DAYS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the history of more than %d days cannot be calculated at once", MAX_DAYS)));
	*ndays = to - from + 1;
	days = palloc(*ndays * sizeof(int32));
	for (int i = 0; i < *ndays; i++)
		days[i] = from + i;
	return days;
}

/* chs_history scores a customer as of each of some days, by one pass over the events: a row for each. */
PG_FUNCTION_INFO_V1(chs_history);
Datum
chs_history(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Customer	customer;
	Past	   *past;
	PastScore  *scores;
	PluginCalls *calls;
	int32	   *days;
	int			ndays;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	days = days_arguments(fcinfo, &ndays);
	chs_customer_find_as_caller(PG_GETARG_INT64(0), &customer);
	past = chs_past_begin(chs_live_at(GetActiveSnapshot()), PG_ARGISNULL(3) ? PAST_VERSION_OF_DAY : PG_GETARG_INT32(3),
						  NULL, days, ndays);
	calls = chs_plugin_begin(CurrentMemoryContext);
	scores = chs_past_score(past, &customer, chs_activity_view_of(chs_past_activity(past, &customer)), calls);
	chs_plugin_end(calls);
	for (int i = 0; i < ndays; i++)
	{
		const PastScore *s = &scores[i];
		Datum		values[1 + SCORE_COLUMNS + 2];
		bool		nulls[1 + SCORE_COLUMNS + 2] = {0};

		if (s->score == NULL)
			chs_past_check(past, s->version, &customer, Min(days[i], customer.last_day));
		values[0] = DateADTGetDatum(days[i]);
		chs_explain_score(s->scorecard, s->score, values + 1, nulls + 1);
		values[1 + SCORE_COLUMNS] = CStringGetTextDatum(s->scorecard->name);
		values[2 + SCORE_COLUMNS] = Int32GetDatum(s->version->version);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

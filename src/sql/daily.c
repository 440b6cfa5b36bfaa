/*
 * daily.c
 *	  The number of events of each type that a customer has per day.
 *
 * They are counted from the raw events as for a score, with a series for each event
 * type, so that events of all sources are included.
 */
#include "base/compat.h"

#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/snapmgr.h"

#include "activity/activity.h"
#include "score/scorecard.h"
#include "score/series.h"
#include "source/raw.h"
#include "sql/customer_score.h"
#include "store/customer.h"
#include "store/live.h"

/* Lists the series to count: the events of each type over the given number of days. */
static const Published *
count_types(const Live *live, int days)
{
	Published  *published = chs_scorecard_begin();

	for (int i = 0; i < live->nrules; i++)
		(void) chs_series_need(published, live->rules[i].event_type, SERIES_COUNT, NULL, NULL,
							   days);
	chs_series_identify(published, NULL);
	chs_series_group(published);
	return published;
}

static const char *
type_of_series(const Published *published, uint64 id)
{
	for (int i = 0; i < published->nseries; i++)
		if (published->series[i].id == id)
			return published->series[i].event_type;
	return NULL;
}

/*
 * chs_daily_activity returns the events of a customer that the caller may see: a
 * row for each of the last days, today included, and each event type that occurred.
 */
PG_FUNCTION_INFO_V1(chs_daily_activity);
Datum
chs_daily_activity(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			days = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT32(1);
	int32		today = chs_customer_today();
	Customer	customer;
	const Live *live;
	const Published *published;
	ActivityData *data;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		return (Datum) 0;
	if (days < 1 || days > 730)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" must be from 1 to 730: %d", "days", days)));
	chs_customer_find_as_caller(PG_GETARG_INT64(0), &customer);
	live = chs_live_at(GetActiveSnapshot());
	published = count_types(live, days);
	live = chs_live_variant(live, live->version, published);
	data = chs_raw_customer_activity(customer.customer_id, live, today, today);
	for (int i = 0; i < data->nseries; i++)
	{
		const Series *series = &data->series[i];
		const char *type = type_of_series(published, series->id);

		for (int j = 0; type != NULL && j < series->ncells; j++)
		{
			Datum		values[] = {
				DateADTGetDatum(series->cells[j].day), CStringGetTextDatum(type),
					Int64GetDatum(series->cells[j].n)
			};
			bool		nulls[] = {false, false, false};

			/* an activity may keep more than its windows need */
			if (series->cells[j].day > today - days)
				tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		}
	}
	return (Datum) 0;
}

/*
 * customer_change.c
 *	  Why the score of a customer moved, as users ask for it.
 *
 * Like the score itself, this is shown to whoever may see the customer.
 */
#include "base/compat.h"

#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "activity/activity.h"
#include "activity/activity_merge.h"
#include "activity/activity_read.h"
#include "engine/past.h"
#include "engine/plugin.h"
#include "score/change.h"
#include "score/count.h"
#include "score/filter.h"
#include "score/score.h"
#include "score/scorecard.h"
#include "score/values.h"
#include "sql/customer_score.h"
#include "store/customer.h"
#include "store/live.h"

#define CHANGE_COLUMNS 11

/* What is compared. */
typedef struct Comparison
{
	Customer	customer;
	int32		days[2];		/* as asked for */
	const Past *past;			/* of these days */
	const PastVersion *since;	/* the versions that they are scored by */
	const PastVersion *until;
	ActivityData *activity;		/* of all events up to the later day */
} Comparison;

/* A day as the customer is scored for it. */
static int32
scored_day(const Comparison *c, int i)
{
	return Min(c->days[i], c->customer.last_day);
}

/* Reads the events that both days need, by one pass. */
static void
read_past(Comparison *c)
{
	c->past = chs_past_begin(chs_live_at(GetActiveSnapshot()), PAST_VERSION_OF_DAY, NULL,
							 c->days, c->days[0] == c->days[1] ? 1 : 2);
	c->since = &c->past->versions[0];
	c->until = &c->past->versions[c->past->nversions - 1];
	chs_past_check(c->past, c->since, &c->customer, scored_day(c, 0));
	chs_past_check(c->past, c->since, &c->customer, scored_day(c, 1));
	chs_past_check(c->past, c->until, &c->customer, scored_day(c, 1));
	c->activity = chs_past_activity(c->past, &c->customer);
}

/* Scores the customer as of a day from an activity. */
static Score *
score_on(const Comparison *c, const PastVersion *version, const Scorecard *scorecard,
		 const ActivityData *activity, int32 as_of_day, bool with_plugins)
{
	ScoreInput *input = chs_score_prepare(version->published, chs_activity_view_of(activity));
	ScoreSubject subject = {
		.segment = c->customer.segment,.created_day = c->customer.created_day,.as_of_day = as_of_day
	};

	if (scorecard->has_functions && with_plugins)
	{
		PluginCalls *calls = chs_plugin_begin(CurrentMemoryContext);

		(void) chs_plugin_add_values(calls, input, scorecard, c->customer.customer_id, as_of_day,
									 PLUGIN_ONE_DAY);
		chs_plugin_end(calls);
	}
	return chs_score_of_day(input, scorecard, &subject);
}

/* Separates the causes under the version of the earlier day. */
static Change *
change_under_earlier(const Comparison *c)
{
	const Scorecard *scorecard = chs_scorecard_of_segment(c->since->published, c->customer.segment);
	int32		since = scored_day(c, 0);
	int32		until = scored_day(c, 1);
	ActivityData *earlier = chs_activity_until(c->activity, since);

	return chs_change_under(scorecard,
							score_on(c, c->since, scorecard, earlier, since, true),
							score_on(c, c->since, scorecard, earlier, until, false),
							score_on(c, c->since, scorecard, c->activity, until, true));
}

/* Moves on to the version of the later day. */
static void
change_version(const Comparison *c, Change *change)
{
	const Scorecard *scorecard = chs_scorecard_of_segment(c->until->published, c->customer.segment);

	if (c->until != c->since)
		chs_change_to(change, scorecard,
					  score_on(c, c->until, scorecard, c->activity, scored_day(c, 1), true));
}

static Datum
details(const Comparison *c)
{
	char	   *json = psprintf("{\"since\": \"%s\", \"until\": \"%s\","
								" \"version_since\": %d, \"version_until\": %d}",
								chs_value_day(c->days[0]), chs_value_day(c->days[1]),
								c->since->version, c->until->version);

	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json));
}

/* Fills the result set: a row per factor of either scorecard. */
static void
put_rows(FunctionCallInfo fcinfo, const Comparison *c, const Change *change)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		known = change->known_before && change->known_after;

	for (int i = 0; i < change->nfactors; i++)
	{
		const FactorChange *f = &change->factors[i];
		Datum		values[CHANGE_COLUMNS];
		bool		nulls[CHANGE_COLUMNS] = {0};

		values[0] = CStringGetTextDatum(f->factor);
		values[1] = Float8GetDatum(f->score_before);
		nulls[1] = !f->had_score;
		values[2] = Float8GetDatum(f->score_after);
		nulls[2] = !f->has_score;
		values[3] = Float8GetDatum(f->contribution_before);
		nulls[3] = !f->had_score || !change->known_before;
		values[4] = Float8GetDatum(f->contribution_after);
		nulls[4] = !f->has_score || !change->known_after;
		values[5] = Float8GetDatum(f->contribution_after - f->contribution_before);
		nulls[5] = !known;
		for (ChangeCause cause = 0; cause < CHANGE_CAUSES; cause++)
		{
			values[6 + cause] = Float8GetDatum(f->by[cause]);
			nulls[6 + cause] = !known;
		}
		values[10] = details(c);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

/* chs_explain_change explains why the score of a customer moved. */
PG_FUNCTION_INFO_V1(chs_explain_change);
Datum
chs_explain_change(PG_FUNCTION_ARGS)
{
	Comparison	c;
	Change	   *change;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		return (Datum) 0;
	c.days[0] = chs_count_day(PG_GETARG_TIMESTAMPTZ(1));
	c.days[1] = PG_ARGISNULL(2) ? chs_customer_today() : chs_count_day(PG_GETARG_TIMESTAMPTZ(2));
	if (c.days[0] > c.days[1])
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"since\" (%s) must not be after \"until\" (%s)",
						chs_value_day(c.days[0]), chs_value_day(c.days[1]))));
	chs_customer_find_as_caller(PG_GETARG_INT64(0), &c.customer);
	read_past(&c);
	change = change_under_earlier(&c);
	change_version(&c, change);
	chs_change_settle(change);
	put_rows(fcinfo, &c, change);
	return (Datum) 0;
}

/*
 * past.c
 *	  Scores of past days, from one pass over the raw events.
 *
 * Each day is scored by the version that was live when it ended, so the events are
 * counted by all of these versions at once: their series are in one activity, which is
 * never pruned (days.c says what that can take).  The result for a day is that of chs_score
 * for that day, bit by bit.
 */
#include "engine/past.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "activity/activity.h"
#include "engine/plugin.h"
#include "engine/retention.h"
#include "score/days.h"
#include "score/score.h"
#include "score/scorecard.h"
#include "source/raw.h"
#include "store/customer.h"
#include "store/live.h"

/* The number of the version that a day is scored by unless one is named. */
static int
version_of_day(const Past *past, int32 day)
{
	return day >= past->today ? past->live->version :
		chs_live_number_of_day(past->live, ((int64) day + 1) * USECS_PER_DAY);
}

/* {"next": document} */
static Jsonb *
as_next(Jsonb *document)
{
	JsonbParseState *state = NULL;
	JsonbValue	v = {.type = jbvString,.val.string = {.len = 4,.val = pstrdup("next")}};

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	pushJsonbValue(&state, WJB_KEY, &v);
	v = (JsonbValue) {
		.type = jbvBinary,
		.val.binary = {.len = VARSIZE_ANY_EXHDR(document),.data = &document->root}
	};
	pushJsonbValue(&state, WJB_VALUE, &v);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Sets what a version publishes, which lasts as long as the past, and returns its document. */
static Jsonb *
read_version(const Past *past, PastVersion *v)
{
	const Live *version;
	Jsonb	   *document;

	if (v->version == past->live->version)
	{
		v->published = past->live->published;
		return past->live->document;
	}
	version = chs_live_of_version(past->live, v->version);
	document = DatumGetJsonbPCopy(JsonbPGetDatum(version->document));
	v->published = chs_scorecard_compile(document);
	return document;
}

/* Groups the days by version, and makes what counts for all of them. */
static void
read_versions(Past *past, int named)
{
	Jsonb	  **documents = palloc(Max(past->ndays, 1) * sizeof(Jsonb *));

	past->versions = palloc(Max(past->ndays, 1) * sizeof(PastVersion));
	for (int i = 0; i < past->ndays; i++)
	{
		int			version = named != PAST_VERSION_OF_DAY ? named :
			version_of_day(past, past->days[i]);
		PastVersion *v = &past->versions[past->nversions - 1];

		if (past->nversions == 0 || v->version != version)
		{
			v = &past->versions[past->nversions];
			*v = (PastVersion) {.version = version,.first = i};
			documents[past->nversions++] = read_version(past, v);
		}
		v->n++;
	}
	if (past->nversions == 0)
		return;
	past->document = documents[past->nversions - 1];
	for (int i = past->nversions - 2; i >= 0; i--)
	{
		Datum		next = JsonbPGetDatum(as_next(past->document));

		past->document = DatumGetJsonbP(DirectFunctionCall2(jsonb_concat,
															JsonbPGetDatum(documents[i]), next));
	}
	if (past->document == past->live->document)
		past->counting = past->live;
	else
		past->counting = chs_live_variant(past->live, past->versions[0].version,
										  past->nversions == 1 ? past->versions[0].published :
										  chs_scorecard_compile(past->document));
}

/* Has a document score every day. */
static void
set_document(Past *past, Jsonb *document)
{
	past->nversions = 1;
	past->versions = palloc(sizeof(PastVersion));
	past->versions[0] = (PastVersion) {
		.version = UNPUBLISHED,.published = chs_scorecard_compile(document),.n = past->ndays
	};
	past->document = document;
	past->counting = chs_live_variant(past->live, UNPUBLISHED, past->versions[0].published);
}

/*
 * chs_past_begin prepares for scoring the days, which must ascend, by a published
 * version, by a document (not NULL), or each by the version that was live when it ended
 * (PAST_VERSION_OF_DAY).  Allocates in the current memory context.  Raises an error if
 * there is no such version.
 */
Past *
chs_past_begin(const Live *live, int version, Jsonb *document, const int32 *days, int ndays)
{
	Past	   *past = palloc0(sizeof(Past));

	past->live = live;
	past->today = chs_customer_today();
	past->days = days;
	past->ndays = ndays;
	past->trends = true;
	past->kept_from = chs_retention_kept_from(GetActiveSnapshot());
	if (document != NULL)
		set_document(past, document);
	else
		read_versions(past, version);
	return past;
}

/*
 * chs_past_first_event returns the first day whose events are needed to score customers
 * of whom last_day is the last one that is scored, or a later one.
 */
int32
chs_past_first_event(const Past *past, int32 last_day)
{
	int32		first = PG_INT32_MAX;

	for (int i = 0; i < past->nversions; i++)
	{
		const PastVersion *v = &past->versions[i];

		first = Min(first, Min(past->days[v->first], last_day) - v->published->max_keep + 1);
	}
	return first;
}

/*
 * chs_past_activity reads the events of a customer, as the active snapshot sees them, by
 * one pass.
 */
ActivityData *
chs_past_activity(const Past *past, const Customer *customer)
{
	RawRequest	request = {
		.live = past->counting,.n = 1,.customer_ids = &customer->customer_id,
		.first_day = chs_past_first_event(past, customer->last_day),
		.last_day = Min(past->days[past->ndays - 1], customer->last_day)
	};

	return chs_raw_activity(chs_raw_read(&request), customer->customer_id);
}

/*
 * Whether the events that a score needs still exist.  Those of the current score are
 * always kept, as far as the live version counts them; a document that was never
 * published counts what there is.
 */
static bool
has_events(const Past *past, const PastVersion *v, const Scorecard *scorecard,
		   const Customer *customer, int32 day)
{
	return day - chs_scorecard_reach(scorecard) + 1 >= past->kept_from ||
		(day == Min(past->today, customer->last_day) &&
		 (v->version == UNPUBLISHED || chs_scorecard_serves(past->live->published, v->published)));
}

/*
 * chs_past_check raises an error if the score of a day by a version would need events
 * that have been deleted.
 */
void
chs_past_check(const Past *past, const PastVersion *v, const Customer *customer, int32 day)
{
	const Scorecard *scorecard = chs_scorecard_of_segment(v->published, customer->segment);

	if (!has_events(past, v, scorecard, customer, day))
		chs_retention_check_past(v->version, scorecard, day);
}

/*
 * Scores the days of a version; none is scored past the last day of the customer, who
 * keeps that one's score.
 */
static void
score_by(const Past *past, const PastVersion *v, const Customer *customer,
		 const ActivityView *activity, int32 first_day, PluginCalls *calls, PastScore *results)
{
	const Scorecard *scorecard = chs_scorecard_of_segment(v->published, customer->segment);
	ScoreSubject subject = {.segment = customer->segment,.created_day = customer->created_day};
	ScoreInput *input = chs_score_prepare(v->published, activity);
	int32	   *days = palloc(v->n * sizeof(int32));
	int			ndays = 0;
	Score	  **scores;

	for (int i = 0; i < v->n; i++)
	{
		int32		day = Min(past->days[v->first + i], customer->last_day);

		if (past->days[v->first + i] >= first_day && (ndays == 0 || days[ndays - 1] != day) &&
			has_events(past, v, scorecard, customer, day))
			days[ndays++] = day;
	}
	if (scorecard->has_functions)
	{
		int			nneeded;
		int32	   *needed = chs_days_needed(scorecard, days, ndays, past->trends, &nneeded);

		(void) chs_plugin_add_days(calls, input, scorecard, customer->customer_id, needed,
								   nneeded);
	}
	scores = chs_days_score(input, scorecard, &subject, days, ndays, past->trends);
	for (int i = 0, j = 0; i < v->n; i++)
	{
		int32		day = Min(past->days[v->first + i], customer->last_day);

		while (j < ndays && days[j] < day)
			j++;
		results[v->first + i] = (PastScore) {
			.version = v,.scorecard = scorecard,
			.score = j < ndays && days[j] == day ? scores[j] : NULL
		};
	}
}

/*
 * chs_past_score scores a customer as of each of the days from first_day on: the result
 * has an element for each of all days.  The activity must count what past->counting
 * does, from chs_past_first_event on, and must never have been pruned.
 */
PastScore *
chs_past_score(const Past *past, const Customer *customer, const ActivityView *activity,
			   int32 first_day, PluginCalls *calls)
{
	PastScore  *results = palloc(Max(past->ndays, 1) * sizeof(PastScore));

	for (int i = 0; i < past->nversions; i++)
		score_by(past, &past->versions[i], customer, activity, first_day, calls, results);
	return results;
}

/*
 * explain.c
 *	  The explanation of a score, and the pure functions over an activity.
 */
#include "score/explain.h"

#include <math.h>

#include "access/htup_details.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "activity/activity.h"
#include "activity/activity_merge.h"
#include "activity/activity_read.h"
#include "score/count.h"
#include "score/function_value.h"
#include "score/score.h"
#include "score/scorecard.h"
#include "score/values.h"

/* The maximum number of days that a metric's sparkline shows. */
#define SPARKLINE_DAYS 30

/* ------------------------------------------------------------- sparklines */

/*
 * Draws values as one character each, from low to high; days without data are
 * blank.  Digits are used in databases whose encoding lacks the block characters.
 */
static Datum
draw_sparkline(const double *values, const bool *known, int n, double low, double high)
{
	bool		utf8 = GetDatabaseEncoding() == PG_UTF8;
	char	   *text = palloc(n * 3 + 1);
	char	   *c = text;

	for (int i = 0; i < n; i++)
	{
		int			level = 0;

		if (high > low)
			level = (int) Min(Max((values[i] - low) / (high - low) * 8, 0), 7);
		if (!known[i])
			*c++ = ' ';
		else if (!utf8)
			*c++ = '1' + level;
		else
		{
			/* U+2581 to U+2588, lower one eighth block to full block */
			*c++ = '\xe2';
			*c++ = '\x96';
			*c++ = (char) (0x81 + level);
		}
	}
	*c = '\0';
	return CStringGetTextDatum(text);
}

static Datum
metric_sparkline(const ScoreInput *input, const Scorecard *scorecard, const Metric *m,
				 int32 as_of_day)
{
	/* functions are called for the days of the factor's sparkline */
	int			n = m->function >= 0 ? scorecard->trend_days + 1 : Min(m->window, SPARKLINE_DAYS);
	double	   *values = palloc(n * sizeof(double));
	bool	   *known = palloc(n * sizeof(bool));
	double		low = 0;
	double		high = 0;

	for (int i = 0; i < n; i++)
	{
		known[i] = chs_score_metric_on_day(input, m, as_of_day - n + 1 + i, &values[i]);
		if (known[i])
		{
			low = Min(low, values[i]);
			high = Max(high, values[i]);
		}
	}
	return draw_sparkline(values, known, n, low, high);
}

/*
 * The scores of the day that is explained and of the days up to where the trend looks
 * back, which comes first: trend_days + 2.
 */
static Score **
scores_of_trend(const ScoreInput *input, const Scorecard *scorecard, const ScoreSubject *subject)
{
	int			n = scorecard->trend_days + 2;
	Score	  **scores = palloc(n * sizeof(Score *));
	ScoreSubject on_day = *subject;

	for (int i = 0; i < n; i++)
	{
		on_day.as_of_day = subject->as_of_day - n + 1 + i;
		scores[i] = chs_score_of_day(input, scorecard, &on_day);
	}
	chs_score_set_trends(scorecard, scores[n - 1], scores[n - 2], scores[0]);
	return scores;
}

static Datum
factor_sparkline(Score *const *scores, int n, int factor)
{
	double	   *values = palloc(n * sizeof(double));
	bool	   *known = palloc(n * sizeof(bool));

	for (int i = 0; i < n; i++)
	{
		known[i] = scores[i]->factors[factor].has_score;
		values[i] = scores[i]->factors[factor].score;
	}
	return draw_sparkline(values, known, n, 0, 100);
}

/* ---------------------------------------------------------------- details */

static void
push_key(JsonbParseState **state, const char *key)
{
	JsonbValue	v = {.type = jbvString};

	v.val.string.val = unconstify(char *, key);
	v.val.string.len = strlen(key);
	pushJsonbValue(state, WJB_KEY, &v);
}

static void
push_string(JsonbParseState **state, const char *key, const char *value)
{
	JsonbValue	v = {.type = jbvString};

	push_key(state, key);
	v.val.string.val = unconstify(char *, value);
	v.val.string.len = strlen(value);
	pushJsonbValue(state, WJB_VALUE, &v);
}

static void
push_number(JsonbParseState **state, const char *key, double value)
{
	JsonbValue	v = {.type = jbvNumeric};

	push_key(state, key);
	v.val.numeric = DatumGetNumeric(DirectFunctionCall1(float8_numeric, Float8GetDatum(value)));
	pushJsonbValue(state, WJB_VALUE, &v);
}

static void
push_bool(JsonbParseState **state, const char *key, bool value)
{
	JsonbValue	v = {.type = jbvBool};

	push_key(state, key);
	v.val.boolean = value;
	pushJsonbValue(state, WJB_VALUE, &v);
}

/* Describes the events that a metric rests on. */
static void
push_events(JsonbParseState **state, const Published *published, const Metric *m,
			const MetricScore *result, const ScoreSubject *subject)
{
	const SeriesDefinition *s = &published->series[m->series];

	push_string(state, "event_type", m->event_type);
	push_number(state, "window_days", m->window);
	push_string(state, "from", chs_value_day(subject->as_of_day - m->window + 1));
	push_string(state, "to", chs_value_day(subject->as_of_day));
	push_number(state, "events", result->events);
	if (s->field != NULL)
		push_string(state, "field", s->field);
	if (s->filter != NULL)
		push_string(state, "filter", s->filter);
}

/* Why a metric has no score. */
static const char *
why_missing(const Metric *m, const MetricScore *result)
{
	if (m->has_targets && isnan(result->target))
		return "no target for the segment";
	if (m->missing == MISSING_IS_ZERO && !result->has_value)
		return "no data, and the customer is too new to expect any";
	return "no data";
}

static Datum
metric_details(const Published *published, const Metric *m, const MetricScore *result,
			   const ScoreSubject *subject)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (m->function >= 0)
	{
		push_string(&state, "function", published->functions[m->function]);
		push_string(&state, "to", chs_value_day(subject->as_of_day));
	}
	else
		push_events(&state, published, m, result, subject);
	if (m->penalty > 0)
	{
		push_number(&state, "penalty_each", m->penalty);
		push_number(&state, "penalty", result->penalty);
	}
	else if (!result->has_score)
		push_string(&state, "missing", why_missing(m, result));
	else if (m->function >= 0 ? !result->has_value : result->events == 0)
	{
		if (m->missing == MISSING_HAS_SCORE)
			push_string(&state, "no_data", "fixed score");
		else if (m->missing == MISSING_IS_ZERO)
			push_string(&state, "no_data", "zero");
	}
	if (result->estimated)
		push_bool(&state, "estimated", true);
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

static Datum
factor_details(const Scorecard *scorecard, const Factor *f, const FactorScore *result)
{
	JsonbParseState *state = NULL;
	double		penalty = 0;
	int			scored = 0;
	int			metrics = 0;

	for (int i = 0; i < f->nmetrics; i++)
	{
		penalty += result->metrics[i].penalty;
		metrics += f->metrics[i].penalty == 0;
		scored += result->metrics[i].has_score;
	}
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_string(&state, "scorecard", scorecard->name);
	push_number(&state, "metrics", metrics);
	push_number(&state, "metrics_with_data", scored);
	push_number(&state, "penalty", penalty);
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

/* ------------------------------------------------------------------- rows */

#define EXPLAIN_COLUMNS 11

static inline void
set_double(Datum *values, bool *nulls, int column, bool known, double value)
{
	nulls[column] = !known || isnan(value);
	values[column] = Float8GetDatum(value);
}

/*
 * chs_explain_rows fills the result set of a function that returns the columns
 * of chs_explain: for each factor a row of its own, then its metrics.
 */
void
chs_explain_rows(FunctionCallInfo fcinfo, const ScoreInput *input,
				 const Scorecard *scorecard, const ScoreSubject *subject)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Score	  **scores = scores_of_trend(input, scorecard, subject);
	Score	   *score = scores[scorecard->trend_days + 1];
	bool		known = score->status != STATUS_UNKNOWN;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < scorecard->nfactors; i++)
	{
		const Factor *f = &scorecard->factors[i];
		FactorScore *fs = &score->factors[i];
		Datum		values[EXPLAIN_COLUMNS] = {0};
		bool		nulls[EXPLAIN_COLUMNS] = {0};

		values[0] = CStringGetTextDatum(f->name);
		nulls[1] = nulls[2] = nulls[3] = true;
		set_double(values, nulls, 4, fs->has_score, fs->score);
		set_double(values, nulls, 5, true, f->weight);
		set_double(values, nulls, 6, score->weighted && fs->has_score, fs->effective_weight);
		set_double(values, nulls, 7, fs->has_score && known, fs->contribution);
		values[8] = chs_value_trend(fs->trend, &nulls[8]);
		values[9] = factor_sparkline(scores + 1, scorecard->trend_days + 1, i);
		values[10] = factor_details(scorecard, f, fs);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);

		for (int j = 0; j < f->nmetrics; j++)
		{
			const Metric *m = &f->metrics[j];
			MetricScore *ms = &fs->metrics[j];

			values[1] = CStringGetTextDatum(m->name);
			nulls[1] = false;
			set_double(values, nulls, 2, ms->has_value, ms->value);
			set_double(values, nulls, 3, true, ms->target);
			set_double(values, nulls, 4, ms->has_score, ms->score);
			set_double(values, nulls, 5, m->penalty == 0, m->weight);
			set_double(values, nulls, 6, score->weighted && ms->has_score, ms->effective_weight);
			set_double(values, nulls, 7,
					   known && (m->penalty > 0 ? fs->has_score : ms->has_score), ms->contribution);
			values[8] = chs_value_trend(ms->trend, &nulls[8]);
			values[9] = metric_sparkline(input, scorecard, m, subject->as_of_day);
			values[10] = metric_details(input->published, m, ms, subject);
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		}
	}
}

/* -------------------------------------------------------- the pure functions */

/*
 * chs_explain_arguments reads the arguments (activity, scorecard, segment, created_at,
 * when and, perhaps, plugin_values) that the pure functions share; NULL if a required
 * one is NULL. A NULL activity means no events.  as_of_day is the first day to be
 * scored.  Raises an error if the activity was pruned as of a later one.
 */
const ScoreInput *
chs_explain_arguments(FunctionCallInfo fcinfo, ScoreSubject *subject, int32 as_of_day)
{
	const Published *published;
	const ActivityView *activity;
	ScoreInput *input;

	if (PG_ARGISNULL(1) || PG_ARGISNULL(3))
		return NULL;
	published = chs_scorecard_compiled(PG_GETARG_DATUM(1));
	activity = PG_ARGISNULL(0) ? chs_activity_view_of(chs_activity_empty(DAY_NEVER)) :
		chs_activity_view(PG_GETARG_ACTIVITY(0));
	subject->segment = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2));
	subject->created_day = chs_count_day(PG_GETARG_TIMESTAMPTZ(3));
	subject->as_of_day = as_of_day;
	if (subject->as_of_day < activity->day)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("activity cannot be scored as of %s", chs_value_day(subject->as_of_day)),
				 errdetail("It was pruned as of %s.", chs_value_day(activity->day)),
				 errhint("Make an activity from the raw events with chs_activity_agg().")));
	input = chs_score_prepare(published, activity);
	if (PG_NARGS() > 5 && !PG_ARGISNULL(5))
		chs_function_values_read(PG_GETARG_JSONB_P(5), input);
	return input;
}

/* Reads these arguments of a function of one day. */
static const ScoreInput *
pure_arguments(FunctionCallInfo fcinfo, ScoreSubject *subject)
{
	if (PG_ARGISNULL(4))
		return NULL;
	return chs_explain_arguments(fcinfo, subject, chs_count_day(PG_GETARG_TIMESTAMPTZ(4)));
}

/* chs_activity_score scores an activity. */
PG_FUNCTION_INFO_V1(chs_activity_score);
Datum
chs_activity_score(PG_FUNCTION_ARGS)
{
	ScoreSubject subject;
	const ScoreInput *input = pure_arguments(fcinfo, &subject);
	const Scorecard *scorecard;
	TupleDesc	tupdesc;
	Datum		values[SCORE_COLUMNS];
	bool		nulls[SCORE_COLUMNS];

	if (input == NULL)
		PG_RETURN_NULL();
	tupdesc = chs_value_result_type(fcinfo);
	scorecard = chs_scorecard_of_segment(input->published, subject.segment);
	chs_value_score(scorecard, chs_score_calculate(input, scorecard, &subject), values, nulls);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(tupdesc, values, nulls)));
}

/* chs_activity_explain explains the score of an activity. */
PG_FUNCTION_INFO_V1(chs_activity_explain);
Datum
chs_activity_explain(PG_FUNCTION_ARGS)
{
	ScoreSubject subject;
	const ScoreInput *input = pure_arguments(fcinfo, &subject);

	if (input == NULL)
		InitMaterializedSRF(fcinfo, 0);
	else
		chs_explain_rows(fcinfo, input,
						 chs_scorecard_of_segment(input->published, subject.segment), &subject);
	return (Datum) 0;
}

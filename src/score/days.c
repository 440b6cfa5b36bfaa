/*
 * days.c
 *	  Scores of many days from one activity.
 *
 * An activity that was never pruned holds what every day needs, and a window takes
 * only what lies in it, so the score of each day has the same bits as one from an
 * activity that was made for that day alone.  A trend compares two other days,
 * which are often both among those asked for: each day is scored once.
 *
 * The price of not pruning: a count or a sum keeps a cell for each day with events,
 * and distinct values up to 257 a day (MAX_DISTINCT_PER_DAY), of some ten bytes each.
 * Who makes such an activity reads only the days that the scores need, so the worst
 * that a year can take is about a megabyte for each series of distinct values.
 */
#include "score/days.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/timestamp.h"

#include "score/explain.h"
#include "score/score.h"
#include "score/scorecard.h"
#include "score/values.h"

static int
compare_days(const void *a, const void *b)
{
	int32		x = *(const int32 *) a;
	int32		y = *(const int32 *) b;

	return (x > y) - (x < y);
}

/* Drops repeated days of a sorted list, and returns how many remain. */
static int
drop_repeated(int32 *days, int n)
{
	int			kept = 0;

	for (int i = 0; i < n; i++)
		if (kept == 0 || days[i] != days[kept - 1])
			days[kept++] = days[i];
	return kept;
}

/*
 * chs_days_needed returns the days that must be scored for the scores of the given
 * days: those, and with trends the ones that these compare with.  All ascend, without
 * repetitions.
 */
int32 *
chs_days_needed(const Scorecard *scorecard, const int32 *days, int ndays, bool trends,
				int *nneeded)
{
	int			n = trends ? 3 * ndays : ndays;
	int32	   *needed = palloc(Max(n, 1) * sizeof(int32));

	memcpy(needed, days, ndays * sizeof(int32));
	for (int i = 0; trends && i < ndays; i++)
	{
		needed[ndays + i] = days[i] - 1;
		needed[2 * ndays + i] = days[i] - 1 - scorecard->trend_days;
	}
	qsort(needed, n, sizeof(int32), compare_days);
	*nneeded = drop_repeated(needed, n);
	return needed;
}

/*
 * chs_days_score scores an activity as of each of the days, which ascend: the same as
 * chs_score_calculate for each, or as chs_score_of_day without the trends, which would
 * cost twice as much again.  The day of the subject does not matter.
 */
Score **
chs_days_score(const ScoreInput *input, const Scorecard *scorecard, const ScoreSubject *subject,
			   const int32 *days, int ndays, bool trends)
{
	int			nneeded;
	int32	   *needed = chs_days_needed(scorecard, days, ndays, trends, &nneeded);
	Score	  **all = palloc(Max(nneeded, 1) * sizeof(Score *));
	Score	  **scores = palloc(Max(ndays, 1) * sizeof(Score *));
	ScoreSubject on_day = *subject;
	int			now = 0;
	int			yesterday = 0;
	int			before = 0;

	for (int i = 0; i < nneeded; i++)
	{
		CHECK_FOR_INTERRUPTS();
		on_day.as_of_day = needed[i];
		all[i] = chs_score_of_day(input, scorecard, &on_day);
	}
	if (!trends)
		return all;
	for (int i = 0; i < ndays; i++)
	{
		while (needed[now] < days[i])
			now++;
		while (needed[yesterday] < days[i] - 1)
			yesterday++;
		while (needed[before] < days[i] - 1 - scorecard->trend_days)
			before++;
		chs_score_set_trends(scorecard, all[now], all[yesterday], all[before]);
		scores[i] = all[now];
	}
	return scores;
}

/* chs_days_check raises an error for a date that is not the day of any time. */
void
chs_days_check(int32 day)
{
	if (DATE_NOT_FINITE(day) || day < DATETIME_MIN_JULIAN - POSTGRES_EPOCH_JDATE ||
		day >= TIMESTAMP_END_JULIAN - POSTGRES_EPOCH_JDATE)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("day is out of range: %s",
						DatumGetCString(DirectFunctionCall1(date_out, DateADTGetDatum(day))))));
}

/*
 * chs_days_of_array returns the days of an array of dates, ascending and without
 * repetitions.  Raises an error for NULL or one that is out of range.
 */
int32 *
chs_days_of_array(ArrayType *array, int *ndays)
{
	Datum	   *elements;
	bool	   *nulls;
	int32	   *days;
	int			n;

	deconstruct_array(array, DATEOID, sizeof(DateADT), true, TYPALIGN_INT, &elements, &nulls, &n);
	days = palloc(Max(n, 1) * sizeof(int32));
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("\"%s\" must not contain NULL", "days")));
		days[i] = DatumGetDateADT(elements[i]);
		chs_days_check(days[i]);
	}
	qsort(days, n, sizeof(int32), compare_days);
	*ndays = drop_repeated(days, n);
	return days;
}

/*
 * chs_activity_history scores an activity as of each of the days: a row for each, ascending.
 */
PG_FUNCTION_INFO_V1(chs_activity_history);
Datum
chs_activity_history(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ScoreSubject subject;
	const ScoreInput *input;
	const Scorecard *scorecard;
	Score	  **scores;
	int32	   *days;
	int			ndays;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(4))
		return (Datum) 0;
	days = chs_days_of_array(PG_GETARG_ARRAYTYPE_P(4), &ndays);
	input = ndays == 0 ? NULL : chs_explain_arguments(fcinfo, &subject, days[0]);
	if (input == NULL)
		return (Datum) 0;
	scorecard = chs_scorecard_of_segment(input->published, subject.segment);
	scores = chs_days_score(input, scorecard, &subject, days, ndays, true);
	for (int i = 0; i < ndays; i++)
	{
		Datum		values[1 + SCORE_COLUMNS];
		bool		nulls[1 + SCORE_COLUMNS] = {0};

		values[0] = DateADTGetDatum(days[i]);
		chs_value_score(scorecard, scores[i], values + 1, nulls + 1);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

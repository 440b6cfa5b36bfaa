/*
 * values.c
 *	  The parts of a score as values of SQL.
 */
#include "score/values.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"

#include "score/score.h"
#include "score/scorecard.h"

/* chs_value_day returns a UTC day as YYYY-MM-DD. */
char *
chs_value_day(int32 day)
{
	struct pg_tm tm;
	char	   *text = palloc(MAXDATELEN + 1);

	j2date(day + POSTGRES_EPOCH_JDATE, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
	EncodeDateOnly(&tm, USE_ISO_DATES, text);
	return text;
}

/* chs_value_trend returns the trend as a text datum. */
Datum
chs_value_trend(Trend trend, bool *isnull)
{
	const char *name = chs_score_trend_name(trend);

	*isnull = name == NULL;
	return name == NULL ? (Datum) 0 : CStringGetTextDatum(name);
}

/* An array of numbers, some of them NULL. */
static Datum
array_of(Datum *values, bool *nulls, int n)
{
	int			lower = 1;

	return PointerGetDatum(construct_md_array(values, nulls, 1, &n, &lower, FLOAT8OID,
											  sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* chs_value_factor_scores returns the scores of the factors as an array. */
Datum
chs_value_factor_scores(const Scorecard *scorecard, const Score *score)
{
	int			n = scorecard->nfactors;
	Datum	   *scores = palloc(Max(n, 1) * sizeof(Datum));
	bool	   *nulls = palloc(Max(n, 1) * sizeof(bool));

	for (int i = 0; i < n; i++)
	{
		scores[i] = Float8GetDatum(score->factors[i].score);
		nulls[i] = !score->factors[i].has_score;
	}
	return array_of(scores, nulls, n);
}

/*
 * chs_value_metrics fills two columns with arrays: the values of all metrics, in the
 * order of the scorecard, NULL where there is none, and likewise their scores.
 */
void
chs_value_metrics(const Scorecard *scorecard, const Score *score, Datum *values, bool *nulls)
{
	Datum	   *numbers[2];
	bool	   *missing[2];
	int			n = 0;

	for (int i = 0; i < scorecard->nfactors; i++)
		n += scorecard->factors[i].nmetrics;
	for (int k = 0; k < 2; k++)
	{
		numbers[k] = palloc(Max(n, 1) * sizeof(Datum));
		missing[k] = palloc(Max(n, 1) * sizeof(bool));
	}
	n = 0;
	for (int i = 0; i < scorecard->nfactors; i++)
		for (int j = 0; j < scorecard->factors[i].nmetrics; j++, n++)
		{
			const MetricScore *m = &score->factors[i].metrics[j];

			numbers[0][n] = Float8GetDatum(m->value);
			missing[0][n] = !m->has_value;
			numbers[1][n] = Float8GetDatum(m->score);
			missing[1][n] = !m->has_score;
		}
	for (int k = 0; k < 2; k++)
	{
		values[k] = array_of(numbers[k], missing[k], n);
		nulls[k] = false;
	}
}

/*
 * chs_value_score fills the columns score, status, coverage, trend and factor_scores,
 * of which there are SCORE_COLUMNS.
 */
void
chs_value_score(const Scorecard *scorecard, const Score *score, Datum *values, bool *nulls)
{
	values[0] = Float8GetDatum(score->score);
	nulls[0] = score->status == STATUS_UNKNOWN;
	values[1] = CStringGetTextDatum(chs_score_status_name(score->status));
	nulls[1] = false;
	values[2] = Float8GetDatum(score->coverage);
	nulls[2] = false;
	values[3] = chs_value_trend(score->trend, &nulls[3]);
	values[4] = chs_value_factor_scores(scorecard, score);
	nulls[4] = false;
}

/*
 * chs_value_result_type returns the row type of the calling function's result,
 * looked up once per query.
 */
TupleDesc
chs_value_result_type(FunctionCallInfo fcinfo)
{
	if (fcinfo->flinfo->fn_extra == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
		TupleDesc	tupdesc;

		if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		fcinfo->flinfo->fn_extra = BlessTupleDesc(tupdesc);
		MemoryContextSwitchTo(caller);
	}
	return fcinfo->flinfo->fn_extra;
}

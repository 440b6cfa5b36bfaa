/*
 * score.c
 *	  Scoring: arithmetic on an activity, a scorecard and a day.
 *
 * Nothing here knows a table, a setting or a clock, so the same arguments give
 * the same bits everywhere.  Windows are whole UTC days that end with the day
 * scored.  Results are allocated in the current memory context.
 */
#include "score/score.h"

#include <math.h>

#include "utils/float.h"

#include "activity/activity.h"
#include "activity/activity_window.h"
#include "score/curve.h"
#include "score/document.h"
#include "score/scorecard.h"

/*
 * chs_score_prepare returns an activity ready to be scored, without values of
 * plug-ins, which the caller may add.  Refers to both arguments.
 */
ScoreInput *
chs_score_prepare(const Published *published, const ActivityView *activity)
{
	ScoreInput *input = palloc0(sizeof(ScoreInput));
	int			j = 0;

	input->published = published;
	input->pruned_as_of = activity->day;
	input->series = palloc0(Max(published->nseries, 1) * sizeof(SeriesView *));
	/* both ascend by identifier */
	for (int i = 0; i < published->nseries; i++)
	{
		while (j < activity->nseries && activity->series[j].id < published->series[i].id)
			j++;
		if (j < activity->nseries && activity->series[j].id == published->series[i].id)
			input->series[i] = &activity->series[j];
	}
	return input;
}

static WindowTotal
window_total(const SeriesView *series, int32 from, int32 to)
{
	if (series == NULL)
		return (WindowTotal) {.last = DAY_NEVER};
	return chs_activity_window(series, from, to);
}

/* The quantity that ratio, growth and of_usual compare. */
static double
measured(const WindowTotal *w, SeriesKind measure)
{
	switch (measure)
	{
		case SERIES_SUM:
			return (double) w->total;
		case SERIES_DISTINCT:
			return w->distinct;
		default:
			return (double) w->n;
	}
}

static int
compare_doubles(const void *a, const void *b)
{
	double		left = *(const double *) a;
	double		right = *(const double *) b;

	return left < right ? -1 : left > right;
}

/* Windows of a customer before, at least, that tell what is usual. */
#define LEAST_USUAL 3

/*
 * What is usual before a day: the median over the windows that end the day before, from
 * the first one with any data on.  0 if these are too few.
 */
static double
usual(const SeriesView *series, SeriesKind measure, int32 day, int window, bool *estimated)
{
	double		quantities[USUAL_WINDOWS];
	int			known = 0;

	for (int ago = 1; ago <= USUAL_WINDOWS; ago++)
	{
		WindowTotal w = window_total(series, day - ago * window, day - (ago - 1) * window - 1);

		quantities[ago - 1] = measured(&w, measure);
		*estimated |= w.estimated;
		if (w.n > 0)
			known = ago;
	}
	if (known < LEAST_USUAL)
		return 0;
	qsort(quantities, known, sizeof(double), compare_doubles);
	return (quantities[(known - 1) / 2] + quantities[known / 2]) / 2;
}

/*
 * Calculates the value of a metric in the window that ends with a day.  Without
 * data has_value stays false.
 */
static void
metric_value(const ScoreInput *input,
			 const Metric *m, int32 day, int window, MetricScore *result)
{
	int32		from = day - window + 1;
	const SeriesView *s = input->series[m->series];
	WindowTotal w = window_total(s, from, day);
	WindowTotal base;
	double		divisor;

	Assert(window >= 1);
	result->events = w.n;
	result->estimated = w.estimated;
	result->has_value = w.n > 0;
	switch (m->aggregate)
	{
		case METRIC_COUNT:
			result->value = (double) w.n;
			break;
		case METRIC_SUM:
			result->value = (double) w.total / 1e6;
			break;
		case METRIC_AVG:
			result->value = (double) w.total / 1e6 / (double) w.n;
			break;
		case METRIC_DISTINCT:
			result->value = w.distinct;
			break;
		case METRIC_ACTIVE_DAYS:
			result->value = w.days;
			break;
		case METRIC_DAYS_SINCE_LAST:
			result->value = day - w.last;
			break;
		case METRIC_RATIO:
			base = window_total(input->series[m->base], from, day);
			divisor = measured(&base, m->measure);
			result->events = base.n;
			result->estimated |= base.estimated;
			result->has_value = divisor != 0;
			result->value = measured(&w, m->measure) / divisor;
			break;
		case METRIC_GROWTH:
			base = window_total(s, from - window, from - 1);
			divisor = measured(&base, m->measure);
			result->estimated |= base.estimated;
			result->has_value = divisor != 0;
			result->value = measured(&w, m->measure) / divisor - 1;
			break;
		case METRIC_OF_USUAL:
			divisor = usual(s, m->measure, from, window, &result->estimated);
			result->has_value = divisor != 0;
			result->value = measured(&w, m->measure) / divisor;
			break;
		case METRIC_FUNCTION:
			break;				/* of no events */
	}
	if (!result->has_value)
		result->value = 0;
}

/* Finds what a plug-in returned as of a day. */
static void
function_value(const ScoreInput *input, const Metric *m, int32 day, MetricScore *result)
{
	for (int i = 0; i < input->nvalues; i++)
	{
		const FunctionValue *v = &input->values[i];

		if (v->function == m->function && v->day == day && v->known)
		{
			result->has_value = true;
			result->value = v->value;
		}
	}
}

/* Whether "none" is an ordinary value of the metric. */
static bool
none_is_zero(const Metric *m)
{
	return m->aggregate == METRIC_COUNT || m->aggregate == METRIC_SUM ||
		m->aggregate == METRIC_DISTINCT || m->aggregate == METRIC_ACTIVE_DAYS;
}

static void
score_metric(const ScoreInput *input, const Scorecard *scorecard,
			 const ScoreSubject *subject, const Metric *m, MetricScore *result)
{
	int32		first_day = subject->as_of_day - m->window + 1;
	bool		has_curve;

	if (m->function >= 0)
		function_value(input, m, subject->as_of_day, result);
	else
		metric_value(input, m, subject->as_of_day, m->window, result);
	if (m->penalty > 0)
	{
		result->has_value = true;
		result->target = get_float8_nan();
		result->penalty = m->penalty * result->value;
		return;
	}
	result->target = chs_document_number(&m->targets, subject->segment, m->target);
	/* a curve over value/target cannot be used without a target */
	has_curve = !m->has_targets || !isnan(result->target);
	if (!result->has_value)
	{
		switch (m->missing)
		{
			case MISSING_MOVES:
				return;
			case MISSING_HAS_SCORE:
				result->has_value = none_is_zero(m);
				result->has_score = has_curve;
				result->score = m->missing_score;
				return;
			case MISSING_IS_ZERO:
				/* too new to have filled the window */
				if (scorecard->grace && subject->created_day > first_day)
					return;
				result->has_value = true;
				break;
		}
	}
	if (!has_curve)
		return;
	result->has_score = true;
	result->score = chs_curve_score(&m->curve, isnan(result->target) ? result->value :
									result->value / result->target);
}

/*
 * Makes the score of a factor from those of its metrics:
 * the weighted mean of the metrics that have a score, less penalties, limited to
 * 0..100.  Until the weight of the factor is known the effective weights and
 * contributions are those within it.
 */
static void
combine_factor(const Factor *f, FactorScore *result)
{
	double		weight = 0;
	double		points = 0;
	double		mean;
	double		penalty = 0;
	double		applied;

	for (int i = 0; i < f->nmetrics; i++)
	{
		MetricScore *m = &result->metrics[i];

		penalty += m->penalty;
		if (m->has_score)
		{
			weight += f->metrics[i].weight;
			points += m->score * f->metrics[i].weight;
		}
	}
	if (weight <= 0)
		return;

	mean = points / weight;
	result->has_score = true;
	result->score = Min(Max(mean - penalty, 0), 100);
	applied = mean - result->score;
	for (int i = 0; i < f->nmetrics; i++)
	{
		MetricScore *m = &result->metrics[i];

		if (m->has_score)
		{
			m->effective_weight = f->metrics[i].weight / weight;
			m->contribution = m->score * m->effective_weight;
		}
		else if (m->penalty > 0)
			m->contribution = 0 - applied * (m->penalty / penalty);	/* not -0 */
	}
}

static void
score_factor(const ScoreInput *input, const Scorecard *scorecard,
			 const ScoreSubject *subject, const Factor *f, FactorScore *result)
{
	result->metrics = palloc0(Max(f->nmetrics, 1) * sizeof(MetricScore));
	for (int i = 0; i < f->nmetrics; i++)
		score_metric(input, scorecard, subject, &f->metrics[i], &result->metrics[i]);
	combine_factor(f, result);
}

/*
 * Rounds half up to two decimals.  Anything within a billionth of half counts as
 * half, so that no status depends on the noise of floating-point arithmetic.
 */
static double
round_score(double score)
{
	return floor((score + 1e-9) * 100 + 0.5) / 100;
}

/* Spreads a factor's share of the score over its metrics. */
static void
weigh_factor(const Factor *f, FactorScore *result, double share)
{
	result->effective_weight = share;
	result->contribution = result->score * share;
	for (int i = 0; i < f->nmetrics; i++)
	{
		result->metrics[i].effective_weight *= share;
		result->metrics[i].contribution *= share;
	}
}

/*
 * Adds the difference made by rounding to the largest contribution, so that
 * contributions sum to the score that is shown.
 */
static void
settle_contributions(const Scorecard *scorecard, Score *score)
{
	FactorScore *factor = NULL;
	MetricScore *metric = NULL;
	double		rest = score->score;
	int			nmetrics = 0;

	for (int i = 0; i < scorecard->nfactors; i++)
	{
		rest -= score->factors[i].contribution;
		if (score->factors[i].has_score &&
			(factor == NULL || score->factors[i].contribution > factor->contribution))
		{
			factor = &score->factors[i];
			nmetrics = scorecard->factors[i].nmetrics;
		}
	}
	Assert(factor != NULL);
	factor->contribution += rest;
	for (int i = 0; i < nmetrics; i++)
		if (factor->metrics[i].has_score &&
			(metric == NULL || factor->metrics[i].contribution > metric->contribution))
			metric = &factor->metrics[i];
	/* none where the factor's score was given */
	if (metric != NULL)
		metric->contribution += rest;
}

/*
 * chs_score_combine makes the score from those of the factors.  Leaves the trends.
 */
void
chs_score_combine(const Scorecard *scorecard, Score *score)
{
	double		all = 0;
	double		with_data = 0;
	double		points = 0;

	for (int i = 0; i < scorecard->nfactors; i++)
	{
		const Factor *f = &scorecard->factors[i];

		all += f->weight;
		if (score->factors[i].has_score)
		{
			with_data += f->weight;
			points += score->factors[i].score * f->weight;
		}
	}
	if (with_data > 0)
	{
		score->coverage = with_data / all;
		score->weighted = true;
		for (int i = 0; i < scorecard->nfactors; i++)
			if (score->factors[i].has_score)
				weigh_factor(&scorecard->factors[i], &score->factors[i],
							 scorecard->factors[i].weight / with_data);
	}
	/* the tolerance is for shares such as 0.3 + 0.2 */
	if (with_data <= 0 || score->coverage < scorecard->min_coverage - 1e-9)
		return;

	score->exact = points / with_data;
	score->score = round_score(score->exact);
	Assert(score->score >= 0 && score->score <= 100 && score->coverage <= 1 + 1e-9);
	score->status = score->score >= scorecard->healthy_from ? STATUS_HEALTHY :
		score->score >= scorecard->at_risk_from ? STATUS_AT_RISK : STATUS_CRITICAL;
	settle_contributions(scorecard, score);
}

/*
 * chs_score_of_day scores an activity without the trends, which would cost as much
 * again.  The activity must not have been pruned as of a later day than the one that
 * is scored.
 */
Score *
chs_score_of_day(const ScoreInput *input, const Scorecard *scorecard, const ScoreSubject *subject)
{
	Score	   *score = palloc0(sizeof(Score));

	score->factors = palloc0(Max(scorecard->nfactors, 1) * sizeof(FactorScore));
	for (int i = 0; i < scorecard->nfactors; i++)
		score_factor(input, scorecard, subject, &scorecard->factors[i], &score->factors[i]);
	chs_score_combine(scorecard, score);
	return score;
}

static Trend
compare(const Scorecard *scorecard, bool known, double now, double before)
{
	if (!known)
		return TREND_UNKNOWN;
	return now - before >= scorecard->trend_band - 1e-9 ? TREND_IMPROVING :
		now - before <= -scorecard->trend_band + 1e-9 ? TREND_DECLINING : TREND_STABLE;
}

/*
 * chs_score_set_trends sets the trends of a score by comparing two others of the same
 * customer by the same scorecard: the one of the day before, and the one trend_days
 * earlier.  The scored day itself is in neither, since it may not be over: a part of a
 * day cannot be compared with a whole one.
 */
void
chs_score_set_trends(const Scorecard *scorecard, Score *score,
					 const Score *yesterday, const Score *before)
{
	score->trend = compare(scorecard,
						   yesterday->status != STATUS_UNKNOWN && before->status != STATUS_UNKNOWN,
						   yesterday->exact, before->exact);
	for (int i = 0; i < scorecard->nfactors; i++)
	{
		FactorScore *result = &score->factors[i];
		const FactorScore *f = &yesterday->factors[i];
		const FactorScore *g = &before->factors[i];

		result->trend = compare(scorecard, f->has_score && g->has_score, f->score, g->score);
		for (int j = 0; j < scorecard->factors[i].nmetrics; j++)
			result->metrics[j].trend =
				compare(scorecard, f->metrics[j].has_score && g->metrics[j].has_score,
						f->metrics[j].score, g->metrics[j].score);
	}
}

/* chs_score_calculate scores an activity like chs_score_of_day, with the trends. */
Score *
chs_score_calculate(const ScoreInput *input, const Scorecard *scorecard,
					const ScoreSubject *subject)
{
	ScoreSubject earlier = *subject;
	Score	   *score = chs_score_of_day(input, scorecard, subject);
	Score	   *yesterday;

	Assert(input->pruned_as_of <= subject->as_of_day);
	earlier.as_of_day--;
	yesterday = chs_score_of_day(input, scorecard, &earlier);
	earlier.as_of_day -= scorecard->trend_days;
	chs_score_set_trends(scorecard, score, yesterday,
						 chs_score_of_day(input, scorecard, &earlier));
	return score;
}

/*
 * chs_score_metric_on_day gets the value of a metric over a single day; false if
 * the day has no data.
 */
bool
chs_score_metric_on_day(const ScoreInput *input,
						const Metric *metric, int32 day, double *value)
{
	MetricScore result = {0};

	if (metric->function >= 0)
		function_value(input, metric, day, &result);
	else
		metric_value(input, metric, day, 1, &result);
	*value = result.value;
	return result.has_value;
}

/*
 * chs_score_calm_status returns the status that counts for changes of status, given the one
 * that counted before: it changes only once the score is calm_points beyond a bound.
 */
HealthStatus
chs_score_calm_status(const Scorecard *scorecard, const Score *score, HealthStatus before)
{
	double		calm = scorecard->calm_points;
	double		healthy_from = scorecard->healthy_from;
	double		at_risk_from = scorecard->at_risk_from;

	if (calm == 0 || score->status == STATUS_UNKNOWN || before == STATUS_UNKNOWN)
		return score->status;
	if (score->score >= healthy_from + (before >= STATUS_HEALTHY ? -calm : calm))
		return STATUS_HEALTHY;
	return score->score >= at_risk_from + (before >= STATUS_AT_RISK ? -calm : calm) ?
		STATUS_AT_RISK : STATUS_CRITICAL;
}

/* chs_score_status_name returns the status as text. */
const char *
chs_score_status_name(HealthStatus status)
{
	static const char *const names[] = {"unknown", "critical", "at_risk", "healthy"};

	Assert((size_t) status < lengthof(names));
	return names[status];
}

/* chs_score_trend_name returns the trend as text, NULL if it is unknown. */
const char *
chs_score_trend_name(Trend trend)
{
	static const char *const names[] = {NULL, "declining", "stable", "improving"};

	Assert((size_t) trend < lengthof(names));
	return names[trend];
}

/*
 * change.c
 *	  Why a score moved: the difference of two scores, by factor and cause.
 *
 * Between the score before and the score after lie hypothetical scores, each of
 * which differs from its predecessor by one cause.  In this order:
 *
 *	before
 *	  data		 metrics that have no score after lose theirs
 *	  time		 the metrics that have one before and after, and the penalties,
 *				 become what they would be on the later day without a new event
 *	  behaviour	 they become what they are with the new events
 *	  data		 metrics that had no score before get theirs
 *	  scorecard	 the later version scores the same day and events
 *	after
 *
 * The contribution of a factor to each score, minus its contribution to the one
 * before, is what that cause did through that factor, so that everything sums to
 * the difference.  When the weight of a metric moves to others, their contributions
 * change; this is attributed to them, as caused by data.
 *
 * Nothing here knows a table, a setting or a clock.
 */
#include "score/change.h"

#include <math.h>

#include "score/score.h"
#include "score/scorecard.h"

/* The state of a metric in one of the hypothetical scores. */
typedef MetricScore (*PickMetric) (const Metric *m, const MetricScore *before,
								   const MetricScore *time_passed, const MetricScore *after);

static MetricScore
without_score(const MetricScore *m)
{
	MetricScore result = *m;

	result.has_score = false;
	return result;
}

static MetricScore
pick_before(const Metric *m pg_attribute_unused(), const MetricScore *before,
			const MetricScore *time_passed pg_attribute_unused(), const MetricScore *after)
{
	return after->has_score ? *before : without_score(before);
}

static MetricScore
pick_time_passed(const Metric *m, const MetricScore *before,
				 const MetricScore *time_passed, const MetricScore *after)
{
	if (m->penalty > 0)
		return *time_passed;
	if (!before->has_score || !after->has_score)
		return without_score(before);
	/* without data at first, or from a plug-in: left to the following steps */
	return time_passed->has_score && m->function < 0 ? *time_passed : *before;
}

static MetricScore
pick_after(const Metric *m pg_attribute_unused(), const MetricScore *before,
		   const MetricScore *time_passed pg_attribute_unused(), const MetricScore *after)
{
	return before->has_score ? *after : without_score(after);
}

/*
 * Calculates the contributions of factors from their scores.  Does nothing and
 * returns false if no factor has both a weight and a score.
 */
static bool
contributions(const Scorecard *scorecard, const FactorScore *factors, double *result)
{
	double		with_data = 0;

	for (int i = 0; i < scorecard->nfactors; i++)
		if (factors[i].has_score)
			with_data += scorecard->factors[i].weight;
	for (int i = 0; i < scorecard->nfactors; i++)
		result[i] = factors[i].has_score && with_data > 0 ?
			factors[i].score * (scorecard->factors[i].weight / with_data) : 0;
	return with_data > 0;
}

/* Moves on to the next score, and attributes the differences to a cause. */
static void
reach(Change *change, const double *reached, ChangeCause cause)
{
	for (int i = 0; i < change->nfactors; i++)
	{
		change->factors[i].by[cause] += reached[i] - change->factors[i].reached;
		change->factors[i].reached = reached[i];
	}
}

/* Moves on to a hypothetical score.  Does nothing and returns false if it would have no data. */
static bool
reach_between(Change *change, const Scorecard *scorecard, const Score *before,
			  const Score *time_passed, const Score *after, PickMetric pick, ChangeCause cause)
{
	FactorScore *factors = palloc0(Max(scorecard->nfactors, 1) * sizeof(FactorScore));
	double	   *reached = palloc(Max(scorecard->nfactors, 1) * sizeof(double));

	for (int i = 0; i < scorecard->nfactors; i++)
	{
		const Factor *f = &scorecard->factors[i];

		factors[i].metrics = palloc(Max(f->nmetrics, 1) * sizeof(MetricScore));
		for (int j = 0; j < f->nmetrics; j++)
			factors[i].metrics[j] = pick(&f->metrics[j], &before->factors[i].metrics[j],
										 &time_passed->factors[i].metrics[j],
										 &after->factors[i].metrics[j]);
		chs_score_combine_factor(f, &factors[i]);
	}
	if (!contributions(scorecard, factors, reached))
		return false;
	reach(change, reached, cause);
	return true;
}

/* Finds the factor, or adds it.  Returns its index. */
static int
find_factor(Change *change, const char *name)
{
	for (int i = 0; i < change->nfactors; i++)
		if (strcmp(change->factors[i].factor, name) == 0)
			return i;
	change->factors = change->factors == NULL ? palloc(sizeof(FactorChange)) :
		repalloc(change->factors, (change->nfactors + 1) * sizeof(FactorChange));
	change->factors[change->nfactors] = (FactorChange) {.factor = pstrdup(name)};
	return change->nfactors++;
}

/*
 * Moves on to a real score, which attributes what is left to a cause, and records
 * the final state of each factor.
 */
static void
reach_score(Change *change, const Scorecard *scorecard, const Score *after, ChangeCause cause)
{
	double	   *given = palloc(Max(scorecard->nfactors, 1) * sizeof(double));
	double	   *reached;

	(void) contributions(scorecard, after->factors, given);
	for (int i = 0; i < scorecard->nfactors; i++)
		(void) find_factor(change, scorecard->factors[i].name);
	reached = palloc0(Max(change->nfactors, 1) * sizeof(double));
	for (int i = 0; i < change->nfactors; i++)
	{
		change->factors[i].has_score = false;
		change->factors[i].score_after = change->factors[i].contribution_after = 0;
	}
	for (int i = 0; i < scorecard->nfactors; i++)
	{
		int			at = find_factor(change, scorecard->factors[i].name);
		FactorChange *f = &change->factors[at];

		reached[at] = given[i];
		f->has_score = after->factors[i].has_score;
		f->score_after = after->factors[i].score;
		f->contribution_after = after->factors[i].contribution;
	}
	reach(change, reached, cause);
	change->known_after = after->status != STATUS_UNKNOWN;
}

/*
 * chs_change_under separates the causes of the difference between two scores by the
 * same scorecard. time_passed is the score of the later day with the events of the
 * earlier one.  The result refers to none of the arguments.
 */
Change *
chs_change_under(const Scorecard *scorecard, const Score *before, const Score *time_passed,
				 const Score *after)
{
	Change	   *change = palloc0(sizeof(Change));
	double	   *reached = palloc(Max(scorecard->nfactors, 1) * sizeof(double));

	(void) contributions(scorecard, before->factors, reached);
	for (int i = 0; i < scorecard->nfactors; i++)
	{
		int			at = find_factor(change, scorecard->factors[i].name);
		FactorChange *f = &change->factors[at];

		f->had_score = before->factors[i].has_score;
		f->score_before = before->factors[i].score;
		f->contribution_before = before->factors[i].contribution;
		f->reached = reached[i];
	}
	change->known_before = before->status != STATUS_UNKNOWN;
	/* if nothing is known both before and after, data is the only cause */
	if (reach_between(change, scorecard, before, time_passed, after, pick_before, CHANGE_DATA))
	{
		(void) reach_between(change, scorecard, before, time_passed, after, pick_time_passed,
							  CHANGE_TIME);
		(void) reach_between(change, scorecard, before, time_passed, after, pick_after,
							  CHANGE_BEHAVIOUR);
	}
	reach_score(change, scorecard, after, CHANGE_DATA);
	return change;
}

/*
 * chs_change_to moves on to the score that another scorecard gives to the same day
 * and events.
 */
void
chs_change_to(Change *change, const Scorecard *scorecard, const Score *after)
{
	reach_score(change, scorecard, after, CHANGE_SCORECARD);
}

/*
 * chs_change_settle completes the analysis.  It adjusts contributions so that they
 * sum to the rounded score; the adjustment goes to the cause with the largest
 * effect.
 */
void
chs_change_settle(Change *change)
{
	for (int i = 0; i < change->nfactors; i++)
	{
		FactorChange *f = &change->factors[i];
		ChangeCause most = CHANGE_BEHAVIOUR;
		double		rest = f->contribution_after - f->contribution_before;

		for (ChangeCause cause = 0; cause < CHANGE_CAUSES; cause++)
		{
			rest -= f->by[cause];
			if (fabs(f->by[cause]) > fabs(f->by[most]))
				most = cause;
		}
		f->by[most] += rest;
	}
}

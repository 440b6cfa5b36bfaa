/*
 * score.h
 *	  Scoring: arithmetic on an activity, a scorecard and a day.
 */
#ifndef CHS_SCORE_H
#define CHS_SCORE_H

#include "base/compat.h"

#include "activity/activity.h"
#include "score/scorecard.h"

typedef enum HealthStatus
{
	STATUS_UNKNOWN,
	STATUS_CRITICAL,
	STATUS_AT_RISK,
	STATUS_HEALTHY
} HealthStatus;

typedef enum Trend
{
	TREND_UNKNOWN,
	TREND_DECLINING,
	TREND_STABLE,
	TREND_IMPROVING
} Trend;

typedef struct MetricScore
{
	bool		has_value;
	bool		has_score;		/* false for every penalty */
	bool		estimated;		/* value rests on estimated numbers of distinct values */
	int64		events;			/* that the value rests on */
	double		value;
	double		target;			/* NaN where there is none */
	double		score;			/* 0 to 100 */
	double		effective_weight;	/* share of the whole score */
	double		contribution;	/* points of the whole score */
	double		penalty;		/* points off the factor, before it is limited to 0 */
	Trend		trend;
} MetricScore;

typedef struct FactorScore
{
	bool		has_score;
	double		score;
	double		effective_weight;
	double		contribution;
	Trend		trend;
	MetricScore *metrics;
} FactorScore;

typedef struct Score
{
	HealthStatus status;
	double		score;			/* rounded; not set where the status is unknown */
	double		exact;			/* before it was rounded */
	double		coverage;
	bool		weighted;		/* effective weights are set */
	Trend		trend;
	FactorScore *factors;		/* one for each of the scorecard */
} Score;

/* Who is scored, and when: everything that scoring knows besides the activity. */
typedef struct ScoreSubject
{
	const char *segment;		/* or NULL */
	int32		created_day;
	int32		as_of_day;
} ScoreSubject;

/* What a plug-in's function returned as of a day. */
typedef struct FunctionValue
{
	int			function;		/* index into Published.functions */
	int32		day;
	bool		known;			/* it was not NULL */
	double		value;
} FunctionValue;

/*
 * The input of scoring: an activity by the series of the published document, NULL
 * where it has none; and the results of plug-ins, for the requested days.
 */
typedef struct ScoreInput
{
	const Published *published;
	int32		pruned_as_of;	/* day, or DAY_NEVER: none before it can be scored */
	const SeriesView **series;
	int			nvalues;
	const FunctionValue *values;
} ScoreInput;

extern ScoreInput *chs_score_prepare(const Published *published, const ActivityView *activity);
extern Score *chs_score_of_day(const ScoreInput *input, const Scorecard *scorecard,
							   const ScoreSubject *subject);
extern Score *chs_score_calculate(const ScoreInput *input, const Scorecard *scorecard,
								  const ScoreSubject *subject);
extern void chs_score_set_trends(const Scorecard *scorecard, Score *score,
								 const Score *yesterday, const Score *before);
extern void chs_score_combine(const Scorecard *scorecard, Score *score);
extern HealthStatus chs_score_calm_status(const Scorecard *scorecard, const Score *score,
										  HealthStatus before);
extern const char *chs_score_status_name(HealthStatus status);
extern const char *chs_score_trend_name(Trend trend);
extern bool chs_score_metric_on_day(const ScoreInput *input, const Metric *metric, int32 day,
									double *value);

#endif							/* CHS_SCORE_H */

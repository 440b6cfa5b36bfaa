/*
 * scorecard.h
 *	  A published scorecard document, compiled for counting and scoring.
 */
#ifndef CHS_SCORECARD_H
#define CHS_SCORECARD_H

#include "base/compat.h"

#include "activity/activity.h"
#include "score/curve.h"
#include "score/filter.h"

/* The maximum number of series of all scorecards of a version together. */
#define MAX_SERIES 4096

/* How many windows before tell what is usual for a customer. */
#define USUAL_WINDOWS 6

typedef enum MetricAggregate
{
	METRIC_COUNT,
	METRIC_SUM,
	METRIC_AVG,
	METRIC_RATIO,
	METRIC_DISTINCT,
	METRIC_ACTIVE_DAYS,
	METRIC_DAYS_SINCE_LAST,
	METRIC_GROWTH,
	METRIC_OF_USUAL,			/* against the median of the windows before */
	METRIC_FUNCTION				/* without events: the result of a plug-in */
} MetricAggregate;

typedef enum MissingRule
{
	MISSING_MOVES,				/* the weight moves to the other metrics */
	MISSING_IS_ZERO,			/* unless the customer is too new */
	MISSING_HAS_SCORE
} MissingRule;

/* Numbers by segment. */
typedef struct SegmentNumbers
{
	int			n;
	char	  **segments;
	double	   *numbers;
} SegmentNumbers;

typedef struct Metric
{
	char	   *name;
	char	   *event_type;
	MetricAggregate aggregate;
	SeriesKind	measure;		/* what ratio, growth and of_usual compare */
	int			window;			/* days, the last one included */
	int			series;			/* index into Published.series, or -1 */
	int			base;			/* likewise, the denominator of a ratio, or -1 */
	int			function;		/* index into Published.functions, or -1 */
	double		penalty;		/* points per event; 0: a metric with a score */
	double		weight;
	Curve		curve;
	MissingRule missing;
	double		missing_score;
	bool		has_targets;
	double		target;			/* for segments without their own; NaN: none */
	SegmentNumbers targets;
	SegmentNumbers weights;		/* of segments with their own */
} Metric;

typedef struct Factor
{
	char	   *name;
	double		weight;
	bool		has_functions;	/* among its metrics */
	SegmentNumbers weights;		/* of segments with their own */
	int			nmetrics;
	Metric	   *metrics;
} Factor;

typedef struct Scorecard
{
	char	   *name;
	double		min_coverage;
	double		healthy_from;
	double		at_risk_from;
	bool		grace;
	int			trend_days;
	double		trend_band;
	double		calm_points;	/* of changes of status, beyond a bound */
	bool		has_functions;	/* among the metrics of its factors */
	int			nfactors;
	Factor	   *factors;
} Scorecard;

typedef struct SegmentScorecard
{
	char	   *segment;
	const Scorecard *scorecard; /* with the weights of the segment */
} SegmentScorecard;

typedef struct SeriesDefinition
{
	uint64		id;
	SeriesKind	kind;
	int			keep;
	char	   *event_type;
	char	   *field;			/* NULL if the kind needs none */
	int			field_length;
	char	   *filter;			/* NULL: every event */
	int			filter_index;	/* into its EventCounting's filters, or -1 */
} SeriesDefinition;

/* The series that an event of one type contributes to. */
typedef struct EventCounting
{
	char	   *event_type;
	int			event_type_length;
	int			nseries;
	int		   *series;			/* indexes into Published.series */
	int			nfilters;
	Filter	   *filters;		/* each one once */
} EventCounting;

typedef struct Published
{
	MemoryContext context;		/* holds all of it */
	uint64		serial;			/* different for each compilation */
	int			nscorecards;
	Scorecard  *scorecards;
	const Scorecard *by_default;	/* for customers without a segment; or NULL */
	int			nsegments;
	SegmentScorecard *segments;
	int			nseries;
	SeriesDefinition *series;	/* ascending by id */
	int			max_keep;		/* of all series */
	int			nfunctions;
	char	  **functions;		/* of plug-ins, as in chs.plugins; each one once */
	int			ntypes;
	EventCounting *types;
	int			max_increments; /* of any event */
} Published;

extern Published *chs_scorecard_begin(void);
extern const Published *chs_scorecard_compile(Jsonb *document);
extern const Published *chs_scorecard_compiled(Datum document);
extern const Scorecard *chs_scorecard_of_segment(const Published *published, const char *segment);
extern int	chs_scorecard_reach(const Scorecard *scorecard);
extern bool chs_scorecard_serves(const Published *counted, const Published *needed);
extern void chs_scorecard_project(ActivityData *data, const Published *published);

#endif							/* CHS_SCORECARD_H */

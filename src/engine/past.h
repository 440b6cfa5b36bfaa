/*
 * past.h
 *	  Scores of past days, from one pass over the raw events.
 */
#ifndef CHS_PAST_H
#define CHS_PAST_H

#include "base/compat.h"

#include "activity/activity.h"
#include "engine/plugin.h"
#include "score/score.h"
#include "score/scorecard.h"
#include "store/customer.h"
#include "store/live.h"

/* Instead of the number of a version: each day is scored by the one that was live when it ended. */
#define PAST_VERSION_OF_DAY 0

/* The days that a version scores. */
typedef struct PastVersion
{
	int			version;
	const Published *published;
	int			first;			/* of the days asked for, by index */
	int			n;
} PastVersion;

/* What is asked of the past, and what must be read for it. */
typedef struct Past
{
	const Live *live;			/* as of the snapshot */
	int			ndays;
	const int32 *days;			/* ascend */
	int			nversions;
	PastVersion *versions;		/* in the order of the days */
	const Live *counting;		/* counts what any of the versions needs */
	Jsonb	   *document;		/* of that */
	int32		kept_from;		/* events of earlier days have been deleted */
	int32		today;
	bool		trends;			/* at first they are wanted */
} Past;

/* How a day was scored. */
typedef struct PastScore
{
	const PastVersion *version;
	const Scorecard *scorecard;
	const Score *score;			/* NULL: not asked for, or it needs events that have been deleted */
} PastScore;

extern Past *chs_past_begin(const Live *live, int version, Jsonb *document,
							const int32 *days, int ndays);
extern int32 chs_past_first_event(const Past *past, int32 last_day);
extern ActivityData *chs_past_activity(const Past *past, const Customer *customer);
extern void chs_past_check(const Past *past, const PastVersion *v, const Customer *customer,
						   int32 day);
extern PastScore *chs_past_score(const Past *past, const Customer *customer,
								 const ActivityView *activity, int32 first_day,
								 PluginCalls *calls);

#endif							/* CHS_PAST_H */

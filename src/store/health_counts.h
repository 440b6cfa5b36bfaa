/*
 * health_counts.h
 *	  The table chs.health_counts: how many customers have which status, by segment.
 */
#ifndef CHS_HEALTH_COUNTS_H
#define CHS_HEALTH_COUNTS_H

#include "base/compat.h"

#include "utils/snapshot.h"

#include "score/score.h"

/* What is known of a score, as it was or is. */
typedef struct KnownScore
{
	HealthStatus status;
	double		score;			/* meaningless if the status is unknown */
} KnownScore;

/* The ranges of five points into which scores are counted. */
#define SCORE_RANGES 20
#define SCORE_RANGE_HUNDREDTHS 500

/* The changes of a segment. */
typedef struct SegmentCount
{
	char	   *segment;		/* or NULL */
	int64		customers[STATUS_HEALTHY + 1];	/* active ones, by status */
	int64		score_hundredths;	/* sum of their scores */
	int32		by_score[SCORE_RANGES]; /* those with a score from 0 to 5, 5 to 10, and so on */
} SegmentCount;

#define MAX_COUNTED_SEGMENTS 32

/*
 * The changes of a batch, to be appended to the table.  A copy of the struct serves to
 * undo those of a subtransaction that failed.
 */
typedef struct HealthCounts
{
	MemoryContext context;		/* holds the names of segments */
	Snapshot	snapshot;
	int			nsegments;
	SegmentCount segments[MAX_COUNTED_SEGMENTS];
} HealthCounts;

extern void chs_health_counts_begin(HealthCounts *counts, Snapshot snapshot);
extern void chs_health_counts_add(HealthCounts *counts, const char *segment, KnownScore known,
								  int n);
extern void chs_health_counts_end(HealthCounts *counts, int nsegments);

#endif							/* CHS_HEALTH_COUNTS_H */

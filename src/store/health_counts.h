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

/* The changes of a segment. */
typedef struct SegmentCount
{
	char	   *segment;		/* or NULL */
	int64		customers[STATUS_HEALTHY + 1];	/* active ones, by status */
	int64		score_hundredths;	/* sum of their scores */
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
extern void chs_health_counts_correct(void);

/* The counts in chs.health_counts, and the actual ones, by segment. */
#define HEALTH_COUNTS_STORED \
	"SELECT segment, sum(healthy) AS healthy, sum(at_risk) AS at_risk, sum(critical) AS critical," \
	" sum(unknown) AS unknown, sum(score_hundredths) AS score_hundredths" \
	" FROM chs.health_counts GROUP BY segment"
#define HEALTH_COUNTS_ACTUAL \
	"SELECT segment, count(*) FILTER (WHERE status = 'healthy') AS healthy," \
	" count(*) FILTER (WHERE status = 'at_risk') AS at_risk," \
	" count(*) FILTER (WHERE status = 'critical') AS critical," \
	" count(*) FILTER (WHERE status = 'unknown') AS unknown," \
	" COALESCE(sum(round(score::numeric * 100)), 0) AS score_hundredths" \
	" FROM chs.customer_health WHERE active GROUP BY segment"

#endif							/* CHS_HEALTH_COUNTS_H */

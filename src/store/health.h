/*
 * health.h
 *	  The tables chs.activity, chs.customer_health and chs.health_scores, as
 *	  folding writes them.
 */
#ifndef CHS_HEALTH_H
#define CHS_HEALTH_H

#include "base/compat.h"

#include "activity/activity.h"
#include "base/scan.h"
#include "base/tables.h"
#include "score/score.h"
#include "score/scorecard.h"
#include "store/customer.h"
#include "store/live.h"

/* What is known of a score, as it was or is. */
typedef struct KnownScore
{
	HealthStatus status;
	double		score;			/* meaningless if the status is unknown */
} KnownScore;

/* The changes that a batch makes to the counts of a segment. */
typedef struct HealthCount
{
	char	   *segment;		/* or NULL */
	int64		customers[STATUS_HEALTHY + 1];	/* active ones, by status */
	int64		score_hundredths;	/* sum of their scores */
} HealthCount;

#define MAX_COUNTED_SEGMENTS 32

/* The number of rows of the history that are inserted at once. */
#define HISTORY_ROWS 64

/*
 * The tables that folding writes, opened once for many customers.  A copy of the
 * struct serves to undo the counts of a failed subtransaction.
 */
typedef struct HealthTables
{
	OwnTable	activity;
	OwnTable	health;
	OwnTable	history;
	Oid			history_sequence;
	int			nrecorded;		/* rows of the history that are not inserted yet */
	HeapTuple	recorded[HISTORY_ROWS];
	MemoryContext recorded_context; /* holds them */
	MemoryContext context;
	TimestampTz calculated_at;	/* the same for a whole batch, so that a BRIN index is rarely changed */
	bool		scanning;		/* activity and health are read by scans, in the order of customers */
	CustomerScan activity_scan;
	CustomerScan health_scan;
	MemoryContext scan_context;
	bool		any_changed;	/* statuses, which is to be announced */
	int			ncounts;
	HealthCount counts[MAX_COUNTED_SEGMENTS];	/* to be appended to chs.health_counts */
} HealthTables;

extern void chs_health_open(HealthTables *tables);
extern void chs_health_close(HealthTables *tables, const Live *live, Snapshot snapshot);
extern void chs_health_begin_scan(HealthTables *tables, int64 from, Snapshot snapshot);
extern void chs_health_end_scan(HealthTables *tables);
extern void chs_health_write_history(HealthTables *tables);
extern StoredActivity chs_health_stored_activity(HealthTables *tables, int64 customer_id, Snapshot snapshot);
extern bool chs_health_is_stale(HealthTables *tables, const Customer *customer, const Live *live,
								int32 today, Snapshot snapshot);
extern void chs_health_store_activity(HealthTables *tables, int64 customer_id, const StoredActivity *stored,
									  Activity *activity, int series_version, FullTransactionId folded_to);
extern bool chs_health_store(HealthTables *tables, const Customer *customer, const Live *live,
							 const Scorecard *scorecard, const Score *score, int32 as_of_day,
							 bool active, Snapshot snapshot);
extern TransactionId chs_health_taken_by(int64 customer_id);
extern void chs_health_wait(int64 customer_id);
extern void chs_health_correct_counts(void);

/* The counts in chs.health_counts, and the actual ones, by segment. */
#define HEALTH_COUNTS_STORED \
	"SELECT segment, sum(healthy) AS healthy, sum(at_risk) AS at_risk, sum(critical) AS critical," \
	" sum(unknown) AS unknown, sum(score_hundredths) AS score_hundredths" \
	" FROM chs.health_counts GROUP BY segment"
#define HEALTH_COUNTS_ACTUAL \
	"SELECT segment, count(*) FILTER (WHERE status = 'healthy') AS healthy," \
	" count(*) FILTER (WHERE status = 'at_risk') AS at_risk, count(*) FILTER (WHERE status = 'critical') AS critical," \
	" count(*) FILTER (WHERE status = 'unknown') AS unknown," \
	" COALESCE(sum(round(score::numeric * 100)), 0) AS score_hundredths" \
	" FROM chs.customer_health WHERE active GROUP BY segment"

#endif							/* CHS_HEALTH_H */

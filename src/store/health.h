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
#include "store/health_counts.h"
#include "store/live.h"

/* The number of rows of the history that are inserted at once. */
#define HISTORY_ROWS 64

/*
 * The tables that folding writes, opened once for many customers.  A copy of the
 * struct serves to undo what a failed subtransaction counted and recorded.
 */
typedef struct HealthTables
{
	const Live *live;
	Snapshot	snapshot;
	int32		today;
	OwnTable	activity;
	OwnTable	health;
	OwnTable	history;
	Oid			history_sequence;
	int			nrecorded;		/* rows of the history that are not inserted yet */
	HeapTuple	recorded[HISTORY_ROWS];
	MemoryContext recorded_context; /* holds them */
	TimestampTz calculated_at;	/* of a whole batch, so that a BRIN index is rarely changed */
	bool		scanning;		/* activity and health are read by scans, by customer */
	CustomerScan activity_scan;
	CustomerScan health_scan;
	MemoryContext scan_context;
	bool		any_changed;	/* statuses, which is to be announced */
	bool		any_recorded;	/* in the history */
	HealthCounts counts;
} HealthTables;

extern void chs_health_open(HealthTables *tables, const Live *live, int32 today, Snapshot snapshot);
extern void chs_health_close(HealthTables *tables);
extern void chs_health_begin_scan(HealthTables *tables, int64 from);
extern void chs_health_end_scan(HealthTables *tables);
extern void chs_health_write_history(HealthTables *tables);
extern StoredActivity chs_health_stored_activity(HealthTables *tables, int64 customer_id);
extern bool chs_health_is_stale(HealthTables *tables, const Customer *customer);
extern void chs_health_store_activity(HealthTables *tables, int64 customer_id,
									  const StoredActivity *stored, Activity *activity,
									  int series_version, FullTransactionId folded_to);
extern bool chs_health_store(HealthTables *tables, const Customer *customer,
							 const Scorecard *scorecard,
							 const Score *score);
extern TransactionId chs_health_taken_by(int64 customer_id);
extern void chs_health_wait(int64 customer_id);

#endif							/* CHS_HEALTH_H */

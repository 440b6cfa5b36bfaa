/*
 * health.h
 *	  The tables chs.activity, chs.customer_health and chs.health_scores, as
 *	  folding writes them.
 */
#ifndef CHS_HEALTH_H
#define CHS_HEALTH_H

#include "claim.h"
#include "customer.h"
#include "tables.h"

/* The tables that folding writes, opened once for many customers. */
typedef struct HealthTables
{
	OwnTable	activity;
	OwnTable	health;
	OwnTable	history;
	Oid			history_sequence;
	bool		any;			/* health was written */
	int64		count_changes[STATUS_HEALTHY + 1];	/* of active customers, by status */
} HealthTables;

extern void chs_health_open(HealthTables *tables);
extern void chs_health_close(HealthTables *tables, const Claim *claim, Snapshot snapshot);
extern void chs_health_store_activity(HealthTables *tables, int64 customer_id, const StoredActivity *stored,
									  Activity *activity, int series_version, FullTransactionId folded_to);
extern bool chs_health_store(HealthTables *tables, const Customer *customer, const Live *live,
							 const Scorecard *scorecard, const Score *score, int32 as_of_day,
							 bool active, Snapshot snapshot);

#endif							/* CHS_HEALTH_H */

/*
 * fold.h
 *	  Folding: from the queue into activity, health and history.
 */
#ifndef CHS_FOLD_H
#define CHS_FOLD_H

#include "base/compat.h"

#include "activity/activity.h"
#include "engine/plugin.h"
#include "store/customer.h"
#include "store/health.h"
#include "store/live.h"

/* What folding shares between the customers of a batch. */
typedef struct Fold
{
	const Live *live;
	Snapshot	snapshot;
	FullTransactionId horizon;	/* every transaction before it has ended */
	int32		today;
	bool		any_failures;	/* there are rows in chs.failures */
	bool		in_capture;		/* raw events may be visible before their deltas */
	HealthTables tables;
	MemoryContext scratch;		/* for one customer */
	PluginCalls *plugins;		/* or NULL */
	int64		customer_id;	/* the present one */
	struct RawActivities *raw;	/* what the raw events give for some customers, as of today; or
								 * NULL */
} Fold;

/* Why a customer is skipped. */
typedef enum SkipReason
{
	SKIP_BUSY,					/* or failed */
	SKIP_PUT_OFF,				/* there was no time for other people's code */
	SKIP_SLOW					/* that takes too long for this customer */
} SkipReason;

typedef struct SkippedCustomer
{
	int64		customer_id;
	SkipReason	reason;
} SkippedCustomer;

/* Customers to be folded, or only scored, one after the other. */
typedef struct FoldList
{
	int			n;
	const int64 *customer_ids;	/* each once; faster in ascending order */
	const Customer *rescore;	/* the same ones, if activities count everything that they
								 * should, for scoring; or NULL */
	bool		rebuild;		/* from the raw events */
	bool		count;			/* what a waiting version needs, if they do not count that yet,
								 * as with rescore */
	bool		retry;			/* only looked at while there is time for other people's code */
	int			nslow;
	int64	   *slow;			/* customers that are known to be slow, see slow.c */
	Activity  **from_events;	/* what those give, if known; or NULL */
	Snapshot	events_snapshot;	/* the one that saw those, taken earlier */
	int			nskipped;		/* are queued, or stay as they are */
	SkippedCustomer *skipped;	/* which ones */
	TransactionId blocker;		/* the transaction that has one of them, if known */
} FoldList;

extern void chs_fold_init(void);
extern void chs_fold_begin(Fold *fold);
extern void chs_fold_list(Fold *fold, FoldList *list);
extern void chs_fold_end(Fold *fold);
extern void chs_fold_slow(int64 customer_id);

#endif							/* CHS_FOLD_H */

/*
 * fold.h
 *	  Folding: from the queue into activity, health and history.
 */
#ifndef CHS_FOLD_H
#define CHS_FOLD_H

#include "claim.h"
#include "health.h"
#include "plugin.h"
#include "queue.h"

/* The progress of folding the queue, kept from batch to batch. */
typedef struct FoldProgress
{
	ClaimRequest claim;			/* on the customers that are folded */
	bool		in_pass;
	QueuePass	pass;			/* pass.context must be set */
	FullTransactionId next_from;	/* what the pass cannot see yet begins here */
	bool		skipped;		/* customers that were busy, in this pass */
	int			ncustomers;		/* that the last batch looked at */
} FoldProgress;

/* What folding shares between the customers of a batch. */
typedef struct Fold
{
	Claim		claim;			/* on the customers that may be folded */
	const Live *live;
	Snapshot	snapshot;
	FullTransactionId horizon;	/* every transaction before it has ended */
	int32		today;
	bool		any_failures;	/* there are rows in chs.failures */
	bool		in_capture;		/* raw events may be visible before their deltas */
	HealthTables tables;
	MemoryContext scratch;		/* for one customer */
	PluginCalls *plugins;		/* or NULL */
	struct RawActivities *raw;	/* what the raw events give for some customers, as of today; or NULL */
} Fold;

/* Customers to be folded, or only scored, one after the other. */
typedef struct FoldList
{
	int			n;
	const int64 *customer_ids;	/* each once; faster in ascending order */
	const Customer *rescore;	/* the same ones, if activities count everything that they should, for scoring; or NULL */
	bool		rebuild;		/* from the raw events */
	Activity  **from_events;	/* what those give, if known; or NULL */
	Snapshot	events_snapshot;	/* the one that saw those, taken before the claim */
	int			nskipped;		/* were busy or failed; a rebuild of them is queued, or they stay as they are */
	int			nunclaimed;		/* claimed by somebody else, so they stay as they are */
} FoldList;

extern void chs_fold_check_transaction(void);
extern void chs_fold_begin(Fold *fold, const ClaimRequest *request);
extern void chs_fold_list(Fold *fold, FoldList *list);
extern void chs_fold_end(Fold *fold);
extern int64 chs_fold_batch(FoldProgress *progress, int64 limit, bool *complete);

#endif							/* CHS_FOLD_H */

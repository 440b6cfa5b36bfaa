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

/* Where folding of the queue stands, kept from batch to batch. */
typedef struct FoldProgress
{
	ClaimRequest claim;			/* on those who are folded */
	bool		in_pass;
	QueuePass	pass;			/* pass.context must be set */
	FullTransactionId next_from;	/* what the pass cannot see yet is from here on */
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
	bool		any_failures;	/* that chs.failures has */
	bool		in_capture;		/* raw events may be seen whose deltas are to come */
	HealthTables tables;
	MemoryContext scratch;		/* for one customer */
	PluginCalls *plugins;		/* or NULL */
	struct RawActivities *raw;	/* what the raw events give for some customers, as of today; or NULL */
} Fold;

/* Customers to be folded, or only scored, one after the other. */
typedef struct FoldList
{
	int			n;
	const int64 *customer_ids;	/* each once; faster if they ascend */
	const Customer *rescore;	/* the same ones, to be scored, if their activities count all that they are to; or NULL */
	bool		rebuild;		/* from the raw events */
	Activity  **from_events;	/* what those give, where it is known; or NULL */
	Snapshot	events_snapshot;	/* that saw those, taken before the claim */
	int			nskipped;		/* were busy or failed; a rebuild of them is queued, or they stay as they are */
	int			nunclaimed;		/* somebody else has, so they stay as they are */
} FoldList;

extern void chs_fold_check_transaction(void);
extern void chs_fold_begin(Fold *fold, const ClaimRequest *request);
extern void chs_fold_list(Fold *fold, FoldList *list);
extern void chs_fold_end(Fold *fold);
extern int64 chs_fold_batch(FoldProgress *progress, int64 limit, bool *complete);

#endif							/* CHS_FOLD_H */

/*
 * fold.h
 *	  Folding: from the queue into activity, health and history.
 */
#ifndef CHS_FOLD_H
#define CHS_FOLD_H

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

extern int64 chs_fold_batch(FoldProgress *progress, int64 limit, bool *complete);
extern int	chs_fold_rescore_stale(const ClaimRequest *request, int64 *last_customer_id, int limit, bool *skipped);

#endif							/* CHS_FOLD_H */

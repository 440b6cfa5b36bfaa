/*
 * pass.h
 *	  Passes through the queue, and customers that they have to try again.
 */
#ifndef CHS_PASS_H
#define CHS_PASS_H

#include "base/compat.h"

#include "access/transam.h"
#include "datatype/timestamp.h"

#include "store/claim.h"
#include "store/queue.h"

/* A customer that is to be tried again, since it was busy, failed or is slow. */
typedef struct FoldRetry
{
	int64		customer_id;
	int			delay;			/* until the next attempt, in milliseconds */
	TimestampTz due_at;
	bool		slow;			/* set apart, see slow.c */
} FoldRetry;

/* So many are remembered; for those of more than that, the queue is passed through again. */
#define MAX_RETRIES 1024

/* A session tries customers that workers were folding so many times again. */
#define MAX_WORKER_WAITS 10

/* The progress of folding the queue, kept from batch to batch. */
typedef struct FoldProgress
{
	Part		part;			/* of the customers, that is folded */
	bool		in_pass;
	QueuePass	pass;			/* pass.context must be set */
	FullTransactionId next_from;	/* what the pass cannot see yet begins here, */
	int			nrunning;		/* but for these transactions that were running when it began, */
	FullTransactionId *running; /* allocated in pass.context */
	FullTransactionId horizon;	/* the oldest of them */
	FullTransactionId all_from; /* when the pass has ended, rows of earlier transactions are all
								 * folded, or of customers to be tried again */
	bool		again;			/* missing customers are to be looked for again, though nothing
								 * may be queued */
	FoldRetry  *retries;		/* of this pass and earlier ones; allocated in pass.context */
	int			nretries;
	bool		overflowed;		/* there are more than those */
	int			overflow_delay; /* until the next look for them, in milliseconds */
	TimestampTz overflow_due_at;
	bool		overflow_put_off;	/* for lack of time */
	TransactionId blocker;		/* that has one of them, if known */
	FullTransactionId retry_from;	/* while there are any: their rows are of transactions from
									 * here on */
	int			ncustomers;		/* that the last batch looked at */
} FoldProgress;

extern int64 chs_pass_batch(FoldProgress *progress, int64 limit, bool *complete);
extern FullTransactionId chs_pass_folded_before(const FoldProgress *progress);
extern bool chs_pass_has_retries(const FoldProgress *progress);
extern TimestampTz chs_pass_retry_due_at(const FoldProgress *progress);
extern int	chs_pass_retry_delay(const FoldProgress *progress);
extern void chs_pass_retry_now(FoldProgress *progress);
extern void chs_pass_retry(FoldProgress *progress);
extern bool chs_pass_retry_after_workers(FoldProgress *progress, bool *complete);

#endif							/* CHS_PASS_H */

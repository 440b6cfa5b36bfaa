/*
 * fold.h
 *	  Folding: from the queue into activity, health and history.
 */
#ifndef CHS_FOLD_H
#define CHS_FOLD_H

#include "base/compat.h"

#include "activity/activity.h"
#include "engine/plugin.h"
#include "store/claim.h"
#include "store/customer.h"
#include "store/health.h"
#include "store/live.h"
#include "store/queue.h"

/* A customer that a pass has left, since it was busy, or failed. */
typedef struct LeftCustomer
{
	int64		customer_id;
	int			delay;			/* until the next attempt, in milliseconds */
	TimestampTz due_at;
	bool		slow;			/* set apart, see slow.c */
} LeftCustomer;

/* So many are remembered; for those of more than that, the queue is passed through again. */
#define MAX_LEFT_CUSTOMERS 1024

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
	FullTransactionId all_from; /* rows of earlier transactions are all folded or left, when the pass has ended */
	bool		again;			/* missing customers are to be looked for again, though nothing may be queued */
	LeftCustomer *left;			/* by this pass and earlier ones; allocated in pass.context */
	int			nleft;
	bool		left_others;	/* more than those */
	int			others_delay;	/* until the next look for them, in milliseconds */
	TimestampTz others_due_at;
	bool		others_put_off;	/* for lack of time */
	TransactionId in_way;		/* that has one of them, if known */
	FullTransactionId left_from;	/* while any are left: their rows are of transactions from here on */
	int			ncustomers;		/* that the last batch looked at */
} FoldProgress;

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
	struct RawActivities *raw;	/* what the raw events give for some customers, as of today; or NULL */
} Fold;

/* A session looks so many times again at customers that workers were folding. */
#define MAX_WORKER_WAITS 10

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
	const Customer *rescore;	/* the same ones, if activities count everything that they should, for scoring; or NULL */
	bool		rebuild;		/* from the raw events */
	bool		count;			/* what a waiting version needs, if they do not count that yet, as with rescore */
	bool		left;			/* earlier: only looked at while there is time for other people's code */
	const FoldProgress *progress;	/* knows those that are slow; or NULL */
	Activity  **from_events;	/* what those give, if known; or NULL */
	Snapshot	events_snapshot;	/* the one that saw those, taken earlier */
	int			nskipped;		/* are queued, or stay as they are */
	SkippedCustomer *skipped;	/* which ones */
	TransactionId in_way;		/* the transaction that has one of them, if known */
} FoldList;

extern void chs_fold_init(void);
extern void chs_fold_begin(Fold *fold);
extern void chs_fold_list(Fold *fold, FoldList *list);
extern void chs_fold_end(Fold *fold);
extern int64 chs_fold_batch(FoldProgress *progress, int64 limit, bool *complete);
extern FullTransactionId chs_fold_folded_before(const FoldProgress *progress);
extern bool chs_fold_any_left(const FoldProgress *progress);
extern TimestampTz chs_fold_left_due_at(const FoldProgress *progress);
extern int	chs_fold_left_delay(const FoldProgress *progress);
extern void chs_fold_retry_left(FoldProgress *progress);
extern void chs_fold_left(FoldProgress *progress);
extern void chs_fold_apart(int64 customer_id);

#endif							/* CHS_FOLD_H */

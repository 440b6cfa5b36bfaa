/*
 * queue.h
 *	  The table chs.queue.
 */
#ifndef CHS_QUEUE_H
#define CHS_QUEUE_H

#include "base/compat.h"

#include "access/transam.h"
#include "utils/rel.h"
#include "utils/snapshot.h"
#include "utils/xid8.h"

#include "activity/activity.h"
#include "base/tables.h"
#include "store/claim.h"

/* The number of rows that are inserted at once. */
#define QUEUE_APPEND_ROWS 64

/* For appending many rows while opening the table once. */
typedef struct QueueAppender
{
	OwnTable	table;
	MemoryContext context;
	MemoryContext row_context;	/* for rows until they are inserted */
	int			nrows;
	TupleTableSlot *rows[QUEUE_APPEND_ROWS];
} QueueAppender;

/* What is queued for a customer. */
typedef struct QueuedDeltas
{
	bool		any;
	bool		rebuild;		/* on request, or because series are missing */
	int			series_version; /* the earliest of its deltas; PG_INT32_MAX: it has none */
	const char *damage;			/* what is wrong with one of them, hence a rebuild; or NULL */
	int			ndeltas;
	ActivityData **deltas;
	int			nrows;
	ItemPointerData *rows;
} QueuedDeltas;

/* A run of consecutive pages. */
typedef struct PageRun
{
	BlockNumber first;
	BlockNumber last;
} PageRun;

/* A pass through the queue. */
typedef struct QueuePass
{
	MemoryContext context;
	FullTransactionId from;		/* rows of earlier transactions are not looked for */
	Oid			relfilenode;	/* storage of the table; if that is another one, so are its pages */
	int			nruns;
	PageRun    *runs;			/* the pages to read, allocated in context */
	int			run;			/* the one that is being read */
	ItemPointerData position;	/* the last row that was read */
} QueuePass;

/* The contents of the queue; estimated if counting would take long. */
typedef struct QueueState
{
	int64		depth;			/* rows */
	int64		held_back;		/* those of customers in chs.failures */
	bool		estimated;
	TimestampTz oldest_at;		/* when the transaction began; DT_NOEND: no row */
	TimestampTz oldest_free_at; /* the same for rows that are not held back */
} QueueState;

extern void chs_queue_begin_append(QueueAppender *appender);
extern void chs_queue_append(QueueAppender *appender, int64 customer_id, Activity *delta,
							 bool rebuild, int series_version);
extern void chs_queue_end_append(QueueAppender *appender);
extern QueuedDeltas chs_queue_of_customer(int64 customer_id, FullTransactionId from,
										  int needed, Snapshot snapshot);
extern void chs_queue_delete(const QueuedDeltas *deltas);
extern void chs_queue_begin_pass(QueuePass *pass, FullTransactionId from, Snapshot snapshot);
extern QueueState chs_queue_state(Snapshot snapshot);
extern int64 chs_queue_customers(QueuePass *pass, int64 limit, Snapshot snapshot, const Part *part,
								 int64 **customer_ids, int *ncustomers);

#endif							/* CHS_QUEUE_H */

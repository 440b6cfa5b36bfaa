/*
 * worker_shared.h
 *	  What the launcher, the workers and the sessions share: in shared memory, a
 *	  slot for each database.
 */
#ifndef CHS_WORKER_SHARED_H
#define CHS_WORKER_SHARED_H

#include "base/compat.h"

#include "access/transam.h"
#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/latch.h"
#include "storage/lwlock.h"

#include "base/chore.h"

#define MAX_DATABASES 1024		/* that can have workers */
#define MAX_WORKERS 8			/* of a database, which fold its queue */

/* The index of one more worker, for slow customers; see slow.c. */
#define SLOW_WORKER MAX_WORKERS
#define WORKER_SLOTS (MAX_WORKERS + 1)
#define MAX_SET_APART 64		/* slow customers that are listed for it */

typedef enum DatabaseState
{
	DATABASE_NEW,				/* the launcher has not looked at its row yet */
	DATABASE_UNKNOWN,			/* may be worked for, if it has the extension */
	DATABASE_INSTALLED,
	DATABASE_NOT_INSTALLED,
	DATABASE_EXCLUDED,			/* no worker may connect to it */
	DATABASE_PAUSED				/* by chs_pause() */
} DatabaseState;

typedef enum WorkerState
{
	WORKER_STARTING,
	WORKER_FOLDING,
	WORKER_FOLDING_SLOW,
	WORKER_RESCORING,
	WORKER_HOUSEKEEPING,
	WORKER_WAITING,
	WORKER_HELD_UP				/* by the restore of a dump */
} WorkerState;

/* What a worker has done of late; see chs_worker_status_batch. */
typedef struct WorkerPace
{
	int64		deltas;
	int64		customers;
	int64		busy;			/* microseconds that this took */
} WorkerPace;

/* A worker of a database; protected by the lock. */
typedef struct WorkerSlot
{
	int			pid;			/* 0: not there */
	Latch	   *latch;			/* NULL: not there */
	bool		ended_well;		/* set by a worker that ends properly */
	bool		terminated;		/* by a statement that needs the database without sessions */
	WorkerState state;
	TimestampTz started_at;		/* 0: never */
	TimestampTz last_batch_at;	/* 0: never */
	int64		last_deltas;
	int64		last_customers;
	int			retries;		/* customers to try again: busy ones, or failed; at least so many */
	TransactionId blocker;		/* the transaction that has one of them, if known */
	int64		rescored_to;	/* the customer that a pass over all has come to */
	WorkerPace	pace;
} WorkerSlot;

#define MAX_ERROR_LENGTH 512

/*
 * A database.  Protected by the lock, but for what is atomic; what says so may be
 * read without it, where a value that is out of date does no harm because whoever
 * changes it wakes the reader afterwards.
 */
typedef struct DatabaseSlot
{
	Oid			database;		/* InvalidOid: free; only the launcher frees a slot */
	DatabaseState state;		/* may be read without the lock */
	pg_atomic_uint32 dirty;		/* something may be there to do */
	/* a TimestampTz: nobody has looked since then; 0: all is looked at */
	pg_atomic_uint64 waiting_since;
	/* of customers by sessions whose transactions had folded them, counted */
	pg_atomic_uint32 releases;
	/* a worker failed, and nothing has happened since that may have mended it */
	pg_atomic_uint32 backing_off;
	/* when to start a worker for customers that were skipped; 0: there are none */
	TimestampTz retry_at;
	int			retry_delay;	/* the last time, in milliseconds */
	/* what the first worker is doing has waited since then; 0: it is not at work */
	TimestampTz working_since;
	/* the number of workers that the backlog calls for; set by the first worker */
	int			wanted;
	/* changes when a worker starts or ends; may be read without the lock */
	uint32		generation;
	FullTransactionId folded_before;	/* queue rows of earlier transactions are all folded */
	/* every customer of this one has health of this day and version */
	Oid			rescored_extension;
	int32		rescored_day;
	int			rescored_version;
	/* the process whose statement needs the database without sessions, or 0; see utility.c */
	int			kept_out_by;
	TimestampTz housekeeping_at; /* when it was done last */
	TimestampTz last_error_at;	/* 0: never */
	char		last_error[MAX_ERROR_LENGTH];
	uint32		chore_errors[CHORES];	/* which error of each the log has; 0: none */
	int			nslow;			/* customers are set apart: */
	int64		slow[MAX_SET_APART];
	bool		folding_slow;	/* the first of them is being folded */
	/* their worker could not be started, so the first one has to do its work */
	bool		no_place_for_slow;
	char		slow_because[MAX_ERROR_LENGTH]; /* the latest reason */
	WorkerSlot	workers[WORKER_SLOTS];
} DatabaseSlot;

typedef struct WorkerShared
{
	LWLock	   *lock;
	Latch	   *launcher_latch;
	/* the launcher is to look through pg_database before it starts a worker */
	bool		list_databases;
	DatabaseSlot databases[MAX_DATABASES];
} WorkerShared;

/* NULL where the library was not preloaded: there are no workers then. */
extern WorkerShared *chs_worker_shared;

/* Of the worker that this process is. */
extern DatabaseSlot *chs_worker_database;
extern WorkerSlot *chs_worker_self;
extern NameData chs_worker_database_name;

extern DatabaseSlot *chs_worker_slot(Oid database);
extern DatabaseSlot *chs_worker_find_slot(Oid database);
extern bool chs_worker_is_there(const DatabaseSlot *slot);
extern void chs_worker_unpause(DatabaseSlot *slot);
extern void chs_worker_shared_init(void);
extern FullTransactionId chs_worker_folded_before(void);

#endif							/* CHS_WORKER_SHARED_H */

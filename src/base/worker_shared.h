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

/* So many databases can have workers, and so many each. */
#define MAX_DATABASES 1024
#define MAX_WORKERS 8

/* One more is for slow customers alone, see slow.c, of which so many are listed. */
#define SLOW_WORKER MAX_WORKERS
#define WORKER_SLOTS (MAX_WORKERS + 1)
#define MAX_SET_APART 64

typedef enum DatabaseState
{
	DATABASE_NEW,				/* the launcher has not looked at its row yet */
	DATABASE_UNKNOWN,			/* may be worked for, if it has the extension */
	DATABASE_INSTALLED,
	DATABASE_NOT_INSTALLED,
	DATABASE_PASSED_OVER,		/* not to be connected to */
	DATABASE_PAUSED				/* by chs_pause() */
} DatabaseState;

typedef enum WorkerState
{
	WORKER_STARTING,
	WORKER_FOLDING,
	WORKER_FOLDING_SLOW,
	WORKER_RESCORING,
	WORKER_KEEPING_HOUSE,
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
	bool		sent_away;		/* ended to make place for a statement */
	WorkerState state;
	TimestampTz started_at;		/* 0: never */
	TimestampTz last_batch_at;	/* 0: never */
	int64		last_deltas;
	int64		last_customers;
	int			left_customers; /* that are busy or fail, at least so many */
	TransactionId in_way;		/* the transaction that has one of them, if known */
	WorkerPace	pace;
} WorkerSlot;

#define MAX_ERROR_LENGTH 512

/* Protected by the lock, but for what is atomic. */
typedef struct DatabaseSlot
{
	Oid			database;		/* InvalidOid: free */
	DatabaseState state;
	pg_atomic_uint32 dirty;		/* something may be there to do */
	pg_atomic_uint64 waiting_since; /* a TimestampTz: nobody has looked since then; 0: all is looked at */
	pg_atomic_uint32 releases;	/* of customers by sessions whose transactions had folded them, counted */
	pg_atomic_uint32 backing_off;	/* a worker failed, and nothing has happened since that may have mended it */
	TimestampTz come_at;		/* customers that were left are to be tried again then; 0: there are none */
	int			come_delay;		/* how long that was put off, in milliseconds */
	TimestampTz working_since;	/* what is being worked at waited since then; 0: nothing is */
	int			wanted;			/* so many workers are, if there is work at all */
	uint32		comings;		/* and goings of workers */
	FullTransactionId folded_before;	/* queue rows of earlier transactions are all folded */
	Oid			rescored_extension; /* of which everyone's health is of ... */
	int32		rescored_day;
	int			rescored_version;
	int			kept_out_by;	/* the process whose statement wants nobody there, or 0; see utility.c */
	TimestampTz kept_house_at;	/* when housekeeping was done last */
	TimestampTz last_error_at;	/* 0: never */
	char		last_error[MAX_ERROR_LENGTH];
	uint32		chore_errors[CHORES];	/* which error of each the log has; 0: none */
	int			nslow;			/* customers are set apart: */
	int64		slow[MAX_SET_APART];
	bool		folding_slow;	/* the first of them is being folded */
	bool		no_place_for_slow;	/* their worker could not be started, so the first one has to do its work */
	char		slow_because[MAX_ERROR_LENGTH]; /* the latest reason */
	WorkerSlot	workers[WORKER_SLOTS];
} DatabaseSlot;

typedef struct WorkerShared
{
	LWLock	   *lock;
	Latch	   *launcher_latch;
	bool		look_again;		/* the launcher is to look through the databases */
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
extern void chs_worker_mark_dirty(DatabaseSlot *slot);
extern void chs_worker_try_anew(DatabaseSlot *slot);
extern void chs_worker_unpause(DatabaseSlot *slot);
extern void chs_worker_wake_launcher(void);
extern void chs_worker_look_again(void);
extern bool chs_worker_wake_if_installed(void);
extern void chs_worker_shared_init(void);
extern void chs_worker_wake_at_commit(void);
extern void chs_worker_retry(void);
extern void chs_worker_resume_at_commit(void);
extern FullTransactionId chs_worker_folded_before(void);

#endif							/* CHS_WORKER_SHARED_H */

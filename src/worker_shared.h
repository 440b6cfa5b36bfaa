/*
 * worker_shared.h
 *	  What the launcher, the workers and the sessions share: in shared memory, a
 *	  slot for each database.
 */
#ifndef CHS_WORKER_SHARED_H
#define CHS_WORKER_SHARED_H

#include "compat.h"
#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/latch.h"
#include "storage/lwlock.h"

/* So many databases can have workers, and so many each. */
#define MAX_DATABASES 256
#define MAX_WORKERS 8

typedef enum DatabaseState
{
	DATABASE_NEW,				/* the launcher has not looked at its row yet */
	DATABASE_UNKNOWN,			/* may be worked for, if it has the extension */
	DATABASE_INSTALLED,
	DATABASE_NOT_INSTALLED,
	DATABASE_PASSED_OVER		/* not to be connected to */
} DatabaseState;

/* A worker of a database; protected by the lock. */
typedef struct WorkerSlot
{
	int			pid;			/* 0: not there */
	Latch	   *latch;			/* NULL: not there */
	bool		ended_well;		/* set by a worker that ends properly */
} WorkerSlot;

/* Protected by the lock, but for dirty. */
typedef struct DatabaseSlot
{
	Oid			database;		/* InvalidOid: free */
	DatabaseState state;
	pg_atomic_uint32 dirty;		/* something may be there to do */
	TimestampTz next_housekeeping;
	WorkerSlot	workers[MAX_WORKERS];
} DatabaseSlot;

typedef struct WorkerShared
{
	LWLock	   *lock;
	Latch	   *launcher_latch;
	DatabaseSlot databases[MAX_DATABASES];
} WorkerShared;

/* NULL where the library was not preloaded: there are no workers then. */
extern WorkerShared *chs_worker_shared;

extern DatabaseSlot *chs_worker_slot(Oid database);
extern bool chs_worker_is_there(const DatabaseSlot *slot);
extern void chs_worker_mark_dirty(DatabaseSlot *slot);
extern void chs_worker_wake_launcher(void);
extern void chs_worker_shared_init(void);

#endif							/* CHS_WORKER_SHARED_H */

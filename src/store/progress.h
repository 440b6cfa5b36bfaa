/*
 * progress.h
 *	  The table chs.jobs: the progress of long jobs.
 */
#ifndef CHS_PROGRESS_H
#define CHS_PROGRESS_H

#include "base/compat.h"

#include "fmgr.h"

/* Jobs that pass over all customers; each can run only once at a time. */
typedef enum JobKind
{
	JOB_REBUILD = 1,
	JOB_RECALCULATE,
	JOB_HISTORY
} JobKind;

typedef struct Job
{
	JobKind		kind;
	bool		commits;		/* not within a transaction block of the caller */
	int64		done;			/* customers */
	int64		last_customer_id;	/* customers up to this one are done */
} Job;

extern void chs_progress_begin(Job *job, JobKind kind, FunctionCallInfo fcinfo, const char *basis);
extern void chs_progress_store(Job *job, const char *phase);
extern void chs_progress_end(Job *job);

#endif							/* CHS_PROGRESS_H */

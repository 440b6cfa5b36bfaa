/*
 * worker.h
 *	  The background processes: a launcher, and workers for databases with work.
 */
#ifndef CHS_WORKER_H
#define CHS_WORKER_H

#include "compat.h"
#include "access/transam.h"

extern Datum chs_worker_argument(Oid database, int number);
extern void chs_worker_wake_at_commit(void);
extern void chs_worker_retry(void);
extern void chs_worker_resume_at_commit(void);
extern FullTransactionId chs_worker_folded_before(void);
extern void chs_launcher_init(void);

#endif							/* CHS_WORKER_H */

/*
 * worker.h
 *	  The background worker.
 */
#ifndef CHS_WORKER_H
#define CHS_WORKER_H

#include "compat.h"

extern void chs_worker_init(void);
extern void chs_worker_wake_at_commit(void);

#endif							/* CHS_WORKER_H */

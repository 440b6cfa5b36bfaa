/*
 * slow_worker.h
 *	  Customers that are set apart, as other people's code takes long for them.
 */
#ifndef CHS_SLOW_WORKER_H
#define CHS_SLOW_WORKER_H

#include "base/compat.h"

extern bool chs_slow_worker_fold_next(void);
extern void chs_slow_worker_run(void);

#endif							/* CHS_SLOW_WORKER_H */

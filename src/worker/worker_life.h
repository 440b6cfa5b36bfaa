/*
 * worker_life.h
 *	  How a worker comes, goes, and stands in nobody's way.
 */
#ifndef CHS_WORKER_LIFE_H
#define CHS_WORKER_LIFE_H

#include "base/compat.h"

#include "base/worker_shared.h"

extern void chs_worker_begin(Datum arg);
extern bool chs_worker_is_first(void);
extern bool chs_worker_is_for_slow(void);
extern bool chs_worker_is_excluded(void);
extern void chs_worker_set_state(DatabaseState state);
extern void chs_worker_error_context(void *arg);
extern void chs_worker_leave_if_unwanted(bool settings_changed);
extern Oid	chs_worker_begin_batch(WorkerState state);
extern void chs_worker_end_batch(void);
extern void chs_worker_schedule_retry(bool later);
extern Datum chs_worker_argument(Oid database, int number);

#endif							/* CHS_WORKER_LIFE_H */

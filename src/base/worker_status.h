/*
 * worker_status.h
 *	  What workers tell about themselves.
 */
#ifndef CHS_WORKER_STATUS_H
#define CHS_WORKER_STATUS_H

#include "base/compat.h"

#include "base/worker_shared.h"

extern void chs_worker_status_state(WorkerSlot *worker, WorkerState state);
extern void chs_worker_status_batch(WorkerSlot *worker, int64 deltas, int64 customers,
									int64 microseconds);
extern void chs_worker_status_pass(WorkerSlot *worker, int64 customer_id);
extern void chs_worker_status_begin_work(DatabaseSlot *slot);
extern void chs_worker_status_end_work(DatabaseSlot *slot);
extern void chs_worker_status_retries(WorkerSlot *worker, int customers, TransactionId blocker);
extern uint32 chs_worker_status_error(DatabaseSlot *slot);

#endif							/* CHS_WORKER_STATUS_H */

/*
 * pending.h
 *	  Deltas that transactions have collected and not yet queued.
 */
#ifndef CHS_PENDING_H
#define CHS_PENDING_H

#include "base/compat.h"

#include "store/event.h"
#include "store/live.h"

extern void chs_pending_event(const Live *live, const Event *event, bool must_exist);
extern void chs_pending_score(const Live *live, int64 customer_id);
extern void chs_pending_rebuild(const Live *live, int64 customer_id, bool must_exist);
extern bool chs_pending_finds_customer(const Live *live, int64 customer_id);
extern void chs_pending_forget_customer(int64 customer_id);
extern void chs_pending_forget_customers(void);
extern bool chs_pending_any(void);
extern bool chs_pending_any_here(void);
extern void chs_pending_flush(void);
extern void chs_pending_discard(SubTransactionId subid);
extern void chs_pending_end(void);

#endif							/* CHS_PENDING_H */

/*
 * slow.h
 *	  Customers that are set apart, as other people's code takes long for them.
 */
#ifndef CHS_SLOW_H
#define CHS_SLOW_H

#include "base/compat.h"

#include "base/worker_shared.h"

extern bool chs_slow_has_budget(void);
extern void chs_slow_set_budget(bool on);
extern void chs_slow_offer(int64 customer_id);
extern void chs_slow_note(const char *why);
extern bool chs_slow_next(int64 *customer_id);
extern void chs_slow_end(DatabaseSlot *slot);

#endif							/* CHS_SLOW_H */

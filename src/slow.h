/*
 * slow.h
 *	  Customers that are set apart, as other people's code takes long for them.
 */
#ifndef CHS_SLOW_H
#define CHS_SLOW_H

#include "worker_shared.h"

extern bool chs_slow_is_in_hurry(void);
extern void chs_slow_offer(int64 customer_id);
extern void chs_slow_note(const char *why);
extern void chs_slow_end(DatabaseSlot *slot);
extern bool chs_slow_fold_next(void);
extern void chs_slow_work(void);

#endif							/* CHS_SLOW_H */

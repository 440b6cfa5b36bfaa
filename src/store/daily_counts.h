/*
 * daily_counts.h
 *	  The table chs.daily_counts: how many customers had which status on which day.
 */
#ifndef CHS_DAILY_COUNTS_H
#define CHS_DAILY_COUNTS_H

#include "base/compat.h"

extern void chs_daily_counts_mark(int32 from_day);
extern bool chs_daily_counts_slice(bool at_once);
extern bool chs_daily_counts_step(void);

#endif							/* CHS_DAILY_COUNTS_H */

/*
 * time_limit.h
 *	  A limit on the time that other people's code may take.
 */
#ifndef CHS_TIME_LIMIT_H
#define CHS_TIME_LIMIT_H

#include "base/compat.h"

extern uint64 chs_time_limit_steps;

extern void chs_time_limit_begin(int milliseconds);
extern bool chs_time_limit_end(void);

/*
 * chs_time_limit_step signals progress of the limited code: each step may take as
 * long as the limit, and occasionally twice as long.
 */
static inline void
chs_time_limit_step(void)
{
	chs_time_limit_steps++;
}

#endif							/* CHS_TIME_LIMIT_H */

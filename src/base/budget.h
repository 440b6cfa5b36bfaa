/*
 * budget.h
 *	  How long other people's code may take.
 */
#ifndef CHS_BUDGET_H
#define CHS_BUDGET_H

#include "base/compat.h"

extern uint64 chs_budget_steps;

extern bool chs_budget_call(int timeout, void (*work) (void *arg), void *arg);
extern void chs_budget_begin(void);
extern void chs_budget_end(void);
extern bool chs_budget_suspend(void);
extern void chs_budget_resume(bool was_on);
extern void chs_budget_customer(void);
extern bool chs_budget_is_on(void);
extern bool chs_budget_is_spent(void);
extern void chs_budget_exceed(void);
extern bool chs_budget_was_exceeded(void);

/*
 * chs_budget_step signals progress of what chs_budget_call has called: each step may take
 * as long as the timeout, and occasionally twice as long.
 */
static inline void
chs_budget_step(void)
{
	chs_budget_steps++;
}

#endif							/* CHS_BUDGET_H */

/*
 * budget.h
 *	  Other people's code must not hold up everyone's scores.
 */
#ifndef CHS_BUDGET_H
#define CHS_BUDGET_H

#include "base/compat.h"

extern void chs_budget_begin(void);
extern void chs_budget_end(void);
extern bool chs_budget_suspend(void);
extern void chs_budget_resume(bool was_on);
extern void chs_budget_customer(void);
extern bool chs_budget_is_spent(void);
extern void chs_budget_exceed(void);
extern bool chs_budget_was_exceeded(void);
extern bool chs_budget_is_on(void);
extern int	chs_budget_left(void);
extern void chs_budget_spend(int64 microseconds);

#endif							/* CHS_BUDGET_H */

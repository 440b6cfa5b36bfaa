/*
 * hurry.h
 *	  Other people's code must not hold up everyone's scores.
 */
#ifndef CHS_HURRY_H
#define CHS_HURRY_H

#include "compat.h"

extern void chs_hurry_begin(void);
extern void chs_hurry_end(void);
extern bool chs_hurry_suspend(void);
extern void chs_hurry_resume(bool was_on);
extern void chs_hurry_customer(void);
extern bool chs_hurry_refuses(void);
extern void chs_hurry_cut(void);
extern bool chs_hurry_was_cut(void);
extern bool chs_hurry_is_on(void);
extern int	chs_hurry_patience(void);
extern void chs_hurry_spend(int64 microseconds);

#endif							/* CHS_HURRY_H */

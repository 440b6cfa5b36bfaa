/*
 * utility.h
 *	  Statements that concern the workers.
 */
#ifndef CHS_UTILITY_H
#define CHS_UTILITY_H

extern void chs_utility_init(void);

#endif							/* CHS_UTILITY_H */

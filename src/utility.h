/*
 * utility.h
 *	  Statements that the workers have to know of.
 */
#ifndef CHS_UTILITY_H
#define CHS_UTILITY_H

extern void chs_utility_init(void);

#endif							/* CHS_UTILITY_H */

/*
 * utility.h
 *	  Statements that concern the workers.
 */
#ifndef CHS_UTILITY_H
#define CHS_UTILITY_H

#include "base/compat.h"

extern void chs_utility_init(void);

#endif							/* CHS_UTILITY_H */

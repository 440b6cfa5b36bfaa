/*
 * housekeeping.h
 *	  What workers do beside scoring.
 */
#ifndef CHS_HOUSEKEEPING_H
#define CHS_HOUSEKEEPING_H

#include "base/compat.h"

#include "base/chore.h"

/*
 * A slice does some ten milliseconds of work within the current transaction, and
 * returns whether there is more.  Between two slices the worker commits and folds
 * what is fresh.  All steps are done once in chs.naptime.
 */
typedef struct HousekeepingStep
{
	Chore		chore;
	bool		(*slice) (void);	/* NULL: there are no more steps */
} HousekeepingStep;

extern const HousekeepingStep chs_housekeeping_steps[];

#endif							/* CHS_HOUSEKEEPING_H */

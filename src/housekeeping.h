/*
 * housekeeping.h
 *	  What the worker does in small slices while nothing fresh is waiting.
 */
#ifndef CHS_HOUSEKEEPING_H
#define CHS_HOUSEKEEPING_H

#include "compat.h"

/*
 * A step does one slice of its work, of some ten milliseconds, within the current
 * transaction, and returns whether there is more.  Between two slices the worker
 * commits and folds what is fresh.  All steps are done once in chs.naptime.
 */
typedef bool (*HousekeepingStep) (void);

/* In the order in which they are done; ends with NULL. */
extern const HousekeepingStep chs_housekeeping_steps[];

#endif							/* CHS_HOUSEKEEPING_H */

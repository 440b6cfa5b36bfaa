/*
 * housekeeping.h
 *	  What workers do beside scoring.
 */
#ifndef CHS_HOUSEKEEPING_H
#define CHS_HOUSEKEEPING_H

#include "compat.h"

/* Things to do of which each may fail without the others, and without scores. */
typedef enum Chore
{
	CHORE_LIST_REJECTED,
	CHORE_DELETE_EVENTS,
	CHORE_DELETE_HISTORY,
	CHORE_DELETE_REJECTED,
	CHORE_SHOW_BACKFILL,
	CHORE_CHECK_REJECTED
} Chore;

#define CHORES (CHORE_CHECK_REJECTED + 1)

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

extern void chs_chore_begin(Chore chore);
extern void chs_chore_limit_waits(void);
extern void chs_chore_end(void);
extern void chs_chore_fail(void);
extern const char *chs_chore_name(void);
extern void chs_chore_try(Chore chore, void (*work) (const void *), const void *arg);

#endif							/* CHS_HOUSEKEEPING_H */

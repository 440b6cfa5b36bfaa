/*
 * chore.h
 *	  Things that workers do besides scoring, of which each may fail by itself.
 */
#ifndef CHS_CHORE_H
#define CHS_CHORE_H

#include "base/compat.h"

/* Things to do of which each may fail without the others, and without scores. */
typedef enum Chore
{
	CHORE_DELETE_EVENTS,
	CHORE_DELETE_HISTORY,
	CHORE_DELETE_REJECTED,
	CHORE_COUNT_DAYS
} Chore;

#define CHORES (CHORE_COUNT_DAYS + 1)

extern void chs_chore_begin(Chore chore);
extern void chs_chore_limit_waits(void);
extern void chs_chore_end(void);
extern void chs_chore_fail(void);
extern const char *chs_chore_name(void);

#endif							/* CHS_CHORE_H */

/*
 * activity_check.h
 *	  What every activity in memory holds to, checked where assertions are.
 */
#ifndef CHS_ACTIVITY_CHECK_H
#define CHS_ACTIVITY_CHECK_H

#include "base/compat.h"

#include "activity/activity.h"

#ifdef USE_ASSERT_CHECKING
extern void chs_activity_check(const ActivityData *data);
#else
#define chs_activity_check(data) ((void) 0)
#endif

#endif							/* CHS_ACTIVITY_CHECK_H */

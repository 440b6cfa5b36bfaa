/*
 * activity_write.h
 *	  Writing the bytes of an activity.
 */
#ifndef CHS_ACTIVITY_WRITE_H
#define CHS_ACTIVITY_WRITE_H

#include "base/compat.h"

#include "activity/activity.h"

extern Activity *chs_activity_encode(const ActivityData *data);

#endif							/* CHS_ACTIVITY_WRITE_H */

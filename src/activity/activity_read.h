/*
 * activity_read.h
 *	  Reading the bytes of an activity: as a view, or as cells.
 */
#ifndef CHS_ACTIVITY_READ_H
#define CHS_ACTIVITY_READ_H

#include "base/compat.h"

#include "activity/activity.h"

extern ActivityView *chs_activity_view(const Activity *activity);
extern ActivityView *chs_activity_try_view(const Activity *activity, const char **damage);
extern ActivityView *chs_activity_try_stored(Datum stored, const char **damage);
extern ActivityView *chs_activity_view_of(const ActivityData *data);
extern ActivityData *chs_activity_cells_of(const ActivityView *view);
extern ActivityData *chs_activity_decode(const Activity *activity);

#endif							/* CHS_ACTIVITY_READ_H */

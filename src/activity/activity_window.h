/*
 * activity_window.h
 *	  Sums over windows, taken from the bytes in place.
 */
#ifndef CHS_ACTIVITY_WINDOW_H
#define CHS_ACTIVITY_WINDOW_H

#include "base/compat.h"

#include "activity/activity.h"

extern WindowTotal chs_activity_window(const SeriesView *series, int32 from, int32 to);

#endif							/* CHS_ACTIVITY_WINDOW_H */

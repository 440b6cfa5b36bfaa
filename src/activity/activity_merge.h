/*
 * activity_merge.h
 *	  How activities merge, and what they keep.
 */
#ifndef CHS_ACTIVITY_MERGE_H
#define CHS_ACTIVITY_MERGE_H

#include "base/compat.h"

#include "activity/activity.h"

extern ActivityData *chs_activity_empty(int32 day);
extern ActivityData *chs_activity_from_increments(Increment *increments, int n, int32 day);
extern int	chs_activity_compare_increments(const void *a, const void *b);
extern ActivityData *chs_activity_merge_two(const ActivityData *a, const ActivityData *b);
extern ActivityData *chs_activity_merge_many(ActivityData **inputs, int n);
extern void chs_activity_prune_to(ActivityData *data, int32 day);
extern void chs_activity_prune_series(Series *s, int32 day);
extern bool chs_activity_cap_distinct(Series *s);
extern int32 chs_activity_first_day(const Series *s);

#endif							/* CHS_ACTIVITY_MERGE_H */

/*
 * raw.h
 *	  Activities made from the raw events of all sources.
 */
#ifndef CHS_RAW_H
#define CHS_RAW_H

#include "base/compat.h"

#include "activity/activity.h"
#include "store/live.h"

/* Whose events are to be read, and which. */
typedef struct RawRequest
{
	const Live *live;
	int			n;
	const int64 *customer_ids;
	int32		first_day;
	int32		last_day;		/* DAY_NO_END: all */
	bool		scattered;		/* many others lie between the first and the last */
	bool		attached_only;	/* not those of chs.customer_events */
} RawRequest;

typedef struct RawActivities RawActivities;

extern RawActivities *chs_raw_read(const RawRequest *request);
extern RawActivities *chs_raw_try(const RawRequest *request);
extern bool chs_raw_has(const RawActivities *activities, int64 customer_id);
extern ActivityData *chs_raw_activity(RawActivities *activities, int64 customer_id);
extern ActivityData *chs_raw_customer_activity(int64 customer_id, const Live *live,
											  int32 as_of_day, int32 last_day);

#endif							/* CHS_RAW_H */

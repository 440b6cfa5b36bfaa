/*
 * count.h
 *	  What an event adds to the series of its type.
 */
#ifndef CHS_COUNT_H
#define CHS_COUNT_H

#include "base/compat.h"

#include "datatype/timestamp.h"

#include "activity/activity.h"
#include "score/scorecard.h"

extern int32 chs_count_day(TimestampTz t);
extern int	chs_count_event(const Published *published, const char *event_type,
							int event_type_length, Jsonb *event_data, int32 day,
							Increment *increments);

#endif							/* CHS_COUNT_H */

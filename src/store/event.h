/*
 * event.h
 *	  Events, and the rules that they must obey.
 */
#ifndef CHS_EVENT_H
#define CHS_EVENT_H

#include "base/compat.h"

#include "datatype/timestamp.h"
#include "utils/jsonb.h"

#include "store/live.h"

/* An event, as in its row. */
typedef struct Event
{
	int64		customer_id;
	char	   *event_type;
	int			event_type_length;
	Jsonb	   *event_data;
	TimestampTz occurred_at;
} Event;

extern ErrorData *chs_event_check(const Live *live, const Event *event);
extern ErrorData *chs_event_check_ahead(const Event *event);
extern ErrorData *chs_event_unknown_customer(int64 customer_id);

#endif							/* CHS_EVENT_H */

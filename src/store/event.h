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

/* Why something cannot be used, as arguments of ereport. */
typedef struct Trouble
{
	int			sqlerrcode;
	char	   *message;
	char	   *detail;			/* or NULL */
	char	   *hint;			/* or NULL */
	bool		too_slow;		/* the row itself is valid */
} Trouble;

extern Trouble *chs_event_trouble(int sqlerrcode, char *message, char *detail, char *hint);
extern Trouble *chs_event_check(const Live *live, const Event *event);
extern Trouble *chs_event_check_ahead(const Event *event);
extern Trouble *chs_event_unknown_customer(int64 customer_id);
pg_noreturn extern void chs_event_refuse(const Trouble *trouble);

#endif							/* CHS_EVENT_H */

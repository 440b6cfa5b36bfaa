/*
 * capture.h
 *	  Capture: from inserted rows to deltas in the queue.
 */
#ifndef CHS_CAPTURE_H
#define CHS_CAPTURE_H

#include "base/compat.h"

#include "commands/trigger.h"
#include "datatype/timestamp.h"

/*
 * What the capture of attached tables (see attached.c) does at the same moments as that
 * of chs.customer_events, which knows nothing else of it.
 */
typedef struct CaptureHooks
{
	void		(*flush) (void);	/* queues what is pending */
	bool		(*is_pending) (void);	/* tells whether anything is */
	void		(*pass_on) (SubTransactionId subid, SubTransactionId parent);
	void		(*forget) (SubTransactionId subid);
	void		(*forget_keys) (void);	/* customers have changed */
	bool		(*is_truncated) (TriggerData *trigdata);	/* handles TRUNCATE of a table of its
															 * own */
	bool		(*is_past) (TriggerData *trigdata); /* tells whether no window reaches the rows */
} CaptureHooks;

extern void chs_capture_set_hooks(const CaptureHooks *hooks);
extern void chs_capture_init(void);
extern void chs_capture_flush_pending(void);
extern bool chs_capture_is_pending(void);
extern void chs_capture_ignore_deletes(TimestampTz before);

#endif							/* CHS_CAPTURE_H */

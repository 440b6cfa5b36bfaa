/*
 * capture.h
 *	  Capture: from inserted rows to deltas in the queue.
 */
#ifndef CHS_CAPTURE_H
#define CHS_CAPTURE_H

#include "event.h"
#include "datatype/timestamp.h"

extern void chs_capture_init(void);
extern void chs_capture_flush_pending(void);
extern bool chs_capture_is_pending(void);
extern void chs_capture_ignore_deletes(TimestampTz before);
extern bool chs_capture_finds_customer(const Live *live, int64 customer_id);
extern void chs_capture_event(const Live *live, const Event *event);
extern void chs_capture_rebuild(const Live *live, int64 customer_id);

#endif							/* CHS_CAPTURE_H */

/*
 * capture.h
 *	  Capture: from inserted rows to deltas in the queue.
 */
#ifndef CHS_CAPTURE_H
#define CHS_CAPTURE_H

#include "compat.h"
#include "datatype/timestamp.h"

extern void chs_capture_init(void);
extern void chs_capture_flush_pending(void);
extern bool chs_capture_is_pending(void);
extern void chs_capture_ignore_deletes(TimestampTz before);

#endif							/* CHS_CAPTURE_H */

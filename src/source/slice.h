/*
 * slice.h
 *	  The activities of many customers, made from raw events at once.
 */
#ifndef CHS_SLICE_H
#define CHS_SLICE_H

#include "base/compat.h"

#include "utils/jsonb.h"

#include "activity/activity.h"
#include "source/raw.h"

typedef struct EventSlice EventSlice;

extern bool chs_slice_scattered(const RawRequest *request);
extern EventSlice *chs_slice_read(const RawRequest *request, const Jsonb *document);
extern ActivityData *chs_slice_activity(EventSlice *slice, int64 customer_id);
extern void chs_slice_end(EventSlice *slice);

#endif							/* CHS_SLICE_H */

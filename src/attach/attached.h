/*
 * attached.h
 *	  Capture of attached tables.
 */
#ifndef CHS_ATTACHED_H
#define CHS_ATTACHED_H

#include "base/compat.h"

#include "attach/rejected.h"
#include "source/mapping.h"
#include "store/live.h"
#include "store/sources.h"

extern void chs_attached_init(void);
extern void chs_attached_check(const Live *live, const Source *source, const MappedRow *mapped,
							   RejectedRow *rejected, int64 *customer_id);

#endif							/* CHS_ATTACHED_H */

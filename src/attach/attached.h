/*
 * attached.h
 *	  Capture of attached tables.
 */
#ifndef CHS_ATTACHED_H
#define CHS_ATTACHED_H

#include "base/compat.h"

#include "commands/trigger.h"

#include "attach/rejected.h"
#include "source/mapping.h"
#include "store/live.h"
#include "store/sources.h"

extern void chs_attached_init(void);
extern const ErrorData *chs_attached_retry(const Live *live, const Source *source, const MappedRow *mapped);
extern bool chs_attached_is_unusable(const Live *live, const Source *source, const MappedRow *mapped, RejectedRow *rejected);

#endif							/* CHS_ATTACHED_H */

/*
 * attached.h
 *	  Capture of attached tables.
 */
#ifndef CHS_ATTACHED_H
#define CHS_ATTACHED_H

#include "compat.h"
#include "commands/trigger.h"
#include "rejected.h"
#include "source.h"

extern void chs_attached_flush(void);
extern bool chs_attached_is_pending(void);
extern void chs_attached_pass_on(SubTransactionId subid, SubTransactionId parent);
extern void chs_attached_forget(SubTransactionId subid);
extern void chs_attached_forget_keys(void);
extern bool chs_retry_rows_of(const Live *live, int source_id, const char *customer_key);
extern void chs_retry_customer_came(const Live *live, int64 customer_id);
extern const Trouble *chs_attached_retry(const Live *live, const Source *source, const MappedRow *mapped);
extern bool chs_attached_is_unusable(const Live *live, const Source *source, const MappedRow *mapped, RejectedRow *rejected);
extern bool chs_attached_is_truncated(TriggerData *trigdata);
extern bool chs_attached_is_past(TriggerData *trigdata);

#endif							/* CHS_ATTACHED_H */

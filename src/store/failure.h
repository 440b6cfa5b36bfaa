/*
 * failure.h
 *	  The table chs.failures.
 */
#ifndef CHS_FAILURE_H
#define CHS_FAILURE_H

#include "base/compat.h"

#include "utils/snapshot.h"

extern bool chs_failure_any(Snapshot snapshot);
extern int64 chs_failure_count(Snapshot snapshot);
extern bool chs_failure_has(int64 customer_id, Snapshot snapshot);
extern bool chs_failure_must_wait(int64 customer_id, int version, Snapshot snapshot);
extern bool chs_failure_record(int64 customer_id, int version, const ErrorData *error,
							   Snapshot snapshot);
extern void chs_failure_clear(int64 customer_id, Snapshot snapshot);

#endif							/* CHS_FAILURE_H */

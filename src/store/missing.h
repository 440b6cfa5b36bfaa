/*
 * missing.h
 *	  The table chs.missing_customers: external_ids that rows of attached tables named
 *	  while it was not certain whose they are.
 */
#ifndef CHS_MISSING_H
#define CHS_MISSING_H

#include "base/compat.h"

#include "utils/snapshot.h"

#include "store/live.h"

extern void chs_missing_add(char *const *external_ids, int n);
extern bool chs_missing_has(const Live *live, int64 customer_id, Snapshot snapshot);
extern bool chs_missing_resolve(const Live *live, Snapshot snapshot);

#endif							/* CHS_MISSING_H */

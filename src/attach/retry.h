/*
 * retry.h
 *	  Accepting rejected rows whose problem has been solved.
 */
#ifndef CHS_RETRY_H
#define CHS_RETRY_H

#include "base/compat.h"

#include "store/live.h"

extern bool chs_retry_rows_of(const Live *live, int source_id, const char *customer_key);
extern void chs_retry_customer_came(const Live *live, int64 customer_id);

#endif							/* CHS_RETRY_H */

/*
 * everyone.h
 *	  Scoring and rebuilding every customer, in slices.
 */
#ifndef CHS_EVERYONE_H
#define CHS_EVERYONE_H

#include "claim.h"

extern int	chs_everyone_rescore_stale(const ClaimRequest *request, int64 *last_customer_id, int limit,
										int *nscored, bool *skipped);

#endif							/* CHS_EVERYONE_H */

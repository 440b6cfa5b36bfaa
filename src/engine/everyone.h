/*
 * everyone.h
 *	  Scoring and rebuilding all customers, in slices.
 */
#ifndef CHS_EVERYONE_H
#define CHS_EVERYONE_H

#include "base/compat.h"

#include "store/claim.h"

/* A pass over all customers, in slices. */
typedef struct EveryonePass
{
	int64		last_customer_id;	/* customers up to this one have been looked at */
	int			nput_off;		/* in the last slice: no time for other people's code */
	bool		skipped;		/* some were busy, taken or failed: they stay as they are */
} EveryonePass;

extern int	chs_everyone_rescore_stale(const Part *part, EveryonePass *pass, int limit,
									   int *nscored);

#endif							/* CHS_EVERYONE_H */

/*
 * everyone.h
 *	  Scoring and rebuilding every customer, in slices.
 */
#ifndef CHS_EVERYONE_H
#define CHS_EVERYONE_H

#include "claim.h"

/* A pass over everyone, in slices. */
typedef struct EveryonePass
{
	int64		last_customer_id;	/* customers up to this one have been looked at */
	bool		skipped;		/* some were busy, failed, or somebody else's: they stay as they are */
	bool		unclaimed;		/* some were somebody else's */
} EveryonePass;

extern int	chs_everyone_rescore_stale(const ClaimRequest *request, EveryonePass *pass, int limit, int *nscored);

#endif							/* CHS_EVERYONE_H */

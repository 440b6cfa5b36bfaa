/*
 * claim.h
 *	  Who folds which customers.
 */
#ifndef CHS_CLAIM_H
#define CHS_CLAIM_H

#include "base/compat.h"

/* The customers of one of several workers; all of them if there are not two. */
typedef struct Part
{
	int			number;			/* counted from 0, */
	int			count;			/* of so many */
} Part;

extern bool chs_part_has(const Part *part, int64 customer_id);
extern void chs_claim_check_transaction(void);
extern bool chs_claim_new(int64 customer_id);
extern void chs_claim_new_end(int64 customer_id);
extern bool chs_claim_wait_for_workers(void);

#endif							/* CHS_CLAIM_H */

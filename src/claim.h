/*
 * claim.h
 *	  Claims: who folds which customers.
 */
#ifndef CHS_CLAIM_H
#define CHS_CLAIM_H

#include "compat.h"

/* The number of shares; a customer belongs to one of them. */
#define CLAIM_SHARES 64
#define CLAIM_ALL_SHARES (~UINT64CONST(0))

typedef enum ClaimKind
{
	CLAIM_EVERYONE,
	CLAIM_PART,					/* of the customers, for one of several workers */
	CLAIM_CUSTOMER
} ClaimKind;

/* Whom to claim. */
typedef struct ClaimRequest
{
	ClaimKind	kind;
	int64		customer_id;
	int			part;			/* counted from 0, */
	int			parts;			/* of so many */
} ClaimRequest;

typedef struct Claim
{
	ClaimKind	kind;
	uint64		wanted;			/* shares, a bit for each */
	uint64		got;			/* those of them that nobody else has claimed */
} Claim;

extern Claim chs_claim(const ClaimRequest *request);
extern bool chs_claim_wants(const Claim *claim, int64 customer_id);
extern bool chs_claim_has(const Claim *claim, int64 customer_id);
extern bool chs_claim_counts(const Claim *claim);
extern void chs_claim_counts_wait(void);

#endif							/* CHS_CLAIM_H */

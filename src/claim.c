/*
 * claim.c
 *	  Claims: who folds which customers.
 *
 * Whoever folds a customer holds a claim on it until the end of the transaction, so
 * that nobody else reads or writes its folded state.  A snapshot taken after the
 * claim sees everything that was folded before.  Inserting events takes no claim.
 *
 * Customers are claimed by shares: there is one lock for each of 64 shares, so that
 * the number of locks does not depend on the number of customers.  Above them is a
 * lock that is held in share mode by whoever claims shares, and exclusively by
 * whoever claims everyone.  A worker waits only for that one, while it holds
 * nothing, and never for a share, so workers cannot deadlock.
 */
#include "claim.h"

#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/fmgrprotos.h"

/* Advisory locks of users have 1 or 2 in the last field. */
#define CLAIM_LOCK_FIELD4 0x6368

/* What is locked: the second field of the lock's tag. */
typedef enum ClaimLock
{
	LOCK_EVERYONE,
	LOCK_SHARE,
	LOCK_COUNTS
} ClaimLock;

/* Takes a lock, and returns whether it was available. */
static bool
take_lock(ClaimLock what, int share, LOCKMODE mode, bool wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, what, share, CLAIM_LOCK_FIELD4);
	return LockAcquire(&tag, mode, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

static int
share_of(int64 customer_id)
{
	/* as in the query that looks for stale health */
	return DatumGetUInt32(DirectFunctionCall1(hashint8, Int64GetDatum(customer_id))) % CLAIM_SHARES;
}

/* Claims all customers; waits for whoever has claimed any only if asked to. */
static bool
claim_everyone(Claim *claim, bool wait)
{
	claim->wanted = claim->got = CLAIM_ALL_SHARES;
	return take_lock(LOCK_EVERYONE, 0, ExclusiveLock, wait);
}

/*
 * Claims the customers of a part, except those that somebody else has claimed.
 * Waits only for whoever has claimed everyone.
 */
static Claim
claim_part(int part, int parts)
{
	Claim		claim = {.kind = CLAIM_PART};

	/* one lock instead of many, if nobody else is there */
	if (parts == 1 && claim_everyone(&claim, false))
		return claim;
	claim.wanted = claim.got = 0;
	(void) take_lock(LOCK_EVERYONE, 0, ShareLock, true);
	for (int share = part; share < CLAIM_SHARES; share += parts)
	{
		uint64		bit = UINT64CONST(1) << share;

		claim.wanted |= bit;
		if (take_lock(LOCK_SHARE, share, ExclusiveLock, false))
			claim.got |= bit;
	}
	return claim;
}

/* Claims the share of a customer, waiting for whoever has it. */
static Claim
claim_customer(int64 customer_id)
{
	int			share = share_of(customer_id);
	uint64		bit = UINT64CONST(1) << share;

	(void) take_lock(LOCK_EVERYONE, 0, ShareLock, true);
	(void) take_lock(LOCK_SHARE, share, ExclusiveLock, true);
	return (Claim) {
		.kind = CLAIM_CUSTOMER,.wanted = bit,.got = bit
	};
}

/*
 * chs_claim claims customers until the end of the transaction: everyone or one,
 * waiting for whoever has claimed them; or those of a part that nobody else has
 * claimed.
 */
Claim
chs_claim(const ClaimRequest *request)
{
	Claim		claim = {.kind = CLAIM_EVERYONE};

	switch (request->kind)
	{
		case CLAIM_EVERYONE:
			(void) claim_everyone(&claim, true);
			break;
		case CLAIM_PART:
			return claim_part(request->part, request->parts);
		case CLAIM_CUSTOMER:
			return claim_customer(request->customer_id);
	}
	return claim;
}

/* chs_claim_wants tells whether a customer belongs to the part that was requested. */
bool
chs_claim_wants(const Claim *claim, int64 customer_id)
{
	return claim->wanted == CLAIM_ALL_SHARES || (claim->wanted >> share_of(customer_id) & 1);
}

/* chs_claim_has tells whether a customer has been claimed. */
bool
chs_claim_has(const Claim *claim, int64 customer_id)
{
	return claim->got == CLAIM_ALL_SHARES || (claim->got >> share_of(customer_id) & 1);
}

/*
 * chs_claim_counts claims the rows of chs.health_counts, to replace them by their
 * sum, and returns whether that succeeded.  The snapshot for summing must be taken
 * afterwards.  Not to be used for a single customer, which may be folded in a user's
 * long transaction.
 */
bool
chs_claim_counts(const Claim *claim)
{
	return claim->kind != CLAIM_CUSTOMER && take_lock(LOCK_COUNTS, 0, ExclusiveLock, false);
}

/* chs_claim_counts_wait claims these rows to correct them, waiting for whoever has claimed them. */
void
chs_claim_counts_wait(void)
{
	(void) take_lock(LOCK_COUNTS, 0, ExclusiveLock, true);
}

/*
 * xid.c
 *	  Transaction IDs that do not wrap around.
 */
#include "base/xid.h"

/* chs_xid_full returns the full form of a transaction ID of the last two billion. */
FullTransactionId
chs_xid_full(TransactionId xid)
{
	FullTransactionId next = ReadNextFullTransactionId();
	uint32		epoch = EpochFromFullTransactionId(next);

	if (xid > XidFromFullTransactionId(next))
		epoch--;
	return FullTransactionIdFromEpochAndXid(epoch, xid);
}

/*
 * chs_xid_horizon returns the oldest transaction that a snapshot
 * considers running; it sees the outcome of all earlier ones.
 */
FullTransactionId
chs_xid_horizon(Snapshot snapshot)
{
	return chs_xid_full(snapshot->xmin);
}

/*
 * chs_xid_is_to_come tells whether a transaction that is stored somewhere has not
 * begun yet: the cluster was set back, as by pg_resetwal, and transactions are
 * numbered again from there.
 */
bool
chs_xid_is_to_come(FullTransactionId xid)
{
	static FullTransactionId next = {0};

	/* those that had begun when this was looked up last need no lock */
	if (FullTransactionIdPrecedes(xid, next))
		return false;
	next = ReadNextFullTransactionId();
	return FullTransactionIdFollows(xid, next);
}

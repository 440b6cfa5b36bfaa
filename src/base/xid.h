/*
 * xid.h
 *	  Transaction IDs that do not wrap around.
 */
#ifndef CHS_XID_H
#define CHS_XID_H

#include "base/compat.h"

#include "access/transam.h"
#include "utils/snapshot.h"

extern FullTransactionId chs_xid_full(TransactionId xid);
extern FullTransactionId chs_xid_horizon(Snapshot snapshot);
extern bool chs_xid_is_to_come(FullTransactionId xid);

#endif							/* CHS_XID_H */

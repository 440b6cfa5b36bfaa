/*
 * rewritten.c
 *	  Tables of events that were written anew under a snapshot.
 *
 * ALTER TABLE, and tools that copy a table and exchange its files, leave rows that were
 * all inserted by a later transaction.  Whoever has taken a snapshot before, and opens
 * the table afterwards, sees none of them, and must not store what follows from that.
 */
#include "source/rewritten.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "store/live.h"
#include "store/sources.h"

/* Whether the row of pg_class that is valid now is of a transaction unseen by a snapshot. */
static bool
is_changed(Oid relation, Snapshot snapshot)
{
	HeapTuple	row = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	TransactionId xmin;

	if (!HeapTupleIsValid(row))
		return true;
	xmin = HeapTupleHeaderGetXmin(row->t_data);
	ReleaseSysCache(row);
	return TransactionIdIsNormal(xmin) && !TransactionIdIsCurrentTransactionId(xmin) &&
		XidInMVCCSnapshot(xmin, snapshot);
}

/*
 * chs_rewritten_since tells whether a table of events may have been written anew since
 * a snapshot was taken; any other change of its row in pg_class counts, too.  To be
 * asked after its rows have been read, which keeps it locked.
 */
bool
chs_rewritten_since(const Live *live, Snapshot snapshot)
{
	for (int i = 0; i < live->nsources; i++)
	{
		const Source *source = &live->sources[i];
		ListCell   *lc;

		foreach(lc, find_all_inheritors(source->relation, NoLock, NULL))
			if (is_changed(lfirst_oid(lc), snapshot))
				return true;
	}
	return false;
}

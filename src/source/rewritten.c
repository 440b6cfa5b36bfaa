/*
 * rewritten.c
 *	  Tables of events that were written anew under a snapshot.
 *
 * ALTER TABLE, and tools that copy a table and exchange its files, leave rows that were
 * all inserted by a later transaction.  Whoever has taken a snapshot before, and opens
 * the table afterwards, sees none of them, and must not store what follows from that.
 */
#include "source/rewritten.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "store/live.h"
#include "store/sources.h"

/* The file of a relation as a snapshot sees it, InvalidOid if it does not see the relation. */
static Oid
file_then(Oid relation, Snapshot snapshot)
{
	Relation	pg_class = table_open(RelationRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	row;
	Oid			file = InvalidOid;

	ScanKeyInit(&key, Anum_pg_class_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relation));
	scan = systable_beginscan(pg_class, ClassOidIndexId, true, snapshot, 1, &key);
	row = systable_getnext(scan);
	if (HeapTupleIsValid(row))
		file = ((Form_pg_class) GETSTRUCT(row))->relfilenode;
	systable_endscan(scan);
	table_close(pg_class, AccessShareLock);
	return file;
}

/* Whether a relation has another file than a snapshot sees, by somebody else. */
static bool
is_rewritten(Oid relation, Snapshot snapshot)
{
	HeapTuple	row = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	TransactionId xmin;
	Oid			file;

	if (!HeapTupleIsValid(row))
		return true;
	xmin = HeapTupleHeaderGetXmin(row->t_data);
	file = ((Form_pg_class) GETSTRUCT(row))->relfilenode;
	ReleaseSysCache(row);
	return TransactionIdIsNormal(xmin) && !TransactionIdIsCurrentTransactionId(xmin) &&
		XidInMVCCSnapshot(xmin, snapshot) && file != file_then(relation, snapshot);
}

/*
 * chs_rewritten_since tells whether a table of events may have been written anew since
 * a snapshot was taken.  To be asked after its rows have been read, which keeps it locked.
 */
bool
chs_rewritten_since(const Live *live, Snapshot snapshot)
{
	for (int i = 0; i < live->nsources; i++)
	{
		const Source *source = &live->sources[i];
		ListCell   *lc;

		foreach(lc, find_all_inheritors(source->relation, NoLock, NULL))
			if (is_rewritten(lfirst_oid(lc), snapshot))
				return true;
	}
	return false;
}

/* chs_rewritten_check raises an error in that case, for the active snapshot. */
void
chs_rewritten_check(const Live *live)
{
	if (chs_rewritten_since(live, GetActiveSnapshot()))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("a table of events was rewritten while it was about to be read"),
				 errhint("Try again.")));
}

/*
 * gone.c
 *	  What is derived from the events of customers that are gone.
 *
 * Foreign keys say that it goes with the customer.  But they are ordinary triggers,
 * which do not fire for what arrives by logical replication, nor with
 * session_replication_role = replica.  So the trigger of chs.customers, which always
 * fires, removes what they have left, and chs_rebuild() what is there all the same
 * (chs.remove_invalid() in sql/ext/verify.sql).
 */
#include "store/gone.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "postgres.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#include "base/catalog.h"
#include "base/spi.h"
#include "store/health.h"

/* The tables, and how they keep the customer. */
static const struct
{
	ChsRelation table;
	ChsRelation index;
	int			column;
	const char *remove;			/* customer $1, who may have become $2 */
}			derived[] = {
	/* the health first: from then on nobody folds the customer */
	{
		CHS_CUSTOMER_HEALTH, CHS_CUSTOMER_HEALTH_PKEY, 1,
		"DELETE FROM chs.customer_health WHERE customer_id = $1"
	},
	{CHS_ACTIVITY, CHS_ACTIVITY_PKEY, 1, "DELETE FROM chs.activity WHERE customer_id = $1"},
	{CHS_FAILURES, CHS_FAILURES_PKEY, 1, "DELETE FROM chs.failures WHERE customer_id = $1"},
	/* the history is not derived again: it keeps to the customer */
	{
		CHS_HEALTH_SCORES, CHS_HEALTH_SCORES_PKEY, 2,
		"WITH kept AS (UPDATE chs.health_scores SET customer_id = $2"
		"  WHERE customer_id = $1 AND $2 IS NOT NULL)"
		" DELETE FROM chs.health_scores WHERE customer_id = $1 AND $2 IS NULL"
	}
};

/* Whether a table has a row of a customer now. */
static bool
has_row(int i, int64 customer_id)
{
	Relation	rel = table_open(chs_catalog_relation(derived[i].table), AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	bool		found;

	ScanKeyInit(&key, derived[i].column, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(customer_id));
	scan = systable_beginscan(rel, chs_catalog_relation(derived[i].index), true, SnapshotSelf,
							  1, &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/*
 * Waits for whoever is folding a customer: what they have written is seen when they
 * have ended, and by statements that begin then even where a concurrent update is an
 * error (REPEATABLE READ).
 */
static void
wait_for_fold(int64 customer_id)
{
	TransactionId xid;

	while (TransactionIdIsValid(xid = chs_health_taken_by(customer_id)) &&
		   !TransactionIdIsCurrentTransactionId(xid))
		XactLockTableWait(xid, NULL, NULL, XLTW_None);
}

/*
 * chs_gone_forget removes what foreign keys have left of a customer who has been
 * deleted, or renumbered; the history of the latter goes on.  Its trigger fires
 * before those of foreign keys, which therefore find nothing that is being written.
 */
void
chs_gone_forget(int64 customer_id, const int64 *renumbered)
{
	static SPIPlanPtr plans[lengthof(derived)];
	Oid			types[] = {INT8OID, INT8OID};
	Datum		args[] = {
		Int64GetDatum(customer_id), renumbered == NULL ? (Datum) 0 : Int64GetDatum(*renumbered)
	};

	Assert(renumbered == NULL || *renumbered != customer_id);
	wait_for_fold(customer_id);
	for (size_t i = 0; i < lengthof(derived); i++)
	{
		OwnerRights saved;

		if (!has_row(i, customer_id))
			continue;
		chs_spi_begin(&saved);
		chs_spi_execute_now(&plans[i], derived[i].remove, lengthof(types), types, args,
							renumbered == NULL ? " n" : NULL);
		chs_spi_end(&saved);
	}
}

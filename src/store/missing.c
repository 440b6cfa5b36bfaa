/*
 * missing.c
 *	  The table chs.missing_customers: external_ids that rows of attached tables named
 *	  while it was not certain whose they are.
 *
 * A row may be written, or removed, while no customer has its key, as far as can be
 * seen, or while somebody is changing who has it.  Neither transaction may see what the
 * other did.  So capture adds the key: as long as a snapshot sees it here, the score of
 * whoever has the key, for that snapshot, is made from the raw events.  Folding removes
 * it and has whoever has the key by then rebuilt.  A customer who gets it later is made
 * from raw events with which the row has come; and one who was scored by the very
 * transaction that gave it the key is rebuilt, see fold.c.
 *
 * By customer_id no such table is needed: a rebuild can be queued for a customer who is
 * not there.
 */
#include "store/missing.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "base/catalog.h"
#include "base/tables.h"
#include "base/wake.h"
#include "store/customer.h"
#include "store/live.h"
#include "store/queue.h"
#include "store/sources.h"

/* Columns of chs.missing_customers. */
enum
{
	MISSING_KEY_HASH = 1,
	MISSING_EXTERNAL_ID,
	MISSING_COLUMNS = MISSING_EXTERNAL_ID
};

/* The maximum number of rows that are removed at once. */
#define MAX_RESOLVED 10000

/* An index by the keys themselves could not hold long ones. */
static int64
hash_of(const char *external_id)
{
	return (int64) hash_bytes_extended((const unsigned char *) external_id, strlen(external_id), 0);
}

/*
 * chs_missing_add adds keys, and has a worker look for the customers when the
 * transaction has committed.  Needs no rights of the caller, and waits for nobody.
 */
void
chs_missing_add(char *const *external_ids, int n)
{
	OwnTable	table;

	if (n == 0)
		return;
	chs_table_open(&table, chs_catalog_relation(CHS_MISSING_CUSTOMERS), false);
	for (int i = 0; i < n; i++)
	{
		Datum		values[MISSING_COLUMNS] = {
			Int64GetDatum(hash_of(external_ids[i])), CStringGetTextDatum(external_ids[i])
		};
		bool		nulls[MISSING_COLUMNS] = {0};

		(void) chs_table_store(&table, NULL, values, nulls, MISSING_COLUMNS);
	}
	chs_table_close(&table);
	chs_wake_at_commit();
}

/*
 * chs_missing_has tells whether a snapshot sees the key of a customer here, so that
 * its activity and what is queued may lack rows; or, seldom, one like it.
 */
bool
chs_missing_has(const Live *live, int64 customer_id, Snapshot snapshot)
{
	bool		by_external_id = false;
	char	   *external_id;
	Relation	rel;
	ScanKeyData key;
	SysScanDesc scan;
	bool		found;

	for (int i = 0; i < live->nsources; i++)
	{
		const Source *source = &live->sources[i];

		by_external_id |= source->by_external_id;
	}
	if (!by_external_id || (external_id = chs_customer_external_id(customer_id, snapshot)) == NULL)
		return false;
	rel = table_open(chs_catalog_relation(CHS_MISSING_CUSTOMERS), AccessShareLock);
	ScanKeyInit(&key, MISSING_KEY_HASH, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(hash_of(external_id)));
	scan = systable_beginscan(rel, chs_catalog_relation(CHS_MISSING_CUSTOMERS_KEY_HASH_IDX), true,
							  snapshot, 1, &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	pfree(external_id);
	return found;
}

/* Queues a rebuild of customers. */
static void
queue_rebuilds(const Live *live, const int64 *customer_ids, int n)
{
	QueueAppender appender;

	if (n == 0)
		return;
	chs_queue_begin_append(&appender);
	for (int i = 0; i < n; i++)
		chs_queue_append(&appender, customer_ids[i], NULL, true, live->series_version);
	chs_queue_end_append(&appender);
}

/*
 * chs_missing_resolve removes the keys that a snapshot sees, at most so many, and
 * queues a rebuild of each customer that has one now.  Returns whether some had to be
 * left: waits for nobody who has the table, or rows of it, locked.
 */
bool
chs_missing_resolve(const Live *live, Snapshot snapshot)
{
	Oid			relid = chs_catalog_relation(CHS_MISSING_CUSTOMERS);
	Relation	rel;
	TupleTableSlot *slot;
	TableScanDesc scan;
	int64	   *found = NULL;
	int			nfound = 0;
	int			nremoved = 0;
	bool		left = false;

	if (!ConditionalLockRelationOid(relid, RowExclusiveLock))
		return true;
	rel = table_open(relid, NoLock);
	slot = table_slot_create(rel, NULL);
	scan = table_beginscan(rel, snapshot, 0, NULL);
	while (nremoved < MAX_RESOLVED && table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;
		char	   *external_id;

		CHECK_FOR_INTERRUPTS();
		if (!chs_table_delete(rel, &slot->tts_tid))
		{
			left = true;
			continue;
		}
		if (nremoved++ == 0)
			found = palloc(MAX_RESOLVED * sizeof(int64));
		external_id = TextDatumGetCString(slot_getattr(slot, MISSING_EXTERNAL_ID, &isnull));
		nfound += chs_customer_find_external(external_id, &found[nfound]);
		pfree(external_id);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
	if (nremoved == 0)
		return left;
	queue_rebuilds(live, found, nfound);
	pfree(found);
	/* customers are to be rebuilt, and there may be more keys */
	chs_wake_at_commit();
	return false;
}

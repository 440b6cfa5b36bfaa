/*
 * customer.c
 *	  Who is scored, and what is known of what a customer did.
 *
 * These read with the engine's own rights; what a user asks for goes through
 * customer_score.c, which looks first whether the user may see the customer.
 */
#include "store/customer.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "activity/activity.h"
#include "activity/activity_read.h"
#include "base/catalog.h"
#include "base/tables.h"
#include "base/xid.h"
#include "score/count.h"
#include "store/live.h"

/* chs_customer_today returns the UTC day of the transaction. */
int32
chs_customer_today(void)
{
	return chs_count_day(GetCurrentTransactionStartTimestamp());
}

/* chs_customer_not_found raises the error for a customer that does not exist. */
void
chs_customer_not_found(int64 customer_id)
{
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("customer %lld does not exist", (long long) customer_id)));
}

/* Starts a scan of a table for the one row with a bigint key. */
static SysScanDesc
begin_key_scan(Relation rel, ChsRelation index, int column, int64 value, Snapshot snapshot)
{
	ScanKeyData key;

	ScanKeyInit(&key, column, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(value));
	return systable_beginscan(rel, chs_catalog_relation(index), true, snapshot, 1, &key);
}

/*
 * chs_customer_set makes a customer of the columns segment, created_at and
 * churned_at.
 */
void
chs_customer_set(Customer *customer, int64 customer_id,
				 NullableDatum segment, NullableDatum created_at, NullableDatum churned_at)
{
	/* by constraints of the table */
	Assert(!created_at.isnull);
	customer->customer_id = customer_id;
	customer->segment = segment.isnull ? NULL : TextDatumGetCString(segment.value);
	customer->created_day = chs_count_day(DatumGetTimestampTz(created_at.value));
	customer->last_day = churned_at.isnull ?
		DAY_NO_END : chs_count_day(DatumGetTimestampTz(churned_at.value));
}

static NullableDatum
tuple_column(HeapTuple tuple, int column, TupleDesc desc)
{
	NullableDatum result;

	result.value = heap_getattr(tuple, column, desc, &result.isnull);
	return result;
}

static NullableDatum
slot_column(TupleTableSlot *slot, int column)
{
	NullableDatum result;

	result.value = slot_getattr(slot, column, &result.isnull);
	return result;
}

/* chs_customer_set_from makes a customer of a row of chs.customers. */
void
chs_customer_set_from(Customer *customer, int64 customer_id, TupleTableSlot *row)
{
	chs_customer_set(customer, customer_id, slot_column(row, CUSTOMERS_SEGMENT),
					 slot_column(row, CUSTOMERS_CREATED_AT),
					 slot_column(row, CUSTOMERS_CHURNED_AT));
}

/*
 * chs_customer_find reads the row of a customer, false where there is none.
 */
bool
chs_customer_find(int64 customer_id, Snapshot snapshot, Customer *customer)
{
	Relation	rel = table_open(chs_catalog_relation(CHS_CUSTOMERS), AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	SysScanDesc scan = begin_key_scan(rel, CHS_CUSTOMERS_PKEY, CUSTOMERS_CUSTOMER_ID, customer_id,
									  snapshot);
	HeapTuple	tuple = systable_getnext(scan);
	bool		found = HeapTupleIsValid(tuple);

	if (found)
		chs_customer_set(customer, customer_id, tuple_column(tuple, CUSTOMERS_SEGMENT, desc),
						 tuple_column(tuple, CUSTOMERS_CREATED_AT, desc),
						 tuple_column(tuple, CUSTOMERS_CHURNED_AT, desc));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/* chs_customer_external_id returns the external_id of a customer, or NULL. */
char *
chs_customer_external_id(int64 customer_id, Snapshot snapshot)
{
	Relation	rel = table_open(chs_catalog_relation(CHS_CUSTOMERS), AccessShareLock);
	SysScanDesc scan = begin_key_scan(rel, CHS_CUSTOMERS_PKEY, CUSTOMERS_CUSTOMER_ID, customer_id,
									  snapshot);
	HeapTuple	tuple = systable_getnext(scan);
	char	   *external_id = NULL;

	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		datum = heap_getattr(tuple, CUSTOMERS_EXTERNAL_ID, RelationGetDescr(rel),
										 &isnull);

		external_id = isnull ? NULL : TextDatumGetCString(datum);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return external_id;
}

/* Whether a customer's row is there now, whatever a snapshot sees, and who wrote it. */
static bool
find_now(int64 customer_id, TransactionId *written_by)
{
	Relation	rel = table_open(chs_catalog_relation(CHS_CUSTOMERS), AccessShareLock);
	SysScanDesc scan = begin_key_scan(rel, CHS_CUSTOMERS_PKEY, CUSTOMERS_CUSTOMER_ID, customer_id,
									  SnapshotSelf);
	HeapTuple	tuple = systable_getnext(scan);
	bool		found = HeapTupleIsValid(tuple);

	if (found)
		*written_by = HeapTupleHeaderGetXmin(tuple->t_data);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/*
 * chs_customer_exists tells whether there is such a customer now, whatever a
 * snapshot sees.
 */
bool
chs_customer_exists(int64 customer_id)
{
	TransactionId written_by;

	return find_now(customer_id, &written_by);
}

/*
 * chs_customer_is_own tells whether this transaction created a customer, or changed its
 * row, so that others do not see it, or see it with another key.
 */
bool
chs_customer_is_own(int64 customer_id)
{
	TransactionId written_by;

	return find_now(customer_id, &written_by) && TransactionIdIsCurrentTransactionId(written_by);
}

/* chs_customer_find_external finds who has an external_id now; false if nobody has. */
bool
chs_customer_find_external(const char *external_id, int64 *customer_id)
{
	Relation	rel = table_open(chs_catalog_relation(CHS_CUSTOMERS), AccessShareLock);
	Relation	index = index_open(chs_catalog_relation(CHS_CUSTOMERS_EXTERNAL_ID_KEY),
								   AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		isnull;

	ScanKeyEntryInitialize(&key, 0, CUSTOMERS_EXTERNAL_ID, BTEqualStrategyNumber, InvalidOid,
						   index->rd_indcollation[0], F_TEXTEQ, CStringGetTextDatum(external_id));
	scan = systable_beginscan(rel, RelationGetRelid(index), true, SnapshotSelf, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		*customer_id = DatumGetInt64(heap_getattr(tuple, CUSTOMERS_CUSTOMER_ID,
												  RelationGetDescr(rel), &isnull));
	systable_endscan(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return HeapTupleIsValid(tuple);
}

/*
 * chs_customer_lock_external finds the customer that has an external_id now, and
 * keeps it from getting another one before the transaction ends.  Waits for
 * nobody: busy is one who may be getting another.
 */
CustomerLock
chs_customer_lock_external(const char *external_id, int64 *customer_id)
{
	CustomerLock lock;
	char	   *locked;

	if (!chs_customer_find_external(external_id, customer_id))
		return CUSTOMER_GONE;
	lock = chs_customer_lock_one(*customer_id, false, NULL, NULL);
	if (lock != CUSTOMER_LOCKED)
		return CUSTOMER_BUSY;
	locked = chs_customer_external_id(*customer_id, SnapshotSelf);
	return locked != NULL && strcmp(locked, external_id) == 0 ? CUSTOMER_LOCKED : CUSTOMER_BUSY;
}

/*
 * chs_customer_row_is_seen tells whether a snapshot sees the version of a row that
 * a transaction inserted and committed.
 */
bool
chs_customer_row_is_seen(TransactionId xmin, Snapshot snapshot)
{
	return !TransactionIdIsNormal(xmin) || TransactionIdIsCurrentTransactionId(xmin) ||
		FullTransactionIdPrecedes(chs_xid_full(xmin), chs_xid_horizon(snapshot)) ||
		!XidInMVCCSnapshot(xmin, snapshot);
}

/*
 * chs_customer_open opens chs.customers to lock some of them.  Allocates in the
 * current memory context, which must last until chs_customer_close, as must the
 * subtransaction.
 */
void
chs_customer_open(CustomerTable *table)
{
	table->rel = table_open(chs_catalog_relation(CHS_CUSTOMERS), RowShareLock);
	table->index = index_open(chs_catalog_relation(CHS_CUSTOMERS_PKEY), AccessShareLock);
	table->context = CurrentMemoryContext;
	/* a snapshot that also sees what the current command inserted */
	table->scan = chs_index_beginscan(table->rel, table->index, SnapshotSelf, 1);
	table->found = table_slot_create(table->rel, NULL);
	table->locked = table_slot_create(table->rel, NULL);
}

/* chs_customer_close closes chs.customers, keeping the locks. */
void
chs_customer_close(CustomerTable *table)
{
	ExecDropSingleTupleTableSlot(table->locked);
	ExecDropSingleTupleTableSlot(table->found);
	index_endscan(table->scan);
	index_close(table->index, AccessShareLock);
	table_close(table->rel, NoLock);
}

/* Locks the version of a customer's row that is there now. */
static TM_Result
lock_row(CustomerTable *table, int64 customer_id, bool wait)
{
	ScanKeyData key;
	TM_FailureData failure;
	TM_Result	result = TM_Deleted;
	MemoryContext caller;
	bool		found;
	bool		isnull;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(customer_id));
	/* the scan keeps something from one customer to the next, such as what it found to be dead */
	caller = MemoryContextSwitchTo(table->context);
	index_rescan(table->scan, &key, 1, NULL, 0);
	found = index_getnext_slot(table->scan, ForwardScanDirection, table->found);
	MemoryContextSwitchTo(caller);
	if (found)
	{
		/* the highest command number: own changes are known already */
		result = table_tuple_lock(table->rel, &table->found->tts_tid, SnapshotSelf, table->locked,
								  InvalidCommandId - 1,
								  LockTupleKeyShare, wait ? LockWaitBlock : LockWaitSkip,
								  TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);
		/* the last version may be that of another number */
		if (result == TM_Ok &&
			DatumGetInt64(slot_getattr(table->locked, CUSTOMERS_CUSTOMER_ID,
									   &isnull)) != customer_id)
			result = TM_Deleted;
	}
	return result;
}

/*
 * chs_customer_lock keeps a customer from being deleted or renumbered before the
 * transaction ends, as a foreign key would.  Only a transaction that is doing so
 * (or has the row locked FOR UPDATE) is in the way: it is waited for, if so
 * asked, or the customer is busy.  It is also busy if what was locked is newer than
 * what a snapshot, where given, sees; if not, *customer gets what that sees.
 */
CustomerLock
chs_customer_lock(CustomerTable *table, int64 customer_id, bool wait, Snapshot snapshot,
				  Customer *customer)
{
	TM_Result	result;
	TupleTableSlot *slot = table->locked;
	bool		isnull;

	Assert((snapshot == NULL) == (customer == NULL));
	/* updated meanwhile: look again for the version that is there now */
	while ((result = lock_row(table, customer_id, wait)) == TM_Updated)
		CHECK_FOR_INTERRUPTS();
	if (result == TM_Ok && snapshot != NULL)
	{
		Datum		xmin = slot_getsysattr(slot, MinTransactionIdAttributeNumber, &isnull);

		if (chs_customer_row_is_seen(DatumGetTransactionId(xmin), snapshot))
			chs_customer_set_from(customer, customer_id, slot);
		else
			result = TM_WouldBlock;
	}
	return result == TM_Ok ? CUSTOMER_LOCKED :
		result == TM_WouldBlock ? CUSTOMER_BUSY : CUSTOMER_GONE;
}

/* chs_customer_lock_one does so for a single customer. */
CustomerLock
chs_customer_lock_one(int64 customer_id, bool wait, Snapshot snapshot, Customer *customer)
{
	CustomerTable table;
	CustomerLock lock;

	chs_customer_open(&table);
	lock = chs_customer_lock(&table, customer_id, wait, snapshot, customer);
	chs_customer_close(&table);
	return lock;
}

/* chs_customer_read_activity reads a row of chs.activity, or that there is none. */
StoredActivity
chs_customer_read_activity(HeapTuple row, TupleDesc desc)
{
	static const ActivityView no_events = {.day = DAY_NEVER};
	StoredActivity stored = {.row = row,.view = &no_events};

	if (row != NULL)
	{
		bool		isnull;

		stored.view = chs_activity_try_stored(heap_getattr(row, ACTIVITY_ACTIVITY, desc, &isnull),
											  &stored.damage);
		stored.series_version = DatumGetInt32(heap_getattr(row, ACTIVITY_SERIES_VERSION, desc,
														   &isnull));
		stored.folded_to = DatumGetFullTransactionId(heap_getattr(row, ACTIVITY_FOLDED_TO, desc,
																  &isnull));
		if (stored.damage == NULL && chs_xid_is_to_come(stored.folded_to))
			stored.damage = "It was folded up to a transaction that is still to come.";
	}
	/* whoever needs it makes it again from the raw events, as one of an earlier version */
	if (stored.damage != NULL)
	{
		stored.series_version = 0;
		stored.folded_to = InvalidFullTransactionId;
		stored.view = &no_events;
	}
	return stored;
}

/* chs_customer_stored finds the row of chs.activity, and reads it. */
StoredActivity
chs_customer_stored(int64 customer_id, Snapshot snapshot)
{
	Relation	rel = table_open(chs_catalog_relation(CHS_ACTIVITY), AccessShareLock);
	HeapTuple	row = chs_table_find(rel, CHS_ACTIVITY_PKEY, customer_id, snapshot);
	StoredActivity stored = chs_customer_read_activity(row,
													   RelationGetDescr(rel));

	table_close(rel, AccessShareLock);
	return stored;
}

/*
 * chs_customer_is_current tells whether a stored activity, or that there is none,
 * can be trusted to hold all that a version counts.  Attached tables may have had
 * rows before their customer came.
 */
bool
chs_customer_is_current(const StoredActivity *stored, const Live *live)
{
	return stored->row == NULL ?
		live->nsources <= 1 : stored->series_version >= live->series_version;
}

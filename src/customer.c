/*
 * customer.c
 *	  Who is scored, and what is known of what a customer did.
 *
 * These read with the engine's own rights; what a user asks for goes through
 * customer_score.c, which looks first whether the user may see the customer.
 */
#include "customer.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/sysattr.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "count.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Columns of chs.activity. */
#define ACTIVITY_ACTIVITY 2
#define ACTIVITY_SERIES_VERSION 3
#define ACTIVITY_FOLDED_TO 4

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
	customer->customer_id = customer_id;
	customer->segment = segment.isnull ? NULL : TextDatumGetCString(segment.value);
	customer->created_day = chs_count_day(DatumGetTimestampTz(created_at.value));
	customer->last_day = churned_at.isnull ? DAY_NO_END : chs_count_day(DatumGetTimestampTz(churned_at.value));
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

/*
 * chs_customer_find reads the row of a customer, false where there is none.
 */
bool
chs_customer_find(int64 customer_id, Snapshot snapshot, Customer *customer)
{
	Relation	rel = table_open(chs_catalog_relation(CHS_CUSTOMERS), AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	SysScanDesc scan = begin_key_scan(rel, CHS_CUSTOMERS_PKEY, CUSTOMERS_CUSTOMER_ID, customer_id, snapshot);
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

/*
 * chs_customer_row_is_seen tells whether a snapshot sees the version of a row that
 * a transaction inserted and committed.
 */
bool
chs_customer_row_is_seen(TransactionId xmin, Snapshot snapshot)
{
	return !TransactionIdIsNormal(xmin) || TransactionIdIsCurrentTransactionId(xmin) ||
		FullTransactionIdPrecedes(chs_catalog_full_xid(xmin), chs_catalog_snapshot_horizon(snapshot)) ||
		!XidInMVCCSnapshot(xmin, snapshot);
}

/*
 * chs_customer_lock keeps a customer from being deleted or renumbered before the
 * transaction ends, as a foreign key would.  Only a transaction that is doing so
 * (or has the row locked FOR UPDATE) is in the way: it is waited for, if so
 * asked, or the customer is busy.  It is also busy if what was locked is newer than
 * what a snapshot, where given, sees; if not, *customer gets what that sees.
 */
CustomerLock
chs_customer_lock(int64 customer_id, bool wait, Snapshot snapshot, Customer *customer)
{
	Relation	rel = table_open(chs_catalog_relation(CHS_CUSTOMERS), RowShareLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TM_Result	result;

	do
	{
		/* a snapshot that also sees what the current command inserted */
		SysScanDesc scan = begin_key_scan(rel, CHS_CUSTOMERS_PKEY, CUSTOMERS_CUSTOMER_ID,
										  customer_id, SnapshotSelf);
		HeapTuple	tuple = systable_getnext(scan);

		result = TM_Deleted;
		if (HeapTupleIsValid(tuple))
		{
			TM_FailureData failure;
			ItemPointerData tid = tuple->t_self;

			/* the highest command number: own changes are known already */
			result = table_tuple_lock(rel, &tid, SnapshotSelf, slot, InvalidCommandId - 1,
									  LockTupleKeyShare, wait ? LockWaitBlock : LockWaitSkip,
									  TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);
			/* the last version may be that of another number */
			if (result == TM_Ok)
			{
				bool		isnull;

				if (DatumGetInt64(slot_getattr(slot, CUSTOMERS_CUSTOMER_ID, &isnull)) != customer_id)
					result = TM_Deleted;
				else if (snapshot != NULL &&
						 !chs_customer_row_is_seen(DatumGetTransactionId(slot_getsysattr(slot, MinTransactionIdAttributeNumber, &isnull)),
												   snapshot))
					result = TM_WouldBlock;
				else if (snapshot != NULL)
					chs_customer_set(customer, customer_id, slot_column(slot, CUSTOMERS_SEGMENT),
									 slot_column(slot, CUSTOMERS_CREATED_AT),
									 slot_column(slot, CUSTOMERS_CHURNED_AT));
			}
		}
		systable_endscan(scan);
		CHECK_FOR_INTERRUPTS();
		/* updated meanwhile: look again for the version that is there now */
	} while (result == TM_Updated);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
	return result == TM_Ok ? CUSTOMER_LOCKED :
		result == TM_WouldBlock ? CUSTOMER_BUSY : CUSTOMER_GONE;
}

/* chs_customer_stored reads the row of chs.activity. */
StoredActivity
chs_customer_stored(int64 customer_id, Snapshot snapshot)
{
	StoredActivity stored = {0};
	Relation	rel = table_open(chs_catalog_relation(CHS_ACTIVITY), AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);

	stored.row = chs_table_find(rel, CHS_ACTIVITY_PKEY, customer_id, snapshot);
	if (stored.row != NULL)
	{
		bool		isnull;

		stored.activity = chs_activity_decode(DatumGetActivity(heap_getattr(stored.row, ACTIVITY_ACTIVITY, desc, &isnull)));
		stored.series_version = DatumGetInt32(heap_getattr(stored.row, ACTIVITY_SERIES_VERSION, desc, &isnull));
		stored.folded_to = DatumGetFullTransactionId(heap_getattr(stored.row, ACTIVITY_FOLDED_TO, desc, &isnull));
	}
	else
		stored.activity = chs_activity_empty(DAY_NEVER);
	table_close(rel, AccessShareLock);
	return stored;
}

/* The plan that aggregates the events of a customer. */
static SPIPlanPtr
events_plan(void)
{
	static SPIPlanPtr plan = NULL;
	static NameData planned_schema;
	const char *schema = get_namespace_name(chs_catalog_extension_schema());
	Oid			types[] = {JSONBOID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	SPIPlanPtr	fresh;

	if (plan != NULL && strcmp(NameStr(planned_schema), schema) == 0)
		return plan;
	fresh = SPI_prepare(psprintf("SELECT %s.chs_activity_agg($1, e.event_type, e.event_data, e.occurred_at)"
								 " FROM chs.customer_events e WHERE e.customer_id = $2"
								 " AND e.occurred_at >= $3 AND e.occurred_at < $4",
								 quote_identifier(schema)),
						lengthof(types), types);
	if (fresh == NULL || SPI_keepplan(fresh) != 0)
		elog(ERROR, "could not prepare the query of a customer's events");
	if (plan != NULL)
		SPI_freeplan(plan);
	plan = fresh;
	namestrcpy(&planned_schema, schema);
	return plan;
}

/*
 * chs_customer_from_events makes the activity of a customer from the raw events
 * that the active snapshot sees, of all days up to last_day that a score as of
 * as_of_day needs, pruned as of as_of_day.
 */
ActivityData *
chs_customer_from_events(int64 customer_id, const Live *live, int32 as_of_day, int32 last_day)
{
	MemoryContext caller = CurrentMemoryContext;
	int64		first = (int64) as_of_day - live->published->max_keep + 1;
	int64		end = (int64) last_day + 1;
	ActivityData *data;
	OwnerRights saved;
	Datum		args[4];
	Datum		result;
	bool		isnull;

	args[0] = JsonbPGetDatum(live->document);
	args[1] = Int64GetDatum(customer_id);
	args[2] = TimestampTzGetDatum(Max(first * USECS_PER_DAY, MIN_TIMESTAMP));
	args[3] = TimestampTzGetDatum(last_day == DAY_NO_END || end * USECS_PER_DAY > END_TIMESTAMP - 1 ?
								  DT_NOEND : end * USECS_PER_DAY);
	chs_catalog_become_owner(&saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_plan(events_plan(), args, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read chs.customer_events");
	result = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	caller = MemoryContextSwitchTo(caller);
	data = isnull ? chs_activity_empty(DAY_NEVER) : chs_activity_decode(DatumGetActivity(result));
	MemoryContextSwitchTo(caller);
	SPI_finish();
	chs_catalog_become_caller(&saved);
	chs_activity_prune_to(data, as_of_day);
	return data;
}

/*
 * failure.c
 *	  The table chs.failures: customers that could not be scored.
 *
 * A customer whose score fails must not affect the others.  It is retried after one
 * second, then two, four, and so on.
 */
#include "store/failure.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/catalog.h"
#include "base/tables.h"

/* Columns of chs.failures. */
enum
{
	FAILURES_CUSTOMER_ID = 1,
	FAILURES_SQLSTATE,
	FAILURES_MESSAGE,
	FAILURES_DETAIL,
	FAILURES_ATTEMPTS,
	FAILURES_FAILED_AT,
	FAILURES_NEXT_ATTEMPT,
	FAILURES_VERSION,
	FAILURES_COLUMNS = FAILURES_VERSION
};

#define MAX_WAIT_S 3600

static Datum
column(HeapTuple tuple, int number, Relation rel)
{
	bool		isnull;

	return heap_getattr(tuple, number, RelationGetDescr(rel), &isnull);
}

/* chs_failure_any tells whether there are failures at all. */
bool
chs_failure_any(Snapshot snapshot)
{
	Relation	rel = table_open(chs_catalog_relation(CHS_FAILURES), AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	bool		any = HeapTupleIsValid(systable_getnext(scan));

	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return any;
}

/* chs_failure_count returns the number of customers with failures. */
int64
chs_failure_count(Snapshot snapshot)
{
	Relation	rel = table_open(chs_catalog_relation(CHS_FAILURES), AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	int64		n = 0;

	while (HeapTupleIsValid(systable_getnext(scan)))
		n++;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return n;
}

/* chs_failure_has tells whether a customer failed and has not succeeded since. */
bool
chs_failure_has(int64 customer_id, Snapshot snapshot)
{
	Relation	rel = table_open(chs_catalog_relation(CHS_FAILURES), AccessShareLock);
	bool		has = chs_table_find(rel, CHS_FAILURES_PKEY, customer_id, snapshot) != NULL;

	table_close(rel, AccessShareLock);
	return has;
}

/*
 * chs_failure_must_wait tells whether it is too early to try a customer again.  It
 * is not if a version has been published since, which may have solved the problem.
 */
bool
chs_failure_must_wait(int64 customer_id, int version, Snapshot snapshot)
{
	Relation	rel = table_open(chs_catalog_relation(CHS_FAILURES), AccessShareLock);
	HeapTuple	tuple = chs_table_find(rel, CHS_FAILURES_PKEY, customer_id, snapshot);
	bool		wait = tuple != NULL &&
		DatumGetTimestampTz(column(tuple, FAILURES_NEXT_ATTEMPT, rel)) > GetCurrentTimestamp() &&
		DatumGetInt32(column(tuple, FAILURES_VERSION, rel)) == version;

	table_close(rel, AccessShareLock);
	return wait;
}

/*
 * chs_failure_record records why a customer failed while a version was the latest one,
 * and when to try again.  Returns whether that is news, that is, unless it has just
 * failed with the same SQLSTATE.
 */
bool
chs_failure_record(int64 customer_id, int version, const ErrorData *error, Snapshot snapshot)
{
	OwnTable	table;
	HeapTuple	old;
	Datum		values[FAILURES_COLUMNS];
	bool		nulls[FAILURES_COLUMNS] = {0};
	TimestampTz now = GetCurrentTimestamp();
	int			attempts = 1;
	int			wait;
	bool		is_news = true;
	SnapshotData dirty;

	chs_table_open(&table, chs_catalog_relation(CHS_FAILURES), true);
	old = chs_table_find(table.rel, CHS_FAILURES_PKEY, customer_id, snapshot);
	/* whoever else is recording it must not be waited for */
	InitDirtySnapshot(dirty);
	if (old == NULL && chs_table_find(table.rel, CHS_FAILURES_PKEY, customer_id, &dirty) != NULL)
	{
		chs_table_close(&table);
		return false;
	}
	if (old != NULL)
	{
		attempts += DatumGetInt32(column(old, FAILURES_ATTEMPTS, table.rel));
		is_news = strcmp(TextDatumGetCString(column(old, FAILURES_SQLSTATE, table.rel)),
						 unpack_sql_state(error->sqlerrcode)) != 0;
	}
	wait = Min(1 << Min(attempts - 1, 16), MAX_WAIT_S);
	values[FAILURES_CUSTOMER_ID - 1] = Int64GetDatum(customer_id);
	values[FAILURES_SQLSTATE - 1] = CStringGetTextDatum(unpack_sql_state(error->sqlerrcode));
	values[FAILURES_MESSAGE - 1] = CStringGetTextDatum(error->message ? error->message : "");
	nulls[FAILURES_DETAIL - 1] = error->detail == NULL;
	values[FAILURES_DETAIL - 1] = error->detail ? CStringGetTextDatum(error->detail) : (Datum) 0;
	values[FAILURES_ATTEMPTS - 1] = Int32GetDatum(attempts);
	values[FAILURES_FAILED_AT - 1] = TimestampTzGetDatum(now);
	values[FAILURES_NEXT_ATTEMPT - 1] = TimestampTzGetDatum(now + wait * USECS_PER_SEC);
	values[FAILURES_VERSION - 1] = Int32GetDatum(version);
	(void) chs_table_store(&table, old, values, nulls, FAILURES_COLUMNS);
	chs_table_close(&table);
	return is_news;
}

/* chs_failure_clear removes the row of a customer that has been scored again. */
void
chs_failure_clear(int64 customer_id, Snapshot snapshot)
{
	Relation	rel = table_open(chs_catalog_relation(CHS_FAILURES), RowExclusiveLock);
	HeapTuple	tuple = chs_table_find(rel, CHS_FAILURES_PKEY, customer_id, snapshot);

	/* whoever has it locked is not waited for; it is cleared when the customer is scored next */
	if (tuple != NULL)
		(void) chs_table_delete(rel, &tuple->t_self);
	table_close(rel, NoLock);
}

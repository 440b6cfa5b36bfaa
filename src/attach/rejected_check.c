/*
 * rejected_check.c
 *	  What is done later about rejected rows of attached tables, usually by the worker.
 *
 * Rows that were rejected for lack of a customer are reconsidered, since the
 * customer may have been created at the same time, and the changes in
 * chs.rejected_changes are made, so that nobody who writes to an attached table has
 * to wait for them.  Nor does this wait for anybody: what somebody has locked is
 * left until the next time.
 */
#include "attach/rejected_check.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "attach/retry.h"
#include "base/catalog.h"
#include "base/chore.h"
#include "base/tables.h"
#include "base/worker_shared.h"
#include "engine/capture.h"
#include "store/live.h"

/* The maximum number of rows at once. */
#define MOST_AT_ONCE "10000"

/* The customer that a row x of a source s names by customer_key. */
#define CUSTOMER_OF(x) \
	"CASE s.customer_key WHEN 'external_id' THEN (SELECT c.customer_id FROM chs.customers c WHERE c.external_id = " x ".customer_key)" \
	" ELSE (SELECT c.customer_id FROM chs.customers c WHERE c.customer_id = " x ".customer_key::bigint) END"

/* The state of a check. */
typedef struct Check
{
	const Live *live;
	bool		did;			/* something */
	bool		left;			/* something, since somebody has it locked */
} Check;

static uint64
execute(const char *sql, int nargs, Oid *types, Datum *args, const char *nulls)
{
	if (SPI_execute_with_args(sql, nargs, types, args, nulls, false, 0) < 0)
		elog(ERROR, "could not execute: %s", sql);
	return SPI_processed;
}

/* Has the customers in the first column of the result rebuilt; returns the number of rows. */
static uint64
rebuild_customers(const Live *live)
{
	SPITupleTable *customers = SPI_tuptable;
	uint64		n = SPI_processed;

	for (uint64 i = 0; i < n; i++)
	{
		bool		isnull;
		Datum		customer_id = SPI_getbinval(customers->vals[i], customers->tupdesc, 1, &isnull);

		if (!isnull)
			chs_capture_rebuild(live, DatumGetInt64(customer_id));
	}
	return n;
}

/* Has customers rebuilt that rows were rejected for lack of, if they exist now. */
static void
look_for_customers(Check *check)
{
	(void) execute("WITH checked AS ("
				   "  UPDATE chs.rejected_events SET to_check = false WHERE rejected_id IN ("
				   "    SELECT rejected_id FROM chs.rejected_events WHERE to_check LIMIT " MOST_AT_ONCE " FOR UPDATE SKIP LOCKED)"
				   "  RETURNING source_id, customer_key)"
				   " SELECT DISTINCT " CUSTOMER_OF("x") " FROM checked x JOIN chs.sources s USING (source_id)", 0, NULL, NULL, NULL);
	check->did |= rebuild_customers(check->live) > 0;
	check->left |= execute("SELECT FROM chs.rejected_events WHERE to_check LIMIT 1", 0, NULL, NULL, NULL) > 0;
}

/*
 * Removes a copy that was locked, among those from before the change: the one with
 * the place that the change states, if any; otherwise any one, preferably without a
 * place.
 */
#define COPIES_OF_CHANGE \
	" FROM chs.rejected_changes x JOIN chs.rejected_events r ON r.source_id + 0 = x.source_id AND r.event_row = x.event_row" \
	" WHERE x.change_id = $1 AND r.rejected_id + 0 < x.change_id AND (x.place IS NULL OR r.place = x.place)"

static bool
remove_row(Oid *types, Datum *args)
{
	return execute("DELETE FROM chs.rejected_events WHERE rejected_id = (SELECT r.rejected_id" COPIES_OF_CHANGE
				   " ORDER BY r.place IS NOT NULL, r.rejected_id + 0 LIMIT 1 FOR UPDATE OF r SKIP LOCKED)", 1, types, args, NULL) > 0 ||
		execute("SELECT" COPIES_OF_CHANGE " LIMIT 1", 1, types, args, NULL) == 0;
}

/* The same for all rows of a table, or source. */
#define ALL_COPIES_OF_CHANGE \
	" FROM chs.rejected_changes x JOIN chs.rejected_events r ON r.source_id = x.source_id AND COALESCE(r.relation = x.relation, true)" \
	" WHERE x.change_id = $1 AND r.rejected_id < x.change_id"

static bool
remove_rows(Oid *types, Datum *args)
{
	(void) execute("DELETE FROM chs.rejected_events WHERE rejected_id IN (SELECT r.rejected_id" ALL_COPIES_OF_CHANGE
				   " FOR UPDATE OF r SKIP LOCKED)", 1, types, args, NULL);
	return execute("SELECT" ALL_COPIES_OF_CHANGE " LIMIT 1", 1, types, args, NULL) == 0;
}

static bool
rebuild_customer(const Live *live, Oid *types, Datum *args)
{
	(void) execute("SELECT " CUSTOMER_OF("x") " FROM chs.rejected_changes x JOIN chs.sources s USING (source_id)"
				   " WHERE x.change_id = $1", 1, types, args, NULL);
	(void) rebuild_customers(live);
	return true;
}

/* Makes the changes that were left; within SPI, with the owner's rights. */
static void
make_changes(Check *check)
{
	uint64		n = execute("SELECT change_id, action, source_id, customer_key FROM chs.rejected_changes"
							" ORDER BY change_id LIMIT " MOST_AT_ONCE " FOR UPDATE SKIP LOCKED", 0, NULL, NULL, NULL);
	SPITupleTable *changes = SPI_tuptable;

	for (uint64 i = 0; i < n; i++)
	{
		HeapTuple	row = changes->vals[i];
		bool		isnull;
		Oid			types[] = {INT8OID};
		Datum		args[] = {SPI_getbinval(row, changes->tupdesc, 1, &isnull)};
		const char *action = SPI_getvalue(row, changes->tupdesc, 2);
		bool		done;

		CHECK_FOR_INTERRUPTS();
		if (strcmp(action, "remove row") == 0)
			done = remove_row(types, args);
		else if (strcmp(action, "remove rows") == 0)
			done = remove_rows(types, args);
		else if (strcmp(action, "rebuild customer") == 0)
			done = rebuild_customer(check->live, types, args);
		else
			done = chs_retry_rows_of(check->live, DatumGetInt32(SPI_getbinval(row, changes->tupdesc, 3, &isnull)),
									 SPI_getvalue(row, changes->tupdesc, 4));
		if (done)
			(void) execute("DELETE FROM chs.rejected_changes WHERE change_id = $1", 1, types, args, NULL);
		check->did |= done;
		check->left |= !done;
	}
}

static void
check_in_scratch(const void *arg)
{
	Check	   *check = *(Check *const *) arg;
	OwnerRights saved;

	chs_table_lock(CHS_REJECTED_CHANGES);
	chs_catalog_become_owner(&saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	look_for_customers(check);
	make_changes(check);
	SPI_finish();
	chs_catalog_become_caller(&saved);
	chs_capture_flush_pending();
	/* there may be more, as well as customers to be rebuilt */
	if (check->did)
		chs_worker_wake_at_commit();
}

/* Whether a snapshot sees any row by an index. */
static bool
any_row(ChsRelation table, ChsRelation index)
{
	Relation	rel = table_open(chs_catalog_relation(table), AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, chs_catalog_relation(index), true, GetActiveSnapshot(), 0, NULL);
	bool		any = HeapTupleIsValid(systable_getnext(scan));

	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return any;
}

/*
 * chs_rejected_check looks at rows that were rejected for lack of a customer since
 * the last time, and makes the changes that were left.  The transaction that
 * created the customer may not have been visible, and may not have seen the rows in
 * turn; a later one finds them itself.  Has the customers that exist now rebuilt.
 * Returns whether something had to be left again, because somebody has it locked.
 */
bool
chs_rejected_check(const Live *live)
{
	Check		check = {.live = live};
	Check	   *arg = &check;

	if (live->nsources <= 1 && live->ncustomer_sources == 0)
		return false;
	if (any_row(CHS_REJECTED_EVENTS, CHS_REJECTED_EVENTS_CHECK_IDX) || any_row(CHS_REJECTED_CHANGES, CHS_REJECTED_CHANGES_PKEY))
		chs_chore_try(CHORE_CHECK_REJECTED, check_in_scratch, &arg);
	return check.left && !check.did;
}

/*
 * rejected.c
 *	  The table chs.rejected_events: rows of attached tables that could not be used.
 *
 * The row stays in its table.  This has a copy, and the reason.  Since activities
 * are rebuilt from the rows of the table itself, accepting a row means having its
 * customer rebuilt.
 *
 * Writing to an attached table must neither wait nor fail because of these copies.
 * So removing copies that somebody else has locked or, in a transaction with a
 * single snapshot, any copies, is left to the worker by way of chs.rejected_changes
 * (see rejected_check.c).
 */
#include "attach/rejected.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "base/catalog.h"
#include "base/spi.h"
#include "base/tables.h"
#include "base/worker_shared.h"
#include "base/xid.h"
#include "store/customer.h"
#include "store/sources.h"

/* Longer keys cannot be looked up in an index. */
#define MAX_CUSTOMER_KEY 512

/* Columns of chs.rejected_events. */
#define REJECTED_COLUMNS 11
#define REJECTED_SOURCE_ID 2
#define REJECTED_CUSTOMER_KEY 4

/* Columns of chs.rejected_changes. */
#define CHANGES_CUSTOMER_KEY 5

/*
 * Executes a statement with the owner's rights, under the latest snapshot: the
 * application's transaction may have an older one, and must not fail for it.
 * Returns the number of rows that it affected.
 */
static uint64
execute(SPIPlanPtr *kept, const char *sql, int nargs, Oid *types, Datum *args, const char *nulls)
{
	OwnerRights saved;
	uint64		n;

	chs_spi_begin(&saved);
	chs_catalog_execute_now(kept, sql, nargs, types, args, nulls);
	n = SPI_processed;
	chs_spi_end(&saved);
	return n;
}

/*
 * chs_rejected_add records rejected rows.  They are written without a query, which
 * would need the owner's rights, and the change of rights makes the session plan all
 * its queries again.
 */
void
chs_rejected_add(const RejectedRow *rows, int n)
{
	OwnTable	table;
	Oid			sequence;

	if (n == 0)
		return;
	chs_table_open(&table, chs_catalog_relation(CHS_REJECTED_EVENTS), false);
	sequence = chs_identity_sequence(table.rel, 1);
	for (int i = 0; i < n; i++)
	{
		const RejectedRow *row = &rows[i];
		bool		has_key = row->customer_key != NULL && strlen(row->customer_key) <= MAX_CUSTOMER_KEY;
		Datum		values[REJECTED_COLUMNS] = {0};
		bool		nulls[REJECTED_COLUMNS] = {0};

		values[0] = Int64GetDatum(nextval_internal(sequence, false));
		values[1] = Int32GetDatum(row->source->source_id);
		values[2] = ObjectIdGetDatum(row->relation);
		nulls[3] = !has_key;
		values[3] = has_key ? CStringGetTextDatum(row->customer_key) : (Datum) 0;
		values[4] = values[5] = BoolGetDatum(row->no_customer && has_key);
		values[6] = CStringGetTextDatum(unpack_sql_state(row->error->sqlerrcode));
		values[7] = CStringGetTextDatum(row->error->message);
		nulls[8] = row->row == NULL;
		values[8] = JsonbPGetDatum(row->row);
		nulls[9] = !ItemPointerIsValid(&row->place);
		values[9] = PointerGetDatum(&row->place);
		values[10] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
		(void) chs_table_store(&table, NULL, values, nulls, REJECTED_COLUMNS);
	}
	chs_table_close(&table);
	CommandCounterIncrement();
}

/*
 * The copies of a row.  Of several identical ones any will do, but older ones may
 * be the subject of a change that was left.  While existing rows are being checked,
 * one of them has no copy yet, or one that states its place.
 *
 * Written so that the index of rows is used: a planner without statistics might as
 * well choose those of rejected_id or source_id, by which all rows would be
 * visited.
 */
#define COPIES \
	" FROM chs.rejected_events r" \
	" LEFT JOIN chs.source_backlog b ON b.source_id = $1 AND b.relation = $2 AND b.snapshot IS NOT NULL" \
	" WHERE r.source_id + 0 = $1 AND r.event_row = $3" \
	" AND (b.snapshot IS NULL OR CASE WHEN pg_visible_in_snapshot($5, b.snapshot) THEN r.place = $4 ELSE r.place IS NULL END)"

/*
 * chs_rejected_remove removes the copy of a row that is no longer in its table, or
 * leaves that to the worker.
 */
void
chs_rejected_remove(const Source *source, Oid relation, HeapTuple tuple, Jsonb *row)
{
	static SPIPlanPtr remove = NULL;
	static SPIPlanPtr find = NULL;
	static SPIPlanPtr leave = NULL;
	Oid			types[] = {INT4OID, OIDOID, JSONBOID, TIDOID, XID8OID};
	Datum		args[lengthof(types)];

	args[0] = Int32GetDatum(source->source_id);
	args[1] = ObjectIdGetDatum(relation);
	args[2] = JsonbPGetDatum(row);
	args[3] = PointerGetDatum(&tuple->t_self);
	args[4] = FullTransactionIdGetDatum(chs_xid_full(HeapTupleHeaderGetRawXmin(tuple->t_data)));
	if (!IsolationUsesXactSnapshot() &&
		(execute(&remove, "DELETE FROM chs.rejected_events WHERE rejected_id ="
				 " (SELECT r.rejected_id" COPIES " ORDER BY r.rejected_id + 0 DESC LIMIT 1 FOR UPDATE OF r SKIP LOCKED)",
				 lengthof(types), types, args, NULL) > 0 ||
		 execute(&find, "SELECT" COPIES " LIMIT 1", lengthof(types), types, args, NULL) == 0))
		return;
	(void) execute(&leave, "INSERT INTO chs.rejected_changes (action, source_id, relation, event_row, place)"
				   " SELECT 'remove row', $1, $2, $3, (SELECT $4 FROM chs.source_backlog b WHERE b.source_id = $1 AND b.relation = $2"
				   "  AND pg_visible_in_snapshot($5, b.snapshot))",
				   lengthof(types), types, args, NULL);
}

/*
 * chs_rejected_remove_all removes all rows of a table of a source, or of the
 * source, after which the table need not be checked any more; or it leaves that to
 * the worker.
 */
void
chs_rejected_remove_all(int source_id, Oid relation)
{
	Oid			types[] = {INT4OID, OIDOID};
	Datum		args[] = {Int32GetDatum(source_id), ObjectIdGetDatum(relation)};

	if (!IsolationUsesXactSnapshot())
	{
		/* a check that goes on starts over, since the table has a different file */
		(void) execute(NULL, "WITH gone AS (DELETE FROM chs.source_backlog WHERE (source_id, relation) IN"
					   "  (SELECT source_id, relation FROM chs.source_backlog WHERE source_id = $1 AND $2 IN (0, relation) FOR UPDATE SKIP LOCKED))"
					   " DELETE FROM chs.rejected_events WHERE rejected_id IN"
					   "  (SELECT rejected_id FROM chs.rejected_events WHERE source_id = $1 AND $2 IN (0, relation) FOR UPDATE SKIP LOCKED)",
					   lengthof(types), types, args, NULL);
		if (!chs_rejected_any(source_id))
			return;
	}
	(void) execute(NULL, "INSERT INTO chs.rejected_changes (action, source_id, relation)"
				   " SELECT 'remove rows', $1, NULLIF($2, 0)", lengthof(types), types, args, NULL);
	chs_worker_wake_at_commit();
}

/*
 * chs_rejected_leave leaves work about the customers with certain keys to the
 * worker: those whose rows were rejected or changed while they did not exist are
 * rebuilt if they exist by then ("rebuild customer"), and rejected rows of new ones
 * are reconsidered ("look at rows").
 */
void
chs_rejected_leave(const char *action, const int *source_ids, char **customer_keys, int n)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {TEXTOID, INT4ARRAYOID, TEXTARRAYOID};
	Datum		args[lengthof(types)];
	Datum	   *ids = palloc(Max(n, 1) * sizeof(Datum));
	Datum	   *keys = palloc(Max(n, 1) * sizeof(Datum));

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
	{
		ids[i] = Int32GetDatum(source_ids[i]);
		keys[i] = CStringGetTextDatum(customer_keys[i]);
	}
	args[0] = CStringGetTextDatum(action);
	args[1] = PointerGetDatum(construct_array(ids, n, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	args[2] = PointerGetDatum(construct_array(keys, n, TEXTOID, -1, false, TYPALIGN_INT));
	(void) execute(&plan, "INSERT INTO chs.rejected_changes (action, source_id, customer_key)"
				   " SELECT DISTINCT $1, k.source_id, k.customer_key FROM unnest($2, $3) k(source_id, customer_key)",
				   lengthof(types), types, args, NULL);
	chs_worker_wake_at_commit();
}

/* ---------------------------------------------------------------- finding */

/* Looks up rows of a table in an index by columns that are given; by none of them: any. */
static bool
find_rows(ChsRelation table, ChsRelation index, int source_id, AttrNumber key_column, const char *customer_key, Snapshot snapshot)
{
	Relation	rel = table_open(chs_catalog_relation(table), AccessShareLock);
	ScanKeyData keys[2];
	int			n = 0;
	SysScanDesc scan;
	bool		any;

	if (source_id != 0)
		ScanKeyInit(&keys[n++], REJECTED_SOURCE_ID, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(source_id));
	if (customer_key != NULL)
		ScanKeyEntryInitialize(&keys[n++], 0, key_column, BTEqualStrategyNumber, InvalidOid,
							   DEFAULT_COLLATION_OID, F_TEXTEQ, CStringGetTextDatum(customer_key));
	scan = systable_beginscan(rel, chs_catalog_relation(index), true, snapshot, n, keys);
	any = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return any;
}

/* Whether rows that name a customer have yet to be checked; with no key, any customer. */
static bool
is_key_to_check(const char *customer_key, Snapshot snapshot)
{
	return find_rows(CHS_REJECTED_EVENTS, CHS_REJECTED_EVENTS_CHECK_IDX, 0, REJECTED_CUSTOMER_KEY, customer_key, snapshot) ||
		find_rows(CHS_REJECTED_CHANGES, CHS_REJECTED_CHANGES_REBUILD_IDX, 0, CHANGES_CUSTOMER_KEY, customer_key, snapshot);
}

/*
 * chs_rejected_is_to_check tells whether rows were rejected, or are gone, that name a
 * customer who may have been created at the same time, and may be this one.
 */
bool
chs_rejected_is_to_check(int64 customer_id, Snapshot snapshot)
{
	char	   *external_id;

	if (!is_key_to_check(NULL, snapshot))
		return false;
	external_id = chs_customer_external_id(customer_id, snapshot);
	return is_key_to_check(psprintf("%lld", (long long) customer_id), snapshot) ||
		(external_id != NULL && is_key_to_check(external_id, snapshot));
}

/*
 * chs_rejected_any_of tells whether rejected rows of a source name a customer.
 */
bool
chs_rejected_any_of(int source_id, const char *customer_key)
{
	return find_rows(CHS_REJECTED_EVENTS, CHS_REJECTED_EVENTS_KEY_IDX, source_id, REJECTED_CUSTOMER_KEY, customer_key, SnapshotSelf);
}

/* chs_rejected_any tells whether a source has any. */
bool
chs_rejected_any(int source_id)
{
	return find_rows(CHS_REJECTED_EVENTS, CHS_REJECTED_EVENTS_KEY_IDX, source_id, REJECTED_CUSTOMER_KEY, NULL, SnapshotSelf);
}

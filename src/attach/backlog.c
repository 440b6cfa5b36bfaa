/*
 * backlog.c
 *	  The table chs.source_backlog: tables whose existing rows have yet to be checked for unusable ones.
 *
 * Rows count without this, since activities are made from the rows themselves.  But a
 * row that was in a table before it was attached, or came without a row trigger, and
 * cannot be used, must be listed in chs.rejected_events like one that is
 * written later.  Tables are looked through in slices, each a transaction, beside
 * whatever the application does, and nobody waits.  Each row is listed once because
 *
 * - to begin is to remove what is listed of the table as a snapshot sees it, and to
 *	 remember that snapshot: rows whose writers it sees are looked at, and listed with
 *	 their place; those of others were listed when they were written;
 * - who updates or deletes a row meanwhile removes its copy by its place, if it has one
 *	 by then (see chs_rejected_remove);
 * - and a slice cannot be seen by who does so at the same time.  So the next slice looks
 *	 again for the rows of the one before, and removes the copies of those that are gone.
 *	 At a row that somebody is just changing it stops, until it is known what became of it.
 */
#include "attach/backlog.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "attach/attached.h"
#include "attach/rejected.h"
#include "base/catalog.h"
#include "base/xid.h"
#include "source/mapping.h"
#include "source/mapping_rows.h"
#include "source/source.h"
#include "store/live.h"
#include "store/sources.h"

/* The number of rows that are evaluated at once. */
#define ROWS_AT_ONCE 256

/* A slice ends after this many milliseconds, or after listing this many rows. */
#define SLICE_MS 50
#define MAX_LISTED 1000
#define MAX_CONFIRMED 5000

/* A row of chs.source_backlog. */
typedef struct Backlog
{
	int			source_id;
	Oid			relation;
	bool		begun;
	Datum		snapshot;		/* pg_snapshot */
	Oid			storage;
	int64		blocks;
	ItemPointerData next_row;
	ItemPointerData confirmed_to;
	FullTransactionId listed_by;
} Backlog;

static void
execute(const char *sql, int nargs, Oid *types, Datum *args)
{
	if (SPI_execute_with_args(sql, nargs, types, args, NULL, false, 0) < 0)
		elog(ERROR, "could not execute: %s", sql);
}

/* -------------------------------------------------------- what is to be done */

/*
 * chs_backlog_add requests a check of the rows of a table of a source, or of its
 * partitions.  Within SPI, with the rights of the owner.
 */
void
chs_backlog_add(int source_id, Oid relation)
{
	ListCell   *lc;

	foreach(lc, get_rel_relkind(relation) == RELKIND_PARTITIONED_TABLE ?
			find_all_inheritors(relation, AccessShareLock, NULL) : list_make1_oid(relation))
	{
		Oid			types[] = {INT4OID, OIDOID};
		Datum		args[] = {Int32GetDatum(source_id), ObjectIdGetDatum(lfirst_oid(lc))};

		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_RELATION)
			chs_catalog_execute_now(NULL, "INSERT INTO chs.source_backlog (source_id, relation) VALUES ($1, $2)"
									" ON CONFLICT (source_id, relation) DO UPDATE SET snapshot = NULL",
									lengthof(types), types, args, NULL);
	}
}

/* chs_backlog_add_all does the same for all sources.  Within SPI. */
void
chs_backlog_add_all(void)
{
	const Live *live = chs_live_version();
	OwnerRights saved;

	chs_catalog_become_owner(&saved);
	for (int i = 0; i < live->nsources; i++)
		if (!chs_source_is_builtin(&live->sources[i]))
			chs_backlog_add(live->sources[i].source_id, live->sources[i].relation);
	chs_catalog_become_caller(&saved);
}

/*
 * chs_backlog_forget_strangers removes what is listed for tables that no longer
 * belong to a source.  Within SPI, with the rights of the owner.
 */
void
chs_backlog_forget_strangers(int source_id, Oid relation)
{
	Oid			types[] = {INT4OID, OIDOID};
	Datum		args[] = {Int32GetDatum(source_id), ObjectIdGetDatum(relation)};

	chs_catalog_execute_now(NULL, "WITH tables AS (SELECT $2 AS relid UNION ALL SELECT relid FROM pg_partition_tree($2)),"
							" gone AS (DELETE FROM chs.source_backlog WHERE source_id = $1 AND relation NOT IN (SELECT relid FROM tables))"
							" DELETE FROM chs.rejected_events WHERE source_id = $1 AND relation NOT IN (SELECT relid FROM tables)",
							lengthof(types), types, args, NULL);
}

/* chs_backlog_forget_dropped does the same for tables that have been dropped. */
void
chs_backlog_forget_dropped(void)
{
	chs_catalog_execute_now(NULL, "WITH gone AS (DELETE FROM chs.source_backlog WHERE relation NOT IN (SELECT oid FROM pg_class))"
							" DELETE FROM chs.rejected_events WHERE relation NOT IN (SELECT oid FROM pg_class)", 0, NULL, NULL, NULL);
}

/* ---------------------------------------------------------------- beginning */

static Datum
column(HeapTuple tuple, TupleDesc desc, int number, bool *isnull)
{
	return SPI_getbinval(tuple, desc, number, isnull);
}

static Backlog
read_backlog(HeapTuple tuple, TupleDesc desc)
{
	Backlog		b = {0};
	bool		isnull;

	b.source_id = DatumGetInt32(column(tuple, desc, 1, &isnull));
	b.relation = DatumGetObjectId(column(tuple, desc, 2, &isnull));
	b.snapshot = column(tuple, desc, 3, &isnull);
	b.begun = !isnull;
	if (!b.begun)
		return b;
	b.storage = DatumGetObjectId(column(tuple, desc, 4, &isnull));
	b.blocks = DatumGetInt64(column(tuple, desc, 5, &isnull));
	b.next_row = *(ItemPointer) DatumGetPointer(column(tuple, desc, 6, &isnull));
	b.confirmed_to = *(ItemPointer) DatumGetPointer(column(tuple, desc, 7, &isnull));
	b.listed_by = DatumGetFullTransactionId(column(tuple, desc, 8, &isnull));
	return b;
}

static void
store_backlog(const Backlog *b)
{
	Oid			types[] = {INT4OID, OIDOID, TIDOID, TIDOID, XID8OID};
	Datum		args[lengthof(types)];

	args[0] = Int32GetDatum(b->source_id);
	args[1] = ObjectIdGetDatum(b->relation);
	args[2] = PointerGetDatum(&b->next_row);
	args[3] = PointerGetDatum(&b->confirmed_to);
	args[4] = FullTransactionIdGetDatum(b->listed_by);
	execute("UPDATE chs.source_backlog SET next_row = $3, confirmed_to = $4, listed_by = $5 WHERE source_id = $1 AND relation = $2",
			lengthof(types), types, args);
}

static void
remove_backlog(const Backlog *b)
{
	Oid			types[] = {INT4OID, OIDOID};
	Datum		args[] = {Int32GetDatum(b->source_id), ObjectIdGetDatum(b->relation)};

	execute("DELETE FROM chs.source_backlog WHERE source_id = $1 AND relation = $2", lengthof(types), types, args);
}

/* Executes a statement about a table under a snapshot; returns the number of rows that it affected. */
static uint64
execute_as_of(const char *sql, const Backlog *b, Snapshot snapshot)
{
	Oid			types[] = {INT4OID, OIDOID};
	Datum		args[] = {Int32GetDatum(b->source_id), ObjectIdGetDatum(b->relation)};
	SPIPlanPtr	plan = SPI_prepare(sql, lengthof(types), types);

	if (plan == NULL || SPI_execute_snapshot(plan, args, NULL, snapshot, InvalidSnapshot, false, true, 0) < 0)
		elog(ERROR, "could not execute: %s", sql);
	return SPI_processed;
}

/*
 * Begins to check a table: removes what is listed for it, as one snapshot sees it.
 * Does nothing and returns false if somebody is removing some of that right now,
 * which may yet be rolled back.
 */
static bool
begin_backlog(const Backlog *b, Relation rel)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	uint64		n = execute_as_of("SELECT rejected_id FROM chs.rejected_events WHERE source_id = $1 AND relation = $2", b, snapshot);
	bool		possible = execute_as_of("SELECT rejected_id FROM chs.rejected_events WHERE source_id = $1 AND relation = $2"
										 " FOR UPDATE SKIP LOCKED", b, snapshot) == n;
	Oid			types[] = {INT4OID, OIDOID, OIDOID, INT8OID};
	Datum		args[lengthof(types)];
	SPIPlanPtr	plan;

	if (possible)
	{
		(void) execute_as_of("DELETE FROM chs.rejected_events WHERE source_id = $1 AND relation = $2", b, snapshot);
		args[0] = Int32GetDatum(b->source_id);
		args[1] = ObjectIdGetDatum(b->relation);
		args[2] = ObjectIdGetDatum(rel->rd_rel->relfilenode);
		args[3] = Int64GetDatum(RelationGetNumberOfBlocks(rel));
		/* a snapshot considers its own transaction as ended */
		plan = SPI_prepare("UPDATE chs.source_backlog SET snapshot = (SELECT format('%s:%s:%s', pg_snapshot_xmin(s), pg_snapshot_xmax(s),"
						   "  (SELECT string_agg(x::text, ',' ORDER BY x) FROM"
						   "   (SELECT pg_snapshot_xip(s) UNION SELECT pg_current_xact_id()) xip(x) WHERE x < pg_snapshot_xmax(s)))::pg_snapshot"
						   "  FROM pg_current_snapshot() s), storage = $3, blocks = $4,"
						   " next_row = '(0,1)', confirmed_to = '(0,1)', listed_by = '0' WHERE source_id = $1 AND relation = $2",
						   lengthof(types), types);
		if (plan == NULL || SPI_execute_snapshot(plan, args, NULL, snapshot, InvalidSnapshot, false, true, 0) != SPI_OK_UPDATE)
			elog(ERROR, "could not write chs.source_backlog");
	}
	UnregisterSnapshot(snapshot);
	return possible;
}

/* ---------------------------------------------------------------- confirming */

/* Whether a row was written by a transaction that the remembered snapshot sees. */
static bool
is_from_before(const Backlog *b, TransactionId xmin)
{
	return !TransactionIdIsNormal(xmin) ||
		DatumGetBool(DirectFunctionCall2(pg_visible_in_snapshot, FullTransactionIdGetDatum(chs_xid_full(xmin)), b->snapshot));
}

/* The fate of a row that was listed. */
typedef enum Fate
{
	ROW_IS_THERE,
	ROW_IS_GONE,
	ROW_IS_BEING_CHANGED
} Fate;

static Fate
fate_of_row(const Backlog *b, Relation rel, TupleTableSlot *slot, ItemPointer place)
{
	SnapshotData dirty;
	Fate		fate = ROW_IS_GONE;
	bool		isnull;

	InitDirtySnapshot(dirty);
	if (ItemPointerGetBlockNumber(place) >= RelationGetNumberOfBlocks(rel) ||
		!table_tuple_fetch_row_version(rel, place, &dirty, slot))
		return ROW_IS_GONE;
	/* its place may have been reused */
	if (is_from_before(b, DatumGetTransactionId(slot_getsysattr(slot, MinTransactionIdAttributeNumber, &isnull))))
		fate = TransactionIdIsValid(dirty.xmax) ? ROW_IS_BEING_CHANGED : ROW_IS_THERE;
	ExecClearTuple(slot);
	return fate;
}

/*
 * Looks again for the rows that earlier slices listed, which everybody can see by
 * now.  False if there are more, or it had to stop at one that is being changed.
 */
static bool
confirm_listed(Backlog *b, Relation rel)
{
	Oid			types[] = {OIDOID, TIDOID, TIDOID, INT4OID};
	Datum		args[lengthof(types)];
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	SPITupleTable *listed;
	bool		all = true;

	args[0] = ObjectIdGetDatum(b->relation);
	args[1] = PointerGetDatum(&b->confirmed_to);
	args[2] = PointerGetDatum(&b->next_row);
	args[3] = Int32GetDatum(b->source_id);
	execute("SELECT rejected_id, place FROM chs.rejected_events"
			" WHERE relation = $1 AND place >= $2 AND place < $3 AND source_id = $4 ORDER BY place LIMIT " CppAsString2(MAX_CONFIRMED),
			lengthof(types), types, args);
	listed = SPI_tuptable;
	for (uint64 i = 0; i < listed->numvals && all; i++)
	{
		bool		isnull;
		Oid			type = INT8OID;
		Datum		id = column(listed->vals[i], listed->tupdesc, 1, &isnull);
		ItemPointer place = (ItemPointer) DatumGetPointer(column(listed->vals[i], listed->tupdesc, 2, &isnull));
		Fate		fate = fate_of_row(b, rel, slot, place);

		if (fate == ROW_IS_GONE)
			execute("DELETE FROM chs.rejected_events WHERE rejected_id = $1", 1, &type, &id);
		all = fate != ROW_IS_BEING_CHANGED;
		b->confirmed_to = *place;
	}
	all &= listed->numvals < MAX_CONFIRMED;
	if (all)
		b->confirmed_to = b->next_row;
	SPI_freetuptable(listed);
	ExecDropSingleTupleTableSlot(slot);
	return all;
}

/* ------------------------------------------------------------------- listing */

/* Lists the unusable ones among some rows; returns how many. */
static int
list_rows(const Backlog *b, HeapTuple *tuples, int n)
{
	const Live *live = chs_live_version();
	const Source *source = chs_source_find(live, b->source_id);
	Mapping    *mapping = chs_source_compile(live, source, b->relation)->mapping;
	MappedRow  *mapped = palloc(Max(n, 1) * sizeof(MappedRow));
	RejectedRow *rejected = palloc(Max(n, 1) * sizeof(RejectedRow));
	HeapTuple  *bad = palloc(Max(n, 1) * sizeof(HeapTuple));
	Jsonb	  **documents = palloc0(Max(n, 1) * sizeof(Jsonb *));
	int			nbad = 0;

	chs_mapping_evaluate(mapping, tuples, n, mapped);
	/* expressions may have run queries */
	live = chs_live_version();
	source = chs_source_find(live, b->source_id);
	if (source == NULL)
		return 0;
	for (int i = 0; i < n; i++)
		if (chs_attached_is_unusable(live, source, &mapped[i], &rejected[nbad]))
		{
			rejected[nbad].relation = b->relation;
			rejected[nbad].place = tuples[i]->t_self;
			bad[nbad++] = tuples[i];
		}
	if (nbad == 0)
		return 0;
	mapping = chs_source_compile(live, source, b->relation)->mapping;
	chs_mapping_rows_as_jsonb(mapping, bad, nbad, documents);
	for (int i = 0; i < nbad; i++)
		rejected[i].row = documents[i];
	chs_rejected_add(rejected, nbad);
	return nbad;
}

/* Looks at the next rows. */
static void
list_slice(Backlog *b, Relation rel)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "chs rows from before", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = CurrentMemoryContext;
	TimestampTz start = GetCurrentTimestamp();
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	HeapTuple	tuples[ROWS_AT_ONCE];
	ItemPointerData last;
	TableScanDesc scan;
	int			n = 0;
	int			nlisted = 0;
	bool		more = true;
	Size		large;

	ItemPointerSet(&last, b->blocks > 0 ? b->blocks - 1 : 0, MaxOffsetNumber);
	scan = table_beginscan_tidrange(rel, GetActiveSnapshot(), &b->next_row, &last);
	while (more && nlisted < MAX_LISTED && !TimestampDifferenceExceeds(start, GetCurrentTimestamp(), SLICE_MS))
	{
		large = 0;
		for (n = 0; n < ROWS_AT_ONCE && large < work_mem * (Size) 1024 && (more = table_scan_getnextslot_tidrange(scan, ForwardScanDirection, slot));)
		{
			bool		isnull;

			CHECK_FOR_INTERRUPTS();
			b->next_row = slot->tts_tid;
			if (!is_from_before(b, DatumGetTransactionId(slot_getsysattr(slot, MinTransactionIdAttributeNumber, &isnull))))
				continue;
			MemoryContextSwitchTo(scratch);
			tuples[n] = ExecCopySlotHeapTuple(slot);
			large += chs_mapping_large_values(RelationGetDescr(rel), tuples[n++]);
			MemoryContextSwitchTo(caller);
		}
		MemoryContextSwitchTo(scratch);
		nlisted += list_rows(b, tuples, n);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(scratch);
		/* the one after it */
		ItemPointerSetOffsetNumber(&b->next_row, ItemPointerGetOffsetNumber(&b->next_row) + 1);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextDelete(scratch);
	if (!more)
		ItemPointerSet(&b->next_row, b->blocks, 1);
	b->listed_by = GetTopFullTransactionId();
}

/* What came of a slice. */
typedef enum Slice
{
	SLICE_NOT_POSSIBLE,			/* now */
	SLICE_DONE
} Slice;

static Slice
work_on(Backlog *b, Relation rel, bool may_begin)
{
	ItemPointerData confirmed_before = b->confirmed_to;
	bool		confirmed;

	if (!b->begun || b->storage != rel->rd_rel->relfilenode)
		return may_begin && begin_backlog(b, rel) ? SLICE_DONE : SLICE_NOT_POSSIBLE;
	/* what this transaction listed is not visible to others yet */
	if (FullTransactionIdEquals(b->listed_by, GetTopFullTransactionIdIfAny()))
		confirmed = false;
	else
		confirmed = confirm_listed(b, rel);
	if (ItemPointerGetBlockNumberNoCheck(&b->next_row) < b->blocks)
		list_slice(b, rel);
	else if (confirmed)
	{
		remove_backlog(b);
		return SLICE_DONE;
	}
	else if (ItemPointerEquals(&b->confirmed_to, &confirmed_before))
		return SLICE_NOT_POSSIBLE;
	store_backlog(b);
	return SLICE_DONE;
}

/* Does a slice for a table, unless somebody has it locked. */
static Slice
try_backlog(Backlog *b, bool may_begin)
{
	const Live *live = chs_live_version();
	const Source *source = chs_source_find(live, b->source_id);
	Relation	rel;
	Slice		slice = SLICE_NOT_POSSIBLE;

	if (source == NULL || source->of_customers || !ConditionalLockRelationOid(b->relation, AccessShareLock))
		return SLICE_NOT_POSSIBLE;
	rel = try_table_open(b->relation, NoLock);
	if (rel == NULL)
		return SLICE_NOT_POSSIBLE;
	if (!chs_source_has_table(source, b->relation) || rel->rd_tableam->scan_set_tidrange == NULL)
	{
		remove_backlog(b);
		slice = SLICE_DONE;
	}
	/* if no row can be used, there is a single reason, shown by chs.source_status */
	else if (!chs_source_compile(live, source, b->relation)->mapping->broken)
		slice = work_on(b, rel, may_begin);
	table_close(rel, NoLock);
	return slice;
}

/*
 * chs_backlog_may_begin tells whether this transaction could begin with a table: no
 * snapshot could tell its own rows from those that it adds later.
 */
bool
chs_backlog_may_begin(void)
{
	return !TransactionIdIsValid(GetTopTransactionIdIfAny()) && !IsolationUsesXactSnapshot();
}

/*
 * chs_backlog_step does a slice for the first table that allows it; false if there
 * is none.
 */
bool
chs_backlog_step(bool may_begin)
{
	OwnerRights saved;
	SPITupleTable *rows;
	bool		done = false;

	if (chs_live_version()->nsources <= 1 || IsolationUsesXactSnapshot())
		return false;
	PushActiveSnapshot(GetTransactionSnapshot());
	chs_catalog_become_owner(&saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	/* the source stays until what is listed can be seen */
	execute("SELECT b.source_id, b.relation, b.snapshot, b.storage, b.blocks, b.next_row, b.confirmed_to, b.listed_by"
			" FROM chs.source_backlog b JOIN chs.sources s USING (source_id) ORDER BY b.source_id, b.relation"
			" FOR UPDATE OF b SKIP LOCKED FOR KEY SHARE OF s SKIP LOCKED", 0, NULL, NULL);
	rows = SPI_tuptable;
	for (uint64 i = 0; i < rows->numvals && !done; i++)
	{
		Backlog		b = read_backlog(rows->vals[i], rows->tupdesc);

		done = try_backlog(&b, may_begin) == SLICE_DONE;
	}
	SPI_finish();
	chs_catalog_become_caller(&saved);
	PopActiveSnapshot();
	return done;
}

/* chs_backlog_keep_house is a step of housekeeping. */
bool
chs_backlog_keep_house(void)
{
	return chs_backlog_step(chs_backlog_may_begin());
}

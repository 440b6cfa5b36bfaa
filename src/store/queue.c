/*
 * queue.c
 *	  The table chs.queue, which nothing else knows.
 *
 * Rows are only ever appended and deleted.  They are found by transaction, which
 * lets folding go on where it stopped instead of over what it deleted, and by
 * customer and transaction, which lets a score look only at what was appended
 * since the customer was folded last.  So no work depends on how many dead rows
 * an old snapshot keeps from being removed.  By transaction a BRIN index is
 * enough, which costs whoever inserts events next to nothing: it knows the
 * transactions of a range of pages, and folding reads ranges.
 */
#include "store/queue.h"

#include "access/brin.h"
#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/tidbitmap.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "activity/activity.h"
#include "activity/activity_merge.h"
#include "activity/activity_read.h"
#include "activity/activity_write.h"
#include "base/catalog.h"
#include "base/id.h"
#include "base/tables.h"
#include "base/worker_shared.h"
#include "store/claim.h"
#include "store/failure.h"

/* Columns of chs.queue. */
enum
{
	QUEUE_XID = 1,
	QUEUE_CUSTOMER_ID,
	QUEUE_ENQUEUED_AT,
	QUEUE_SERIES_VERSION,
	QUEUE_REBUILD,
	QUEUE_DELTA,
	QUEUE_COLUMNS = QUEUE_DELTA
};

/* To a multiple of this many transactions the index by transaction is rounded; a power of two. */
#define XIDS_ROUNDED UINT64CONST(256)

StaticAssertDecl((XIDS_ROUNDED & (XIDS_ROUNDED - 1)) == 0, "rounding needs a power of two");

/* So many deltas of a customer are merged as they are read, to bound memory. */
#define MERGE_AT 256

/*
 * chs_xid8_add_value widens what a BRIN index knows of a range of pages to hold a
 * transaction, and says whether it did.  The maximum is rounded up: transactions
 * come in ascending order, so each would else have to change the index, and wait
 * for others that do so.  Folding reads some pages more for it.
 */
PG_FUNCTION_INFO_V1(chs_xid8_add_value);
Datum
chs_xid8_add_value(PG_FUNCTION_ARGS)
{
	Datum		range = PG_GETARG_DATUM(0);
	Datum		column = PG_GETARG_DATUM(1);
	Datum		xid = PG_GETARG_DATUM(2);
	Datum		is_null = PG_GETARG_DATUM(3);
	uint64		rounded =
		U64FromFullTransactionId(DatumGetFullTransactionId(xid)) | (XIDS_ROUNDED - 1);

	if (!DatumGetBool(DirectFunctionCall4(brin_minmax_add_value, range, column, xid, is_null)))
		PG_RETURN_BOOL(false);
	(void) DirectFunctionCall4(brin_minmax_add_value, range, column,
							   FullTransactionIdGetDatum(FullTransactionIdFromU64(rounded)),
							   is_null);
	PG_RETURN_BOOL(true);
}

/*
 * chs_queue_begin_append opens the queue for chs_queue_append.  Allocates in the
 * current memory context, which must last until chs_queue_end_append.
 */
void
chs_queue_begin_append(QueueAppender *appender)
{
	memset(appender, 0, sizeof(QueueAppender));
	chs_table_open(&appender->table, chs_catalog_relation(CHS_QUEUE), false);
	appender->context = CurrentMemoryContext;
	appender->row_context = AllocSetContextCreate(CurrentMemoryContext, "chs queue rows",
												  ALLOCSET_DEFAULT_SIZES);
}

static void
insert_rows(QueueAppender *appender)
{
	if (appender->nrows == 0)
		return;
	chs_table_insert_many(&appender->table, appender->rows, appender->nrows);
	appender->nrows = 0;
	MemoryContextReset(appender->row_context);
}

/*
 * chs_queue_append appends a row on behalf of the current transaction.  The
 * delta may be NULL, else must last, best in row_context, until the rows are
 * inserted.  Needs no rights of the caller, as a constraint would not.
 */
void
chs_queue_append(QueueAppender *appender, int64 customer_id, Activity *delta,
				 bool rebuild, int series_version)
{
	Datum		values[QUEUE_COLUMNS];
	bool		nulls[QUEUE_COLUMNS] = {0};

	Assert(appender->nrows < QUEUE_APPEND_ROWS);
	if (appender->rows[appender->nrows] == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(appender->context);

		appender->rows[appender->nrows] =
			MakeSingleTupleTableSlot(RelationGetDescr(appender->table.rel), &TTSOpsHeapTuple);
		MemoryContextSwitchTo(caller);
	}
	values[QUEUE_XID - 1] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	values[QUEUE_CUSTOMER_ID - 1] = Int64GetDatum(customer_id);
	values[QUEUE_DELTA - 1] = PointerGetDatum(delta);
	nulls[QUEUE_DELTA - 1] = delta == NULL;
	values[QUEUE_REBUILD - 1] = BoolGetDatum(rebuild);
	values[QUEUE_SERIES_VERSION - 1] = Int32GetDatum(series_version);
	values[QUEUE_ENQUEUED_AT - 1] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	chs_table_fill(&appender->table, appender->rows[appender->nrows], NULL, values, nulls,
				   QUEUE_COLUMNS);
	if (++appender->nrows == QUEUE_APPEND_ROWS)
		insert_rows(appender);
}

/* chs_queue_end_append inserts the rest and closes the queue, keeping the lock. */
void
chs_queue_end_append(QueueAppender *appender)
{
	insert_rows(appender);
	for (int i = 0; i < QUEUE_APPEND_ROWS && appender->rows[i] != NULL; i++)
		ExecDropSingleTupleTableSlot(appender->rows[i]);
	chs_table_close(&appender->table);
}

static bool
column_bool(HeapTuple tuple, int column, TupleDesc desc)
{
	bool		isnull;

	return DatumGetBool(heap_getattr(tuple, column, desc, &isnull));
}

static int
column_int32(HeapTuple tuple, int column, TupleDesc desc)
{
	bool		isnull;

	return DatumGetInt32(heap_getattr(tuple, column, desc, &isnull));
}

/*
 * chs_queue_of_customer returns what a snapshot sees queued for a customer by
 * transactions from the given one on.  Rows of an earlier series_version than is
 * needed make it a rebuild, which needs no deltas.
 */
QueuedDeltas
chs_queue_of_customer(int64 customer_id, FullTransactionId from,
					  int needed, Snapshot snapshot)
{
	QueuedDeltas result = {.series_version = PG_INT32_MAX};
	Relation	rel = table_open(chs_catalog_relation(CHS_QUEUE), AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	int			row_capacity = 0;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(caller, "chs queued deltas",
												  ALLOCSET_SMALL_SIZES);

	Assert(snapshot != NULL);
	ScanKeyInit(&keys[0], QUEUE_CUSTOMER_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(customer_id));
	ScanKeyInit(&keys[1], QUEUE_XID, BTGreaterEqualStrategyNumber, F_XID8GE,
				FullTransactionIdGetDatum(from));
	scan = systable_beginscan(rel, chs_catalog_relation(CHS_QUEUE_CUSTOMER_ID_IDX), true, snapshot,
							  2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		delta;
		ActivityView *view;

		CHECK_FOR_INTERRUPTS();
		result.any = true;
		if (result.nrows == row_capacity)
		{
			row_capacity = Max(row_capacity * 2, 16);
			result.rows = result.rows == NULL ?
				palloc(row_capacity * sizeof(ItemPointerData)) :
				repalloc_huge(result.rows, row_capacity * sizeof(ItemPointerData));
		}
		result.rows[result.nrows++] = tuple->t_self;
		if (column_bool(tuple, QUEUE_REBUILD, desc))
			result.rebuild = true;
		delta = heap_getattr(tuple, QUEUE_DELTA, desc, &isnull);
		if (isnull)
			continue;
		result.series_version = Min(result.series_version,
									column_int32(tuple, QUEUE_SERIES_VERSION, desc));
		if (result.series_version < needed)
			result.rebuild = true;
		if (result.rebuild)
			continue;
		if (result.deltas == NULL)
			result.deltas = palloc(MERGE_AT * sizeof(ActivityData *));
		MemoryContextSwitchTo(scratch);
		view = chs_activity_try_stored(delta, &result.damage);
		/* what a damaged one would add the raw events tell */
		if (view == NULL)
		{
			MemoryContextSwitchTo(caller);
			result.rebuild = true;
			continue;
		}
		Assert(result.ndeltas < MERGE_AT);
		result.deltas[result.ndeltas++] = chs_activity_cells_of(view);
		if (result.ndeltas == MERGE_AT)
		{
			ActivityData *merged = chs_activity_merge_many(result.deltas, MERGE_AT);
			Activity   *flat;

			MemoryContextSwitchTo(caller);
			flat = chs_activity_encode(merged);
			MemoryContextReset(scratch);
			MemoryContextSwitchTo(scratch);
			result.deltas[0] = chs_activity_decode(flat);
			result.ndeltas = 1;
			pfree(flat);
		}
		MemoryContextSwitchTo(caller);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

/*
 * chs_queue_delete deletes the rows that were read.  Of a customer that exists they
 * are the caller's, who has claimed it; those of one that is gone somebody else may
 * be deleting as well.
 */
void
chs_queue_delete(const QueuedDeltas *deltas)
{
	Relation	rel;

	if (deltas->nrows == 0)
		return;
	rel = table_open(chs_catalog_relation(CHS_QUEUE), RowExclusiveLock);
	for (int i = 0; i < deltas->nrows; i++)
		(void) chs_table_delete(rel, &deltas->rows[i]);
	table_close(rel, NoLock);
}

/* So many pages are read to tell how much is queued, or up to twice as many. */
#define STATE_PAGES 1024

/* So many pages without summaries are as many as a pass should have to read for nothing. */
#define SUMMARIZE_AT 64

/*
 * Puts into a pass the runs of pages that may hold rows of its transactions, and
 * returns how many pages those are.
 */
static BlockNumber
find_runs(QueuePass *pass, Relation index, Snapshot snapshot)
{
	TIDBitmap  *bitmap = tbm_create(work_mem * (Size) 1024, NULL);
	BlockNumber npages = 0;
	BlockNumber page;
	int			capacity = 16;
	ChsPages	pages;
	ScanKeyData key;
	IndexScanDesc scan;

	/* a summary of a range is compared by the operator, for which the type is needed */
	ScanKeyEntryInitialize(&key, 0, 1, BTGreaterEqualStrategyNumber, XID8OID, InvalidOid, F_XID8GE,
						   FullTransactionIdGetDatum(pass->from));
	scan = chs_index_beginscan_bitmap(index, snapshot, 1);
	index_rescan(scan, &key, 1, NULL, 0);
	(void) index_getbitmap(scan, bitmap);
	index_endscan(scan);

	pass->runs = MemoryContextAlloc(pass->context, capacity * sizeof(PageRun));
	for (pages = chs_pages_begin(bitmap); chs_pages_next(&pages, &page); npages++)
	{
		if (pass->nruns > 0 && pass->runs[pass->nruns - 1].last + 1 == page)
		{
			pass->runs[pass->nruns - 1].last = page;
			continue;
		}
		if (pass->nruns == capacity)
		{
			capacity *= 2;
			pass->runs = repalloc_huge(pass->runs, capacity * sizeof(PageRun));
		}
		pass->runs[pass->nruns++] = (PageRun) {.first = page,.last = page};
	}
	chs_pages_end(&pages);
	tbm_free(bitmap);
	return npages;
}

/*
 * Has summaries made of the ranges of pages that have none yet, unless somebody
 * (such as VACUUM, which does the same) has locked the table against that.
 */
static void
summarize(Relation rel, Oid index)
{
	OwnerRights saved;

	if (!ConditionalLockRelation(rel, ShareUpdateExclusiveLock))
		return;
	chs_catalog_become_owner(&saved);
	(void) DirectFunctionCall1(brin_summarize_new_values, ObjectIdGetDatum(index));
	chs_catalog_become_caller(&saved);
	UnlockRelation(rel, ShareUpdateExclusiveLock);
}

/*
 * chs_queue_begin_pass begins a pass through what a snapshot sees of the rows of
 * transactions from the given one on; of earlier ones it may meet some, too.
 * pass->context must last as long as the pass, all else is set here.
 */
void
chs_queue_begin_pass(QueuePass *pass, FullTransactionId from, Snapshot snapshot)
{
	Relation	rel = table_open(chs_catalog_relation(CHS_QUEUE), AccessShareLock);
	Relation	index = index_open(chs_catalog_relation(CHS_QUEUE_XID_IDX), AccessShareLock);

	Assert(pass->context != NULL && ActiveSnapshotSet());
	if (pass->runs != NULL)
		pfree(pass->runs);
	*pass = (QueuePass) {
		.context = pass->context,.from = from,.relfilenode = rel->rd_rel->relfilenode
	};
	if (find_runs(pass, index, snapshot) > SUMMARIZE_AT)
		summarize(rel, RelationGetRelid(index));
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
}

/*
 * Reads the customers of a part, of what a snapshot sees of the current run, from the
 * position of the pass on, until there are as many as asked for.  Returns the new
 * number.
 */
static int64
read_run(QueuePass *pass, Relation rel, TupleTableSlot *slot, Snapshot snapshot, const Part *part,
		 int64 *customer_ids, int64 n, int64 limit)
{
	const PageRun *run = &pass->runs[pass->run];
	ItemPointerData first;
	ItemPointerData last;
	TableScanDesc scan;

	ItemPointerSet(&first, run->first, FirstOffsetNumber);
	ItemPointerSet(&last, run->last, MaxOffsetNumber);
	if (ItemPointerIsValid(&pass->position) && ItemPointerCompare(&pass->position, &first) >= 0)
	{
		first = pass->position;
		ItemPointerInc(&first);
	}
	Assert(run->first <= run->last);
	scan = table_beginscan_tidrange(rel, snapshot, &first, &last);
	while (n < limit && table_scan_getnextslot_tidrange(scan, ForwardScanDirection, slot))
	{
		bool		isnull;
		int64		customer_id = DatumGetInt64(slot_getattr(slot, QUEUE_CUSTOMER_ID, &isnull));

		CHECK_FOR_INTERRUPTS();
		pass->position = slot->tts_tid;
		if (chs_part_has(part, customer_id))
			customer_ids[n++] = customer_id;
	}
	table_endscan(scan);
	return n;
}

/*
 * chs_queue_customers finds the customers of the next rows of a pass, at most so
 * many rows, and only of a part of the customers.  Returns the number of rows, which
 * is less than the limit at the end of the pass.  The customers are in ascending
 * order, each once.
 */
int64
chs_queue_customers(QueuePass *pass, int64 limit, Snapshot snapshot, const Part *part,
					int64 **customer_ids, int *ncustomers)
{
	Relation	rel = table_open(chs_catalog_relation(CHS_QUEUE), AccessShareLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	int64	   *ids = palloc_extended(Max(limit, 1) * sizeof(int64), MCXT_ALLOC_HUGE);
	int64		nrows = 0;
	int			n = 0;

	if (rel->rd_rel->relfilenode != pass->relfilenode)
		chs_queue_begin_pass(pass, pass->from, snapshot);
	while (nrows < limit && pass->run < pass->nruns)
	{
		nrows = read_run(pass, rel, slot, snapshot, part, ids, nrows, limit);
		if (nrows < limit)
			pass->run++;
	}
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, AccessShareLock);

	qsort(ids, nrows, sizeof(int64), chs_id_compare);
	for (int64 i = 0; i < nrows; i++)
		if (n == 0 || ids[n - 1] != ids[i])
			ids[n++] = ids[i];
	*customer_ids = ids;
	*ncustomers = n;
	return nrows;
}

/* Adds the rows of a page that a snapshot sees. */
static void
add_page(QueueState *state, TableScanDesc scan, BlockNumber page, TupleTableSlot *slot,
		 bool any_failures)
{
	ItemPointerData first;
	ItemPointerData last;

	ItemPointerSet(&first, page, FirstOffsetNumber);
	ItemPointerSet(&last, page, MaxOffsetNumber);
	table_rescan_tidrange(scan, &first, &last);
	while (table_scan_getnextslot_tidrange(scan, ForwardScanDirection, slot))
	{
		bool		isnull;
		TimestampTz enqueued_at = DatumGetTimestampTz(slot_getattr(slot, QUEUE_ENQUEUED_AT,
																   &isnull));
		bool		held_back = any_failures &&
			chs_failure_has(DatumGetInt64(slot_getattr(slot, QUEUE_CUSTOMER_ID, &isnull)),
							scan->rs_snapshot);

		state->depth++;
		state->held_back += held_back;
		state->oldest_at = Min(state->oldest_at, enqueued_at);
		if (!held_back)
			state->oldest_free_at = Min(state->oldest_free_at, enqueued_at);
	}
}

/*
 * chs_queue_state returns what a snapshot sees in the queue.  Of many pages it
 * reads some, spread evenly, and counts each for several.
 */
QueueState
chs_queue_state(Snapshot snapshot)
{
	QueueState	state = {.oldest_at = DT_NOEND,.oldest_free_at = DT_NOEND};
	Relation	rel = table_open(chs_catalog_relation(CHS_QUEUE), AccessShareLock);
	Relation	index = index_open(chs_catalog_relation(CHS_QUEUE_XID_IDX), AccessShareLock);
	QueuePass	pass = {.context = CurrentMemoryContext,.from = chs_worker_folded_before()};
	BlockNumber npages = find_runs(&pass, index, snapshot);
	BlockNumber stride = npages / STATE_PAGES + 1;
	BlockNumber npassed = 0;
	BlockNumber nread = 0;
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	bool		any_failures = chs_failure_any(snapshot);
	ItemPointerData none;
	TableScanDesc scan;

	ItemPointerSet(&none, 0, FirstOffsetNumber);
	scan = table_beginscan_tidrange(rel, snapshot, &none, &none);
	for (int i = 0; i < pass.nruns; i++)
		for (BlockNumber page = pass.runs[i].first; page <= pass.runs[i].last; page++)
		{
			CHECK_FOR_INTERRUPTS();
			if (npassed++ % stride != 0)
				continue;
			add_page(&state, scan, page, slot, any_failures);
			nread++;
		}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	state.estimated = nread < npages && state.depth > 0;
	if (nread > 0)
	{
		state.depth = state.depth * npages / nread;
		state.held_back = state.held_back * npages / nread;
	}
	return state;
}

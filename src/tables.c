/*
 * tables.c
 *	  Writing to the extension's own tables.
 *
 * Rows are written directly, since a query for each would cost several times as
 * much; but through the executor's functions, so that indexes and columns that
 * somebody added to a table are kept as they should be.  Constraints are not
 * checked, and triggers not fired.  No rights of the caller are needed, as for
 * what a constraint does.
 */
#include "tables.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "storage/bufmgr.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/*
 * Where a row of a customer was last written by this session.  While an old
 * snapshot keeps dead versions of rows from being removed, an index leads to all
 * of them; this leads to the right one.  It is a hint: whatever it names is used
 * only if it is the customer's and the snapshot sees it.
 */
typedef struct LastWritten
{
	Oid			relid;
	ItemPointerData tid;
	int64		customer_id;
} LastWritten;

#define LAST_WRITTEN_SIZE 65536

static LastWritten *last_written = NULL;

static LastWritten *
last_written_entry(Oid relid, int64 customer_id)
{
	uint64		hash = ((uint64) customer_id ^ ((uint64) relid << 40)) * UINT64CONST(0x9e3779b97f4a7c15);

	return &last_written[hash >> 48];
}

static void
remember_written(Relation rel, int64 customer_id, ItemPointer tid)
{
	LastWritten *entry;

	if (last_written == NULL)
		last_written = MemoryContextAllocZero(TopMemoryContext, LAST_WRITTEN_SIZE * sizeof(LastWritten));
	entry = last_written_entry(RelationGetRelid(rel), customer_id);
	entry->relid = RelationGetRelid(rel);
	entry->customer_id = customer_id;
	entry->tid = *tid;
}

/* Returns a copy of the row that was last written, if the snapshot sees it. */
static HeapTuple
fetch_written(Relation rel, int64 customer_id, Snapshot snapshot)
{
	LastWritten *entry;
	HeapTupleData tuple;
	HeapTuple	copy = NULL;
	Buffer		buffer;
	bool		isnull;

	if (last_written == NULL || !IsMVCCSnapshot(snapshot))
		return NULL;
	entry = last_written_entry(RelationGetRelid(rel), customer_id);
	if (entry->relid != RelationGetRelid(rel) || entry->customer_id != customer_id)
		return NULL;
	/* the table may have shrunk */
	if (ItemPointerGetBlockNumber(&entry->tid) >= RelationGetNumberOfBlocks(rel))
		return NULL;
	tuple.t_self = entry->tid;
	if (!heap_fetch(rel, snapshot, &tuple, &buffer, false))
		return NULL;
	if (DatumGetInt64(heap_getattr(&tuple, 1, RelationGetDescr(rel), &isnull)) == customer_id)
		copy = heap_copytuple(&tuple);
	ReleaseBuffer(buffer);
	return copy;
}

/*
 * chs_table_find returns a copy of the row of a customer, whose identifier is the
 * first column, or NULL.
 */
HeapTuple
chs_table_find(Relation rel, ChsRelation index, int64 customer_id, Snapshot snapshot)
{
	HeapTuple	row = fetch_written(rel, customer_id, snapshot);
	ScanKeyData key;
	SysScanDesc scan;

	if (row != NULL)
		return row;
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(customer_id));
	scan = systable_beginscan(rel, chs_catalog_relation(index), true, snapshot, 1, &key);
	row = systable_getnext(scan);
	if (HeapTupleIsValid(row))
		row = heap_copytuple(row);
	systable_endscan(scan);
	return row;
}

/*
 * chs_table_open opens a table for writing.  What it allocates lasts as long as
 * the current memory context, or until chs_table_close.
 */
void
chs_table_open(OwnTable *table, Oid relid, bool by_customer)
{
	table->by_customer = by_customer;
	table->rel = table_open(relid, RowExclusiveLock);
	table->estate = CreateExecutorState();
	table->info = makeNode(ResultRelInfo);
	InitResultRelInfo(table->info, table->rel, 1, NULL, 0);
	ExecOpenIndices(table->info, false);
	table->slot = MakeSingleTupleTableSlot(RelationGetDescr(table->rel), &TTSOpsHeapTuple);
}

/* chs_table_close closes a table, keeping the lock. */
void
chs_table_close(OwnTable *table)
{
	ExecDropSingleTupleTableSlot(table->slot);
	ExecCloseIndices(table->info);
	FreeExecutorState(table->estate);
	table_close(table->rel, NoLock);
}

/*
 * chs_table_fill puts the values of the first n columns into a slot.  Further
 * ones, which somebody added, are as in the old row, or NULL where there is none.
 */
void
chs_table_fill(OwnTable *table, TupleTableSlot *slot, HeapTuple old,
			   const Datum *values, const bool *nulls, int n)
{
	TupleDesc	desc = RelationGetDescr(table->rel);

	ExecClearTuple(slot);
	for (int i = 0; i < desc->natts; i++)
	{
		slot->tts_isnull[i] = true;
		slot->tts_values[i] = (Datum) 0;
		if (i < n)
		{
			slot->tts_values[i] = values[i];
			slot->tts_isnull[i] = nulls[i];
		}
		else if (old != NULL)
			slot->tts_values[i] = heap_getattr(old, i + 1, desc, &slot->tts_isnull[i]);
	}
	ExecStoreVirtualTuple(slot);
}

/*
 * Ends the insertion of entries, within the subtransaction that began it; or, if an
 * error ended that, only forgets what is left of it.
 */
static void
end_index_entries(OwnTable *table, bool failed)
{
	for (int i = 0; i < table->info->ri_NumIndices; i++)
	{
		Relation	index = table->info->ri_IndexRelationDescs[i];
		IndexInfo  *info = table->info->ri_IndexRelationInfo[i];

		if (!chs_index_keeps_state(index) || info->ii_AmCache == NULL)
			continue;
		if (!failed)
			chs_index_end_insert(index, info);
		info->ii_AmCache = NULL;
	}
}

static void
insert_index_entries(OwnTable *table, TupleTableSlot *slot, ChsUpdateIndexes which)
{
	if (table->info->ri_NumIndices == 0)
		return;
	list_free(chs_insert_index_tuples(table->info, slot, table->estate, which));
	ResetPerTupleExprContext(table->estate);
}

/*
 * chs_table_store inserts a row, or updates the old one; false where somebody
 * else is deleting that, or has done so.
 */
bool
chs_table_store(OwnTable *table, HeapTuple old, const Datum *values, const bool *nulls, int n)
{
	ChsUpdateIndexes which = CHS_ALL_INDEXES;
	CommandId	cid = GetCurrentCommandId(true);

	end_index_entries(table, true);
	chs_table_fill(table, table->slot, old, values, nulls, n);
	if (old == NULL)
		table_tuple_insert(table->rel, table->slot, cid, 0, NULL);
	else
	{
		TM_FailureData failure;
		LockTupleMode mode;

		if (table_tuple_update(table->rel, &old->t_self, table->slot, cid, GetActiveSnapshot(),
							   InvalidSnapshot, false, &failure, &mode, &which) != TM_Ok)
			return false;
	}
	if (which != CHS_NO_INDEXES)
		insert_index_entries(table, table->slot, which);
	end_index_entries(table, false);
	if (table->by_customer)
		remember_written(table->rel, DatumGetInt64(values[0]), &table->slot->tts_tid);
	ExecClearTuple(table->slot);
	return true;
}

/* chs_table_insert_many inserts rows at once, and clears their slots. */
void
chs_table_insert_many(OwnTable *table, TupleTableSlot **slots, int n)
{
	end_index_entries(table, true);
	table_multi_insert(table->rel, slots, n, GetCurrentCommandId(true), 0, NULL);
	for (int i = 0; i < n; i++)
	{
		insert_index_entries(table, slots[i], CHS_ALL_INDEXES);
		ExecClearTuple(slots[i]);
	}
	end_index_entries(table, false);
}

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
#include "base/tables.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#include "base/catalog.h"

/*
 * chs_table_find returns a copy of the row of a customer, whose identifier is the
 * first column, or NULL.
 *
 * While an old snapshot keeps dead versions of the row from being removed, an index
 * may lead to all of them.  Tables grow at their end then, so the latest one comes
 * first if they are read backward.
 */
HeapTuple
chs_table_find(Relation rel, ChsRelation index, int64 customer_id, Snapshot snapshot)
{
	Relation	primary_key = index_open(chs_catalog_relation(index), AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	row;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(customer_id));
	scan = systable_beginscan_ordered(rel, primary_key, snapshot, 1, &key);
	row = systable_getnext_ordered(scan, BackwardScanDirection);
	if (HeapTupleIsValid(row))
		row = heap_copytuple(row);
	systable_endscan_ordered(scan);
	index_close(primary_key, AccessShareLock);
	return row;
}

/* Whether an index is the primary key of a table by customer, or one that replaces it. */
static bool
is_by_customer(Relation index)
{
	Form_pg_index form = index->rd_index;

	return form->indisunique && form->indimmediate && form->indnkeyatts == 1 &&
		form->indkey.values[0] == 1 &&
		heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);
}

/* Makes the primary key the last index, and table->others one without it. */
static void
set_primary_key_apart(OwnTable *table)
{
	ResultRelInfo *info = table->info;
	int			last = info->ri_NumIndices - 1;
	int			i = 0;

	while (i <= last && !is_by_customer(info->ri_IndexRelationDescs[i]))
		i++;
	if (i > last)
		elog(ERROR, "table \"%s\" has no primary key", RelationGetRelationName(table->rel));
	table->primary_key = info->ri_IndexRelationDescs[i];
	table->primary_key_info = info->ri_IndexRelationInfo[i];
	info->ri_IndexRelationDescs[i] = info->ri_IndexRelationDescs[last];
	info->ri_IndexRelationInfo[i] = info->ri_IndexRelationInfo[last];
	info->ri_IndexRelationDescs[last] = table->primary_key;
	info->ri_IndexRelationInfo[last] = table->primary_key_info;
	table->others = makeNode(ResultRelInfo);
	*table->others = *info;
	table->others->ri_NumIndices = last;
}

/*
 * chs_table_lock locks a table as changing it will, which must come before anything
 * reads it by an index in the same transaction: REINDEX TABLE locks the table against
 * changes first and the indexes next, and would else wait for the transaction, and
 * the transaction for it.
 */
void
chs_table_lock(ChsRelation table)
{
	LockRelationOid(chs_catalog_relation(table), RowExclusiveLock);
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
	if (by_customer)
		set_primary_key_apart(table);
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
 * The same for a row of a customer that was updated.  Its key is as it was, so that
 * it is unique needs no check, which would read all versions of the row, also those
 * that an old snapshot keeps from being removed.  Nor is it worthwhile then to look
 * for entries of dead versions to make room.
 */
static void
insert_updated_entries(OwnTable *table, HeapTuple old, TupleTableSlot *slot, ChsUpdateIndexes which)
{
	IndexInfo  *info = table->primary_key_info;
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];

	if (which == CHS_ALL_INDEXES)
	{
		TransactionId xmin = HeapTupleHeaderGetXmin(old->t_data);
		bool		earlier_are_dead = !TransactionIdIsNormal(xmin) ||
			GlobalVisCheckRemovableXid(table->rel, xmin);

		FormIndexDatum(info, slot, table->estate, values, nulls);
		(void) index_insert(table->primary_key, values, nulls, &slot->tts_tid, table->rel,
							UNIQUE_CHECK_NO, earlier_are_dead, info);
	}
	if (table->others->ri_NumIndices > 0)
		list_free(chs_insert_index_tuples(table->others, slot, table->estate, which));
	ResetPerTupleExprContext(table->estate);
}

/* Locks a row if nobody else has a lock that conflicts. */
static bool
lock_at_once(Relation rel, ItemPointer place, LockTupleMode mode)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	ItemPointerData here = *place;
	TM_FailureData failure;
	TM_Result	result = table_tuple_lock(rel, &here, GetActiveSnapshot(), slot,
										  GetCurrentCommandId(true), mode, LockWaitSkip, 0,
										  &failure);

	ExecDropSingleTupleTableSlot(slot);
	return result == TM_Ok;
}

/* Whether somebody has a row locked or is changing it, maybe a statement of our own. */
static bool
is_taken(Relation rel, ItemPointer place, CommandId cid)
{
	Buffer		buffer = ReadBuffer(rel, ItemPointerGetBlockNumber(place));
	Page		page = BufferGetPage(buffer);
	ItemId		item;
	bool		taken = false;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	item = PageGetItemId(page, ItemPointerGetOffsetNumber(place));
	if (ItemIdIsNormal(item))
	{
		HeapTupleData row = {
			.t_len = ItemIdGetLength(item),.t_self = *place,.t_tableOid = RelationGetRelid(rel),
			.t_data = (HeapTupleHeader) PageGetItem(page, item)
		};

		taken = HeapTupleSatisfiesUpdate(&row, cid, buffer) == TM_BeingModified;
	}
	UnlockReleaseBuffer(buffer);
	return taken;
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

	Assert(ActiveSnapshotSet());
	Assert(n <= RelationGetDescr(table->rel)->natts);
	end_index_entries(table, true);
	chs_table_fill(table, table->slot, old, values, nulls, n);
	if (old == NULL)
		table_tuple_insert(table->rel, table->slot, cid, 0, NULL);
	else
	{
		TM_FailureData failure;
		LockTupleMode mode;
		bool		taken = is_taken(table->rel, &old->t_self, cid);

		/* an update may not be told to wait for nobody where somebody is to be waited for */
		if (taken && !lock_at_once(table->rel, &old->t_self, LockTupleNoKeyExclusive))
			return false;
		if (table_tuple_update(table->rel, &old->t_self, table->slot, cid, GetActiveSnapshot(),
							   InvalidSnapshot, taken, &failure, &mode, &which) != TM_Ok)
			return false;
	}
	if (which != CHS_NO_INDEXES && old != NULL && table->by_customer)
		insert_updated_entries(table, old, table->slot, which);
	else if (which != CHS_NO_INDEXES)
		insert_index_entries(table, table->slot, which);
	end_index_entries(table, false);
	ExecClearTuple(table->slot);
	return true;
}

/*
 * chs_table_delete deletes a row; false where somebody else has it locked, or has
 * deleted or updated it.  Nobody is waited for.
 */
bool
chs_table_delete(Relation rel, ItemPointer place)
{
	TM_FailureData failure;
	CommandId	cid = GetCurrentCommandId(true);
	TM_Result	result;

	Assert(CheckRelationLockedByMe(rel, RowExclusiveLock, true));
	result = table_tuple_delete(rel, place, cid, GetActiveSnapshot(), InvalidSnapshot, false,
								&failure, false);
	if (result == TM_BeingModified && lock_at_once(rel, place, LockTupleExclusive))
		result = table_tuple_delete(rel, place, cid, GetActiveSnapshot(), InvalidSnapshot, true,
									&failure, false);
	return result == TM_Ok;
}

/* chs_table_insert_many inserts rows at once, and clears their slots. */
void
chs_table_insert_many(OwnTable *table, TupleTableSlot **slots, int n)
{
	Assert(n > 0);
	end_index_entries(table, true);
	table_multi_insert(table->rel, slots, n, GetCurrentCommandId(true), 0, NULL);
	for (int i = 0; i < n; i++)
	{
		insert_index_entries(table, slots[i], CHS_ALL_INDEXES);
		ExecClearTuple(slots[i]);
	}
	end_index_entries(table, false);
}

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

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/*
 * chs_table_open opens a table for writing.  What it allocates lasts as long as
 * the current memory context, or until chs_table_close.
 */
void
chs_table_open(OwnTable *table, Oid relid)
{
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
	ExecClearTuple(table->slot);
	return true;
}

/* chs_table_insert_many inserts rows at once, and clears their slots. */
void
chs_table_insert_many(OwnTable *table, TupleTableSlot **slots, int n)
{
	table_multi_insert(table->rel, slots, n, GetCurrentCommandId(true), 0, NULL);
	for (int i = 0; i < n; i++)
	{
		insert_index_entries(table, slots[i], CHS_ALL_INDEXES);
		ExecClearTuple(slots[i]);
	}
}

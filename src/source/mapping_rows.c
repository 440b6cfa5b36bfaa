/*
 * mapping_rows.c
 *	  Rows of the table of a mapping: made of values, measured, and shown as documents.
 */
#include "source/mapping_rows.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "utils/fmgroids.h"

#include "base/catalog.h"
#include "base/try.h"
#include "source/mapping.h"

/*
 * chs_mapping_form_row makes a row of the table of the values of all columns, as a
 * query returns them: it does not return dropped ones, but the row has a place for
 * them.
 */
HeapTuple
chs_mapping_form_row(const Mapping *mapping, const Datum *values, const bool *nulls)
{
	TupleDesc	desc = mapping->slot->tts_tupleDescriptor;
	Datum	   *row_values = palloc0(desc->natts * sizeof(Datum));
	bool	   *row_nulls = palloc(desc->natts * sizeof(bool));
	HeapTuple	row;

	for (int i = 0, n = 0; i < desc->natts; i++)
	{
		row_nulls[i] = TupleDescAttr(desc, i)->attisdropped || nulls[n];
		if (!row_nulls[i])
			row_values[i] = values[n];
		n += !TupleDescAttr(desc, i)->attisdropped;
	}
	row = heap_form_tuple(desc, row_values, row_nulls);
	pfree(row_values);
	pfree(row_nulls);
	return row;
}

/* chs_mapping_row_of_result does the same for a row of a result. */
HeapTuple
chs_mapping_row_of_result(const Mapping *mapping, HeapTuple result, TupleDesc desc)
{
	Datum	   *values = palloc(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc(desc->natts * sizeof(bool));
	HeapTuple	row;

	heap_deform_tuple(result, desc, values, nulls);
	row = chs_mapping_form_row(mapping, values, nulls);
	pfree(values);
	pfree(nulls);
	return row;
}

/*
 * chs_mapping_large_values returns the size of the values of a row that are stored
 * out of line; the rest is a few thousand bytes at most.
 */
Size
chs_mapping_large_values(TupleDesc desc, HeapTuple tuple)
{
	Size		size = 0;

	if (tuple == NULL || !HeapTupleHasExternal(tuple))
		return 0;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		bool		isnull;
		Datum		value;

		if (attribute->attisdropped || attribute->attlen != -1)
			continue;
		value = heap_getattr(tuple, i + 1, desc, &isnull);
		if (!isnull && VARATT_IS_EXTERNAL(DatumGetPointer(value)))
			size += toast_raw_datum_size(value);
	}
	return size;
}

/* Rows to be shown. */
typedef struct ShownRows
{
	Mapping    *mapping;
	HeapTuple  *tuples;
	int			n;
	MemoryContext context;		/* of the documents */
	Jsonb	  **documents;
} ShownRows;

static void
show_rows(void *arg)
{
	ShownRows  *s = arg;
	OwnerRights saved;
	Relation	rel;
	FuncExpr   *call;
	ExprState  *state;
	ExprContext *econtext;
	TupleTableSlot *slot;

	chs_catalog_become_role(s->mapping->owner, &saved);
	rel = table_open(s->mapping->relation, AccessShareLock);
	slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsHeapTuple);
	call = makeFuncExpr(F_TO_JSONB, JSONBOID, list_make1(makeVar(1, 0, rel->rd_rel->reltype, -1,
																 InvalidOid, 0)),
						InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
	state = ExecInitExpr(expression_planner((Expr *) call), NULL);
	econtext = CreateStandaloneExprContext();
	econtext->ecxt_scantuple = slot;
	for (int i = 0; i < s->n; i++)
	{
		MemoryContext caller;
		Datum		value;
		bool		isnull;

		ResetExprContext(econtext);
		ExecForceStoreHeapTuple(s->tuples[i], slot, false);
		value = ExecEvalExprSwitchContext(state, econtext, &isnull);
		caller = MemoryContextSwitchTo(s->context);
		s->documents[i] = isnull ? NULL : DatumGetJsonbPCopy(value);
		MemoryContextSwitchTo(caller);
	}
	FreeExprContext(econtext, true);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
	chs_catalog_become_caller(&saved);
}

/*
 * chs_mapping_rows_as_jsonb makes documents of rows, NULL if that fails.  The
 * mapping may be broken.
 */
void
chs_mapping_rows_as_jsonb(Mapping *mapping, HeapTuple *tuples, int n, Jsonb **documents)
{
	ShownRows	shown = {mapping, tuples, n, CurrentMemoryContext, documents};

	if (chs_try(show_rows, &shown) == NULL)
		return;
	for (int i = 0; i < n; i++)
	{
		documents[i] = NULL;
		if (n > 1)
			chs_mapping_rows_as_jsonb(mapping, &tuples[i], 1, &documents[i]);
	}
}

/* chs_mapping_row_as_jsonb does the same for one row. */
Jsonb *
chs_mapping_row_as_jsonb(Mapping *mapping, HeapTuple tuple)
{
	Jsonb	   *document = NULL;

	chs_mapping_rows_as_jsonb(mapping, &tuple, 1, &document);
	return document;
}

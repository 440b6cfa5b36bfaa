/*
 * mapping.c
 *	  Mappings: expressions over the rows of a table, compiled and evaluated.
 *
 * Expressions are evaluated with the rights of the table's owner, who wrote them, on
 * a search_path on which nobody else's objects are found, and with settings that
 * make the same row give the same values in every session.
 *
 * Those that cannot fail and require no rights are evaluated at once by
 * mapping_direct.c.  The others are evaluated in a subtransaction for many rows
 * (mapping_try.c), and row by row only after a failure; expressions with a subquery
 * are evaluated by a query.
 */
#include "source/mapping.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteManip.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/budget.h"
#include "base/catalog.h"
#include "base/error.h"
#include "base/rest.h"
#include "base/settings.h"
#include "source/expression.h"
#include "source/mapping_direct.h"
#include "source/mapping_try.h"

/* ---------------------------------------------------------------- compiling */

/* Refuses columns that rows do not have when triggers are fired. */
static void
check_columns(Relation rel, const Bitmapset *columns)
{
	for (int i = 0; i < RelationGetNumberOfAttributes(rel); i++)
	{
		Form_pg_attribute column = TupleDescAttr(RelationGetDescr(rel), i);

		if (column->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL &&
			(bms_is_member(0, columns) || bms_is_member(column->attnum, columns)))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("expression reads column \"%s\", which is not stored",
							NameStr(column->attname)),
					 errhint("Use the expression by which it is generated.")));
	}
}

static ExprState *
compile_sql(Mapping *m, Relation rel, MappedAs as, const char *sql)
{
	Node	   *node = chs_expression_analyze(rel, sql);

	/* before anything is evaluated */
	chs_expression_check_functions(node, &m->functions, m->allowed);
	m->may_be_slow |= chs_expression_is_slow(node);
	m->columns = bms_add_members(m->columns, chs_expression_columns(node));
	check_columns(rel, m->columns);
	if (checkExprHasSubLink(node))
	{
		m->by_query = true;
		m->direct = false;
		return NULL;
	}
	node = (Node *) expression_planner((Expr *) node);
	if (chs_expression_is_harmful(node, rel))
		m->direct = false;
	if (as == MAPPED_JSONB)
		chs_mapping_find_fields(m, node);
	return ExecInitExpr((Expr *) node, NULL);
}

/* Fills in one that has its columns' given_sql. */
static void
compile_columns(void *arg)
{
	Mapping    *m = arg;
	OwnerRights saved;
	Relation	rel;
	MemoryContext caller;

	chs_catalog_become_role(m->owner, &saved);
	rel = table_open(m->relation, AccessShareLock);
	caller = MemoryContextSwitchTo(m->context);
	m->econtext = CreateStandaloneExprContext();
	m->slot = MakeSingleTupleTableSlot(CreateTupleDescCopyConstr(RelationGetDescr(rel)),
									   &TTSOpsHeapTuple);
	m->direct = true;
	m->by_query = false;
	m->may_be_slow = false;
	m->search_may_be_slow = false;
	for (int i = 0; i < m->ncolumns; i++)
	{
		Node	   *given = chs_expression_analyze(rel, m->given_sql[i]);

		m->search_may_be_slow |= i != EVENT_DATA && chs_expression_is_slow(given);
		m->given_type[i] = exprType(given);
		m->sql[i] = chs_expression_converted(m->as[i], m->given_sql[i], m->given_type[i]);
		m->states[i] = compile_sql(m, rel, m->as[i], m->sql[i]);
	}
	/* for a row that is not an event, the others must not fail */
	for (int i = 0; !m->direct && m->guard >= 0 && i < m->ncolumns; i++)
		if (i != m->guard)
		{
			m->sql[i] = psprintf("CASE WHEN %s IS NOT NULL THEN %s END", m->sql[m->guard],
								 m->sql[i]);
			m->states[i] = compile_sql(m, rel, m->as[i], m->sql[i]);
		}
	MemoryContextSwitchTo(caller);
	if (m->by_query)
	{
		StringInfoData query;
		Oid			type = get_array_type(rel->rd_rel->reltype);

		initStringInfo(&query);
		for (int i = 0; i < m->ncolumns; i++)
			appendStringInfo(&query, "%s %s", i == 0 ? "SELECT" : ",", m->sql[i]);
		appendStringInfoString(&query, " FROM pg_catalog.unnest($1) AS " ROW_ALIAS);
		SPI_connect();
		m->plan = SPI_prepare(query.data, 1, &type);
		if (m->plan == NULL || SPI_keepplan(m->plan) != 0)
			elog(ERROR, "could not prepare the query of a mapping");
		SPI_finish();
	}
	table_close(rel, NoLock);
	chs_catalog_become_caller(&saved);
}

/*
 * chs_mapping_compile compiles the expressions of a table, in a memory context of
 * its own below CacheMemoryContext.  If the expression numbered guard, if any, is
 * NULL, so are the others.  Besides PostgreSQL's own, only the allowed functions,
 * given by name, may be called.  If compiling fails, or is known to be useless,
 * broken says why.
 */
Mapping *
chs_mapping_compile(Oid relation, Oid owner, const MappedColumn *columns, int ncolumns, int guard,
					List *const *allowed, ErrorData *broken)
{
	/* that goes with the caller's if an error is raised */
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "chs mapping",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	Mapping    *m = palloc0(sizeof(Mapping));

	Assert(ncolumns <= MAX_MAPPED_COLUMNS);
	m->context = context;
	m->relation = relation;
	m->owner = owner;
	m->ncolumns = ncolumns;
	m->guard = guard;
	m->allowed = allowed;
	for (int i = 0; i < ncolumns; i++)
	{
		m->as[i] = columns[i].as;
		m->given_sql[i] = pstrdup(columns[i].text ? columns[i].text : "NULL");
	}
	MemoryContextSwitchTo(caller);
	if (broken == NULL)
	{
		/* the result is kept, so that a budget must not cut it off */
		bool		has_budget = chs_budget_suspend();

		chs_rest_end(RelationRelationId, relation);
		/* it may have to wait for locks */
		m->may_be_slow = true;
		broken = chs_mapping_try_timed(m, compile_columns, m, false);
		chs_budget_resume(has_budget);
		if (broken != NULL && broken->sqlerrcode == ERRCODE_EXTERNAL_ROUTINE_TIMEOUT)
			chs_rest_begin(RelationRelationId, relation, chs_plugin_timeout);
	}
	MemoryContextSwitchTo(context);
	m->broken = broken ? chs_error_copy(broken) : NULL;
	m->direct &= !broken;
	MemoryContextSwitchTo(caller);
	MemoryContextSetParent(context, CacheMemoryContext);
	return m;
}

/*
 * chs_mapping_is_to_be_tried_again tells whether compiling a mapping merely took too long,
 * some time ago.
 */
bool
chs_mapping_is_to_be_tried_again(const Mapping *mapping)
{
	return mapping->broken && mapping->broken->sqlerrcode == ERRCODE_EXTERNAL_ROUTINE_TIMEOUT &&
		chs_rest_until(RelationRelationId, mapping->relation) == 0;
}

/* chs_mapping_free releases a mapping. */
void
chs_mapping_free(Mapping *mapping)
{
	if (mapping->plan != NULL)
		SPI_freeplan(mapping->plan);
	if (mapping->econtext != NULL)
		FreeExprContext(mapping->econtext, false);
	MemoryContextDelete(mapping->context);
}

/* --------------------------------------------------------------- evaluating */

/* Rows to be evaluated, and where the values go. */
typedef struct Batch
{
	Mapping    *mapping;
	HeapTuple  *tuples;
	int			n;
	MappedRow  *rows;
	MemoryContext context;		/* of the values */
	int			at;				/* the row that is being evaluated, where that is known; or -1 */
} Batch;

/* chs_mapping_copy_value copies a value of a column into the current memory context. */
Datum
chs_mapping_copy_value(const Mapping *mapping, int column, Datum value, bool isnull)
{
	if (isnull)
		return (Datum) 0;
	if (mapping->as[column] == MAPPED_CUSTOMER_ID || mapping->as[column] == MAPPED_TIME)
		return value;
	return PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
}

static void
set_value(Batch *b, int row, int column, Datum value)
{
	MemoryContext caller = MemoryContextSwitchTo(b->context);

	b->rows[row].values[column] = chs_mapping_copy_value(b->mapping, column, value,
														 b->rows[row].nulls[column]);
	MemoryContextSwitchTo(caller);
}

static void
evaluate_expressions(Batch *b)
{
	Mapping    *m = b->mapping;

	for (int i = 0; i < b->n; i++)
	{
		MappedRow  *row = &b->rows[i];

		b->at = i;
		CHECK_FOR_INTERRUPTS();
		chs_budget_step();
		ExecForceStoreHeapTuple(b->tuples[i], m->slot, false);
		ResetExprContext(m->econtext);
		m->econtext->ecxt_scantuple = m->slot;
		for (int j = 0; j < m->ncolumns; j++)
		{
			Datum		value = ExecEvalExprSwitchContext(m->states[j], m->econtext,
														  &row->nulls[j]);

			set_value(b, i, j, value);
		}
		ExecClearTuple(m->slot);
	}
}

static void
evaluate_query(Batch *b)
{
	Mapping    *m = b->mapping;
	TupleDesc	desc = m->slot->tts_tupleDescriptor;
	Oid			type = get_rel_type_id(m->relation);
	Datum	   *elements = palloc(b->n * sizeof(Datum));
	Datum		array;

	for (int i = 0; i < b->n; i++)
		elements[i] = heap_copy_tuple_as_datum(b->tuples[i], desc);
	array = PointerGetDatum(construct_array(elements, b->n, type, -1, false, TYPALIGN_DOUBLE));
	SPI_connect();
	/* not read-only, so that it sees what this command has done so far */
	if (SPI_execute_plan(m->plan, &array, NULL, false, 0) != SPI_OK_SELECT ||
		SPI_processed != (uint64) b->n)
		elog(ERROR, "could not evaluate a mapping");
	for (int i = 0; i < b->n; i++)
		for (int j = 0; j < m->ncolumns; j++)
		{
			Datum		value = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, j + 1,
											  &b->rows[i].nulls[j]);

			set_value(b, i, j, value);
		}
	SPI_finish();
}

static void
evaluate_batch(void *arg)
{
	Batch	   *b = arg;
	OwnerRights saved;

	chs_catalog_become_role(b->mapping->owner, &saved);
	if (b->mapping->by_query)
		evaluate_query(b);
	else
		evaluate_expressions(b);
	chs_catalog_become_caller(&saved);
}

static void
evaluate(Mapping *mapping, HeapTuple *tuples, int n, MappedRow *rows, bool is_read)
{
	int			done = 0;
	int			at_once = n;

	for (int i = 0; i < n; i++)
		rows[i].error = mapping->broken;
	while (done < n && !mapping->broken)
	{
		Batch		batch = {mapping, &tuples[done], Min(at_once, n - done), &rows[done],
							 CurrentMemoryContext, -1};
		ErrorData  *error = chs_mapping_try_timed(mapping, evaluate_batch, &batch, !is_read);

		if (error == NULL)
			done += batch.n;
		else if (batch.at >= 0 || batch.n == 1)
		{
			/* those before it are evaluated */
			done += Max(batch.at, 0);
			rows[done++].error = error;
			/* whoever reads has no use for the others then */
			while (is_read && error->sqlerrcode == ERRCODE_EXTERNAL_ROUTINE_TIMEOUT && done < n)
				rows[done++].error = error;
		}
		else
			at_once = 1;		/* which row it was is not known */
	}
}

/*
 * chs_mapping_evaluate evaluates a mapping for rows.  For rows that fail, error says why.
 * After some that took too long it is not tried for a while.  Allocates in the current
 * memory context.
 */
void
chs_mapping_evaluate(Mapping *mapping, HeapTuple *tuples, int n, MappedRow *rows)
{
	evaluate(mapping, tuples, n, rows, false);
}

/*
 * chs_mapping_evaluate_read does the same for rows that are read again, however slow earlier
 * ones were; from the first on that takes too long they have its error.
 */
void
chs_mapping_evaluate_read(Mapping *mapping, HeapTuple *tuples, int n, MappedRow *rows)
{
	evaluate(mapping, tuples, n, rows, true);
}

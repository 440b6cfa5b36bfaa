/*
 * mapping.c
 *	  Mappings: expressions over the rows of a table, compiled and evaluated.
 *
 * An expression is kept as text, which a dump carries, and compiled where it is
 * needed.  It is evaluated with the rights of the table's owner, who wrote it, on
 * a search_path on which nobody else's objects are found, and with settings that
 * make the same row give the same values in every session.
 *
 * Most expressions are columns, which cannot fail and need no rights.  Those are
 * evaluated at once.  The others are evaluated in a subtransaction for many rows,
 * and row by row only after a failure; expressions with a subquery by a query.
 */
#include "mapping.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "pgtime.h"
#include "rewrite/rewriteManip.h"
#include "settings.h"
#include "storage/proc.h"
#include "time_limit.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/datum.h"
#include "utils/float.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/regproc.h"
#include "utils/ruleutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* What the row is called in an expression. */
#define ROW_ALIAS "event_row"

/* ---------------------------------------------------------------- parsing */

static void
argument_context(void *arg)
{
	errcontext("expression for \"%s\"", (const char *) arg);
}

/* Returns the one expression that a text consists of, not yet analyzed. */
static Node *
parse_text(const char *text)
{
	List	   *parsed = raw_parser(text, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *s = castNode(SelectStmt, linitial_node(RawStmt, parsed)->stmt);
	ResTarget  *target;

	if (list_length(s->targetList) != 1 || s->fromClause || s->whereClause || s->groupClause ||
		s->havingClause || s->windowClause || s->valuesLists || s->sortClause || s->limitOffset ||
		s->limitCount || s->lockingClause || s->withClause || s->distinctClause || s->op != SETOP_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("not one expression: %s", text),
				 errhint("Put a query into parentheses.")));
	target = linitial_node(ResTarget, s->targetList);
	if (IsA(target->val, ColumnRef) && IsA(linitial(((ColumnRef *) target->val)->fields), A_Star))
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("not one expression: %s", text)));
	return target->val;
}

/* Analyzes an expression over the rows of a table, which go by the given name, too. */
static Node *
analyze_text(Relation rel, const char *text, const char *row_name)
{
	ParseState *pstate = make_parsestate(NULL);
	ParseNamespaceItem *nsitem;
	Node	   *node;

	pstate->p_sourcetext = text;
	nsitem = addRangeTableEntryForRelation(pstate, rel, AccessShareLock, makeAlias(row_name, NIL), false, true);
	addNSItemToQuery(pstate, nsitem, false, true, true);
	node = transformExpr(pstate, parse_text(text), EXPR_KIND_SELECT_TARGET);
	if (pstate->p_hasAggs || pstate->p_hasWindowFuncs || pstate->p_hasTargetSRFs)
		ereport(ERROR,
				(errcode(ERRCODE_GROUPING_ERROR),
				 errmsg("aggregate, window and set-returning functions are not allowed")));
	assign_expr_collations(pstate, node);
	free_parsestate(pstate);
	return node;
}

static bool
is_time_function(Oid function, void *context pg_attribute_unused())
{
	return function == F_NOW || function == F_TRANSACTION_TIMESTAMP || function == F_STATEMENT_TIMESTAMP;
}

/* Finds what gives another value at another time or to another user. */
static bool
depends_on_session(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, SQLValueFunction) || check_functions_in_node(node, is_time_function, NULL))
		return true;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, depends_on_session, context, 0);
	return expression_tree_walker(node, depends_on_session, context);
}

static void
check_stable(Node *node)
{
	if (contain_volatile_functions(node) || depends_on_session(node, NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the expression must always give the same value for the same row"),
				 errdetail("It calls a volatile function, or depends on the current time or user.")));
}

static void
check_type(const MappedColumn *column, Oid type)
{
	const char *wanted = NULL;
	const char *hint = "Cast it.";

	switch (column->as)
	{
		case MAPPED_CUSTOMER_ID:
			if (type != INT2OID && type != INT4OID && type != INT8OID)
				wanted = "smallint, integer or bigint";
			hint = "For another key of the customer, say customer_key => 'external_id'.";
			break;
		case MAPPED_EXTERNAL_ID:
			if (type != INT2OID && type != INT4OID && type != INT8OID && type != TEXTOID && type != VARCHAROID &&
				type != BPCHAROID && type != UUIDOID && type != UNKNOWNOID)
				wanted = "text, character varying, character, uuid, smallint, integer or bigint";
			break;
		case MAPPED_TIME:
			if (type != TIMESTAMPTZOID && type != TIMESTAMPOID && type != DATEOID && type != UNKNOWNOID)
				wanted = "timestamp with or without time zone, or date";
			break;
		case MAPPED_JSONB:
			if (type != JSONBOID && type != JSONOID && type != UNKNOWNOID)
				wanted = "jsonb or json";
			hint = "Use to_jsonb() or jsonb_build_object().";
			break;
		case MAPPED_TEXT:
			break;
	}
	if (wanted != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("\"%s\" must be of type %s, not %s", column->argument, wanted, format_type_be(type)),
				 errhint("%s", hint)));
}

/* What an expression has to be wrapped in to be of the right type, everywhere the same. */
static char *
converted_sql(MappedAs as, const char *sql, Oid type)
{
	if (as == MAPPED_CUSTOMER_ID)
		return psprintf("(%s)::pg_catalog.int8", sql);
	if (as == MAPPED_TEXT || as == MAPPED_EXTERNAL_ID)
		return psprintf("(%s)::pg_catalog.text", sql);
	if (as == MAPPED_JSONB)
		return psprintf("(%s)::pg_catalog.jsonb", sql);
	if (type == TIMESTAMPOID)
		return psprintf("pg_catalog.timezone('UTC', (%s))", sql);
	if (type == DATEOID)
		return psprintf("pg_catalog.timezone('UTC', (%s)::pg_catalog.timestamp)", sql);
	return psprintf("(%s)::pg_catalog.timestamptz", sql);
}

/*
 * chs_mapping_canonical checks an expression that somebody wrote for a table, on
 * his own search_path, and returns it as it is kept: with all names qualified,
 * and over a row that is called event_row.
 */
char *
chs_mapping_canonical(Relation rel, const MappedColumn *column)
{
	ErrorContextCallback context = {
		.previous = error_context_stack,.callback = argument_context,.arg = (void *) column->argument
	};
	Node	   *node;
	int			nest_level;
	char	   *sql;

	error_context_stack = &context;
	node = analyze_text(rel, column->text, RelationGetRelationName(rel));
	check_stable(node);
	check_type(column, exprType(node));
	nest_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	sql = deparse_expression(node, deparse_context_for(ROW_ALIAS, RelationGetRelid(rel)), false, false);
	AtEOXact_GUC(false, nest_level);
	error_context_stack = context.previous;
	return sql;
}

/* ------------------------------------------------- what an expression may do */

static bool
is_builtin_type(Oid type)
{
	return type < FirstNormalObjectId && get_typtype(type) == TYPTYPE_BASE;
}

/* Whether each value of a column can be made jsonb without fail. */
static bool
is_harmless_as_jsonb(Oid type)
{
	return is_builtin_type(type) && type != JSONOID && type != JSONARRAYOID;
}

/*
 * Functions that cannot fail, whatever they are given, and read nothing: those
 * that are marked so, and a few more.
 */
static bool
may_fail(Oid function, void *context pg_attribute_unused())
{
	switch (function)
	{
		case F_INT8_INT2:
		case F_INT8_INT4:
		case F_TEXT_BPCHAR:
		case F_TIMEZONE_TEXT_TIMESTAMP: /* see arguments_may_fail */
		case F_JSONB_BUILD_OBJECT_ANY:	/* likewise */
		case F_JSONB_BUILD_OBJECT_:
		case F_TO_JSONB:
		case F_JSONB_OBJECT_FIELD:
		case F_JSONB_OBJECT_FIELD_TEXT:
		case F_TEXTIN:
		case F_INT2OUT:
		case F_INT4OUT:
		case F_INT8OUT:
		case F_UUID_OUT:
			return false;
		default:
			return function >= FirstNormalObjectId || !get_func_leakproof(function);
	}
}

/* Whether a node is a text, if it is to be a certain one that; a literal may not be of any type yet. */
static bool
is_known_text(Node *node, const char *wanted)
{
	Const	   *c = (Const *) node;

	if (!IsA(node, Const) || c->constisnull || (c->consttype != TEXTOID && c->consttype != UNKNOWNOID))
		return false;
	return wanted == NULL ||
		strcmp(c->consttype == TEXTOID ? TextDatumGetCString(c->constvalue) : DatumGetCString(c->constvalue), wanted) == 0;
}

/* Whether a function of those above fails with some arguments, and these could be such. */
static bool
arguments_may_fail(FuncExpr *call)
{
	if (call->funcid == F_TIMEZONE_TEXT_TIMESTAMP)
		return !is_known_text(linitial(call->args), "UTC");
	if (call->funcid != F_JSONB_BUILD_OBJECT_ANY)
		return false;
	if (call->funcvariadic || list_length(call->args) % 2 != 0)
		return true;
	/* no key may be null */
	for (int i = 0; i < list_length(call->args); i += 2)
		if (!is_known_text(list_nth(call->args, i), NULL))
			return true;
	return false;
}

/* Finds whatever may fail or need rights. */
static bool
is_harmful(Node *node, void *context)
{
	Relation	rel = context;

	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_Var:
			if (((Var *) node)->varattno < 0)
				return true;
			if (((Var *) node)->varattno > 0)
				return !is_harmless_as_jsonb(((Var *) node)->vartype);
			for (int i = 0; i < RelationGetNumberOfAttributes(rel); i++)
			{
				Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(rel), i);

				if (!attribute->attisdropped && !is_harmless_as_jsonb(attribute->atttypid))
					return true;
			}
			return false;
		case T_FuncExpr:
			return may_fail(((FuncExpr *) node)->funcid, NULL) || arguments_may_fail((FuncExpr *) node) ||
				expression_tree_walker(node, is_harmful, context);
		case T_Const:
		case T_RelabelType:
		case T_OpExpr:
		case T_DistinctExpr:
		case T_ScalarArrayOpExpr:
		case T_BoolExpr:
		case T_CaseExpr:
		case T_CaseWhen:
		case T_CaseTestExpr:
		case T_CoalesceExpr:
		case T_NullTest:
		case T_BooleanTest:
		case T_CoerceViaIO:
		case T_List:
			return check_functions_in_node(node, may_fail, NULL) ||
				expression_tree_walker(node, is_harmful, context);
		default:
			return true;
	}
}

static bool
check_path(Oid function, void *context pg_attribute_unused())
{
	if (function >= FirstNormalObjectId)
		chs_catalog_check_path(function);
	return false;
}

/* Raises an error if a function finds other things depending on the session. */
static bool
check_paths(Node *node, void *context)
{
	if (node == NULL)
		return false;
	(void) check_functions_in_node(node, check_path, NULL);
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, check_paths, context, 0);
	return expression_tree_walker(node, check_paths, context);
}

/*
 * Takes note of a function that is not PostgreSQL's own, and raises an error unless it
 * may be called.  Expressions are kept as text, so whoever may create functions where
 * it looks for one could have his own called, with the owner's rights.
 */
static bool
note_function(Oid function, void *context)
{
	Mapping    *m = context;
	char	   *name;
	ListCell   *lc;

	if (function < FirstNormalObjectId)
		return false;
	name = format_procedure_qualified(function);
	foreach(lc, m->functions)
		if (strcmp(lfirst(lc), name) == 0)
			return false;
	if (m->allowed != NULL)
	{
		foreach(lc, *m->allowed)
			if (strcmp(lfirst(lc), name) == 0)
				break;
		if (lc == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("expression calls function %s, which it did not when the table was attached", name),
					 errhint("If it is to be called, attach the table again.")));
	}
	m->functions = lappend(m->functions, name);
	return false;
}

static bool
note_functions(Node *node, void *context)
{
	if (node == NULL)
		return false;
	(void) check_functions_in_node(node, note_function, context);
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, note_functions, context, 0);
	return expression_tree_walker(node, note_functions, context);
}

/* Whether a function, which is not PostgreSQL's own, may take as long as it likes. */
static bool
may_loop(Oid function, void *context pg_attribute_unused())
{
	HeapTuple	tuple;
	Oid			language;

	if (function < FirstNormalObjectId)
		return false;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	language = ((Form_pg_proc) GETSTRUCT(tuple))->prolang;
	ReleaseSysCache(tuple);
	return language != INTERNALlanguageId && language != ClanguageId;
}

/* Finds what may take long: such functions, and queries, which may wait for locks. */
static bool
has_slow_parts(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query) || check_functions_in_node(node, may_loop, NULL))
		return true;
	return expression_tree_walker(node, has_slow_parts, context);
}

/* ---------------------------------------------------------- taking too long */

/* A mapping that was too slow for so many rows in a row is let rest, ... */
#define MAX_SLOW_ROWS 3
/* ... for so many times as long as a row may take. */
#define REST_FACTOR 10

/* What is to be done in limited time. */
typedef struct TimedWork
{
	Mapping    *mapping;
	void		(*work) (void *arg);
	void	   *arg;
	bool		by_row;			/* so the mapping is let rest if row after row takes too long */
	bool		too_slow;
} TimedWork;

/*
 * How long a row may take: not so long that the statement of an application that has a
 * limit of its own fails for it.
 */
static int
time_for_row(void)
{
	return StatementTimeout > 0 && chs_plugin_timeout > 0 ? Min(chs_plugin_timeout, Max(StatementTimeout / 8, 1)) : chs_plugin_timeout;
}

static void
let_rest(Mapping *m)
{
	m->rests_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), (int64) time_for_row() * REST_FACTOR);
}

pg_noreturn static void
fail_as_slow(TimedWork *timed)
{
	Mapping    *m = timed->mapping;

	timed->too_slow = true;
	if (timed->by_row && ++m->nslow >= MAX_SLOW_ROWS)
		let_rest(m);
	ereport(ERROR,
			(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
			 errmsg("expressions of table %s took too long",
					quote_qualified_identifier(get_namespace_name(get_rel_namespace(m->relation)), get_rel_name(m->relation))),
			 errdetail("They took longer than \"%s\" for a row.", "chs.plugin_timeout")));
	pg_unreachable();
}

static void
work_in_time(void *arg)
{
	TimedWork  *timed = arg;
	bool		was_up = false;

	/* no abort ends the limit */
	PG_TRY();
	{
		chs_time_limit_begin(time_for_row());
		timed->work(timed->arg);
		was_up = chs_time_limit_end();
	}
	PG_CATCH();
	{
		if (!chs_time_limit_end())
			PG_RE_THROW();
		FlushErrorState();
		was_up = true;
	}
	PG_END_TRY();
	if (was_up)
		fail_as_slow(timed);
	if (timed->by_row)
		timed->mapping->nslow = 0;
}

/*
 * chs_mapping_try_timed does the same with the expressions of a mapping.  If these may
 * take long, they are limited in time, as long as each row, told by
 * chs_time_limit_step, does not take too long.  After some that did, by_row, they are
 * not tried for a while.
 */
Trouble *
chs_mapping_try_timed(Mapping *mapping, void (*work) (void *arg), void *arg, bool by_row)
{
	TimedWork	timed = {mapping, work, arg, by_row, false};
	Trouble    *trouble;

	if (!mapping->may_be_slow)
		return chs_mapping_try(work, arg);
	if (by_row && mapping->rests_until > GetCurrentTimestamp())
	{
		trouble = chs_event_trouble(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION,
									psprintf("expressions are not evaluated before %s, since they took too long",
											 timestamptz_to_str(mapping->rests_until)), NULL, NULL);
		timed.too_slow = true;
	}
	else
		trouble = chs_mapping_try(work_in_time, &timed);
	if (trouble != NULL)
		trouble->too_slow = timed.too_slow;
	return trouble;
}

/* ---------------------------------------------------------------- compiling */

/* Types of which the value in a document can be made without their output function. */
static bool
is_plain_type(Oid type)
{
	return type == TEXTOID || type == VARCHAROID || type == INT2OID || type == INT4OID || type == INT8OID ||
		type == NUMERICOID || type == BOOLOID;
}

/*
 * Makes a call of jsonb_build_object of plain columns fields, which are evaluated
 * at a fraction of its cost.
 */
static void
find_fields(Mapping *m, Node *node)
{
	FuncExpr   *call = (FuncExpr *) node;
	RowField   *fields;
	int			n = 0;

	if (!IsA(node, FuncExpr) || call->funcid != F_JSONB_BUILD_OBJECT_ANY || call->funcvariadic)
		return;
	fields = palloc(list_length(call->args) * sizeof(RowField));
	for (int i = 0; i + 1 < list_length(call->args); i += 2)
	{
		Const	   *key = list_nth(call->args, i);
		Var		   *value = list_nth(call->args, i + 1);

		if (!IsA(key, Const) || key->constisnull || (key->consttype != TEXTOID && key->consttype != UNKNOWNOID) ||
			!IsA(value, Var) || value->varattno <= 0 || !is_plain_type(value->vartype))
			return;
		fields[n].key = key->consttype == TEXTOID ? TextDatumGetCString(key->constvalue) : pstrdup(DatumGetCString(key->constvalue));
		fields[n].key_length = strlen(fields[n].key);
		fields[n].column = value->varattno;
		fields[n++].type = value->vartype;
	}
	m->nfields = n;
	m->fields = fields;
}

static ExprState *
compile_sql(Mapping *m, Relation rel, MappedAs as, const char *sql)
{
	Node	   *node = analyze_text(rel, sql, ROW_ALIAS);

	/* before anything is evaluated */
	(void) note_functions(node, m);
	(void) check_paths(node, NULL);
	m->may_be_slow |= has_slow_parts(node, NULL);
	if (checkExprHasSubLink(node))
	{
		m->by_query = true;
		m->direct = false;
		return NULL;
	}
	node = (Node *) expression_planner((Expr *) node);
	if (is_harmful(node, rel))
		m->direct = false;
	if (as == MAPPED_JSONB)
		find_fields(m, node);
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
	m->slot = MakeSingleTupleTableSlot(CreateTupleDescCopyConstr(RelationGetDescr(rel)), &TTSOpsHeapTuple);
	m->direct = true;
	m->by_query = false;
	m->may_be_slow = false;
	for (int i = 0; i < m->ncolumns; i++)
	{
		m->given_type[i] = exprType(analyze_text(rel, m->given_sql[i], ROW_ALIAS));
		m->sql[i] = converted_sql(m->as[i], m->given_sql[i], m->given_type[i]);
		m->states[i] = compile_sql(m, rel, m->as[i], m->sql[i]);
	}
	/* of a row that is no event the others are not to fail */
	for (int i = 0; !m->direct && m->guard >= 0 && i < m->ncolumns; i++)
		if (i != m->guard)
		{
			m->sql[i] = psprintf("CASE WHEN %s IS NOT NULL THEN %s END", m->sql[m->guard], m->sql[i]);
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
		if (SPI_connect() != SPI_OK_CONNECT)
			elog(ERROR, "SPI_connect failed");
		m->plan = SPI_prepare(query.data, 1, &type);
		if (m->plan == NULL || SPI_keepplan(m->plan) != 0)
			elog(ERROR, "could not prepare the query of a mapping");
		SPI_finish();
	}
	table_close(rel, NoLock);
	chs_catalog_become_caller(&saved);
}

static Trouble *
copy_trouble(const Trouble *t)
{
	Trouble    *copy = chs_event_trouble(t->sqlerrcode, pstrdup(t->message), t->detail ? pstrdup(t->detail) : NULL,
										 t->hint ? pstrdup(t->hint) : NULL);

	copy->too_slow = t->too_slow;
	return copy;
}

/*
 * chs_mapping_compile compiles the expressions of a table, in a memory context of
 * its own below CacheMemoryContext.  Where the one with the number guard, if there
 * is one, is NULL, the others are, too.  No functions but the allowed ones, given by
 * name, may be called, besides PostgreSQL's own.  If compiling fails, or is known to be of no
 * use, broken says so.
 */
Mapping *
chs_mapping_compile(Oid relation, Oid owner, const MappedColumn *columns, int ncolumns, int guard,
					List *const *allowed, Trouble *broken)
{
	MemoryContext context = AllocSetContextCreate(CacheMemoryContext, "chs mapping", ALLOCSET_SMALL_SIZES);
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
		/* it may have to wait for locks */
		m->may_be_slow = true;
		broken = chs_mapping_try_timed(m, compile_columns, m, false);
		if (broken != NULL && broken->too_slow)
			let_rest(m);
	}
	MemoryContextSwitchTo(context);
	m->broken = broken ? copy_trouble(broken) : NULL;
	m->direct &= !broken;
	MemoryContextSwitchTo(caller);
	return m;
}

/* chs_mapping_is_to_be_tried_again tells whether compiling one only took too long, some time ago. */
bool
chs_mapping_is_to_be_tried_again(const Mapping *mapping)
{
	return mapping->broken && mapping->broken->too_slow && mapping->rests_until <= GetCurrentTimestamp();
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

/*
 * Tells an error that is nobody's fault: that the query was cancelled, that memory
 * ran out, and the like.  A function of somebody's own can raise any error.
 */
static bool
is_general_error(const ErrorData *error)
{
	int			category = ERRCODE_TO_CATEGORY(error->sqlerrcode);

	if (error->funcname != NULL && strcmp(error->funcname, "ProcessInterrupts") == 0)
		return true;
	if (error->funcname != NULL && strcmp(error->funcname, "exec_stmt_raise") == 0)
		return false;
	return category == ERRCODE_OPERATOR_INTERVENTION || category == ERRCODE_INSUFFICIENT_RESOURCES ||
		category == ERRCODE_TRANSACTION_ROLLBACK || category == ERRCODE_SYSTEM_ERROR;
}

/*
 * chs_mapping_try does something in a subtransaction, and returns NULL, or, in
 * the current memory context, why it failed; then all of it is undone.  Parallel
 * mode has no subtransactions; there an error is an error.
 */
Trouble *
chs_mapping_try(void (*work) (void *arg), void *arg)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	Trouble    *volatile trouble = NULL;

	if (IsInParallelMode())
	{
		work(arg);
		return NULL;
	}
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		work(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(caller);
		CurrentResourceOwner = owner;
		if (is_general_error(error))
			ReThrowError(error);
		trouble = chs_event_trouble(error->sqlerrcode, error->message ? error->message : "unknown error",
									error->detail, error->hint);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	return trouble;
}

/* ----------------------------------------------------------- whole documents */

/* Settings on which texts of values depend, at less cost than by SET. */
typedef struct TextSettings
{
	pg_tz	   *timezone;
	int			date_style;
	int			date_order;
	int			interval_style;
	int			float_digits;
	int			bytea;
} TextSettings;

static void
set_text_settings(TextSettings *saved)
{
	static pg_tz *utc = NULL;

	if (utc == NULL)
		utc = pg_tzset("UTC");
	*saved = (TextSettings) {
		session_timezone, DateStyle, DateOrder, IntervalStyle, extra_float_digits, bytea_output
	};
	session_timezone = utc;
	DateStyle = USE_ISO_DATES;
	DateOrder = DATEORDER_MDY;
	IntervalStyle = INTSTYLE_POSTGRES;
	extra_float_digits = 1;
	bytea_output = BYTEA_OUTPUT_HEX;
}

static void
restore_text_settings(const TextSettings *saved)
{
	session_timezone = saved->timezone;
	DateStyle = saved->date_style;
	DateOrder = saved->date_order;
	IntervalStyle = saved->interval_style;
	extra_float_digits = saved->float_digits;
	bytea_output = saved->bytea;
}

static void
read_plain_value(Oid type, Datum datum, JsonbValue *value)
{
	switch (type)
	{
		case BOOLOID:
			value->type = jbvBool;
			value->val.boolean = DatumGetBool(datum);
			return;
		case INT2OID:
			datum = Int64GetDatum(DatumGetInt16(datum));
			break;
		case INT4OID:
			datum = Int64GetDatum(DatumGetInt32(datum));
			break;
		case INT8OID:
			break;
		case NUMERICOID:
			value->type = jbvNumeric;
			value->val.numeric = DatumGetNumeric(datum);
			/* which are no numbers in JSON */
			if (numeric_is_nan(value->val.numeric) || numeric_is_inf(value->val.numeric))
			{
				value->type = jbvString;
				value->val.string.val = DatumGetCString(DirectFunctionCall1(numeric_out, datum));
				value->val.string.len = strlen(value->val.string.val);
			}
			return;
		default:
			value->type = jbvString;
			value->val.string.val = VARDATA_ANY(DatumGetTextPP(datum));
			value->val.string.len = VARSIZE_ANY_EXHDR(DatumGetTextPP(datum));
			return;
	}
	value->type = jbvNumeric;
	value->val.numeric = int64_to_numeric(DatumGetInt64(datum));
}

/* Makes the document that jsonb_build_object would. */
static Datum
build_document(const Mapping *m, TupleTableSlot *slot)
{
	JsonbParseState *state = NULL;
	JsonbValue *document;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < m->nfields; i++)
	{
		const RowField *field = &m->fields[i];
		JsonbValue	key = {.type = jbvString};
		JsonbValue	value = {.type = jbvNull};
		bool		isnull;
		Datum		datum = slot_getattr(slot, field->column, &isnull);

		key.val.string.val = field->key;
		key.val.string.len = field->key_length;
		pushJsonbValue(&state, WJB_KEY, &key);
		if (!isnull)
			read_plain_value(field->type, datum, &value);
		pushJsonbValue(&state, WJB_VALUE, &value);
	}
	document = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbPGetDatum(JsonbValueToJsonb(document));
}

static Datum
evaluate_column(Mapping *m, int column, TupleTableSlot *slot, bool *isnull)
{
	MemoryContext caller;
	Datum		value;

	if (m->as[column] != MAPPED_JSONB || m->fields == NULL)
		return ExecEvalExprSwitchContext(m->states[column], m->econtext, isnull);
	caller = MemoryContextSwitchTo(m->econtext->ecxt_per_tuple_memory);
	value = build_document(m, slot);
	*isnull = false;
	MemoryContextSwitchTo(caller);
	return value;
}

/*
 * chs_mapping_evaluate_directly evaluates a mapping that is direct for a row.
 * The values last until the next call.
 */
void
chs_mapping_evaluate_directly(Mapping *m, TupleTableSlot *slot, Datum *values, bool *nulls)
{
	TextSettings saved;

	Assert(m->direct && !m->broken);
	ResetExprContext(m->econtext);
	m->econtext->ecxt_scantuple = slot;
	set_text_settings(&saved);
	PG_TRY();
	{
		for (int i = 0; i < m->ncolumns; i++)
			values[i] = evaluate_column(m, i, slot, &nulls[i]);
	}
	PG_FINALLY();
	{
		restore_text_settings(&saved);
	}
	PG_END_TRY();
}

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

	b->rows[row].values[column] = chs_mapping_copy_value(b->mapping, column, value, b->rows[row].nulls[column]);
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
		chs_time_limit_step();
		ExecForceStoreHeapTuple(b->tuples[i], m->slot, false);
		ResetExprContext(m->econtext);
		m->econtext->ecxt_scantuple = m->slot;
		for (int j = 0; j < m->ncolumns; j++)
		{
			Datum		value = ExecEvalExprSwitchContext(m->states[j], m->econtext, &row->nulls[j]);

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
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	/* not read-only: it is to see what this command has done so far */
	if (SPI_execute_plan(m->plan, &array, NULL, false, 0) != SPI_OK_SELECT || SPI_processed != (uint64) b->n)
		elog(ERROR, "could not evaluate a mapping");
	for (int i = 0; i < b->n; i++)
		for (int j = 0; j < m->ncolumns; j++)
		{
			Datum		value = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, j + 1, &b->rows[i].nulls[j]);

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

/*
 * chs_mapping_evaluate evaluates a mapping for rows.  Rows that fail have that in
 * trouble.  Allocates in the current memory context.
 */
void
chs_mapping_evaluate(Mapping *mapping, HeapTuple *tuples, int n, MappedRow *rows)
{
	int			done = 0;
	int			at_once = n;

	for (int i = 0; i < n; i++)
		rows[i].trouble = mapping->broken;
	while (done < n && !mapping->broken)
	{
		Batch		batch = {mapping, &tuples[done], Min(at_once, n - done), &rows[done], CurrentMemoryContext, -1};
		Trouble    *trouble = chs_mapping_try_timed(mapping, evaluate_batch, &batch, true);

		if (trouble == NULL)
			done += batch.n;
		else if (batch.at >= 0 || batch.n == 1)
		{
			/* those before it are evaluated */
			done += Max(batch.at, 0);
			rows[done++].trouble = trouble;
		}
		else
			at_once = 1;		/* which row it was is not known */
	}
}

/*
 * chs_mapping_form_row makes a row of the table of the values of all columns, as a
 * query returns them: of those that have been dropped it says nothing, but the row
 * has a place for them.
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

/* chs_mapping_row_of_result does so of a row of a result. */
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
 * chs_mapping_large_values returns how large the values of a row are that are stored out
 * of line: a row has a few thousand bytes else.
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
	call = makeFuncExpr(F_TO_JSONB, JSONBOID, list_make1(makeVar(1, 0, rel->rd_rel->reltype, -1, InvalidOid, 0)),
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
 * chs_mapping_rows_as_jsonb makes documents of rows, NULL where that fails.  The
 * mapping may be broken.
 */
void
chs_mapping_rows_as_jsonb(Mapping *mapping, HeapTuple *tuples, int n, Jsonb **documents)
{
	ShownRows	shown = {mapping, tuples, n, CurrentMemoryContext, documents};

	if (chs_mapping_try(show_rows, &shown) == NULL)
		return;
	for (int i = 0; i < n; i++)
	{
		documents[i] = NULL;
		if (n > 1)
			chs_mapping_rows_as_jsonb(mapping, &tuples[i], 1, &documents[i]);
	}
}

/* chs_mapping_row_as_jsonb does so for one row. */
Jsonb *
chs_mapping_row_as_jsonb(Mapping *mapping, HeapTuple tuple)
{
	Jsonb	   *document = NULL;

	chs_mapping_rows_as_jsonb(mapping, &tuple, 1, &document);
	return document;
}

/*
 * expression.c
 *	  Expressions over the rows of an attached table: reading and checking them, and what
 *	  they may do.
 *
 * An expression is stored as text, so that it can be dumped.  It must give the same
 * value for the same row everywhere, so it is stored with all names qualified, and
 * its functions are checked: whether they depend on the session, may fail or take
 * long, or differ from those that were called when the table was attached.
 */
#include "source/expression.h"

#include "access/htup_details.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

#include "base/catalog.h"

/* ---------------------------------------------------------------- reading */

static void
argument_context(void *arg)
{
	errcontext("expression for \"%s\"", (const char *) arg);
	/* the name of a type that does not exist looks like one of a column */
	if (geterrcode() == ERRCODE_UNDEFINED_COLUMN && strcmp(arg, "event_type") == 0)
		errhint("Use a column or an expression over the row, or the name of a type that"
				" chs.event_types has.");
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
		s->limitCount || s->lockingClause || s->withClause || s->distinctClause ||
		s->op != SETOP_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("not a single expression: %s", text),
				 errhint("Put a query into parentheses.")));
	target = linitial_node(ResTarget, s->targetList);
	if (IsA(target->val, ColumnRef) && IsA(linitial(((ColumnRef *) target->val)->fields), A_Star))
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("not a single expression: %s", text)));
	return target->val;
}

/*
 * Analyzes an expression over the rows of a table, which can also be referred to by the
 * given name.
 */
static Node *
analyze_text(Relation rel, const char *text, const char *row_name)
{
	ParseState *pstate = make_parsestate(NULL);
	ParseNamespaceItem *nsitem;
	Node	   *node;

	pstate->p_sourcetext = text;
	nsitem = addRangeTableEntryForRelation(pstate, rel, AccessShareLock, makeAlias(row_name, NIL),
										   false, true);
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
	return function == F_NOW || function == F_TRANSACTION_TIMESTAMP ||
		function == F_STATEMENT_TIMESTAMP;
}

/* Finds anything whose value depends on the time or the user. */
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
				 errdetail("It calls a volatile function, or depends on the current time or"
						   " user.")));
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
			if (type != INT2OID && type != INT4OID && type != INT8OID && type != TEXTOID &&
				type != VARCHAROID &&
				type != BPCHAROID && type != UUIDOID && type != UNKNOWNOID)
				wanted = "text, character varying, character, uuid, smallint, integer or bigint";
			break;
		case MAPPED_TIME:
			if (type != TIMESTAMPTZOID && type != TIMESTAMPOID && type != DATEOID &&
				type != UNKNOWNOID)
				wanted = "timestamp with or without time zone, or date";
			break;
		case MAPPED_NUMBER:
			if (type != INT2OID && type != INT4OID && type != INT8OID && type != NUMERICOID &&
				type != FLOAT4OID && type != FLOAT8OID && type != UNKNOWNOID)
				wanted = "smallint, integer, bigint, numeric, real or double precision";
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
				 errmsg("\"%s\" must be of type %s, not %s", column->argument, wanted,
						format_type_be(type)),
				 errhint("%s", hint)));
}

/*
 * chs_expression_converted wraps an expression so that it has the right type, in the same
 * way everywhere.
 */
char *
chs_expression_converted(MappedAs as, const char *sql, Oid type)
{
	if (as == MAPPED_CUSTOMER_ID)
		return psprintf("(%s)::pg_catalog.int8", sql);
	if (as == MAPPED_TEXT || as == MAPPED_EXTERNAL_ID)
		return psprintf("(%s)::pg_catalog.text", sql);
	if (as == MAPPED_JSONB)
		return psprintf("(%s)::pg_catalog.jsonb", sql);
	if (as == MAPPED_NUMBER)
		return psprintf("(%s)::pg_catalog.numeric", sql);
	if (type == TIMESTAMPOID)
		return psprintf("pg_catalog.timezone('UTC', (%s))", sql);
	if (type == DATEOID)
		return psprintf("pg_catalog.timezone('UTC', (%s)::pg_catalog.timestamp)", sql);
	return psprintf("(%s)::pg_catalog.timestamptz", sql);
}

/*
 * chs_expression_canonical checks an expression that a user wrote for a table, on
 * his own search_path, and returns the stored form: with all names qualified, and
 * over a row that is called event_row.
 */
char *
chs_expression_canonical(Relation rel, const MappedColumn *column)
{
	ErrorContextCallback context = {
		.previous = error_context_stack,.callback = argument_context,
		.arg = (void *) column->argument
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
	sql = deparse_expression(node, deparse_context_for(ROW_ALIAS, RelationGetRelid(rel)), false,
							 false);
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

/* Whether every value of a column can be converted to jsonb without errors. */
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

/* Whether a node is a text, optionally a certain one; a literal may not have a type yet. */
static bool
is_known_text(Node *node, const char *wanted)
{
	Const	   *c = (Const *) node;

	if (!IsA(node, Const) || c->constisnull ||
		(c->consttype != TEXTOID && c->consttype != UNKNOWNOID))
		return false;
	return wanted == NULL ||
		strcmp(c->consttype == TEXTOID ? TextDatumGetCString(c->constvalue) :
			   DatumGetCString(c->constvalue), wanted) == 0;
}

/* Whether one of the functions above fails with certain arguments, and these could be such. */
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

/* Finds anything that may fail or require rights. */
static bool
find_harm(Node *node, void *context)
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
			return may_fail(((FuncExpr *) node)->funcid, NULL) ||
				arguments_may_fail((FuncExpr *) node) ||
				expression_tree_walker(node, find_harm, context);
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
				expression_tree_walker(node, find_harm, context);
		default:
			return true;
	}
}

/* Raises an error if the objects that a function finds depend on the session. */
static bool
check_path(Oid function, void *context pg_attribute_unused())
{
	if (function >= FirstNormalObjectId)
		chs_catalog_check_path(function);
	return false;
}

/* Functions by name. */
typedef struct Functions
{
	List	   *called;
	List	  *const *allowed;	/* or NULL: any */
} Functions;

/*
 * Records a function that is not PostgreSQL's own, and raises an error unless it
 * may be called.  Expressions are stored as text, so somebody who may create
 * functions in the schema of a called one could otherwise have his own called
 * instead, with the owner's rights.
 */
static bool
note_function(Oid function, void *context)
{
	Functions  *f = context;
	char	   *name;
	ListCell   *lc;

	if (function < FirstNormalObjectId)
		return false;
	name = format_procedure_qualified(function);
	foreach(lc, f->called)
		if (strcmp(lfirst(lc), name) == 0)
			return false;
	if (f->allowed != NULL)
	{
		foreach(lc, *f->allowed)
			if (strcmp(lfirst(lc), name) == 0)
				break;
		if (lc == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("expression calls function %s, which it did not call when the table was"
							" attached", name),
					 errhint("If it is to be called, attach the table again.")));
	}
	f->called = lappend(f->called, name);
	return false;
}

/* What is done with each function that an expression calls, also in its queries. */
typedef struct FunctionVisit
{
	check_function_callback visit;
	void	   *context;
} FunctionVisit;

static bool
visit_functions(Node *node, void *context)
{
	FunctionVisit *visit = context;

	if (node == NULL)
		return false;
	(void) check_functions_in_node(node, visit->visit, visit->context);
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, visit_functions, context, 0);
	return expression_tree_walker(node, visit_functions, context);
}

/* Whether a function, which is not PostgreSQL's own, may take arbitrarily long. */
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

static bool
find_slow_part(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query) || check_functions_in_node(node, may_loop, NULL))
		return true;
	return expression_tree_walker(node, find_slow_part, context);
}

/* chs_expression_analyze analyzes a stored expression, over a row that is called event_row. */
Node *
chs_expression_analyze(Relation rel, const char *sql)
{
	return analyze_text(rel, sql, ROW_ALIAS);
}

/*
 * chs_expression_check_functions adds the functions that an expression calls,
 * except PostgreSQL's own, to a list of names, and raises an error if one is not
 * among the allowed ones, if these are given, or if the objects that it finds
 * depend on the session.
 */
void
chs_expression_check_functions(Node *node, List **called, List *const *allowed)
{
	Functions	functions = {*called, allowed};

	(void) visit_functions(node, &(FunctionVisit) {note_function, &functions});
	(void) visit_functions(node, &(FunctionVisit) {check_path, NULL});
	*called = functions.called;
}

/* The columns of the row, at a level of subqueries. */
typedef struct ColumnSearch
{
	Index		level;
	Bitmapset  *columns;
} ColumnSearch;

static bool
find_columns(Node *node, void *context)
{
	ColumnSearch *search = context;
	bool		result;

	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;

		if (var->varlevelsup == search->level && var->varno == 1 && var->varattno >= 0)
			search->columns = bms_add_member(search->columns, var->varattno);
		return false;
	}
	if (!IsA(node, Query))
		return expression_tree_walker(node, find_columns, context);
	search->level++;
	result = query_tree_walker((Query *) node, find_columns, context, 0);
	search->level--;
	return result;
}

/*
 * chs_expression_columns returns the numbers of the columns that an expression reads; 0:
 * the row.
 */
Bitmapset *
chs_expression_columns(Node *node)
{
	ColumnSearch search = {0};

	(void) find_columns(node, &search);
	return search.columns;
}

/*
 * chs_expression_is_harmful tells whether a planned expression may fail or requires its
 * owner's rights.
 */
bool
chs_expression_is_harmful(Node *node, Relation rel)
{
	return find_harm(node, rel);
}

/*
 * chs_expression_is_slow tells whether an expression has parts that may take long:
 * functions that are not PostgreSQL's own, and queries, which may wait for locks.
 */
bool
chs_expression_is_slow(Node *node)
{
	return find_slow_part(node, NULL);
}

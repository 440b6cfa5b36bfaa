/*
 * filter.c
 *	  Filters: SQL/JSON path predicates over event_data.
 *
 * PostgreSQL's jsonpath executor can evaluate all of them.  But most filters just
 * compare a field or two with a constant, and filters are evaluated for every event
 * that is inserted.  Such comparisons of scalar fields are therefore evaluated here,
 * at a fraction of the cost; everything else is left to the executor.
 */
#include "score/filter.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

/* A tree of comparisons "$.field op constant", joined by || and &&. */
struct Comparison
{
	JsonPathItemType op;		/* jpiOr and jpiAnd have two arguments */
	Comparison *left;
	Comparison *right;
	char	   *field;
	int			field_length;
	JsonbValue	constant;
};

typedef enum Answer
{
	ANSWER_FALSE,				/* or unknown, which is the same without negation */
	ANSWER_TRUE,
	ANSWER_ASK					/* left to the executor */
} Answer;

/* -------------------------------------------------------------- compiling */

static bool
read_field(JsonPathItem *item, Comparison *c)
{
	JsonPathItem key;
	int32		length;
	char	   *name;

	if (item->type != jpiRoot || !jspGetNext(item, &key) || key.type != jpiKey || jspHasNext(&key))
		return false;
	name = jspGetString(&key, &length);
	c->field = pnstrdup(name, length);
	c->field_length = length;
	return true;
}

static bool
read_constant(JsonPathItem *item, Comparison *c)
{
	int32		length;

	if (jspHasNext(item))
		return false;
	switch (item->type)
	{
		case jpiNull:
			c->constant.type = jbvNull;
			return c->op == jpiEqual || c->op == jpiNotEqual;
		case jpiBool:
			c->constant.type = jbvBool;
			c->constant.val.boolean = jspGetBool(item);
			return c->op == jpiEqual || c->op == jpiNotEqual;
		case jpiString:
			c->constant.type = jbvString;
			c->constant.val.string.val = jspGetString(item, &length);
			c->constant.val.string.len = length;
			return c->op == jpiEqual || c->op == jpiNotEqual;
		case jpiNumeric:
			c->constant.type = jbvNumeric;
			c->constant.val.numeric = jspGetNumeric(item);
			return true;
		default:
			return false;
	}
}

/* Returns the comparisons that a path consists of, or NULL if there is more to it. */
static Comparison *
read_comparisons(JsonPathItem *item)
{
	Comparison *c = palloc0(sizeof(Comparison));
	JsonPathItem left;
	JsonPathItem right;

	c->op = item->type;
	switch (item->type)
	{
		case jpiOr:
		case jpiAnd:
			jspGetLeftArg(item, &left);
			jspGetRightArg(item, &right);
			c->left = read_comparisons(&left);
			c->right = read_comparisons(&right);
			return c->left != NULL && c->right != NULL ? c : NULL;
		case jpiEqual:
		case jpiNotEqual:
		case jpiLess:
		case jpiGreater:
		case jpiLessOrEqual:
		case jpiGreaterOrEqual:
			jspGetLeftArg(item, &left);
			jspGetRightArg(item, &right);
			return read_field(&left, c) && read_constant(&right, c) ? c : NULL;
		default:
			return NULL;
	}
}

/*
 * chs_filter_compile compiles the text of a path, in the current memory context.
 */
void
chs_filter_compile(Filter *filter, const char *text)
{
	JsonPathItem item;

	filter->path = DatumGetJsonPathP(DirectFunctionCall1(jsonpath_in, CStringGetDatum(text)));
	jspInit(&item, filter->path);
	/* a missing field is an error in strict mode, and an empty result in lax mode */
	filter->simple = filter->path->header & JSONPATH_LAX ? read_comparisons(&item) : NULL;
}

static void
add_fields(const Comparison *c, List **fields)
{
	if (c->op == jpiOr || c->op == jpiAnd)
	{
		add_fields(c->left, fields);
		add_fields(c->right, fields);
	}
	else
		*fields = lappend(*fields, pnstrdup(c->field, c->field_length));
}

/*
 * chs_filter_fields adds the fields that a filter reads; false if only the executor
 * can tell.
 */
bool
chs_filter_fields(const Filter *filter, List **fields)
{
	if (filter->simple == NULL)
		return false;
	add_fields(filter->simple, fields);
	return true;
}

/* --------------------------------------------------------------- answering */

static bool
order_answers(JsonPathItemType op, int order)
{
	switch (op)
	{
		case jpiEqual:
			return order == 0;
		case jpiNotEqual:
			return order != 0;
		case jpiLess:
			return order < 0;
		case jpiGreater:
			return order > 0;
		case jpiLessOrEqual:
			return order <= 0;
		default:
			return order >= 0;
	}
}

/* Compares as jsonpath does: null differs from everything else, other types are not comparable. */
static bool
compare_scalars(const Comparison *c, const JsonbValue *value)
{
	Datum		cmp;

	if (value->type != c->constant.type)
		return (value->type == jbvNull || c->constant.type == jbvNull) && c->op == jpiNotEqual;
	switch (value->type)
	{
		case jbvNull:
			return order_answers(c->op, 0);
		case jbvBool:
			return order_answers(c->op, value->val.boolean != c->constant.val.boolean);
		case jbvString:
			return order_answers(c->op, value->val.string.len != c->constant.val.string.len ||
								 memcmp(value->val.string.val, c->constant.val.string.val,
										value->val.string.len) != 0);
		default:
			cmp = DirectFunctionCall2(numeric_cmp, NumericGetDatum(value->val.numeric),
									  NumericGetDatum(c->constant.val.numeric));
			return order_answers(c->op, DatumGetInt32(cmp));
	}
}

static Answer
answer(const Comparison *c, JsonbContainer *event_data)
{
	JsonbValue	value;
	Answer		left;

	if (c->op != jpiOr && c->op != jpiAnd)
	{
		if (getKeyJsonValueFromContainer(event_data, c->field, c->field_length, &value) == NULL)
			return ANSWER_FALSE;
		return value.type == jbvBinary ? ANSWER_ASK :
			compare_scalars(c, &value) ? ANSWER_TRUE : ANSWER_FALSE;
	}
	left = answer(c->left, event_data);
	if (left == ANSWER_ASK || left == (c->op == jpiOr ? ANSWER_TRUE : ANSWER_FALSE))
		return left;
	return answer(c->right, event_data);
}

/*
 * chs_filter_holds tells whether a filter is true for event_data; an unknown result
 * or an error counts as false.  Allocates in the current memory context.
 */
bool
chs_filter_holds(const Filter *filter, Jsonb *event_data)
{
	LOCAL_FCINFO(fcinfo, 2);
	Datum		result;

	if (filter->simple != NULL && JB_ROOT_IS_OBJECT(event_data))
	{
		Answer		simple = answer(filter->simple, &event_data->root);

		if (simple != ANSWER_ASK)
			return simple == ANSWER_TRUE;
	}
	InitFunctionCallInfoData(*fcinfo, NULL, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = JsonbPGetDatum(event_data);
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = PointerGetDatum(filter->path);
	fcinfo->args[1].isnull = false;
	result = jsonb_path_match_opr(fcinfo);
	return !fcinfo->isnull && DatumGetBool(result);
}

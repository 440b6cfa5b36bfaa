/*
 * mapping_direct.c
 *	  Mappings that cannot fail and require nobody's rights, evaluated at once.
 *
 * Most expressions are columns, and documents of columns, which are made here at a
 * fraction of the cost of the function in the expression.
 */
#include "source/mapping_direct.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/float.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "source/expression.h"
#include "source/mapping.h"

/* ------------------------------------------------------------------- fields */

/* Types whose values can be put into a document without their output function. */
static bool
is_plain_type(Oid type)
{
	return type == TEXTOID || type == VARCHAROID || type == INT2OID || type == INT4OID ||
		type == INT8OID ||
		type == NUMERICOID || type == BOOLOID;
}

/*
 * chs_mapping_find_fields turns a call of jsonb_build_object with plain columns
 * into fields of the mapping.
 */
void
chs_mapping_find_fields(Mapping *m, Node *node)
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

		if (!IsA(key, Const) || key->constisnull || (key->consttype != TEXTOID &&
													 key->consttype != UNKNOWNOID) ||
			!IsA(value, Var) || value->varattno <= 0 || !is_plain_type(value->vartype))
			return;
		fields[n].key = key->consttype == TEXTOID ? TextDatumGetCString(key->constvalue) :
			pstrdup(DatumGetCString(key->constvalue));
		fields[n].key_length = strlen(fields[n].key);
		fields[n].column = value->varattno;
		fields[n++].type = value->vartype;
	}
	m->nfields = n;
	m->fields = fields;
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

/* --------------------------------------------------------------- evaluating */

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

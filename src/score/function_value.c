/*
 * function_value.c
 *	  The results of plug-ins as jsonb, for the pure functions.
 *
 * The form is {"function": {"day": value, ...}, ...}, with the names of chs.plugins
 * and UTC days as YYYY-MM-DD. A day that is absent or null has no data.
 */
#include "score/function_value.h"

#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "score/score.h"
#include "score/scorecard.h"

pg_noreturn static void
invalid_values(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for \"%s\": %s", "plugin_values", what),
			 errhint("Use what chs.plugin_values() returns.")));
}

/* Reads a day in the form YYYY-MM-DD, whose meaning does not depend on settings. */
static int32
read_day(const JsonbValue *key)
{
	char	   *text = pnstrdup(key->val.string.val, key->val.string.len);

	if (strspn(text, "0123456789-") != strlen(text))
		invalid_values("a key is not a day");
	return DatumGetDateADT(DirectFunctionCall1(date_in, CStringGetDatum(text)));
}

static void
read_days(JsonbContainer *days, int function, ScoreInput *input, FunctionValue *values)
{
	JsonbIterator *it = JsonbIteratorInit(days);
	JsonbIteratorToken token;
	JsonbValue	v;

	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		FunctionValue *value = &values[input->nvalues];

		if (token == WJB_KEY)
			value->day = read_day(&v);
		if (token != WJB_VALUE)
			continue;
		if (v.type != jbvNull && v.type != jbvNumeric)
			invalid_values("a value is not a number");
		value->function = function;
		value->known = v.type == jbvNumeric;
		if (value->known)
			value->value = DatumGetFloat8(DirectFunctionCall1(numeric_float8,
															  NumericGetDatum(v.val.numeric)));
		input->nvalues++;
	}
}

/*
 * chs_function_values_read adds the values to the input of scoring.  Those of
 * functions that the scorecards do not use are ignored.
 */
void
chs_function_values_read(Jsonb *jsonb, ScoreInput *input)
{
	const Published *published = input->published;
	JsonbContainer *root = &jsonb->root;
	FunctionValue *values;
	JsonbContainer **days = palloc0(Max(published->nfunctions, 1) * sizeof(JsonbContainer *));
	int			n = 0;

	if (!JsonContainerIsObject(root))
		invalid_values("it is not an object");
	for (int i = 0; i < published->nfunctions; i++)
	{
		JsonbValue	v;

		if (getKeyJsonValueFromContainer(root, published->functions[i],
										 strlen(published->functions[i]), &v) == NULL)
			continue;
		if (v.type != jbvBinary || !JsonContainerIsObject(v.val.binary.data))
			invalid_values("the values of a function are not an object");
		days[i] = v.val.binary.data;
		n += JsonContainerSize(days[i]);
	}
	input->values = values = palloc0(Max(n, 1) * sizeof(FunctionValue));
	for (int i = 0; i < published->nfunctions; i++)
		if (days[i] != NULL)
			read_days(days[i], i, input, values);
}

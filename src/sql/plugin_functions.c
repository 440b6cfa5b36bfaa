/*
 * plugin_functions.c
 *	  Plug-in factors as SQL shows them.
 */
#include "base/compat.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/regproc.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "base/spi.h"
#include "base/wake.h"
#include "engine/plugin.h"
#include "score/count.h"
#include "score/score.h"
#include "sql/customer_score.h"
#include "store/customer.h"
#include "store/live.h"
#include "store/queue.h"

/*
 * Returns the name under which a function is registered, given as nps or
 * nps(bigint, timestamptz), with or without a schema.
 */
static char *
registered_name(char *given)
{
	Oid			types[] = {INT8OID, TIMESTAMPTZOID};
	Oid			function;

	if (strchr(given, '(') != NULL)
		function = DatumGetObjectId(DirectFunctionCall1(regprocedurein, CStringGetDatum(given)));
	else
		function = LookupFuncName(textToQualifiedNameList(cstring_to_text(given)),
								  lengthof(types), types, false);
	return chs_plugin_name(function, given, GetUserId());
}

/* chs_plugin_name_sql returns the name under which a function is registered. */
PG_FUNCTION_INFO_V1(chs_plugin_name_sql);
Datum
chs_plugin_name_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(registered_name(text_to_cstring(PG_GETARG_TEXT_PP(0)))));
}

/*
 * chs_add_factor finds the function on the caller's search path, and leaves the
 * rest to chs.add_factor(), which has its own.
 */
PG_FUNCTION_INFO_V1(chs_add_factor);
Datum
chs_add_factor(PG_FUNCTION_ARGS)
{
	Oid			types[] = {
		TEXTOID, FLOAT8OID, TEXTOID, JSONBOID, TEXTOID,
		BOOLOID, TEXTOID, TEXTOID, FLOAT8OID, TEXTOID
	};
	Datum		values[lengthof(types)];
	char		nulls[lengthof(types)];

	for (size_t i = 0; i < lengthof(types); i++)
	{
		values[i] = PG_GETARG_DATUM(i);
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
	}
	if (!PG_ARGISNULL(2))
		values[2] = CStringGetTextDatum(registered_name(text_to_cstring(PG_GETARG_TEXT_PP(2))));
	SPI_connect();
	chs_spi_execute("SELECT chs.add_factor($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
					lengthof(types), types, values, nulls);
	SPI_finish();
	PG_RETURN_VOID();
}

/* Reads the customer as the caller sees it.  Returns the last day that it may be scored for. */
static int32
last_day(FunctionCallInfo fcinfo, int customer_argument, int as_of_argument)
{
	Customer	customer;
	int32		day = PG_ARGISNULL(as_of_argument) ? chs_customer_today() :
		chs_count_day(PG_GETARG_TIMESTAMPTZ(as_of_argument));

	chs_customer_find_as_caller(PG_GETARG_INT64(customer_argument), &customer);
	return Min(day, customer.last_day);
}

/* chs_plugin_value_sql calls a function for a customer. */
PG_FUNCTION_INFO_V1(chs_plugin_value_sql);
Datum
chs_plugin_value_sql(PG_FUNCTION_ARGS)
{
	PluginCalls *calls;
	FunctionValue value;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	calls = chs_plugin_begin(CurrentMemoryContext);
	value = chs_plugin_value(calls, text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_INT64(1),
							 last_day(fcinfo, 1, 2));
	chs_plugin_end(calls);
	if (!value.known)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(value.value);
}

/*
 * chs_refresh queues a customer for scoring, and returns whether it exists.
 */
PG_FUNCTION_INFO_V1(chs_refresh);
Datum
chs_refresh(PG_FUNCTION_ARGS)
{
	int64		customer_id = PG_GETARG_INT64(0);
	Customer	customer;
	QueueAppender appender;

	if (!chs_customer_find(customer_id, GetActiveSnapshot(), &customer))
		PG_RETURN_BOOL(false);
	PreventCommandIfReadOnly("chs_refresh()");
	chs_queue_begin_append(&appender);
	chs_queue_append(&appender, customer_id, NULL, false, chs_live_version()->series_version);
	chs_queue_end_append(&appender);
	chs_wake_at_commit();
	PG_RETURN_BOOL(true);
}

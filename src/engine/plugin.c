/*
 * plugin.c
 *	  Plug-in factors: calling users' functions that supply values of metrics.
 *
 * A plug-in is a function (customer_id bigint, as_of timestamptz) returns double
 * precision.  It is called for the UTC day that is scored and for the two that the
 * trend compares; as_of is the last microsecond of the day, so that it is the
 * same for every score of a day.  NULL means no data.
 *
 * It runs as the role that registered it in chs.plugins, and only if that role may
 * execute it; with a superuser's rights only if it belongs to a superuser.  If it
 * does something forbidden or takes too long, the error concerns only the customer:
 * whoever scores many continues with the others.
 */
#include "engine/plugin.h"

#include <math.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/budget.h"
#include "base/catalog.h"
#include "base/error.h"
#include "base/rest.h"
#include "base/settings.h"
#include "base/try.h"
#include "score/score.h"
#include "score/scorecard.h"

/* Columns of chs.plugins. */
#define PLUGINS_FUNCTION 1
#define PLUGINS_REGISTERED_BY 2
#define PLUGINS_ROLE 3

typedef struct PluginCall
{
	char	   *name;			/* in chs.plugins */
	Oid			role;
	FmgrInfo	function;
} PluginCall;

struct PluginCalls
{
	MemoryContext context;		/* holds all of it */
	List	   *list;			/* of PluginCall * */
};

/* ------------------------------------------------------- who it is run as */

/* Finds the role that registered a function, or raises an error. */
static Oid
find_registrar(const char *function)
{
	Relation	rel = table_open(chs_catalog_relation(CHS_PLUGINS), AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	SysScanDesc scan;
	HeapTuple	tuple;
	char	   *registered_by = NULL;
	Oid			role = InvalidOid;
	bool		isnull;

	/* under the latest snapshot, so that a removal takes effect at once */
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (registered_by == NULL && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Datum		name = heap_getattr(tuple, PLUGINS_FUNCTION, desc, &isnull);

		if (strcmp(TextDatumGetCString(name), function) != 0)
			continue;
		registered_by = TextDatumGetCString(heap_getattr(tuple, PLUGINS_REGISTERED_BY, desc,
														 &isnull));
		role = DatumGetObjectId(heap_getattr(tuple, PLUGINS_ROLE, desc, &isnull));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	if (registered_by == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("function %s is not registered as a plug-in", function),
				 errhint("Register it with chs_add_factor(),"
						 " or remove its metric from the scorecard.")));
	/* another role may have got the name meanwhile */
	if (get_role_oid(registered_by, true) != role || !OidIsValid(role))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("function %s was not registered by the present role \"%s\"",
						function, registered_by),
				 errdetail("The role was dropped or renamed,"
						   " or the registration was restored by somebody else."),
				 errhint("Register it again: delete its row in chs.plugins,"
						 " and insert it as the role that it is to run as.")));
	return role;
}

/* Finds the function, or raises an error. */
static Oid
find_function(const char *name)
{
	LOCAL_FCINFO(fcinfo, 1);
	Datum		oid;

	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = CStringGetTextDatum(name);
	fcinfo->args[0].isnull = false;
	oid = to_regprocedure(fcinfo);
	if (fcinfo->isnull)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function %s does not exist", name),
				 errhint("Create it again, or remove its metric from the scorecard and publish.")));
	return DatumGetObjectId(oid);
}

/* Raises an error unless a function has the form of a plug-in.  Returns its owner. */
static Oid
check_form(Oid function, const char *name)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc proc;
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	if (proc->prokind != PROKIND_FUNCTION || proc->proretset || proc->prorettype != FLOAT8OID ||
		proc->pronargs != 2 || proc->proargtypes.values[0] != INT8OID ||
		proc->proargtypes.values[1] != TIMESTAMPTZOID)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("function %s cannot be a plug-in", name),
				 errdetail("A plug-in is a function (customer_id bigint, as_of timestamptz)"
						   " returns double precision.")));
	owner = proc->proowner;
	ReleaseSysCache(tuple);
	return owner;
}

/*
 * Raises an error unless a role may run a function as a plug-in.  A superuser's
 * rights are not lent to functions of others, who could replace them.
 */
static void
check_rights(Oid function, const char *name, Oid owner, Oid role)
{
	if (chs_schema_aclcheck(get_func_namespace(function), role, ACL_USAGE) != ACLCHECK_OK ||
		chs_function_aclcheck(function, role, ACL_EXECUTE) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not execute function %s",
						GetUserNameFromId(role, false), name),
				 errdetail("The role registered it as a plug-in.")));
	chs_catalog_check_path(function);
	if (superuser_arg(role) && !superuser_arg(owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("function %s cannot be run as superuser \"%s\"",
						name, GetUserNameFromId(role, false)),
				 errdetail("It belongs to role \"%s\", which is not a superuser.",
						   GetUserNameFromId(owner, false)),
				 errhint("Have role \"%s\" register it.", GetUserNameFromId(owner, false))));
}

/*
 * chs_plugin_name returns the name under which a function is registered.  Raises
 * an error unless the function can be a plug-in of a role.
 */
char *
chs_plugin_name(Oid function, const char *given, Oid role)
{
	bool		quote_all = quote_all_identifiers;
	char	   *name;

	check_rights(function, given, check_form(function, given), role);
	/* it becomes part of the scorecard, so it must be the same in every session */
	quote_all_identifiers = false;
	name = quote_qualified_identifier(get_namespace_name(get_func_namespace(function)),
									  get_func_name(function));
	quote_all_identifiers = quote_all;
	return psprintf("%s(bigint,timestamp with time zone)", name);
}

/* Makes a function ready to be called. */
static PluginCall *
prepare_call(PluginCalls *calls, const char *name)
{
	MemoryContext caller = MemoryContextSwitchTo(calls->context);
	PluginCall *call = palloc0(sizeof(PluginCall));
	OwnerRights saved;
	Oid			function;

	call->role = find_registrar(name);
	/* whether the caller may use the schema does not matter */
	chs_catalog_become_reader(&saved);
	function = find_function(name);
	chs_catalog_become_caller(&saved);
	check_rights(function, name, check_form(function, name), call->role);
	fmgr_info_cxt(function, &call->function, calls->context);
	call->name = pstrdup(name);
	calls->list = lappend(calls->list, call);
	MemoryContextSwitchTo(caller);
	return call;
}

/* Returns the function ready to be called. */
static PluginCall *
find_call(PluginCalls *calls, const char *name)
{
	ListCell   *lc;

	foreach(lc, calls->list)
	{
		PluginCall *call = lfirst(lc);

		if (strcmp(call->name, name) == 0)
			return call;
	}
	return prepare_call(calls, name);
}

/*
 * chs_plugin_begin prepares for calling functions for one or many customers in the
 * same transaction, in its own memory context.
 */
PluginCalls *
chs_plugin_begin(MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(parent, "chs plug-ins", ALLOCSET_SMALL_SIZES);
	PluginCalls *calls = MemoryContextAllocZero(context, sizeof(PluginCalls));

	calls->context = context;
	return calls;
}

/*
 * chs_plugin_end ends that.  After a subtransaction has failed, end it and begin
 * again, because locks that prepared functions rely on may be gone.
 */
void
chs_plugin_end(PluginCalls *calls)
{
	MemoryContextDelete(calls->context);
}

/* ----------------------------------------------------------------- calling */

/* A call of a function, and its result. */
typedef struct Invocation
{
	PluginCall *call;
	int64		customer_id;
	FunctionCallInfo fcinfo;
	Datum		result;
} Invocation;

/*
 * Raises the error of a function, within PG_CATCH, as one that concerns a customer.  A
 * request to stop the whole session is passed on unchanged.
 */
pg_noreturn static void
fail(const Invocation *invocation, MemoryContext caller)
{
	ErrorData  *error;
	int			category;

	MemoryContextSwitchTo(caller);
	error = CopyErrorData();
	category = ERRCODE_TO_CATEGORY(error->sqlerrcode);
	if (chs_try_was_interrupted(error))
		PG_RE_THROW();
	FlushErrorState();
	error->message = psprintf("plug-in function %s failed for customer %lld: %s",
							  invocation->call->name, (long long) invocation->customer_id,
							  error->message);
	if (error->hint == NULL && IsInParallelMode())
		error->hint = "It was called in a parallel query, where functions may do less:"
			" SET max_parallel_workers_per_gather = 0.";
	else if (error->hint == NULL && category == ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION)
		error->hint = "A plug-in finds what is in pg_catalog; name the schema of all else,"
			" or SET search_path = ..., pg_temp for the function.";
	if (chs_try_is_general(error->sqlerrcode))
		error->sqlerrcode = ERRCODE_EXTERNAL_ROUTINE_EXCEPTION;
	ReThrowError(error);
	pg_unreachable();
}

/* Invokes a function with the rights of its registrar, or raises its error. */
static void
invoke(void *arg)
{
	Invocation *invocation = arg;
	MemoryContext caller = CurrentMemoryContext;
	OwnerRights saved;

	PG_TRY();
	{
		chs_catalog_become_registrar(invocation->call->role, &saved);
		InvokeFunctionExecuteHook(invocation->call->function.fn_oid);
		invocation->result = FunctionCallInvoke(invocation->fcinfo);
		chs_catalog_become_caller(&saved);
	}
	PG_CATCH();
	{
		fail(invocation, caller);
	}
	PG_END_TRY();
}

/* Calls a function within its time. */
static Datum
call_in_time(PluginCall *call, int64 customer_id, TimestampTz as_of, bool *isnull)
{
	LOCAL_FCINFO(fcinfo, 2);
	Oid			function = call->function.fn_oid;
	Invocation	invocation = {call, customer_id, fcinfo, (Datum) 0};
	TimestampTz rests_until = chs_rest_until(ProcedureRelationId, function);

	if (rests_until != 0)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_TIMEOUT),
				 errmsg("plug-in function %s is not called before %s",
						call->name, timestamptz_to_str(rests_until)),
				 errdetail("It took longer than \"%s\" for %d customers in a row.",
						   "chs.plugin_timeout", CHS_REST_AFTER)));
	InitFunctionCallInfoData(*fcinfo, &call->function, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = Int64GetDatum(customer_id);
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = TimestampTzGetDatum(as_of);
	fcinfo->args[1].isnull = false;
	if (!chs_budget_call(chs_plugin_timeout, invoke, &invocation))
	{
		if (!chs_budget_was_exceeded())
			chs_rest_note_slow(ProcedureRelationId, function, customer_id, chs_plugin_timeout);
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_TIMEOUT),
				 errmsg("plug-in function %s took too long for customer %lld",
						call->name, (long long) customer_id),
				 chs_budget_was_exceeded() ? errdetail("It will be called apart from others.") :
				 errdetail("It took longer than \"%s\", %d ms.",
						   "chs.plugin_timeout", chs_plugin_timeout)));
	}
	chs_rest_end(ProcedureRelationId, function);
	*isnull = fcinfo->isnull;
	return invocation.result;
}

/*
 * chs_plugin_value calls a function for a customer and UTC day.  The field
 * "function" of the result is not set.
 */
FunctionValue
chs_plugin_value(PluginCalls *calls, const char *function, int64 customer_id, int32 day)
{
	PluginCall *call;
	int64		as_of = ((int64) day + 1) * USECS_PER_DAY - 1;
	FunctionValue value = {.day = day};
	Datum		result;
	bool		isnull;

	/* there is one timer */
	chs_catalog_check_not_called_back();
	call = find_call(calls, function);
	if (!IS_VALID_TIMESTAMP(as_of))
		return value;
	CHECK_FOR_INTERRUPTS();
	result = call_in_time(call, customer_id, as_of, &isnull);
	if (isnull)
		return value;
	value.known = true;
	value.value = DatumGetFloat8(result);
	if (!isfinite(value.value))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("plug-in function %s returned %s for customer %lld", call->name,
						isnan(value.value) ? "NaN" : "infinity", (long long) customer_id),
				 errhint("Return NULL where there is no value.")));
	return value;
}

/* Whether a scorecard has metrics that use a function. */
static bool
uses_function(const Scorecard *scorecard, int function)
{
	for (int i = 0; i < scorecard->nfactors; i++)
		for (int j = 0; j < scorecard->factors[i].nmetrics; j++)
			if (scorecard->factors[i].metrics[j].function == function)
				return true;
	return false;
}

/*
 * chs_plugin_add_days calls the functions of a scorecard for a customer and each of the
 * days, and adds their results to the input of scoring.  Returns false if the budget is
 * spent.
 *
 * The functions can do whatever queries can, so a document compiled by
 * chs_scorecard_compiled() may be invalid afterwards; the live version stays valid.
 */
bool
chs_plugin_add_days(PluginCalls *calls, ScoreInput *input, const Scorecard *scorecard,
					int64 customer_id, const int32 *days, int ndays)
{
	FunctionValue *values;

	if (!scorecard->has_functions)
		return true;
	input->values = values = palloc(input->published->nfunctions * ndays * sizeof(FunctionValue));
	for (int i = 0; i < input->published->nfunctions; i++)
	{
		for (int j = 0; j < ndays && uses_function(scorecard, i); j++)
		{
			if (chs_budget_is_spent())
				return false;
			values[input->nvalues] = chs_plugin_value(calls, input->published->functions[i],
													  customer_id,
													  days[j]);
			values[input->nvalues++].function = i;
		}
	}
	return true;
}

/* chs_plugin_add_values does that for the days that the score as of a day needs. */
bool
chs_plugin_add_values(PluginCalls *calls, ScoreInput *input, const Scorecard *scorecard,
					  int64 customer_id, int32 as_of_day, PluginDays which)
{
	int			ndays = which == PLUGIN_ONE_DAY ? 1 : which == PLUGIN_TREND ? 3 :
		scorecard->trend_days + 2;
	int32	   *days = palloc(ndays * sizeof(int32));

	for (int i = 0; i < ndays; i++)
		days[i] = as_of_day - i;
	if (which == PLUGIN_TREND)
		days[2] -= scorecard->trend_days - 1;
	return chs_plugin_add_days(calls, input, scorecard, customer_id, days, ndays);
}

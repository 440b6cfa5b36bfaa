/*
 * catalog.c
 *	  The extension's own objects, and the rights that code runs with.
 *
 * All privilege switches of the extension are here.
 */
#include "catalog.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "source.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/varlena.h"
#include "worker.h"

/* ----------------------------------------------------------- own objects */

static Form_pg_extension
copy_extension_row(void)
{
	Oid			oid = get_extension_oid("chs", false);
	Form_pg_extension row = palloc(sizeof(FormData_pg_extension));
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(oid));
	scan = systable_beginscan(rel, ExtensionOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"%s\" does not exist", "chs")));
	memcpy(row, GETSTRUCT(tuple), sizeof(FormData_pg_extension));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return row;
}

/* chs_catalog_extension_schema returns the schema of the public functions. */
Oid
chs_catalog_extension_schema(void)
{
	return copy_extension_row()->extnamespace;
}

static const char *const relation_names[] = {
	[CHS_ACTIVITY] = "activity",
	[CHS_ACTIVITY_PKEY] = "activity_pkey",
	[CHS_CUSTOMER_EVENTS] = "customer_events",
	[CHS_CUSTOMER_HEALTH] = "customer_health",
	[CHS_CUSTOMER_HEALTH_PKEY] = "customer_health_pkey",
	[CHS_CUSTOMERS] = "customers",
	[CHS_CUSTOMERS_EXTERNAL_ID_KEY] = "customers_external_id_key",
	[CHS_CUSTOMERS_PKEY] = "customers_pkey",
	[CHS_EVENT_TYPES] = "event_types",
	[CHS_FAILURES] = "failures",
	[CHS_FAILURES_PKEY] = "failures_pkey",
	[CHS_HEALTH_COUNTS] = "health_counts",
	[CHS_HEALTH_SCORES] = "health_scores",
	[CHS_HEALTH_SCORES_PKEY] = "health_scores_pkey",
	[CHS_PLUGINS] = "plugins",
	[CHS_PAUSE] = "pause",
	[CHS_QUEUE] = "queue",
	[CHS_QUEUE_CUSTOMER_ID_IDX] = "queue_customer_id_idx",
	[CHS_QUEUE_XID_IDX] = "queue_xid_idx",
	[CHS_REJECTED_CHANGES] = "rejected_changes",
	[CHS_REJECTED_CHANGES_PKEY] = "rejected_changes_pkey",
	[CHS_REJECTED_EVENTS] = "rejected_events",
	[CHS_REJECTED_EVENTS_CHECK_IDX] = "rejected_events_check_idx",
	[CHS_REJECTED_EVENTS_KEY_IDX] = "rejected_events_key_idx",
	[CHS_RETENTION] = "retention",
	[CHS_SCORECARD_VERSIONS] = "scorecard_versions",
	[CHS_SCORECARD_VERSIONS_PKEY] = "scorecard_versions_pkey",
	[CHS_SOURCES] = "sources"
};

/* Looked up once, until the schema is dropped; their OIDs never change. */
static Oid	relation_oids[lengthof(relation_names)];

/* Only forgets: a callback may be called at any time, and must not look anything up. */
static void
forget_relations(Datum arg pg_attribute_unused(), int cacheid pg_attribute_unused(),
				 uint32 hashvalue pg_attribute_unused())
{
	memset(relation_oids, 0, sizeof(relation_oids));
}

/* chs_catalog_relation returns a table or index of schema chs. */
Oid
chs_catalog_relation(ChsRelation relation)
{
	Oid			oid = relation_oids[relation];

	if (OidIsValid(oid))
		return oid;
	oid = get_relname_relid(relation_names[relation], get_namespace_oid("chs", true));
	if (!OidIsValid(oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"chs.%s\" does not exist", relation_names[relation]),
				 errhint("Run CREATE EXTENSION chs in this database.")));
	relation_oids[relation] = oid;
	return oid;
}

/* ---------------------------------------------------------------- rights */

/* Sets a parameter until chs_catalog_become_caller. */
static void
pin(const char *parameter, const char *value)
{
	(void) set_config_option(parameter, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/*
 * The nesting level of transactions at which other people's code, a plug-in or the
 * expression of a source, is running; or 0.  Such code must not cause scoring or
 * capture, which would call it again recursively, while its caller relies on the
 * live version and the compiled expressions that it holds.
 */
static int	lent_at = 0;

/* After an error, chs_catalog_become_caller is not reached. */
static void
at_subtransaction_end(SubXactEvent event, SubTransactionId subid pg_attribute_unused(),
					  SubTransactionId parent pg_attribute_unused(), void *arg pg_attribute_unused())
{
	if (event == SUBXACT_EVENT_ABORT_SUB && GetCurrentTransactionNestLevel() <= lent_at)
		lent_at = 0;
}

static void
at_transaction_end(XactEvent event pg_attribute_unused(), void *arg pg_attribute_unused())
{
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PARALLEL_ABORT)
		lent_at = 0;
}

/* chs_catalog_check_not_called_back raises an error in such code. */
void
chs_catalog_check_not_called_back(void)
{
	if (lent_at > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("functions that are called for scores or events cannot ask for scores"),
				 errhint("It can read the stored ones in chs.customer_health.")));
}

/*
 * chs_catalog_become_owner switches to the rights of the extension's owner, and to
 * a search_path on which nobody else's objects are found.  Every use ends with
 * chs_catalog_become_caller, or with an error, which restores everything.
 */
void
chs_catalog_become_owner(OwnerRights *saved)
{
	GetUserIdAndSecContext(&saved->user, &saved->security_context);
	saved->read_only = XactReadOnly;
	saved->lent_at = lent_at;
	saved->nest_level = NewGUCNestLevel();
	SetUserIdAndSecContext(copy_extension_row()->extowner,
						   saved->security_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	pin("search_path", "pg_catalog, pg_temp");
	pin("row_security", "off");
}

/*
 * chs_catalog_become_role does the same for a role whose expression is about to be
 * evaluated, and fixes the settings that its value may depend on, so that it is the
 * same in every session.
 */
void
chs_catalog_become_role(Oid role, OwnerRights *saved)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"row_security", "off"},
		{"TimeZone", "UTC"},
		{"DateStyle", "ISO, MDY"},
		{"IntervalStyle", "postgres"},
		{"extra_float_digits", "1"},
		{"bytea_output", "hex"}
	};

	GetUserIdAndSecContext(&saved->user, &saved->security_context);
	saved->read_only = XactReadOnly;
	saved->lent_at = lent_at;
	saved->nest_level = NewGUCNestLevel();
	SetUserIdAndSecContext(role, saved->security_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	for (size_t i = 0; i < lengthof(settings); i++)
		pin(settings[i][0], settings[i][1]);
	lent_at = GetCurrentTransactionNestLevel();
}

/*
 * chs_catalog_become_registrar does the same for a role whose function is about
 * to be called: it cannot leave the role (SET ROLE is refused) nor write, and
 * sees the rows that the role may see.
 */
void
chs_catalog_become_registrar(Oid role, OwnerRights *saved)
{
	chs_catalog_become_role(role, saved);
	pin("row_security", "on");
	/* as a setting, it cannot be set temporarily; an error restores it as well */
	XactReadOnly = true;
}

/*
 * chs_catalog_check_path raises an error if a function, which is to be called with
 * the rights of another role than the session's, sets a search_path on which
 * temporary tables and views are found first: the user of the session could
 * substitute one with his own code for a table that the function reads.
 */
void
chs_catalog_check_path(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Datum		config;
	bool		isnull;
	Datum	   *settings;
	int			n;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	config = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_proconfig, &isnull);
	if (!isnull)
		deconstruct_array(DatumGetArrayTypeP(config), TEXTOID, -1, false, TYPALIGN_INT, &settings, NULL, &n);
	for (int i = 0; !isnull && i < n; i++)
	{
		char	   *path = TextDatumGetCString(settings[i]);
		List	   *schemas;

		if (strncmp(path, "search_path=", strlen("search_path=")) != 0)
			continue;
		path += strlen("search_path=");
		if (SplitIdentifierString(pstrdup(path), ',', &schemas) && schemas != NIL && strcmp(llast(schemas), "pg_temp") == 0)
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("search_path of function %s does not end with pg_temp", format_procedure(function)),
				 errdetail("Temporary tables of the calling session would be found first."),
				 errhint("ALTER FUNCTION %s SET search_path = %s%spg_temp;", format_procedure_qualified(function),
						 strcmp(path, "\"\"") == 0 ? "" : path, strcmp(path, "\"\"") == 0 ? "" : ", ")));
	}
	ReleaseSysCache(tuple);
}

/*
 * chs_catalog_stop_triggers keeps ordinary triggers and foreign keys from firing, until
 * chs_catalog_become_caller.
 */
void
chs_catalog_stop_triggers(void)
{
	(void) set_config_option("session_replication_role", "replica", PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/* chs_catalog_become_caller switches back. */
void
chs_catalog_become_caller(const OwnerRights *saved)
{
	AtEOXact_GUC(false, saved->nest_level);
	XactReadOnly = saved->read_only;
	lent_at = saved->lent_at;
	SetUserIdAndSecContext(saved->user, saved->security_context);
}

/* chs_catalog_execute executes a statement with the rights of the owner, within SPI. */
void
chs_catalog_execute(const char *statement, int nargs, Oid *types, Datum *args, const char *nulls)
{
	OwnerRights saved;

	chs_catalog_become_owner(&saved);
	if (SPI_execute_with_args(statement, nargs, types, args, nulls, false, 0) < 0)
		elog(ERROR, "could not execute: %s", statement);
	chs_catalog_become_caller(&saved);
}

/*
 * chs_catalog_execute_now executes a statement, with the present rights and within
 * SPI, under the latest snapshot: at any isolation level, it must find what others
 * have committed.  If kept is given, the plan is saved there.
 */
void
chs_catalog_execute_now(SPIPlanPtr *kept, const char *statement, int nargs, Oid *types, Datum *args, const char *nulls)
{
	SPIPlanPtr	plan = kept ? *kept : NULL;
	Snapshot	snapshot;

	if (plan == NULL)
	{
		plan = SPI_prepare(statement, nargs, types);
		if (plan == NULL || (kept && SPI_keepplan(plan) != 0))
			elog(ERROR, "could not prepare: %s", statement);
		if (kept)
			*kept = plan;
	}
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	if (SPI_execute_snapshot(plan, args, nulls, snapshot, InvalidSnapshot, false, true, 0) < 0)
		elog(ERROR, "could not execute: %s", statement);
	UnregisterSnapshot(snapshot);
	if (!kept)
		(void) SPI_freeplan(plan);
}

/* chs_catalog_init registers callbacks for changes and errors. */
void
chs_catalog_init(void)
{
	CacheRegisterSyscacheCallback(NAMESPACEOID, forget_relations, (Datum) 0);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
	RegisterXactCallback(at_transaction_end, NULL);
}

/*
 * catalog.c
 *	  The extension's own objects, and the rights that code runs with.
 *
 * All privilege switches of the extension are here.
 */
#include "base/catalog.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_index.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

/* ----------------------------------------------------------- own objects */

/* Copies the row of the extension in pg_extension, which has no syscache before PostgreSQL 18. */
static Form_pg_extension
copy_extension_row(void)
{
	Form_pg_extension row = palloc(sizeof(FormData_pg_extension));
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum("chs"));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
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
	[CHS_MISSING_CUSTOMERS] = "missing_customers",
	[CHS_MISSING_CUSTOMERS_KEY_HASH_IDX] = "missing_customers_key_hash_idx",
	[CHS_PLUGINS] = "plugins",
	[CHS_PAUSE] = "pause",
	[CHS_QUEUE] = "queue",
	[CHS_QUEUE_CUSTOMER_ID_IDX] = "queue_customer_id_idx",
	[CHS_QUEUE_XID_IDX] = "queue_xid_idx",
	[CHS_REJECTED_EVENTS] = "rejected_events",
	[CHS_RETENTION] = "retention",
	[CHS_SCORECARD_VERSIONS] = "scorecard_versions",
	[CHS_SCORECARD_VERSIONS_PKEY] = "scorecard_versions_pkey",
	[CHS_SOURCES] = "sources"
};

/*
 * Indexes are found by what they are for, not by name: whoever maintains the database
 * replaces bloated ones, by others with other names.
 */
static const struct
{
	ChsRelation table;
	Oid			method;
	bool		unique;
	const char *predicate;		/* of a partial one */
	const char *columns[3];		/* it begins with these; if unique, it has no others */
}			index_roles[lengthof(relation_names)] = {
	[CHS_ACTIVITY_PKEY] = {CHS_ACTIVITY, BTREE_AM_OID, true, NULL, {"customer_id"}},
	[CHS_CUSTOMER_HEALTH_PKEY] = {CHS_CUSTOMER_HEALTH, BTREE_AM_OID, true, NULL, {"customer_id"}},
	[CHS_CUSTOMERS_EXTERNAL_ID_KEY] = {CHS_CUSTOMERS, BTREE_AM_OID, true, NULL, {"external_id"}},
	[CHS_CUSTOMERS_PKEY] = {CHS_CUSTOMERS, BTREE_AM_OID, true, NULL, {"customer_id"}},
	[CHS_FAILURES_PKEY] = {CHS_FAILURES, BTREE_AM_OID, true, NULL, {"customer_id"}},
	[CHS_HEALTH_SCORES_PKEY] = {
		CHS_HEALTH_SCORES, BTREE_AM_OID, true, NULL, {"customer_id", "as_of", "health_score_id"}
	},
	[CHS_MISSING_CUSTOMERS_KEY_HASH_IDX] = {
		CHS_MISSING_CUSTOMERS, BTREE_AM_OID, false, NULL, {"key_hash"}
	},
	[CHS_QUEUE_CUSTOMER_ID_IDX] = {CHS_QUEUE, BTREE_AM_OID, false, NULL, {"customer_id", "xid"}},
	[CHS_QUEUE_XID_IDX] = {CHS_QUEUE, BRIN_AM_OID, false, NULL, {"xid"}},
	[CHS_SCORECARD_VERSIONS_PKEY] = {CHS_SCORECARD_VERSIONS, BTREE_AM_OID, true, NULL, {"version"}}
};

/*
 * Looked up once.  REINDEX CONCURRENTLY and DROP EXTENSION replace relations by others,
 * and any such change of one is announced by a message about its relcache entry; so is
 * that of an index about its table's.
 */
static Oid	relation_oids[lengthof(relation_names)];

/* Only forgets: a callback may be called at any time, and must not look anything up. */
static void
forget_relations(Datum arg pg_attribute_unused(), Oid relid)
{
	bool		held = relid == InvalidOid;

	for (size_t i = 0; i < lengthof(relation_oids) && !held; i++)
		held = relation_oids[i] == relid;
	if (held)
		memset(relation_oids, 0, sizeof(relation_oids));
}

/* The same if another schema may have got the name. */
static void
forget_schema(Datum arg, int cacheid pg_attribute_unused(), uint32 hashvalue pg_attribute_unused())
{
	forget_relations(arg, InvalidOid);
}

/* Whether an index can be used as one of the engine's. */
static bool
has_role(Relation index, ChsRelation role)
{
	Form_pg_index form = index->rd_index;
	const char *const *columns = index_roles[role].columns;
	bool		is_partial = !heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);
	int			n = 0;

	if (!form->indisvalid || index->rd_rel->relam != index_roles[role].method ||
		is_partial != (index_roles[role].predicate != NULL))
		return false;
	for (; n < (int) lengthof(index_roles[role].columns) && columns[n] != NULL; n++)
		if (n >= form->indnkeyatts || form->indkey.values[n] <= 0 ||
			strcmp(get_attname(form->indrelid, form->indkey.values[n], false), columns[n]) != 0)
			return false;
	return !index_roles[role].unique ||
		(form->indisunique && form->indimmediate && form->indnkeyatts == n);
}

/* The statement that creates an index again, for a hint. */
static char *
index_statement(ChsRelation role)
{
	const char *const *columns = index_roles[role].columns;
	bool		is_brin = index_roles[role].method == BRIN_AM_OID;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE %sINDEX ON chs.%s USING %s (",
					 index_roles[role].unique ? "UNIQUE " : "",
					 relation_names[index_roles[role].table], is_brin ? "brin" : "btree");
	for (int i = 0; i < (int) lengthof(index_roles[role].columns) && columns[i] != NULL; i++)
		appendStringInfo(&sql, "%s%s", i == 0 ? "" : ", ", columns[i]);
	appendStringInfo(&sql, "%s)", is_brin ? " chs.xid8_minmax_ops" : "");
	if (index_roles[role].predicate != NULL)
		appendStringInfo(&sql, " WHERE %s", index_roles[role].predicate);
	appendStringInfoChar(&sql, ';');
	return sql.data;
}

/* Finds an index of a table by what it is for. */
static Oid
find_index(ChsRelation role)
{
	Relation	rel = table_open(chs_catalog_relation(index_roles[role].table), AccessShareLock);
	List	   *indexes = RelationGetIndexList(rel);
	Oid			found = InvalidOid;
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (!OidIsValid(found) && has_role(index, role))
			found = lfirst_oid(lc);
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	table_close(rel, AccessShareLock);
	if (!OidIsValid(found))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"chs.%s\" lacks an index that is needed",
						relation_names[index_roles[role].table]),
				 errhint("Create it again, with any name: %s", index_statement(role))));
	return found;
}

/*
 * The tables that are read and written by the numbers of their columns have so many
 * that this library knows.
 */
static const int known_columns[lengthof(relation_names)] = {
	[CHS_ACTIVITY] = 4,
	[CHS_CUSTOMER_HEALTH] = 16,
	[CHS_CUSTOMERS] = 10,
	[CHS_FAILURES] = 8,
	[CHS_HEALTH_COUNTS] = 8,
	[CHS_HEALTH_SCORES] = 16,
	[CHS_QUEUE] = 6
};

/*
 * Raises an error if a table lacks columns: the library is newer than the schema, and
 * would take one column for another.  Further ones may have been added.
 */
static void
check_columns(ChsRelation relation, Oid oid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(oid));
	int			ncolumns;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", oid);
	ncolumns = ((Form_pg_class) GETSTRUCT(tuple))->relnatts;
	ReleaseSysCache(tuple);
	if (ncolumns < known_columns[relation])
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"chs.%s\" is of an earlier version of the extension",
						relation_names[relation]),
				 errdetail("It has %d columns, and the library uses %d.",
						   ncolumns, known_columns[relation]),
				 errhint("Run ALTER EXTENSION chs UPDATE in this database.")));
}

/*
 * chs_catalog_relation returns a table or index of schema chs.  The table of an index
 * must be open: whoever replaces an index waits for that.
 */
Oid
chs_catalog_relation(ChsRelation relation)
{
	Oid			oid = relation_oids[relation];

	if (OidIsValid(oid))
		return oid;
	if (index_roles[relation].columns[0] != NULL)
		oid = find_index(relation);
	else
		oid = get_relname_relid(relation_names[relation], get_namespace_oid("chs", true));
	if (!OidIsValid(oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"chs.%s\" does not exist", relation_names[relation]),
				 errhint("Run CREATE EXTENSION chs in this database.")));
	if (known_columns[relation] > 0)
		check_columns(relation, oid);
	relation_oids[relation] = oid;
	return oid;
}

/* ---------------------------------------------------------------- rights */

/*
 * Sets a parameter until chs_catalog_become_caller; nothing is to be done where it has the
 * value, as most have.
 */
static void
pin(const char *parameter, const char *value)
{
	if (strcmp(GetConfigOption(parameter, false, false), value) != 0)
		(void) set_config_option(parameter, value, PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * Pins every setting that changes what SQL text means, what a query finds, or how a
 * value is written as text: what the engine reads and writes must be the same in
 * every session.  sql/ext/schema.sql does so for the script of the extension.
 */
static void
pin_all(void)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"row_security", "off"},
		/* how statements are read */
		{"standard_conforming_strings", "on"},
		{"backslash_quote", "safe_encoding"},
		{"transform_null_equals", "off"},
		{"array_nulls", "on"},
		{"xmloption", "content"},
		/* how values are written */
		{"extra_float_digits", "1"},
		{"TimeZone", "UTC"},
		{"DateStyle", "ISO, MDY"},
		{"IntervalStyle", "postgres"},
		{"bytea_output", "hex"},
		{"xmlbinary", "base64"},
		{"quote_all_identifiers", "off"},
		{"lc_monetary", "C"},
		{"lc_numeric", "C"},
		{"lc_time", "C"}
	};

	for (size_t i = 0; i < lengthof(settings); i++)
		pin(settings[i][0], settings[i][1]);
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
					  SubTransactionId parent pg_attribute_unused(),
					  void *arg pg_attribute_unused())
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

static void
become(Oid role, OwnerRights *saved)
{
	Assert(IsTransactionState());
	Assert(OidIsValid(role));
	GetUserIdAndSecContext(&saved->user, &saved->security_context);
	saved->read_only = XactReadOnly;
	saved->lent_at = lent_at;
	saved->nest_level = NewGUCNestLevel();
	SetUserIdAndSecContext(role, saved->security_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	pin_all();
}

/*
 * Sets which triggers, rules and foreign keys work, until chs_catalog_become_caller.
 * Every change makes the session plan all its queries again.
 */
static void
set_replication_role(int role, const char *name)
{
	if (SessionReplicationRole != role)
		(void) set_config_option("session_replication_role", name, PGC_SUSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * chs_catalog_become_owner switches to the rights of the extension's owner, and to
 * settings that are the same in every session, such as a search_path on which nobody
 * else's objects are found.  Every use ends with chs_catalog_become_caller, or with an
 * error, which restores everything.
 *
 * Triggers and foreign keys would run other people's code with these rights: whoever
 * may create a trigger on a table, or refer to it, writes that code.  So only those
 * that are enabled ALWAYS or for replicas work, which takes the owner of the table:
 * the extension's own that must, and the owner's choice.  What a foreign key would
 * do is to be done by the statements.
 */
void
chs_catalog_become_owner(OwnerRights *saved)
{
	become(copy_extension_row()->extowner, saved);
	set_replication_role(SESSION_REPLICATION_ROLE_REPLICA, "replica");
}

/*
 * chs_catalog_become_reader switches to the rights of the extension's owner only to
 * read, which fires nothing: so triggers and foreign keys stay as they are, and with
 * them the session's plans.  Nothing can be written.
 */
void
chs_catalog_become_reader(OwnerRights *saved)
{
	become(copy_extension_row()->extowner, saved);
	/* as a setting, it cannot be set temporarily; an error restores it as well */
	XactReadOnly = true;
}

/*
 * chs_catalog_become_writer switches to the rights of a role that writes to a table of
 * the extension, as a function of that role with SECURITY DEFINER would: it needs the
 * privileges, sees the rows that it may see, and fires the triggers.
 */
void
chs_catalog_become_writer(Oid role, OwnerRights *saved)
{
	become(role, saved);
	pin("row_security", "on");
	set_replication_role(SESSION_REPLICATION_ROLE_ORIGIN, "origin");
}

/*
 * chs_catalog_become_role does the same for a role whose expression is about to be
 * evaluated, so that its value is the same in every session.  Nothing can be written:
 * the triggers of what it would write to may be off.
 */
void
chs_catalog_become_role(Oid role, OwnerRights *saved)
{
	become(role, saved);
	lent_at = GetCurrentTransactionNestLevel();
	/* as a setting, it cannot be set temporarily; an error restores it as well */
	XactReadOnly = true;
}

/*
 * chs_catalog_become_registrar does the same for a role whose function is about
 * to be called: it cannot leave the role (SET ROLE is refused), and sees the rows
 * that the role may see.
 */
void
chs_catalog_become_registrar(Oid role, OwnerRights *saved)
{
	chs_catalog_become_role(role, saved);
	pin("row_security", "on");
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
		deconstruct_array(DatumGetArrayTypeP(config), TEXTOID, -1, false, TYPALIGN_INT,
						  &settings, NULL, &n);
	for (int i = 0; !isnull && i < n; i++)
	{
		char	   *path = TextDatumGetCString(settings[i]);
		List	   *schemas;

		if (strncmp(path, "search_path=", strlen("search_path=")) != 0)
			continue;
		path += strlen("search_path=");
		if (SplitIdentifierString(pstrdup(path), ',', &schemas) && schemas != NIL &&
			strcmp(llast(schemas), "pg_temp") == 0)
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("search_path of function %s does not end with pg_temp",
						format_procedure(function)),
				 errdetail("Temporary tables of the calling session would be found first."),
				 errhint("Add pg_temp to it: ALTER FUNCTION %s SET search_path = %s%spg_temp;",
						 format_procedure_qualified(function),
						 strcmp(path, "\"\"") == 0 ? "" : path,
						 strcmp(path, "\"\"") == 0 ? "" : ", ")));
	}
	ReleaseSysCache(tuple);
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

/* chs_catalog_init registers callbacks for changes and errors. */
void
chs_catalog_init(void)
{
	CacheRegisterRelcacheCallback(forget_relations, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, forget_schema, (Datum) 0);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
	RegisterXactCallback(at_transaction_end, NULL);
}

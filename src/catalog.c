/*
 * catalog.c
 *	  The extension's own objects, the rights that code runs with, and published versions.
 *
 * All privilege switches of the extension are here.
 */
#include "catalog.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "source.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/varlena.h"
#include "utils/xid8.h"
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

/* ------------------------------------------------------ the live version */

static Live *live = NULL;
static Live *named = NULL;		/* the version that was requested last */
static bool live_is_stale = true;
static Oid	live_relations[3];	/* tables whose changes make it stale */

/* Only marks: a callback may be called at any time, and must not look anything up. */
static void
invalidate_live(Datum arg pg_attribute_unused(), Oid relid)
{
	if (relid == InvalidOid || relid == live_relations[0] || relid == live_relations[1] ||
		relid == live_relations[2])
		live_is_stale = true;
}

/* chs_catalog_full_xid returns the full form of a transaction ID of the last two billion. */
FullTransactionId
chs_catalog_full_xid(TransactionId xid)
{
	FullTransactionId next = ReadNextFullTransactionId();
	uint32		epoch = EpochFromFullTransactionId(next);

	if (xid > XidFromFullTransactionId(next))
		epoch--;
	return FullTransactionIdFromEpochAndXid(epoch, xid);
}

/*
 * chs_catalog_snapshot_horizon returns the oldest transaction that a snapshot
 * considers running; it sees the outcome of all earlier ones.
 */
FullTransactionId
chs_catalog_snapshot_horizon(Snapshot snapshot)
{
	return chs_catalog_full_xid(snapshot->xmin);
}

/* chs_catalog_init registers callbacks for changes and errors. */
void
chs_catalog_init(void)
{
	CacheRegisterRelcacheCallback(invalidate_live, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, forget_relations, (Datum) 0);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
	RegisterXactCallback(at_transaction_end, NULL);
}

/* chs_invalidate is a trigger that makes all sessions reread its table. */
PG_FUNCTION_INFO_V1(chs_invalidate);
Datum
chs_invalidate(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigdata->tg_event) ||
		!TRIGGER_FIRED_FOR_STATEMENT(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be fired AFTER, FOR EACH STATEMENT", "chs.invalidate")));
	CacheInvalidateRelcache(trigdata->tg_relation);
	chs_worker_wake_at_commit();
	PG_RETURN_POINTER(NULL);
}

/*
 * chs_event_types_lock is a trigger that waits for the events that are being
 * inserted, and blocks further ones, so that none is left with a type that is being
 * deleted.
 */
PG_FUNCTION_INFO_V1(chs_event_types_lock);
Datum
chs_event_types_lock(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called as a trigger", "chs.event_types_lock")));
	/* on other tables this would be a way to block everybody's events */
	if (RelationGetRelid(trigdata->tg_relation) != chs_catalog_relation(CHS_EVENT_TYPES))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("function \"%s\" can only be fired for table \"chs.%s\"", "chs.event_types_lock", "event_types")));
	LockRelationOid(chs_catalog_relation(CHS_CUSTOMER_EVENTS), ShareLock);
	PG_RETURN_POINTER(NULL);
}

static char **
read_text_array(Datum array, int *n)
{
	Datum	   *elements;
	char	  **texts;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, NULL, n);
	texts = palloc(Max(*n, 1) * sizeof(char *));
	for (int i = 0; i < *n; i++)
		texts[i] = TextDatumGetCString(elements[i]);
	return texts;
}

static void
read_rules(Live *l)
{
	if (SPI_execute("SELECT event_type, required, positive FROM chs.event_types", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read chs.event_types");
	l->nrules = SPI_processed;
	l->rules = MemoryContextAllocZero(l->context, Max(l->nrules, 1) * sizeof(EventRule));
	for (int i = 0; i < l->nrules; i++)
	{
		EventRule  *rule = &l->rules[i];
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		MemoryContext caller = MemoryContextSwitchTo(l->context);

		rule->event_type = TextDatumGetCString(SPI_getbinval(tuple, desc, 1, &isnull));
		rule->event_type_length = strlen(rule->event_type);
		rule->required = read_text_array(SPI_getbinval(tuple, desc, 2, &isnull), &rule->nrequired);
		rule->positive = read_text_array(SPI_getbinval(tuple, desc, 3, &isnull), &rule->npositive);
		MemoryContextSwitchTo(caller);
	}
}

/* Raises the error for a version that a snapshot does not see. */
pg_noreturn static void
no_such_version(int version)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("scorecard version %d does not exist", version),
			 errhint("chs.scorecard_versions has the published ones.")));
}

/* Reads which versions the active snapshot sees, and which of them is live: the highest one that ever went live. */
static void
read_version_times(Live *l)
{
	if (SPI_execute("SELECT version, live_at, changed_by_xid FROM chs.scorecard_versions ORDER BY version", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read chs.scorecard_versions");
	l->nversions = SPI_processed;
	l->versions = MemoryContextAlloc(l->context, Max(l->nversions, 1) * sizeof(VersionTime));
	for (int i = 0; i < l->nversions; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		VersionTime *v = &l->versions[i];
		bool		isnull;
		Datum		live_at;

		v->version = l->newest = DatumGetInt32(SPI_getbinval(tuple, desc, 1, &isnull));
		live_at = SPI_getbinval(tuple, desc, 2, &isnull);
		v->live_at = isnull ? DT_NOEND : DatumGetTimestampTz(live_at);
		if (!isnull)
			l->version = v->version;
		l->changed_by = DatumGetFullTransactionId(SPI_getbinval(tuple, desc, 3, &isnull));
	}
	if (l->version == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no scorecard version is published"),
				 errhint("Publish one with chs_publish().")));
}

/*
 * Reads a version that the active snapshot sees; if another one waits, together
 * with what that one needs in addition.
 */
static void
read_version(Live *l, int version, int waiting)
{
	bool		isnull;
	MemoryContext caller;
	Oid			types[] = {INT4OID, INT4OID};
	Datum		args[] = {Int32GetDatum(version), Int32GetDatum(waiting)};

	if (SPI_execute_with_args("SELECT w.series_version, CASE WHEN v.version = w.version THEN v.document"
							  " ELSE v.document || jsonb_build_object('next', w.document) END"
							  " FROM chs.scorecard_versions v, chs.scorecard_versions w"
							  " WHERE v.version = $1 AND w.version = $2",
							  lengthof(types), types, args, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read chs.scorecard_versions");
	if (SPI_processed == 0)
		no_such_version(version);
	l->version = version;
	l->series_version = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	caller = MemoryContextSwitchTo(l->context);
	l->document = DatumGetJsonbPCopy(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	l->published = chs_scorecard_compile(l->document);
	MemoryContextSwitchTo(caller);
}

/*
 * Reads the version that is live for a snapshot, or the one that is named, and the
 * rules and sources of events.
 */
static Live *
read_live(Snapshot snapshot, int version)
{
	static uint64 nread = 0;
	OwnerRights saved;
	Live	   *l;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "chs live version",
												  ALLOCSET_SMALL_SIZES);

	l = MemoryContextAllocZero(context, sizeof(Live));
	l->context = context;
	l->serial = ++nread;
	l->counting = l;
	l->events = chs_catalog_relation(CHS_CUSTOMER_EVENTS);
	live_relations[0] = chs_catalog_relation(CHS_SCORECARD_VERSIONS);
	live_relations[1] = chs_catalog_relation(CHS_EVENT_TYPES);
	live_relations[2] = chs_catalog_relation(CHS_SOURCES);
	chs_catalog_become_owner(&saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	PushActiveSnapshot(snapshot);
	if (version == 0)
	{
		read_version_times(l);
		version = l->version;
	}
	read_version(l, version, version);
	read_rules(l);
	l->sources = chs_source_list(l->context, false, &l->nsources);
	l->customer_sources = chs_source_list(l->context, true, &l->ncustomer_sources);
	if (l->newest > l->version)
	{
		Live	   *counting = MemoryContextAlloc(l->context, sizeof(Live));

		*counting = *l;
		read_version(counting, l->version, l->newest);
		l->counting = counting->counting = counting;
	}
	PopActiveSnapshot();
	SPI_finish();
	chs_catalog_become_caller(&saved);
	return l;
}

/*
 * chs_catalog_variant returns a copy, in the current memory context, of the live
 * version with a different published document.
 */
const Live *
chs_catalog_variant(const Live *live, int version, const Published *published)
{
	Live	   *variant = palloc(sizeof(Live));

	*variant = *live;
	variant->version = version;
	variant->document = NULL;
	variant->published = published;
	variant->counting = variant;
	return variant;
}

/*
 * chs_catalog_live returns the live version and the rules for events, from a
 * cache that follows their tables: the latest, even if the transaction's snapshot
 * is older.  Valid until the next call.
 */
const Live *
chs_catalog_live(void)
{
	Live	   *fresh;

	chs_catalog_check_not_called_back();
	if (live != NULL && !live_is_stale)
		return live;

	/* unmark first, so that a change during reading is not lost */
	live_is_stale = false;
	PG_TRY();
	{
		/* a catalog snapshot is always up to date, and allowed in a parallel query */
		fresh = read_live(GetCatalogSnapshot(chs_catalog_relation(CHS_SCORECARD_VERSIONS)), 0);
	}
	PG_CATCH();
	{
		live_is_stale = true;
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (live != NULL)
		MemoryContextDelete(live->context);
	if (named != NULL)
		MemoryContextDelete(named->context);
	named = NULL;
	MemoryContextSetParent(fresh->context, TopMemoryContext);
	live = fresh;
	return live;
}

/* Whether a snapshot (NULL: the latest one) sees a newer version than the cache has, or sees that it went live. */
static bool
is_outdated(const Live *cached, Snapshot snapshot)
{
	Relation	rel = table_open(chs_catalog_relation(CHS_SCORECARD_VERSIONS), AccessShareLock);
	Relation	index = index_open(chs_catalog_relation(CHS_SCORECARD_VERSIONS_PKEY), AccessShareLock);
	SysScanDesc scan = systable_beginscan_ordered(rel, index, snapshot, 0, NULL);
	HeapTuple	tuple = systable_getnext_ordered(scan, BackwardScanDirection);
	bool		outdated = false;

	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		int			version = DatumGetInt32(heap_getattr(tuple, VERSIONS_VERSION, RelationGetDescr(rel), &isnull));

		(void) heap_getattr(tuple, VERSIONS_LIVE_AT, RelationGetDescr(rel), &isnull);
		outdated = version > cached->newest || (version == cached->newest && !isnull && cached->version < version);
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return outdated;
}

/*
 * chs_catalog_recheck_live rereads the live version if another one is live, or
 * waits to be.  For those who are woken by the commit that caused it, because that
 * happens before the message that invalidates the cache is sent.
 */
void
chs_catalog_recheck_live(void)
{
	if (live != NULL && is_outdated(live, NULL))
		live_is_stale = true;
}

/*
 * Whether nobody is about to publish or to make a version live: whoever does holds
 * a lock from before the commit until the message that invalidates the cache has
 * been sent, and trying to get that lock receives such messages.  A standby does
 * not know about that lock.
 */
static bool
nobody_publishes(void)
{
	Oid			relid = chs_catalog_relation(CHS_SCORECARD_VERSIONS);

	if (RecoveryInProgress() || !ConditionalLockRelationOid(relid, RowExclusiveLock))
		return false;
	UnlockRelationOid(relid, RowExclusiveLock);
	return true;
}

/*
 * Returns the version of the cache if it agrees with the snapshot: the message that
 * invalidates the cache comes shortly after the commit that published, and is
 * received when a lock is taken, but a snapshot sees the commit at once.
 */
static const Live *
live_not_before(Snapshot snapshot)
{
	static SnapshotData checked;	/* the extent of the snapshot that the cache was checked against */
	static uint64 checked_serial = 0;
	const Live *latest = chs_catalog_live();

	/*
	 * within a range of transactions, the running ones can only become fewer, so if
	 * their number is the same, they are the same ones
	 */
	if (checked_serial == latest->serial && checked.xmin == snapshot->xmin && checked.xmax == snapshot->xmax &&
		checked.xcnt == snapshot->xcnt && checked.subxcnt == snapshot->subxcnt && !snapshot->suboverflowed)
		return latest;
	/* reading the table takes a seventh of the time of a score */
	if (!nobody_publishes() && is_outdated(latest, snapshot))
		live_is_stale = true;
	latest = chs_catalog_live();
	checked = *snapshot;
	checked_serial = latest->serial;
	return latest;
}

/*
 * chs_catalog_live_at returns the version that is live for a snapshot, so that a
 * statement, or a transaction with an old snapshot, does not mix versions.  Valid
 * until the next call.
 */
const Live *
chs_catalog_live_at(Snapshot snapshot)
{
	static Live *earlier = NULL;
	static FullTransactionId earlier_than;
	static SnapshotData seen;	/* of the snapshot that it was read by: xmin, xmax and xcnt */
	const Live *latest = live_not_before(snapshot);
	Live	   *fresh;

	if (FullTransactionIdPrecedes(latest->changed_by, chs_catalog_snapshot_horizon(snapshot)) ||
		TransactionIdIsCurrentTransactionId(XidFromFullTransactionId(latest->changed_by)) ||
		!XidInMVCCSnapshot(XidFromFullTransactionId(latest->changed_by), snapshot))
		return latest;
	if (earlier != NULL && FullTransactionIdEquals(earlier_than, latest->changed_by) && seen.xmin == snapshot->xmin &&
		seen.xmax == snapshot->xmax && seen.xcnt == snapshot->xcnt)
		return earlier;
	fresh = read_live(snapshot, 0);
	if (earlier != NULL)
		MemoryContextDelete(earlier->context);
	MemoryContextSetParent(fresh->context, TopMemoryContext);
	earlier = fresh;
	earlier_than = latest->changed_by;
	seen = *snapshot;
	return earlier;
}

/*
 * chs_catalog_version returns a published version, live or not, by its number, or
 * raises an error.  Valid until the next call.
 */
const Live *
chs_catalog_version(const Live *latest, int version)
{
	Live	   *fresh;
	int			i = 0;

	if (version == latest->version)
		return latest;
	while (i < latest->nversions && latest->versions[i].version != version)
		i++;
	if (i == latest->nversions)
		no_such_version(version);
	if (named != NULL && named->version == version)
		return named;
	fresh = read_live(GetActiveSnapshot(), version);
	if (named != NULL)
		MemoryContextDelete(named->context);
	MemoryContextSetParent(fresh->context, TopMemoryContext);
	named = fresh;
	return named;
}

/*
 * chs_catalog_version_of_day returns the version that was live when a day ended.
 * For days before the first one was live, that is the current live one.
 */
const Live *
chs_catalog_version_of_day(const Live *latest, TimestampTz end_of_day)
{
	for (int i = latest->nversions - 1; i >= 0; i--)
		if (latest->versions[i].live_at < end_of_day)
			return chs_catalog_version(latest, latest->versions[i].version);
	return latest;
}

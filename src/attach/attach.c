/*
 * attach.c
 *	  Attaching a table as a source of events, and detaching it.
 */
#include "attach/attach.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "attach/altered.h"
#include "attach/partition.h"
#include "attach/rejected.h"
#include "attach/synced.h"
#include "base/catalog.h"
#include "base/error.h"
#include "base/spi.h"
#include "source/expression.h"
#include "source/source.h"
#include "store/live.h"
#include "store/sources.h"

/* ----------------------------------------------------------------- checks */

static char *
qualified_name(Relation rel)
{
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)), RelationGetRelationName(rel));
}

/* What to do about a relation that cannot be attached because of its kind. */
static const char *
hint_for_kind(char kind)
{
	switch (kind)
	{
		case RELKIND_VIEW:
			return "A view has no rows of its own: attach the tables beneath it, with its expressions.";
		case RELKIND_MATVIEW:
			return "Attach the tables that it is made from, with its expressions.";
		case RELKIND_FOREIGN_TABLE:
			return "Changes made elsewhere are not noticed: copy its rows into a table here, for instance by logical replication, and attach that.";
		default:
			return "Attach a table.";
	}
}

/* Refuses relations that cannot work, with the reason. */
static void
check_relation(Relation rel)
{
	char		kind = rel->rd_rel->relkind;
	ListCell   *lc;

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s cannot be attached because it is not a table", qualified_name(rel)),
				 errhint("%s", hint_for_kind(kind))));
	if (IsCatalogRelation(rel) || RelationGetNamespace(rel) == get_namespace_oid("chs", false))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s cannot be attached because it is a table of the system or of chs", qualified_name(rel))));
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s cannot be attached because it is temporary", qualified_name(rel)),
				 errdetail("Other sessions cannot read it."),
				 errhint("Use chs_record_events(), or an ordinary table.")));
	if (check_enable_rls(RelationGetRelid(rel), rel->rd_rel->relowner, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s cannot be attached because its owner does not see all rows", qualified_name(rel)),
				 errdetail("Row-level security is forced for the owner as well."),
				 errhint("Let the owner see them: ALTER TABLE %s NO FORCE ROW LEVEL SECURITY;",
						 qualified_name(rel))));
	foreach(lc, find_all_inheritors(RelationGetRelid(rel), AccessShareLock, NULL))
	{
		if (kind == RELKIND_PARTITIONED_TABLE && get_rel_relkind(lfirst_oid(lc)) == RELKIND_FOREIGN_TABLE)
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("%s cannot be attached because its partition %s is a foreign table",
							qualified_name(rel), get_rel_name(lfirst_oid(lc))),
					 errhint("%s", hint_for_kind(RELKIND_FOREIGN_TABLE))));
	}
}

/* The rows of a partition would count twice if its partitioned table were attached, too. */
static void
check_relatives(Relation rel)
{
	const Live *live = chs_live_version();
	Oid			relid = RelationGetRelid(rel);
	List	   *ancestors = get_partition_ancestors(relid);

	for (int i = 0; i < live->nsources; i++)
	{
		Oid			other = live->sources[i].relation;

		if (other == relid || get_rel_name(other) == NULL)
			continue;
		if (list_member_oid(ancestors, other) || list_member_oid(get_partition_ancestors(other), relid))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("%s cannot be attached because %s is", qualified_name(rel), chs_source_name(&live->sources[i])),
					 errdetail("Rows of a partition are rows of the partitioned table."),
					 errhint("Detach that one first.")));
	}
}

/* Tells the user if no index leads to the rows of a customer. */
static void
check_index(Relation rel, const char *customer)
{
	ListCell   *lc;
	char	   *list = psprintf("(%s", customer);

	foreach(lc, RelationGetIndexList(rel))
	{
		char	   *first = TextDatumGetCString(DirectFunctionCall3(pg_get_indexdef_ext,
																	ObjectIdGetDatum(lfirst_oid(lc)), Int32GetDatum(1), BoolGetDatum(false)));

		if (strcmp(first, customer) == 0 || strcmp(first, psprintf("%s)", list)) == 0)
			return;
	}
	ereport(NOTICE,
			(errmsg("%s has no index by which the rows of one customer can be found", qualified_name(rel)),
			 errdetail("The whole table is read whenever events of customers must be read again: after an update or delete, and for past days."),
			 strstr(customer, "SELECT") != NULL ?
			 errhint("An expression with a subquery cannot be indexed; a column that holds the customer could be.") :
			 errhint("Create one: CREATE INDEX ON %s ((%s));", qualified_name(rel), customer)));
}

/* ---------------------------------------------------------------- attaching */

static void
run_sql(const char *sql)
{
	if (SPI_execute(sql, false, 0) < 0)
		elog(ERROR, "could not execute: %s", sql);
}

/* The triggers of a source. */
static const struct
{
	bool		of_customers;
	const char *name;
	const char *events;
	const char *level;
	const char *function;
}			triggers[] = {
	{false, "00_chs_capture", "INSERT OR UPDATE OR DELETE", "ROW", "capture_source"},
	{false, "00_chs_capture_flush", "INSERT OR UPDATE OR DELETE", "STATEMENT", "capture_flush"},
	{false, "00_chs_capture_truncate", "TRUNCATE", "STATEMENT", "capture_truncate"},
	{true, "00_chs_customers", "INSERT OR UPDATE OR DELETE", "ROW", "sync_customer"},
	{true, "00_chs_customers_truncate", "TRUNCATE", "STATEMENT", "sync_truncate"}
};

static void
drop_triggers(Oid relid, const char *name, bool of_customers)
{
	for (size_t i = 0; i < lengthof(triggers); i++)
	{
		if (triggers[i].of_customers != of_customers || !OidIsValid(get_trigger_oid(relid, triggers[i].name, true)))
			continue;
		/* DROP TRIGGER locks partitions first, and whoever reads the table locks them last */
		LockRelationOid(relid, AccessExclusiveLock);
		run_sql(psprintf("DROP TRIGGER \"%s\" ON %s", triggers[i].name, name));
	}
}

/* Creates the triggers of a source, replacing existing ones. */
static void
create_triggers(Oid relid, const char *name, bool of_customers, int source_id)
{
	drop_triggers(relid, name, of_customers);
	for (size_t i = 0; i < lengthof(triggers); i++)
	{
		if (triggers[i].of_customers != of_customers)
			continue;
		run_sql(psprintf("CREATE TRIGGER \"%s\" AFTER %s ON %s FOR EACH %s EXECUTE FUNCTION chs.%s('%d')",
						 triggers[i].name, triggers[i].events, name, triggers[i].level, triggers[i].function, source_id));
		/* also for rows that arrive by logical replication */
		run_sql(psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER \"%s\"", name, triggers[i].name));
	}
}

/* Whether a table has rows. */
static bool
has_rows(Relation rel)
{
	run_sql(psprintf("SELECT FROM %s%s LIMIT 1", rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ? "" : "ONLY ",
					 qualified_name(rel)));
	return SPI_processed > 0;
}

/*
 * chs_attach_rebuild_all has all activities rebuilt from the raw events, because the
 * sources have changed, by publishing a version like the latest one.  No activity
 * serves any version until then, so a waiting version has nothing to wait for.
 * Customers that failed because of a source are tried again at once, since the
 * version is a different one.  Within SPI, with the rights of the owner.
 */
void
chs_attach_rebuild_all(const char *note)
{
	Oid			type = TEXTOID;
	Datum		arg = CStringGetTextDatum(note);

	/* one publisher at a time; scoring only reads and does not wait */
	LockRelationOid(chs_catalog_relation(CHS_SCORECARD_VERSIONS), ShareRowExclusiveLock);
	chs_catalog_execute_now(NULL, "WITH latest AS (SELECT * FROM chs.scorecard_versions ORDER BY version DESC LIMIT 1),"
							" factors AS (INSERT INTO chs.scorecard_version_factors"
							"  SELECT latest.version + 1, f.scorecard, f.ordinal, f.factor, f.weight, f.segment_weights"
							"  FROM latest JOIN chs.scorecard_version_factors f USING (version))"
							" INSERT INTO chs.scorecard_versions (version, live_at, published_by, note, document, series_version, recommendations)"
							" SELECT version + 1, now(), session_user, $1, document, version + 1, recommendations FROM latest",
							1, &type, &arg, NULL);
}

/* The stored form of the expressions for customers, in a document. */
static Datum
attributes_document(const Source *source)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	for (int i = 0; i < CUSTOMER_ATTRIBUTES; i++)
	{
		if (source->attributes[i] == NULL)
			continue;
		appendStringInfo(&json, "%s\"%s\": ", json.len == 1 ? "" : ", ", chs_customer_attributes[i]);
		escape_json(&json, source->attributes[i]);
	}
	appendStringInfoChar(&json, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

/* The names of the functions that the expressions call. */
static Datum
functions_array(const Source *source)
{
	Datum	   *names = palloc((list_length(source->functions) + 1) * sizeof(Datum));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, source->functions)
		names[n++] = CStringGetTextDatum(lfirst(lc));
	return PointerGetDatum(construct_array(names, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* Writes the row of chs.sources, and returns its number and whether there was one. */
static int
store_source(const Source *source, bool *again)
{
	Oid			types[] = {REGCLASSOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID, TEXTOID, TEXTARRAYOID};
	Datum		args[lengthof(types)];
	char		nulls[lengthof(types) + 1];
	bool		isnull;
	const char *const texts[] = {
		source->of_customers ? "customers" : "events", source->by_external_id ? "external_id" : "customer_id",
		source->customer, source->event_type, source->occurred_at, source->event_data
	};

	memset(nulls, ' ', sizeof(nulls));
	args[0] = ObjectIdGetDatum(source->relation);
	for (size_t i = 0; i < lengthof(texts); i++)
	{
		nulls[1 + i] = texts[i] ? ' ' : 'n';
		args[1 + i] = texts[i] ? CStringGetTextDatum(texts[i]) : (Datum) 0;
	}
	nulls[7] = source->of_customers ? ' ' : 'n';
	args[7] = source->of_customers ? attributes_document(source) : (Datum) 0;
	args[8] = CStringGetTextDatum(source->owner);
	args[9] = functions_array(source);
	chs_spi_execute("INSERT INTO chs.sources AS s"
					" (relation, kind, customer_key, customer, event_type, occurred_at, event_data, attributes, owner, functions)"
					" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (relation, kind) DO UPDATE SET"
					" customer_key = $3, customer = $4, event_type = $5, occurred_at = $6, event_data = $7,"
					" attributes = $8, owner = $9, functions = $10, attached_at = now() RETURNING source_id, xmax <> 0",
					lengthof(types), types, args, nulls);
	*again = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	return DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/*
 * The name of an event type may stand for itself, if the table has no column of
 * that name.
 */
static const char *
event_type_sql(Relation rel, const char *event_type)
{
	const Live *live = chs_live_version();

	if (get_attnum(RelationGetRelid(rel), event_type) != InvalidAttrNumber)
		return event_type;
	for (int i = 0; i < live->nrules; i++)
		if (strcmp(live->rules[i].event_type, event_type) == 0)
			return quote_literal_cstr(event_type);
	return event_type;
}

static char *
text_argument(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("\"%s\" must not be null", name)));
	return text_to_cstring(PG_GETARG_TEXT_PP(n));
}

static bool
customer_key_argument(FunctionCallInfo fcinfo, int n)
{
	char	   *key = text_argument(fcinfo, n, "customer_key");

	if (strcmp(key, "external_id") != 0 && strcmp(key, "customer_id") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for \"%s\": \"%s\"", "customer_key", key),
				 errhint("Use customer_id or external_id.")));
	return strcmp(key, "external_id") == 0;
}

static char *
canonical(Relation rel, const char *argument, MappedAs as, const char *text)
{
	MappedColumn column = {argument, as, text};

	return chs_expression_canonical(rel, &column);
}

/* Only the owner of a table may attach or detach it. */
static void
check_owner(Oid relid)
{
	if (!chs_is_relation_owner(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(relid)), get_rel_name(relid));
}

/*
 * Opens and locks a relation if the caller owns it, because nobody else should be
 * able to hold up those who write to it.  The OID may not exist, or be of a dropped
 * relation.
 */
static Relation
open_own(Oid relid)
{
	Relation	rel = NULL;

	if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
	{
		check_owner(relid);
		rel = try_relation_open(relid, ShareRowExclusiveLock);
	}
	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	/* the owner may have changed meanwhile */
	check_owner(relid);
	return rel;
}

/* Opens the table to be attached, to which nobody can write until the triggers exist. */
static Relation
open_relation(FunctionCallInfo fcinfo, Source *source)
{
	Relation	rel;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("\"%s\" must not be null", "relation")));
	rel = open_own(PG_GETARG_OID(0));
	check_relation(rel);
	source->relation = RelationGetRelid(rel);
	source->owner = GetUserNameFromId(rel->rd_rel->relowner, false);
	return rel;
}

/* chs_attach makes a table a source of events. */
PG_FUNCTION_INFO_V1(chs_attach);
Datum
chs_attach(PG_FUNCTION_ARGS)
{
	Relation	rel;
	Source		source = {0};
	ErrorData  *error;
	OwnerRights saved;
	bool		again;
	bool		was_counted;
	char	   *name;

	rel = open_relation(fcinfo, &source);
	check_relatives(rel);
	name = qualified_name(rel);
	source.by_external_id = customer_key_argument(fcinfo, 5);
	source.customer = canonical(rel, "customer", source.by_external_id ? MAPPED_EXTERNAL_ID : MAPPED_CUSTOMER_ID,
								text_argument(fcinfo, 1, "customer"));
	source.event_type = canonical(rel, "event_type", MAPPED_TEXT,
								  event_type_sql(rel, text_argument(fcinfo, 2, "event_type")));
	source.occurred_at = canonical(rel, "occurred_at", MAPPED_TIME, text_argument(fcinfo, 3, "occurred_at"));
	source.event_data = PG_ARGISNULL(4) ? NULL :
		canonical(rel, "event_data", MAPPED_JSONB, text_argument(fcinfo, 4, "event_data"));
	error = chs_source_try(&source);
	if (error != NULL)
		chs_error_throw(error);
	check_index(rel, source.customer);

	SPI_connect();
	chs_catalog_become_owner(&saved);
	source.source_id = store_source(&source, &again);
	was_counted = again || has_rows(rel);
	if (again)
		chs_rejected_forget(source.source_id);
	if (was_counted && !again)
		chs_source_check_readable(chs_live_version());
	if (was_counted)
		chs_attach_rebuild_all(psprintf("%s attached", name));
	chs_catalog_become_caller(&saved);
	relation_close(rel, NoLock);
	create_triggers(source.relation, name, false, source.source_id);
	/* of partitions that may be of other owners */
	chs_catalog_become_owner(&saved);
	chs_altered_watch_partitions(source.relation, source.source_id);
	chs_catalog_become_caller(&saved);
	SPI_finish();
	PG_RETURN_INT32(source.source_id);
}

/* chs_attach_customers keeps chs.customers in step with a table. */
PG_FUNCTION_INFO_V1(chs_attach_customers);
Datum
chs_attach_customers(PG_FUNCTION_ARGS)
{
	Source		source = {.of_customers = true,.by_external_id = true};
	Relation	rel = open_relation(fcinfo, &source);
	char	   *name = qualified_name(rel);
	ErrorData  *error;
	OwnerRights saved;
	bool		again;

	source.customer = canonical(rel, "external_id", MAPPED_EXTERNAL_ID, text_argument(fcinfo, 1, "external_id"));
	for (int i = 0; i < CUSTOMER_ATTRIBUTES; i++)
		if (!PG_ARGISNULL(2 + i))
			source.attributes[i] = canonical(rel, chs_customer_attributes[i], chs_source_attribute_type(i),
											 text_argument(fcinfo, 2 + i, chs_customer_attributes[i]));
	error = chs_source_try(&source);
	if (error != NULL)
		chs_error_throw(error);
	relation_close(rel, NoLock);

	SPI_connect();
	chs_catalog_become_owner(&saved);
	source.source_id = store_source(&source, &again);
	chs_catalog_become_caller(&saved);
	create_triggers(source.relation, name, true, source.source_id);
	SPI_finish();
	/* the new row is to be seen */
	CommandCounterIncrement();
	chs_synced_take_all(source.source_id);
	PG_RETURN_INT32(source.source_id);
}

/* ---------------------------------------------------------------- detaching */

/* Removes the sources in an array, and returns their number. */
static uint64
remove_sources(Datum relations, const char *note)
{
	Oid			type = OIDARRAYOID;
	bool		of_events = false;
	uint64		n;

	/* no foreign key does it for the owner, nor would one find what is newer than the transaction's snapshot */
	chs_catalog_execute_now(NULL, "WITH gone AS (SELECT source_id FROM chs.sources WHERE source_id > 1 AND relation = ANY ($1)),"
							" rejected AS (DELETE FROM chs.rejected_events WHERE source_id IN (SELECT source_id FROM gone))"
							" DELETE FROM chs.sources WHERE source_id IN (SELECT source_id FROM gone) RETURNING kind",
							1, &type, &relations, NULL);
	n = SPI_processed;
	for (uint64 i = 0; i < n; i++)
		of_events |= strcmp(SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1), "events") == 0;
	if (of_events)
		chs_attach_rebuild_all(note);
	return n;
}

/* chs_detach undoes chs_attach. */
PG_FUNCTION_INFO_V1(chs_detach);
Datum
chs_detach(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	Relation	rel = open_own(relid);
	const char *name = qualified_name(rel);
	OwnerRights saved;
	Datum		oid = ObjectIdGetDatum(relid);
	uint64		n;

	SPI_connect();
	chs_catalog_become_owner(&saved);
	n = remove_sources(PointerGetDatum(construct_array(&oid, 1, OIDOID, sizeof(Oid), true, TYPALIGN_INT)),
					   psprintf("%s detached", name));
	chs_catalog_become_caller(&saved);
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("%s is not attached", name),
				 errhint("chs.sources lists the tables that are.")));
	relation_close(rel, NoLock);
	drop_triggers(relid, name, false);
	drop_triggers(relid, name, true);
	chs_catalog_become_owner(&saved);
	chs_altered_watch_partitions(relid, 0);
	chs_catalog_become_caller(&saved);
	SPI_finish();
	PG_RETURN_VOID();
}

/* The dropped tables that had the trigger of an attached one, and so were partitions of it. */
static Oid *
partitions_dropped(int *n)
{
	Oid		   *partitions;
	bool		isnull;

	run_sql("SELECT DISTINCT t.objid FROM pg_event_trigger_dropped_objects() t JOIN pg_event_trigger_dropped_objects() d"
			" ON d.classid = 'pg_trigger'::regclass AND d.address_names[1:2] = t.address_names"
			" WHERE t.classid = 'pg_class'::regclass AND t.objsubid = 0 AND d.address_names[3] = '00_chs_capture'");
	*n = (int) SPI_processed;
	partitions = palloc(Max(*n, 1) * sizeof(Oid));
	for (int i = 0; i < *n; i++)
		partitions[i] = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
	return partitions;
}

/* chs_follow_drop detaches the tables that have been dropped; for an event trigger. */
PG_FUNCTION_INFO_V1(chs_follow_drop);
Datum
chs_follow_drop(PG_FUNCTION_ARGS)
{
	OwnerRights saved;

	/* it may be the extension itself that is being dropped */
	if (!OidIsValid(get_relname_relid("sources", get_namespace_oid("chs", true))))
		PG_RETURN_VOID();
	chs_spi_begin(&saved);
	chs_catalog_execute_now(NULL, "SELECT array_agg(objid) FROM pg_event_trigger_dropped_objects()"
							" WHERE classid = 'pg_class'::regclass AND objsubid = 0"
							" AND objid IN (SELECT relation FROM chs.sources WHERE source_id > 1)", 0, NULL, NULL, NULL);
	if (SPI_processed > 0)
	{
		bool		isnull;
		Datum		relations = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
		Oid		   *partitions;
		int			n;

		if (!isnull)
			(void) remove_sources(relations, "attached tables were dropped");
		else if ((partitions = partitions_dropped(&n)), n > 0 &&
				 !chs_partition_dropped_are_past(chs_live_version(), partitions, n))
			chs_attach_rebuild_all("partitions of attached tables were dropped");
	}
	chs_spi_end(&saved);
	PG_RETURN_VOID();
}

/* --------------------------------------------------------- who may read it */

/* Whether the caller could select any row of a table. */
static bool
caller_reads(Oid relation)
{
	return chs_schema_aclcheck(get_rel_namespace(relation), GetUserId(), ACL_USAGE) == ACLCHECK_OK &&
		pg_class_aclcheck(relation, GetUserId(), ACL_SELECT) == ACLCHECK_OK &&
		check_enable_rls(relation, InvalidOid, true) != RLS_ENABLED;
}

/*
 * chs_source_is_readable tells whether the caller could select any row of a table of
 * a source; of a partition, whose rows are also those of the source's table, by that.
 * Copies of rows are not for others.
 */
PG_FUNCTION_INFO_V1(chs_source_is_readable);
Datum
chs_source_is_readable(PG_FUNCTION_ARGS)
{
	Oid			relation = PG_GETARG_OID(1);
	const Source *source = chs_source_find(chs_live_at(GetActiveSnapshot()), PG_GETARG_INT32(0));

	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relation)))
		PG_RETURN_BOOL(false);
	PG_RETURN_BOOL(caller_reads(relation) ||
				   (source != NULL && relation != source->relation && chs_source_has_table(source, relation) &&
					caller_reads(source->relation)));
}

/*
 * chs_source_rejected counts the rejected rows of a source, or those with an
 * SQLSTATE, for whoever may not see the rows as well; but not for those who see only
 * some customers.
 */
PG_FUNCTION_INFO_V1(chs_source_rejected);
Datum
chs_source_rejected(PG_FUNCTION_ARGS)
{
	Oid			types[] = {INT4OID, TEXTOID};
	Datum		args[] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)};
	char		nulls[] = {PG_ARGISNULL(0) ? 'n' : ' ', PG_ARGISNULL(1) ? 'n' : ' ', '\0'};
	OwnerRights saved;
	bool		isnull;
	int64		n;

	if (check_enable_rls(chs_catalog_relation(CHS_CUSTOMERS), InvalidOid, true) == RLS_ENABLED)
		PG_RETURN_INT64(0);
	chs_spi_begin(&saved);
	if (SPI_execute_with_args("SELECT count(*) FROM chs.rejected_events WHERE source_id = $1 AND ($2 IS NULL OR sqlstate = $2)",
							  lengthof(types), types, args, nulls, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read chs.rejected_events");
	n = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	chs_spi_end(&saved);
	PG_RETURN_INT64(n);
}

/* ----------------------------------------------------------------- status */

/*
 * What is wrong with the triggers of a table, or NULL.  Those of chs count without the
 * one that flushes, too: when the transaction commits, if not before.
 */
static char *
problem_of_triggers(Oid relation, bool of_customers, bool is_own)
{
	Relation	rel = relation_open(relation, AccessShareLock);
	char	   *problem = NULL;

	for (size_t i = 0; i < lengthof(triggers) && problem == NULL; i++)
	{
		bool		found = false;

		if (triggers[i].of_customers != of_customers || (is_own && strcmp(triggers[i].name, "00_chs_capture_flush") == 0))
			continue;
		for (int j = 0; rel->trigdesc != NULL && j < rel->trigdesc->numtriggers; j++)
		{
			Trigger    *trigger = &rel->trigdesc->triggers[j];

			if (strcmp(trigger->tgname, triggers[i].name) != 0)
				continue;
			found = true;
			if (trigger->tgenabled == TRIGGER_DISABLED)
				problem = psprintf("trigger \"%s\" is disabled", triggers[i].name);
			else if (trigger->tgenabled != TRIGGER_FIRES_ALWAYS)
				problem = psprintf("trigger \"%s\" is not enabled ALWAYS, so rows of logical replication do not count", triggers[i].name);
		}
		if (!found)
			problem = psprintf("trigger \"%s\" is missing", triggers[i].name);
	}
	relation_close(rel, AccessShareLock);
	return problem;
}

/* chs_attach_problem_text tells what keeps a source from working, or NULL. */
char *
chs_attach_problem_text(const Live *live, const Source *source)
{
	ErrorData  *error;

	if (chs_source_is_builtin(source))
		return problem_of_triggers(source->relation, false, true);
	error = chs_source_error(live, source);
	return error != NULL ? error->message : problem_of_triggers(source->relation, source->of_customers, false);
}

/* chs_attach_customers_problem_text tells what keeps changes of chs.customers from being followed, or NULL. */
char *
chs_attach_customers_problem_text(void)
{
	/* its triggers have the names of those of events */
	return problem_of_triggers(chs_catalog_relation(CHS_CUSTOMERS), false, true);
}

/* chs_source_problem does the same for a source given by its number. */
PG_FUNCTION_INFO_V1(chs_source_problem);
Datum
chs_source_problem(PG_FUNCTION_ARGS)
{
	const Live *live = chs_live_at(GetActiveSnapshot());
	const Source *source = chs_source_find(live, PG_GETARG_INT32(0));
	char	   *problem = source ? chs_attach_problem_text(live, source) : NULL;

	if (problem == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(problem));
}

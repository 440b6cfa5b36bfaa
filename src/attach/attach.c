/*
 * attach.c
 *	  Attaching a table as a source of events, and detaching it.
 */
#include "attach/attach.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "attach/altered.h"
#include "attach/existing.h"
#include "attach/partition.h"
#include "attach/rejected.h"
#include "attach/synced.h"
#include "base/catalog.h"
#include "base/spi.h"
#include "source/expression.h"
#include "source/source.h"
#include "store/live.h"
#include "store/sources.h"

/* ----------------------------------------------------------------- checks */

static char *
qualified_name(Relation rel)
{
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
									  RelationGetRelationName(rel));
}

/* What to do about a relation that cannot be attached because of its kind. */
static const char *
hint_for_kind(char kind)
{
	switch (kind)
	{
		case RELKIND_VIEW:
			return "A view has no rows of its own: attach the tables beneath it, with its"
				" expressions.";
		case RELKIND_MATVIEW:
			return "Attach the tables that it is made from, with its expressions.";
		case RELKIND_FOREIGN_TABLE:
			return "Changes made elsewhere are not noticed: copy its rows into a table here, for"
				" instance by logical replication, and attach that.";
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
				 errmsg("%s cannot be attached because it is a table of the system or of chs",
						qualified_name(rel))));
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s cannot be attached because it is temporary", qualified_name(rel)),
				 errdetail("Other sessions cannot read it."),
				 errhint("Use chs_record_events(), or an ordinary table.")));
	if (check_enable_rls(RelationGetRelid(rel), rel->rd_rel->relowner, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s cannot be attached because its owner does not see all rows",
						qualified_name(rel)),
				 errdetail("Row-level security is forced for the owner as well."),
				 errhint("Let the owner see them: ALTER TABLE %s NO FORCE ROW LEVEL SECURITY;",
						 qualified_name(rel))));
	foreach(lc, find_all_inheritors(RelationGetRelid(rel), AccessShareLock, NULL))
	{
		if (kind == RELKIND_PARTITIONED_TABLE &&
			get_rel_relkind(lfirst_oid(lc)) == RELKIND_FOREIGN_TABLE)
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
		if (list_member_oid(ancestors, other) ||
			list_member_oid(get_partition_ancestors(other), relid))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("%s cannot be attached because %s is", qualified_name(rel),
							chs_source_name(&live->sources[i])),
					 errdetail("Rows of a partition are rows of the partitioned table."),
					 errhint("Detach that one first.")));
	}
}

/* Tells the user if no index leads to the rows of a customer.  Within SPI. */
static void
check_index(Relation rel, const char *customer)
{
	Oid			types[] = {OIDOID, TEXTOID};
	Datum		args[] = {ObjectIdGetDatum(RelationGetRelid(rel)), CStringGetTextDatum(customer)};

	if (chs_spi_select("SELECT FROM pg_index, pg_get_indexdef(indexrelid, 1, false) AS first"
					   " WHERE indrelid = $1 AND first IN ($2, format('(%s)', $2))",
					   lengthof(types), types, args) > 0)
		return;
	ereport(NOTICE,
			(errmsg("%s has no index by which the rows of one customer can be found",
					qualified_name(rel)),
			 errdetail("The whole table is read whenever events of customers must be read again:"
					   " after an update or delete, and for past days."),
			 strstr(customer, "SELECT") != NULL ?
			 errhint("An expression with a subquery cannot be indexed;"
					 " a column that holds the customer could be.") :
			 errhint("Create one: CREATE INDEX ON %s ((%s));", qualified_name(rel), customer)));
}

/* ---------------------------------------------------------------- attaching */

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
		if (triggers[i].of_customers != of_customers ||
			!OidIsValid(get_trigger_oid(relid, triggers[i].name, true)))
			continue;
		/* DROP TRIGGER locks partitions first, and whoever reads the table locks them last */
		LockRelationOid(relid, AccessExclusiveLock);
		chs_spi_run(psprintf("DROP TRIGGER \"%s\" ON %s", triggers[i].name, name));
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
		chs_spi_run(psprintf("CREATE TRIGGER \"%s\" AFTER %s ON %s FOR EACH %s"
							 " EXECUTE FUNCTION chs.%s('%d')",
							 triggers[i].name, triggers[i].events, name, triggers[i].level,
							 triggers[i].function, source_id));
		/* also for rows that arrive by logical replication */
		chs_spi_run(psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER \"%s\"", name,
							 triggers[i].name));
	}
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
	chs_spi_execute_now(NULL, "WITH latest AS (SELECT * FROM chs.scorecard_versions"
						"  ORDER BY version DESC LIMIT 1),"
						" factors AS (INSERT INTO chs.scorecard_version_factors"
						"  SELECT latest.version + 1, f.scorecard, f.ordinal, f.factor, f.weight,"
						" f.segment_weights"
						"  FROM latest JOIN chs.scorecard_version_factors f USING (version))"
						" INSERT INTO chs.scorecard_versions (version, live_at, published_by, note,"
						" document, series_version, recommendations)"
						" SELECT version + 1, now(), session_user, $1, document, version + 1,"
						" recommendations FROM latest",
						1, &type, &arg, NULL);
}

/* Writes the row of chs.sources, and returns its number and whether there was one. */
static int
store_source(const Source *source, bool *again)
{
	const char *const texts[] = {
		source->of_customers ? "customers" : "events",
		source->by_external_id ? "external_id" : "customer_id",
		source->customer, source->event_type, source->occurred_at, source->event_data,
		source->owner, source->attributes[0], source->attributes[1], source->attributes[2],
		source->attributes[3], source->attributes[4], source->attributes[5],
		source->attributes[6]
	};
	Oid			types[lengthof(texts) + 2];
	Datum		args[lengthof(texts) + 2];
	char		nulls[lengthof(texts) + 2 + 1] = {0};
	bool		isnull;

	for (size_t i = 0; i < lengthof(texts); i++)
	{
		types[i] = TEXTOID;
		args[i] = texts[i] ? CStringGetTextDatum(texts[i]) : (Datum) 0;
		nulls[i] = texts[i] ? ' ' : 'n';
	}
	types[14] = REGCLASSOID;
	args[14] = ObjectIdGetDatum(source->relation);
	types[15] = TEXTARRAYOID;
	args[15] = PointerGetDatum(strlist_to_textarray(source->functions));
	nulls[14] = nulls[15] = ' ';
	chs_spi_execute("INSERT INTO chs.sources AS s (kind, customer_key, customer, event_type,"
					"  occurred_at, event_data, owner, relation, functions, attributes)"
					" VALUES ($1, $2, $3, $4, $5, $6, $7, $15, $16, CASE $1 WHEN 'customers' THEN"
					"  jsonb_strip_nulls(jsonb_build_object('name', $8, 'email', $9,"
					"   'segment', $10, 'created_at', $11, 'churned_at', $12,"
					"   'owner', $13, 'value', $14)) END)"
					" ON CONFLICT (relation, kind) DO UPDATE SET"
					" (customer_key, customer, event_type, occurred_at, event_data, owner,"
					"  functions, attributes, attached_at) ="
					"  (EXCLUDED.customer_key, EXCLUDED.customer, EXCLUDED.event_type,"
					"   EXCLUDED.occurred_at, EXCLUDED.event_data, EXCLUDED.owner,"
					"   EXCLUDED.functions, EXCLUDED.attributes, now())"
					" RETURNING source_id, xmax <> 0", lengthof(types), types, args, nulls);
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

static void
check_not_null(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("\"%s\" must not be null", name)));
}

static char *
text_argument(FunctionCallInfo fcinfo, int n, const char *name)
{
	check_not_null(fcinfo, n, name);
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
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(relid)),
					   get_rel_name(relid));
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

	check_not_null(fcinfo, 0, "relation");
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
	OwnerRights saved;
	bool		again;
	bool		was_counted;
	char	   *name;

	rel = open_relation(fcinfo, &source);
	check_relatives(rel);
	name = qualified_name(rel);
	source.by_external_id = customer_key_argument(fcinfo, 5);
	source.customer = canonical(rel, "customer",
								source.by_external_id ? MAPPED_EXTERNAL_ID : MAPPED_CUSTOMER_ID,
								text_argument(fcinfo, 1, "customer"));
	source.event_type = canonical(rel, "event_type", MAPPED_TEXT,
								  event_type_sql(rel, text_argument(fcinfo, 2, "event_type")));
	source.occurred_at = canonical(rel, "occurred_at", MAPPED_TIME,
								   text_argument(fcinfo, 3, "occurred_at"));
	source.event_data = PG_ARGISNULL(4) ? NULL :
		canonical(rel, "event_data", MAPPED_JSONB, text_argument(fcinfo, 4, "event_data"));
	chs_source_try(&source);

	SPI_connect();
	chs_catalog_become_owner(&saved);
	check_index(rel, source.customer);
	source.source_id = store_source(&source, &again);
	was_counted = again || chs_existing_any(source.relation);
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
	OwnerRights saved;
	bool		again;

	source.customer = canonical(rel, "external_id", MAPPED_EXTERNAL_ID,
								text_argument(fcinfo, 1, "external_id"));
	for (int i = 0; i < CUSTOMER_ATTRIBUTES; i++)
		if (!PG_ARGISNULL(2 + i))
			source.attributes[i] = canonical(rel, chs_customer_attributes[i],
											 chs_source_attribute_type(i),
											 text_argument(fcinfo, 2 + i,
														   chs_customer_attributes[i]));
	chs_source_try(&source);
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

	/*
	 * no foreign key does it for the owner, nor would one find what is newer than the
	 * transaction's snapshot
	 */
	chs_spi_execute_now(NULL, "WITH gone AS (SELECT source_id FROM chs.sources"
						"  WHERE source_id > 1 AND relation = ANY ($1)),"
						" rejected AS (DELETE FROM chs.rejected_events"
						"  WHERE source_id IN (SELECT source_id FROM gone))"
						" DELETE FROM chs.sources WHERE source_id IN (SELECT source_id FROM gone)"
						" RETURNING kind",
						1, &type, &relations, NULL);
	n = SPI_processed;
	for (uint64 i = 0; i < n; i++)
		of_events |= strcmp(SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1),
							"events") == 0;
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
	n = remove_sources(PointerGetDatum(construct_array(&oid, 1, OIDOID, sizeof(Oid), true,
													   TYPALIGN_INT)),
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
static List *
partitions_dropped(void)
{
	List	   *partitions = NIL;
	bool		isnull;

	chs_spi_run("SELECT DISTINCT t.objid FROM pg_event_trigger_dropped_objects() t"
				" JOIN pg_event_trigger_dropped_objects() d"
				" ON d.classid = 'pg_trigger'::regclass AND d.address_names[1:2] = t.address_names"
				" WHERE t.classid = 'pg_class'::regclass AND t.objsubid = 0"
				" AND d.address_names[3] = '00_chs_capture'");
	for (uint64 i = 0; i < SPI_processed; i++)
		partitions = lappend_oid(partitions,
								 DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i],
																SPI_tuptable->tupdesc, 1,
																&isnull)));
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
	chs_spi_execute_now(NULL, "SELECT array_agg(objid) FROM pg_event_trigger_dropped_objects()"
						" WHERE classid = 'pg_class'::regclass AND objsubid = 0"
						" AND objid IN (SELECT relation FROM chs.sources WHERE source_id > 1)", 0,
						NULL, NULL, NULL);
	if (SPI_processed > 0)
	{
		bool		isnull;
		Datum		relations = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
											  &isnull);

		if (!isnull)
			(void) remove_sources(relations, "attached tables were dropped");
		else if (!chs_partition_dropped_are_past(chs_live_version(), partitions_dropped()))
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
	Oid			schema = get_rel_namespace(relation);

	return chs_schema_aclcheck(schema, GetUserId(), ACL_USAGE) == ACLCHECK_OK &&
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
				   (source != NULL && relation != source->relation &&
					chs_source_has_table(source, relation) &&
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
	chs_spi_execute("SELECT count(*) FROM chs.rejected_events"
					" WHERE source_id = $1 AND ($2 IS NULL OR sqlstate = $2)",
					lengthof(types), types, args, nulls);
	n = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	chs_spi_end(&saved);
	PG_RETURN_INT64(n);
}

/* ----------------------------------------------------------------- status */

/* chs_source_unreadable tells what keeps the rows of a source from being read, or NULL. */
PG_FUNCTION_INFO_V1(chs_source_unreadable);
Datum
chs_source_unreadable(PG_FUNCTION_ARGS)
{
	const Live *live = chs_live_at(GetActiveSnapshot());
	const Source *source = chs_source_find(live, PG_GETARG_INT32(0));
	ErrorData  *error = source == NULL || chs_source_is_builtin(source) ? NULL :
		chs_source_error(live, source);

	if (error == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(error->message));
}

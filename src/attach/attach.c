/*
 * attach.c
 *	  Attaching a table as a source of events, and detaching it.
 */
#include "base/compat.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
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
#include "engine/publish.h"
#include "source/expression.h"
#include "source/source.h"
#include "store/live.h"
#include "store/sources.h"

static char *
qualified_name(Relation rel)
{
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
									  RelationGetRelationName(rel));
}

/*
 * Runs the statements by which chs.watching() creates the triggers of a source, or those by
 * which it drops them where the source is 0.
 */
static void
set_triggers(Oid relid, const char *kind, int source_id)
{
	Oid			types[] = {REGCLASSOID, TEXTOID, INT4OID};
	Datum		args[] = {
		ObjectIdGetDatum(relid), CStringGetTextDatum(kind), Int32GetDatum(source_id)
	};

	chs_spi_run_each("SELECT statement FROM chs.watching($1, $2, $3)", lengthof(types), types,
					 args);
}

/* Likewise for those of partitions, which may be of other owners. */
static void
set_partition_triggers(Oid relid, int source_id)
{
	OwnerRights saved;

	chs_catalog_become_owner(&saved);
	chs_altered_watch_partitions(relid, source_id);
	chs_catalog_become_caller(&saved);
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

/* Tells the user if no index leads to the rows of a customer.  Within SPI. */
static void
advise_index(const Source *source)
{
	Oid			types[] = {REGCLASSOID, TEXTOID};
	Datum		args[] = {
		ObjectIdGetDatum(source->relation), CStringGetTextDatum(source->customer)
	};

	chs_spi_execute_now(NULL, "SELECT chs.advise_index($1, $2)", lengthof(types), types, args,
						NULL);
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
	Oid			types[] = {REGCLASSOID, BOOLOID};
	Datum		args[] = {PG_GETARG_DATUM(0), BoolGetDatum(source->of_customers)};
	OwnerRights saved;

	check_not_null(fcinfo, 0, "relation");
	rel = open_own(PG_GETARG_OID(0));
	chs_spi_begin(&saved);
	chs_spi_execute_now(NULL, "SELECT chs.check_attachable($1, $2)", lengthof(types), types, args,
						NULL);
	chs_spi_end(&saved);
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
	advise_index(&source);
	source.source_id = store_source(&source, &again);
	was_counted = again || chs_existing_any(source.relation);
	if (again)
		chs_rejected_forget(source.source_id);
	if (was_counted && !again)
		chs_spi_execute_now(NULL, "SELECT chs.check_readable()", 0, NULL, NULL, NULL);
	if (was_counted)
		chs_publish_again(psprintf("%s attached", name));
	chs_catalog_become_caller(&saved);
	relation_close(rel, NoLock);
	set_triggers(source.relation, "events", source.source_id);
	set_partition_triggers(source.relation, source.source_id);
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
	set_triggers(source.relation, "customers", source.source_id);
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
		chs_publish_again(note);
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
	set_triggers(relid, "events", 0);
	set_triggers(relid, "customers", 0);
	set_partition_triggers(relid, 0);
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
			chs_publish_again("partitions of attached tables were dropped");
	}
	chs_spi_end(&saved);
	PG_RETURN_VOID();
}

/* ----------------------------------------------------------------- status */

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

/*
 * source.c
 *	  Sources: tables whose rows are events, and how their columns map.
 *
 * The live version lists the sources, since attaching or detaching one publishes a
 * version: so each snapshot reads the raw events of those tables that count for it,
 * and earlier activities are rebuilt, as for any version that counts something
 * else.
 */
#include "source/source.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/catalog.h"
#include "base/error.h"
#include "score/filter.h"
#include "score/scorecard.h"
#include "source/expression.h"
#include "source/mapping.h"
#include "store/event.h"
#include "store/live.h"
#include "store/sources.h"

/*
 * Events must be of an earlier UTC day than this, 2080-01-01, whenever they are
 * looked at, so that the days between them and today can be counted by 16 bits.
 */
#define END_OF_DAYS 29220

/* The number of columns up to which those of a table are named one by one. */
#define MAX_NAMED_COLUMNS 50

/* chs_source_attribute_type returns the type of an attribute of customers. */
MappedAs
chs_source_attribute_type(int attribute)
{
	static const MappedAs types[CUSTOMER_ATTRIBUTES] = {
		MAPPED_TEXT, MAPPED_TEXT, MAPPED_TEXT, MAPPED_TIME, MAPPED_TIME, MAPPED_TEXT, MAPPED_NUMBER
	};

	return types[attribute];
}

/*
 * chs_source_of_trigger returns the source that a trigger is for; NULL if it has
 * been detached.  There is none for a trigger with a different name either, which a
 * privileged user may have created: it would count rows twice.
 */
const Source *
chs_source_of_trigger(const Live *live, TriggerData *trigdata, const char *name)
{
	Trigger    *trigger = trigdata->tg_trigger;

	return trigger->tgnargs == 1 && strcmp(trigger->tgname, name) == 0 ?
		chs_source_find(live, atoi(trigger->tgargs[0])) : NULL;
}

/* chs_source_has_table tells whether a table is that of a source, or a partition of it. */
bool
chs_source_has_table(const Source *source, Oid relation)
{
	return relation == source->relation ||
		list_member_oid(get_partition_ancestors(relation), source->relation);
}

/*
 * chs_source_rows returns a table as a query names it: without the children of plain
 * inheritance.
 */
char *
chs_source_rows(Oid relation)
{
	return psprintf("%s%s", get_rel_relkind(relation) == RELKIND_PARTITIONED_TABLE ? "" : "ONLY ",
					quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)),
											   get_rel_name(relation)));
}

/* --------------------------------------------------------------- whole rows */

/*
 * Collects the fields of event_data that rules and series read from events of a type, or of
 * any type if it is NULL; false if there may be others.
 */
static bool
find_needed_fields(const Live *live, const char *event_type, List **fields)
{
	const Published *published = live->counting->published;
	bool		is_known = true;

	for (int i = 0; i < live->nrules; i++)
	{
		const EventRule *rule = &live->rules[i];

		if (event_type != NULL && strcmp(rule->event_type, event_type) != 0)
			continue;
		for (int j = 0; j < rule->nrequired; j++)
			*fields = lappend(*fields, rule->required[j]);
		for (int j = 0; j < rule->npositive; j++)
			*fields = lappend(*fields, rule->positive[j]);
	}
	for (int i = 0; i < published->ntypes; i++)
	{
		const EventCounting *type = &published->types[i];

		if (event_type != NULL && strcmp(type->event_type, event_type) != 0)
			continue;
		for (int j = 0; j < type->nseries; j++)
			if (published->series[type->series[j]].field != NULL)
				*fields = lappend(*fields, published->series[type->series[j]].field);
		for (int j = 0; j < type->nfilters; j++)
			is_known &= chs_filter_fields(&type->filters[j], fields);
	}
	return is_known;
}

/*
 * Whether the text of a filter, in which all keys are quoted, may name a field.  One with
 * more than letters may be written otherwise.
 */
static bool
filter_may_name(const Filter *filter, const char *field)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(jsonpath_out,
														   PointerGetDatum(filter->path)));

	return strstr(text, psprintf("\"%s\"", field)) != NULL || strchr(text, '*') != NULL ||
		strstr(text, "keyvalue") != NULL ||
		strspn(field,
			   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != strlen(field);
}

/* chs_source_needs_field tells whether rules or series may read a field of event_data. */
bool
chs_source_needs_field(const Live *live, const char *field)
{
	const Published *published = live->counting->published;
	List	   *fields = NIL;
	ListCell   *lc;
	bool		is_known = find_needed_fields(live, NULL, &fields);

	foreach(lc, fields)
		if (strcmp(lfirst(lc), field) == 0)
			return true;
	for (int i = 0; !is_known && i < published->ntypes; i++)
		for (int j = 0; j < published->types[i].nfilters; j++)
			if (filter_may_name(&published->types[i].filters[j], field))
				return true;
	return false;
}

/*
 * The expression for the whole row as event_data, limited to the columns that are
 * read, since tables of applications are wide.
 */
static char *
whole_row_sql(const Live *live, Oid relation, const char *event_type)
{
	List	   *fields = NIL;
	ListCell   *lc;
	Bitmapset  *columns = NULL;
	StringInfoData sql;
	int			column = -1;
	bool		is_known = find_needed_fields(live, event_type, &fields);

	foreach(lc, fields)
	{
		AttrNumber	named = get_attnum(relation, lfirst(lc));

		if (named > 0)
			columns = bms_add_member(columns, named);
	}
	if (!is_known || bms_num_members(columns) > MAX_NAMED_COLUMNS)
		return pstrdup("pg_catalog.to_jsonb(event_row)");
	initStringInfo(&sql);
	while ((column = bms_next_member(columns, column)) >= 0)
	{
		char	   *name = get_attname(relation, column, false);

		appendStringInfo(&sql, "%s%s, event_row.%s", sql.len == 0 ? "" : ", ",
						 quote_literal_cstr(name), quote_identifier(name));
	}
	return psprintf("pg_catalog.jsonb_build_object(%s)", sql.data);
}

/* Returns the event type if the expression is a literal, or NULL. */
static char *
literal_event_type(const char *sql)
{
	int			length = strlen(sql);
	char	   *name = palloc(length + 1);
	char	   *out = name;

	if (length < 2 || sql[0] != '\'')
		return NULL;
	for (const char *c = sql + 1;; c++)
	{
		if (*c == '\'' && *++c != '\'')
		{
			*out = '\0';
			return *c == '\0' || strcmp(c, "::text") == 0 ? name : NULL;
		}
		if (*c == '\0')
			return NULL;
		*out++ = *c;
	}
}

/* ---------------------------------------------------------------- compiling */

typedef struct CompiledKey
{
	int			source_id;
	Oid			relation;
} CompiledKey;

static HTAB *compiled_sources = NULL;

/* Up to so many mappings are kept from one transaction to the next. */
#define MAX_KEPT_MAPPINGS 64

/* Nobody refers to what an earlier transaction compiled. */
static bool may_discard = false;

/* The tables on which the owners of sources need rights. */
static Oid	written_relations[2];

/* Only mark: callbacks may be called at any time, and must not look anything up. */
static void
forget_relation(Datum arg pg_attribute_unused(), Oid relation)
{
	HASH_SEQ_STATUS scan;
	CompiledSource *compiled;

	if (compiled_sources == NULL)
		return;
	if (relation == written_relations[0] || relation == written_relations[1])
		relation = InvalidOid;
	hash_seq_init(&scan, compiled_sources);
	while ((compiled = hash_seq_search(&scan)) != NULL)
		if (relation == InvalidOid || compiled->relation == relation || compiled->like == relation)
			compiled->stale = true;
}

static void
forget_all(Datum arg, int cacheid pg_attribute_unused(), uint32 hashvalue pg_attribute_unused())
{
	forget_relation(arg, InvalidOid);
}

static void
at_transaction_end(XactEvent event, void *arg pg_attribute_unused())
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		may_discard = true;
}

/* chs_source_init registers callbacks for changes. */
void
chs_source_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	CacheRegisterRelcacheCallback(forget_relation, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, forget_all, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, forget_all, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, forget_all, (Datum) 0);
}

/*
 * Returns what keeps the expressions of a source from being evaluated with the
 * rights of their author, or NULL.
 */
static ErrorData *
owner_error(const Source *source, Oid relation, Oid *owner)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));

	if (!HeapTupleIsValid(tuple))
		return chs_error_make(ERRCODE_UNDEFINED_TABLE, "the table does not exist any more", NULL,
							  NULL);
	*owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	/* a partition may have a different owner, who did not write the expressions */
	if (relation != source->relation)
		return list_member_oid(get_partition_ancestors(relation), source->relation) ?
			owner_error(source, source->relation, owner) :
			chs_error_make(ERRCODE_WRONG_OBJECT_TYPE, "the table is not the one that was attached",
						   NULL, NULL);
	if (!chs_source_is_builtin(source) && *owner != get_role_oid(source->owner, true))
		return chs_error_make(ERRCODE_INSUFFICIENT_PRIVILEGE,
							  psprintf("the table belongs to \"%s\" now, not to \"%s\" any more",
									   GetUserNameFromId(*owner, true), source->owner), NULL, NULL);
	return NULL;
}

/* Whether a role has a right on columns of a table. */
static bool
has_right(Oid role, Oid relation, AclMode right, const char *const *columns)
{
	if (pg_class_aclcheck(relation, role, right) == ACLCHECK_OK)
		return true;
	if (right == ACL_DELETE)
		return false;
	for (; *columns != NULL; columns++)
		if (pg_attribute_aclcheck(relation, get_attnum(relation, *columns), role,
								  right) != ACLCHECK_OK)
			return false;
	return true;
}

/*
 * A table gets its owner nothing that he could not do without it.  Returns what he
 * may not do of what its rows do, or NULL.
 */
static ErrorData *
rights_error(const Source *source, Oid owner)
{
	static const struct
	{
		bool		of_customers;
		AclMode		right;
		const char *name;
	}			needed[] = {
		{false, ACL_INSERT, "INSERT"},
		{true, ACL_SELECT, "SELECT"},
		{true, ACL_INSERT, "INSERT"},
		{true, ACL_UPDATE, "UPDATE"},
		{true, ACL_DELETE, "DELETE"}
	};
	static const char *const of_events[] = {"customer_id", "event_type", "event_data",
											"occurred_at", NULL};
	static const char *const of_customers[] = {
		"external_id", "name", "email", "segment", "created_at", "churned_at", "owner", "value",
		NULL
	};
	Oid			relation = chs_catalog_relation(source->of_customers ? CHS_CUSTOMERS :
												CHS_CUSTOMER_EVENTS);
	const char *table = source->of_customers ? "chs.customers" : "chs.customer_events";
	const char *role;
	StringInfoData lacking;

	written_relations[source->of_customers] = relation;
	initStringInfo(&lacking);
	for (size_t i = 0; i < lengthof(needed); i++)
		if (needed[i].of_customers == source->of_customers &&
			!has_right(owner, relation, needed[i].right,
					   source->of_customers ? of_customers : of_events))
			appendStringInfo(&lacking, "%s%s", lacking.len == 0 ? "" : ", ", needed[i].name);
	if (lacking.len == 0)
		return NULL;
	role = quote_identifier(GetUserNameFromId(owner, false));
	return chs_error_make(ERRCODE_INSUFFICIENT_PRIVILEGE,
						  psprintf("the table's owner, %s, lacks privileges on %s: %s", role, table,
								   lacking.data),
						  psprintf("Its rows are %s, which are written with the privileges of its"
								   " owner.",
								   source->of_customers ? "customers" : "events"),
						  psprintf("Grant them: GRANT %s ON %s TO %s;", lacking.data, table, role));
}

/* The mapping of a table of customers. */
static Mapping *
compile_customers(const Source *source, Oid relation, Oid owner, ErrorData *error)
{
	MappedColumn columns[1 + CUSTOMER_ATTRIBUTES] = {{"external_id", MAPPED_EXTERNAL_ID,
													  source->customer}};

	for (int i = 0; i < CUSTOMER_ATTRIBUTES; i++)
		columns[1 + i] = (MappedColumn) {
		chs_customer_attributes[i], chs_source_attribute_type(i),
		source->attributes[i] ? source->attributes[i] : "NULL"
	};
	return chs_mapping_compile(relation, owner, columns, lengthof(columns), -1,
							   source->any_function ? NULL : &source->functions, error);
}

static MappedAs
customer_as(const Source *source)
{
	return source->by_external_id ? MAPPED_EXTERNAL_ID : MAPPED_CUSTOMER_ID;
}

static Mapping *
compile_mapping(const Live *live, const Source *source, Oid relation)
{
	Oid			owner = InvalidOid;
	ErrorData  *error = owner_error(source, relation, &owner);
	MappedColumn columns[EVENT_COLUMNS] = {
		[EVENT_CUSTOMER] = {"customer", customer_as(source), source->customer},
		[EVENT_TYPE] = {"event_type", MAPPED_TEXT, source->event_type},
		[EVENT_OCCURRED_AT] = {"occurred_at", MAPPED_TIME, source->occurred_at},
		[EVENT_DATA] = {"event_data", MAPPED_JSONB, source->event_data}
	};

	if (error == NULL && !chs_source_is_builtin(source))
		error = rights_error(source, owner);
	if (source->of_customers)
		return compile_customers(source, relation, owner, error);
	if (source->event_data == NULL && error == NULL)
		columns[EVENT_DATA].text = whole_row_sql(live, relation,
												 literal_event_type(source->event_type));
	return chs_mapping_compile(relation, owner, columns, EVENT_COLUMNS, EVENT_TYPE,
							   source->any_function ? NULL : &source->functions, error);
}

static void
discard(CompiledSource *compiled)
{
	if (compiled->plan_of_one != NULL)
		SPI_freeplan(compiled->plan_of_one);
	if (compiled->plan_of_many != NULL)
		SPI_freeplan(compiled->plan_of_many);
	if (compiled->mapping != NULL)
		chs_mapping_free(compiled->mapping);
	compiled->plan_of_one = compiled->plan_of_many = NULL;
	compiled->mapping = NULL;
}

/*
 * Discards what is stale, such as what was compiled for tables that have been
 * dropped since, and everything if that is much: a session may see any number of
 * partitions come and go.
 */
static void
discard_stale(void)
{
	HASH_SEQ_STATUS scan;
	CompiledSource *compiled;
	int			nmappings = 0;

	hash_seq_init(&scan, compiled_sources);
	while ((compiled = hash_seq_search(&scan)) != NULL)
		nmappings += compiled->mapping != NULL && !compiled->stale;
	hash_seq_init(&scan, compiled_sources);
	while ((compiled = hash_seq_search(&scan)) != NULL)
		if (compiled->stale || nmappings > MAX_KEPT_MAPPINGS)
		{
			discard(compiled);
			hash_search(compiled_sources, compiled, HASH_REMOVE, NULL);
		}
}

/*
 * Whether rows of a partition have the form of those of its partitioned table.  Who
 * writes to a partition may have locked that alone, and must not wait for the table,
 * which is then considered as different.
 */
static bool
has_form_of_table(const Source *source, Oid relation)
{
	Relation	table;
	Relation	partition;
	TupleDesc	a;
	TupleDesc	b;
	bool		same;

	if (!ConditionalLockRelationOid(source->relation, AccessShareLock))
		return false;
	table = table_open(source->relation, NoLock);
	partition = table_open(relation, AccessShareLock);
	a = RelationGetDescr(table);
	b = RelationGetDescr(partition);
	same = a->natts == b->natts;
	for (int i = 0; same && i < a->natts; i++)
	{
		Form_pg_attribute x = TupleDescAttr(a, i);
		Form_pg_attribute y = TupleDescAttr(b, i);

		/* only the partition knows the value of a column that was added later */
		same = x->atttypid == y->atttypid && x->atttypmod == y->atttypmod &&
			x->attcollation == y->attcollation &&
			x->attisdropped == y->attisdropped && x->attlen == y->attlen &&
			x->attalign == y->attalign &&
			strcmp(NameStr(x->attname), NameStr(y->attname)) == 0 && !y->atthasmissing;
	}
	table_close(partition, AccessShareLock);
	table_close(table, NoLock);
	return same;
}

/* Whether what was compiled is still right. */
static bool
is_fresh(const CompiledSource *compiled, const Live *live)
{
	return !compiled->stale && compiled->live_serial == live->serial &&
		compiled->counted_serial == live->counting->published->serial &&
		(OidIsValid(compiled->like) ||
		 (compiled->mapping != NULL && (compiled->mapping->broken == NULL ||
										!chs_mapping_is_to_be_tried_again(compiled->mapping))));
}

/*
 * chs_source_compile returns a source compiled for its own table or a partition of
 * it, from a cache that follows what it depends on.  Partitions share what was
 * compiled for their partitioned table if their rows have the same form.  Valid
 * until the next call for the same, or the end of the transaction.
 */
CompiledSource *
chs_source_compile(const Live *live, const Source *source, Oid relation)
{
	CompiledKey key = {source->source_id, relation};
	CompiledSource *compiled;
	bool		found;

	if (compiled_sources == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(CompiledKey),.entrysize = sizeof(CompiledSource)};

		compiled_sources = hash_create("chs sources", 16, &control, HASH_ELEM | HASH_BLOBS);
	}
	if (may_discard)
		discard_stale();
	may_discard = false;
	compiled = hash_search(compiled_sources, &key, HASH_ENTER, &found);
	if (!found)
		memset((char *) compiled + sizeof(CompiledKey), 0,
			   sizeof(CompiledSource) - sizeof(CompiledKey));
	if (!is_fresh(compiled, live))
	{
		discard(compiled);
		/* unmark first, so that a change meanwhile is not lost */
		compiled->stale = false;
		compiled->live_serial = live->serial;
		compiled->counted_serial = live->counting->published->serial;
		compiled->unrelated = !chs_source_has_table(source, relation);
		compiled->like = InvalidOid;
		if (relation != source->relation && !compiled->unrelated &&
			has_form_of_table(source, relation))
			compiled->like = source->relation;
		else
			compiled->mapping = compile_mapping(live, source, relation);
	}
	return OidIsValid(compiled->like) ? chs_source_compile(live, source, compiled->like) : compiled;
}

/*
 * chs_source_compile_key compiles only the customer expression of a source that may
 * be broken otherwise.  The caller must free it.
 */
Mapping *
chs_source_compile_key(const Source *source)
{
	Oid			owner = InvalidOid;
	ErrorData  *error = owner_error(source, source->relation, &owner);
	MappedColumn column = {"customer", customer_as(source), source->customer};

	return chs_mapping_compile(source->relation, owner, &column, 1, -1,
							   source->any_function ? NULL : &source->functions, error);
}

/*
 * chs_source_try raises an error if a source that is not attached yet could not be
 * evaluated, and sets the functions that it calls.
 */
void
chs_source_try(Source *source)
{
	Mapping    *m;
	ListCell   *lc;

	source->any_function = true;
	m = compile_mapping(chs_live_version(), source, source->relation);
	if (m->broken != NULL)
	{
		ErrorData  *broken = chs_error_copy(m->broken);

		chs_mapping_free(m);
		chs_error_throw(broken);
	}
	source->any_function = false;
	source->functions = NIL;
	foreach(lc, m->functions)
		source->functions = lappend(source->functions, pstrdup(lfirst(lc)));
	chs_mapping_free(m);
}

/* chs_source_error tells why the events of a source cannot be read, or NULL. */
ErrorData *
chs_source_error(const Live *live, const Source *source)
{
	return chs_source_compile(live, source, source->relation)->mapping->broken;
}

/* chs_source_all_readable tells whether the events of all sources can be read. */
bool
chs_source_all_readable(const Live *live)
{
	for (int i = 0; i < live->nsources; i++)
		if (chs_source_error(live, &live->sources[i]) != NULL)
			return false;
	return true;
}

/*
 * chs_source_event makes an event of what a mapping gave for a row, except its
 * customer; false if it has no type or time.
 */
bool
chs_source_event(const Datum *values, const bool *nulls, Event *event)
{
	text	   *event_type;

	if (nulls[EVENT_TYPE] || nulls[EVENT_OCCURRED_AT])
		return false;
	event_type = DatumGetTextPP(values[EVENT_TYPE]);
	event->event_type = VARDATA_ANY(event_type);
	event->event_type_length = VARSIZE_ANY_EXHDR(event_type);
	event->occurred_at = DatumGetTimestampTz(values[EVENT_OCCURRED_AT]);
	event->event_data = nulls[EVENT_DATA] ?
		DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"))) :
		DatumGetJsonbP(values[EVENT_DATA]);
	return true;
}

/*
 * chs_source_check returns NULL, or why an event of an attached table cannot be
 * used.  One in the future counts from its day on.
 */
ErrorData *
chs_source_check(const Live *live, const Event *event)
{
	ErrorData  *error = chs_event_check(live, event);

	if (error != NULL || event->occurred_at < END_OF_DAYS * USECS_PER_DAY)
		return error;
	return chs_error_make(ERRCODE_CHECK_VIOLATION,
						  psprintf("event of customer %lld has an occurred_at too far ahead: %s",
								   (long long) event->customer_id,
								   timestamptz_to_str(event->occurred_at)),
						  NULL, NULL);
}

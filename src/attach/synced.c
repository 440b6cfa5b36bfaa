/*
 * synced.c
 *	  Tables of customers that chs.customers follows.
 *
 * What is done to a row is done to the customer with its external_id, with the rights of
 * the table's owner, who could do the same by a trigger; and in a subtransaction, so that
 * a failure, for instance a missing privilege, gets the row rejected instead of failing
 * the application.
 */
#include "attach/synced.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "attach/existing.h"
#include "attach/rejected.h"
#include "base/catalog.h"
#include "base/error.h"
#include "base/spi.h"
#include "base/try.h"
#include "source/expression.h"
#include "source/mapping.h"
#include "source/mapping_rows.h"
#include "source/source.h"
#include "store/live.h"
#include "store/sources.h"

/* What is to be done to a customer. */
typedef struct RowChange
{
	const Source *source;
	const MappedRow *old;		/* NULL: there was none */
	const MappedRow *new;		/* NULL: it is gone */
} RowChange;

/* Makes the customer match the row in all columns that the row supplies. */
static void
store_customer(const RowChange *change)
{
	Oid			types[1 + CUSTOMER_ATTRIBUTES];
	Datum		args[1 + CUSTOMER_ATTRIBUTES];
	char		nulls[1 + CUSTOMER_ATTRIBUTES + 1] = {0};
	StringInfoData sql;
	StringInfoData differs;

	initStringInfo(&sql);
	initStringInfo(&differs);
	for (int i = 0; i <= CUSTOMER_ATTRIBUTES; i++)
	{
		MappedAs	as = i == 0 ? MAPPED_EXTERNAL_ID : chs_source_attribute_type(i - 1);

		types[i] = as == MAPPED_TIME ? TIMESTAMPTZOID : as == MAPPED_NUMBER ? NUMERICOID : TEXTOID;
		args[i] = change->new->values[i];
		nulls[i] = change->new->nulls[i] ? 'n' : ' ';
	}
	appendStringInfoString(&sql, "INSERT INTO chs.customers AS c"
						   " (external_id, name, email, segment, created_at, churned_at,"
						   "  owner, value)"
						   " VALUES ($1, $2, $3, $4, COALESCE($5, now()), $6, $7, $8)"
						   " ON CONFLICT (external_id) DO ");
	for (int i = 0; i < CUSTOMER_ATTRIBUTES; i++)
	{
		const char *name = chs_customer_attributes[i];

		if (change->source->attributes[i] == NULL)
			continue;
		/* without the key, or everyone who inserts events of the customer would wait for this */
		appendStringInfoString(&sql, differs.len == 0 ? "UPDATE SET " : ", ");
		if (strcmp(name, "created_at") == 0)
			appendStringInfo(&sql, "created_at = COALESCE($%d, c.created_at)", i + 2);
		else
			appendStringInfo(&sql, "%s = $%d", name, i + 2);
		appendStringInfo(&differs, "%s c.%s IS DISTINCT FROM EXCLUDED.%s",
						 differs.len == 0 ? "" : " OR", name, name);
	}
	if (differs.len == 0)
		appendStringInfoString(&sql, "NOTHING");
	else
		appendStringInfo(&sql, " WHERE %s", differs.data);
	chs_spi_execute(sql.data, 1 + CUSTOMER_ATTRIBUTES, types, args, nulls);
}

static void
apply_change(void *arg)
{
	RowChange	   *change = arg;
	bool		was = change->old != NULL && change->old->error == NULL && !change->old->nulls[0];
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		args[2] = {0};
	OwnerRights saved;

	chs_catalog_become_writer(get_role_oid(change->source->owner, false), &saved);
	SPI_connect();
	if (was)
		args[0] = change->old->values[0];
	if (was && change->new == NULL)
		chs_spi_execute("DELETE FROM chs.customers WHERE external_id = $1", 1, types, args, NULL);
	if (change->new != NULL)
	{
		args[1] = change->new->values[0];
		/* the same customer under another key */
		if (was)
			chs_spi_execute("UPDATE chs.customers SET external_id = $2"
							" WHERE external_id = $1 AND external_id <> $2", 2, types, args, NULL);
		store_customer(change);
	}
	SPI_finish();
	chs_catalog_become_caller(&saved);
}

/*
 * chs_synced_take does to a customer what was done to its row, and returns NULL, or
 * the reason why that failed.
 */
ErrorData *
chs_synced_take(const Source *source, const MappedRow *old, const MappedRow *new)
{
	RowChange		change = {source, old, new};

	if (new != NULL && new->error != NULL)
		return new->error;
	if (new != NULL && new->nulls[0])
		return chs_error_make(ERRCODE_NOT_NULL_VIOLATION, "customer has no external_id", NULL,
							  NULL);
	return chs_try(apply_change, &change);
}

/* Does to a customer what was done to its row, or adds the row to the log. */
static void
sync_row(const Source *source, Mapping *mapping, Oid relation, HeapTuple tuple,
		 const MappedRow *old, const MappedRow *new)
{
	ErrorData  *error = chs_synced_take(source, old, new);
	RejectedRow rejected = {.source_id = source->source_id,.relation = relation,.error = error};

	if (error == NULL)
		return;
	rejected.row = chs_mapping_row_as_jsonb(mapping, tuple);
	if (new != NULL && new->error == NULL && !new->nulls[0])
		rejected.customer_key = TextDatumGetCString(new->values[0]);
	chs_rejected_add(&rejected, 1);
}

/*
 * chs_sync_customer is the row trigger of an attached table of customers.
 */
PG_FUNCTION_INFO_V1(chs_sync_customer);
Datum
chs_sync_customer(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	const Live *live;
	const Source *source;
	Source		copy;
	CompiledSource *compiled;
	Mapping    *mapping;
	HeapTuple	tuples[2];
	MappedRow	mapped[2];
	int			n = 0;
	HeapTuple	old = NULL;
	HeapTuple	new = NULL;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigdata->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be fired AFTER, FOR EACH ROW", "chs.sync_customer")));
	live = chs_live_version();
	source = chs_source_of_trigger(live, trigdata, "00_chs_customers");
	if (source == NULL || !source->of_customers)
		PG_RETURN_POINTER(NULL);
	/* writing to chs.customers may cause the live version to be reread */
	copy = *source;
	compiled = chs_source_compile(live, source, RelationGetRelid(trigdata->tg_relation));
	if (compiled->unrelated)
		PG_RETURN_POINTER(NULL);
	mapping = compiled->mapping;
	if (!TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
		tuples[n++] = old = trigdata->tg_trigtuple;
	if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
		tuples[n++] = new = trigdata->tg_trigtuple;
	else if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
		tuples[n++] = new = trigdata->tg_newtuple;
	chs_mapping_evaluate(mapping, tuples, n, mapped);
	sync_row(&copy, mapping, RelationGetRelid(trigdata->tg_relation), new ? new : old,
			 old ? &mapped[0] : NULL, new ? &mapped[n - 1] : NULL);
	PG_RETURN_POINTER(NULL);
}

/*
 * chs_sync_truncate is the trigger of a table of customers for TRUNCATE, which is
 * often followed by reloading the table.  So it deletes nobody, and says so.
 */
PG_FUNCTION_INFO_V1(chs_sync_truncate);
Datum
chs_sync_truncate(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	const Source *source;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be fired for TRUNCATE", "chs.sync_truncate")));
	source = chs_source_of_trigger(chs_live_version(), trigdata, "00_chs_customers_truncate");
	if (source == NULL || !source->of_customers ||
		!chs_source_has_table(source, RelationGetRelid(trigdata->tg_relation)))
		PG_RETURN_POINTER(NULL);
	ereport(WARNING,
			(errmsg("the customers of table %s stay", chs_source_name(source)),
			 errdetail("TRUNCATE deletes no customers; rows that are loaded now update them."),
			 errhint("To delete customers with all that is known about them, use DELETE on"
					 " chs.customers, or on the table before truncating it.")));
	PG_RETURN_POINTER(NULL);
}

static void
sync_rows(const ExistingRows *rows, void *arg)
{
	for (int i = 0; i < rows->n; i++)
		sync_row(arg, rows->mapping, rows->relations[i], rows->tuples[i], NULL, &rows->mapped[i]);
}

/*
 * chs_synced_take_all takes all rows that a table of customers has now, and lists anew those
 * that cannot be taken.
 */
void
chs_synced_take_all(int source_id)
{
	Source		source = *chs_source_find(chs_live_version(), source_id);
	ErrorData  *error = chs_source_error(chs_live_version(), &source);

	if (error != NULL)
		chs_error_throw(error);
	SPI_connect();
	chs_rejected_forget(source_id);
	chs_existing_rows(&source, sync_rows, &source);
	SPI_finish();
}

/*
 * replicated.c
 *	  Rows of the extension's own tables that arrive by logical replication.
 *
 * Customers and events are meant to arrive, and count.  What another server derived
 * from them does not belong here, nor do its rules: a subscription to all its tables
 * would mix them with the own ones, or stop at a key that both have.
 */
#include "base/compat.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* Tells the log, once for each table and process. */
static void
warn_once(Relation rel)
{
	static List *warned = NIL;
	MemoryContext caller;

	if (list_member_oid(warned, RelationGetRelid(rel)))
		return;
	caller = MemoryContextSwitchTo(TopMemoryContext);
	warned = lappend_oid(warned, RelationGetRelid(rel));
	MemoryContextSwitchTo(caller);
	ereport(WARNING,
			(errmsg("rows of table \"chs.%s\" that arrive by logical replication are ignored",
					RelationGetRelationName(rel)),
			 errdetail("This database has its own."),
			 errhint("Publish chs.customers, chs.customer_events, chs.segments and chs.event_types"
					 " only.")));
}

/* Whether a table has the key of a new row, which is its first column, of type text, already. */
static bool
has_key(Relation rel, HeapTuple row)
{
	const char *column = NameStr(TupleDescAttr(RelationGetDescr(rel), 0)->attname);
	Oid			type = TEXTOID;
	bool		isnull;
	Datum		key = heap_getattr(row, 1, RelationGetDescr(rel), &isnull);
	bool		found;

	SPI_connect();
	if (SPI_execute_with_args(psprintf("SELECT FROM chs.%s WHERE %s OPERATOR(pg_catalog.=) $1",
									   quote_identifier(RelationGetRelationName(rel)),
									   quote_identifier(column)),
							  1, &type, &key, isnull ? "n" : " ", false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read %s", RelationGetRelationName(rel));
	found = SPI_processed > 0;
	SPI_finish();
	return found;
}

/*
 * chs_skip_replicated is a trigger that ignores what a worker of logical replication
 * writes, except what the engine writes on behalf of it, with the owner's rights.
 */
PG_FUNCTION_INFO_V1(chs_skip_replicated);
Datum
chs_skip_replicated(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	HeapTuple	row;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigdata->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be fired BEFORE, FOR EACH ROW",
						"chs.skip_replicated")));
	row = TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) ?
		trigdata->tg_newtuple : trigdata->tg_trigtuple;
	if (!IsLogicalWorker() || InLocalUserIdChange())
		return PointerGetDatum(row);
	/* with an argument, the table is one of those that come along */
	if (trigdata->tg_trigger->tgnargs > 0)
	{
		if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event) && has_key(trigdata->tg_relation, row))
			return PointerGetDatum(NULL);
		/* statement triggers are not fired, which would have sessions read the table again */
		CacheInvalidateRelcache(trigdata->tg_relation);
		return PointerGetDatum(row);
	}
	warn_once(trigdata->tg_relation);
	return PointerGetDatum(NULL);
}

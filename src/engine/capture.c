/*
 * capture.c
 *	  Capture: from inserted rows to deltas in the queue.
 *
 * Row triggers check every event and collect what it adds to the activity of its
 * customer (pending.c); a statement trigger then appends one delta per customer to the
 * queue.  If no statement trigger fires (for rows that arrive by logical replication,
 * or directly in a partition), the next statement or the end of the (sub)transaction
 * does that.
 */
#include "engine/capture.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/catalog.h"
#include "base/error.h"
#include "base/spi.h"
#include "base/wake.h"
#include "engine/pending.h"
#include "score/count.h"
#include "store/customer.h"
#include "store/daily_counts.h"
#include "store/event.h"
#include "store/gone.h"
#include "store/live.h"
#include "store/restore.h"

static const CaptureHooks *attached;

/* chs_capture_set_hooks has the capture of attached tables take part. */
void
chs_capture_set_hooks(const CaptureHooks *hooks)
{
	attached = hooks;
}

/* Columns of chs.customer_events. */
#define EVENTS_CUSTOMER_ID 2
#define EVENTS_EVENT_TYPE 3
#define EVENTS_EVENT_DATA 4
#define EVENTS_OCCURRED_AT 5

/*
 * chs_capture_flush_pending appends to the queue what the current subtransaction
 * has collected, and arranges for the worker to be woken at commit.
 */
void
chs_capture_flush_pending(void)
{
	attached->flush();
	chs_pending_flush();
}

/*
 * chs_capture_is_pending tells whether events of the transaction are collected and
 * not yet in the queue: in mid-statement, or because no statement trigger fired.
 */
bool
chs_capture_is_pending(void)
{
	return chs_pending_any() || attached->is_pending();
}

/* The version to count by: the one that the transaction's scores use. */
static const Live *
capturing_version(void)
{
	return IsolationUsesXactSnapshot() ? chs_live_at(GetTransactionSnapshot()) : chs_live_version();
}

/* ---------------------------------------------------------------- triggers */

static void
check_trigger(FunctionCallInfo fcinfo, bool row, const char *name)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigdata->tg_event) ||
		(TRIGGER_FIRED_FOR_ROW(trigdata->tg_event) != 0) != row)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be fired AFTER, FOR EACH %s", name,
						row ? "ROW" : "STATEMENT")));
}

/* The trigger reads columns by number, so it must be on its own table. */
static void
check_table(FunctionCallInfo fcinfo, Oid expected, const char *name, const char *table)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (RelationGetRelid(trigdata->tg_relation) != expected)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("function \"%s\" can only be fired for table \"chs.%s\"", name, table)));
}

static int64
slot_int64(TupleTableSlot *slot, int column)
{
	bool		isnull;

	return DatumGetInt64(slot_getattr(slot, column, &isnull));
}

static Event
read_event(TupleTableSlot *slot)
{
	Event		event;
	bool		isnull;
	text	   *event_type;

	slot_getsomeattrs(slot, EVENTS_OCCURRED_AT);
	event.customer_id = slot_int64(slot, EVENTS_CUSTOMER_ID);
	event_type = DatumGetTextPP(slot_getattr(slot, EVENTS_EVENT_TYPE, &isnull));
	event.event_type = VARDATA_ANY(event_type);
	event.event_type_length = VARSIZE_ANY_EXHDR(event_type);
	event.event_data = DatumGetJsonbP(slot_getattr(slot, EVENTS_EVENT_DATA, &isnull));
	event.occurred_at = DatumGetTimestampTz(slot_getattr(slot, EVENTS_OCCURRED_AT, &isnull));
	return event;
}

/* Raises an error that names the field and the value if an event breaks a rule. */
static void
check_event(const Live *live, const Event *event)
{
	ErrorData  *error = chs_event_check(live, event);

	if (error == NULL)
		error = chs_event_check_ahead(event);
	if (error != NULL)
		chs_error_throw(error);
}

/* Queues a rebuild, for later, of a customer of whom a row is restored from a dump. */
static void
queue_restored(const Live *live, int64 customer_id)
{
	if (!chs_pending_any_here())
		chs_restore_hold_worker();
	chs_pending_rebuild(live, customer_id, false);
}

/* Deletes of events before this time change no score, and are not captured. */
static TimestampTz deletes_ignored_before = DT_NOBEGIN;

/*
 * chs_capture_ignore_deletes makes capture ignore the deletion of events before a
 * time, until it is called with DT_NOBEGIN: for events that no window reaches.
 */
void
chs_capture_ignore_deletes(TimestampTz before)
{
	deletes_ignored_before = before;
}

/*
 * chs_capture is the row trigger of chs.customer_events: an inserted event is
 * checked and counted; for updated and deleted ones the customers are rebuilt.
 */
PG_FUNCTION_INFO_V1(chs_capture);
Datum
chs_capture(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	const Live *live;
	Event		event;

	check_trigger(fcinfo, true, "chs.capture");
	live = capturing_version();
	check_table(fcinfo, live->events, "chs.capture", "customer_events");
	if (TRIGGER_FIRED_BY_DELETE(trigdata->tg_event) && deletes_ignored_before != DT_NOBEGIN &&
		read_event(trigdata->tg_trigslot).occurred_at < deletes_ignored_before)
		PG_RETURN_POINTER(NULL);
	if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event) && chs_restore_is_on(trigdata->tg_relation))
		queue_restored(live, slot_int64(trigdata->tg_trigslot, EVENTS_CUSTOMER_ID));
	else if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
	{
		event = read_event(trigdata->tg_trigslot);
		check_event(live, &event);
		chs_pending_event(live, &event, true);
	}
	else if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
	{
		event = read_event(trigdata->tg_newslot);
		check_event(live, &event);
		chs_pending_rebuild(live, event.customer_id, true);
		chs_pending_rebuild(live, slot_int64(trigdata->tg_trigslot, EVENTS_CUSTOMER_ID), false);
	}
	else
		chs_pending_rebuild(live, slot_int64(trigdata->tg_trigslot, EVENTS_CUSTOMER_ID), false);
	PG_RETURN_POINTER(NULL);
}

/* Whether a statement trigger has fired in the current transaction. */
static bool has_fired = false;

/* chs_capture_flush is the statement trigger that appends what was collected. */
PG_FUNCTION_INFO_V1(chs_capture_flush);
Datum
chs_capture_flush(PG_FUNCTION_ARGS)
{
	check_trigger(fcinfo, false, "chs.capture_flush");
	has_fired = true;
	chs_capture_flush_pending();
	PG_RETURN_POINTER(NULL);
}

/* The command in the current transaction that all customers have been queued for. */
static struct
{
	SubTransactionId subid;
	CommandId	command;
}			truncated_in;

/* What was known of a customer may be so no more: it was deleted, or its key changed. */
static void
forget_customer(int64 customer_id)
{
	chs_pending_forget_customer(customer_id);
	attached->forget_keys();
}

/*
 * chs_capture_truncate queues a rebuild of everyone, including those who are only
 * in the queue, since customers may have been truncated too.
 */
PG_FUNCTION_INFO_V1(chs_capture_truncate);
Datum
chs_capture_truncate(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	OwnerRights saved;
	Oid			type = INT4OID;
	Datum		series_version;

	check_trigger(fcinfo, false, "chs.capture_truncate");
	has_fired = true;
	if (trigdata->tg_trigger->tgnargs > 0)
	{
		/* else it was detached, or is a partition no more */
		if (!attached->is_truncated(trigdata))
			PG_RETURN_POINTER(NULL);
	}
	else if (RelationGetRelid(trigdata->tg_relation) == chs_catalog_relation(CHS_CUSTOMERS))
	{
		chs_pending_forget_customers();
		attached->forget_keys();
	}
	else if (RelationGetRelid(trigdata->tg_relation) != chs_catalog_relation(CHS_QUEUE) &&
			 RelationGetRelid(trigdata->tg_relation) != chs_catalog_relation(CHS_ACTIVITY))
		check_table(fcinfo, chs_catalog_relation(CHS_CUSTOMER_EVENTS), "chs.capture_truncate",
					"customer_events");
	/* once for a table and its partitions */
	if (truncated_in.command == GetCurrentCommandId(false) &&
		truncated_in.subid == GetCurrentSubTransactionId())
		PG_RETURN_POINTER(NULL);
	if (trigdata->tg_trigger->tgnargs > 0 && attached->is_past(trigdata))
		PG_RETURN_POINTER(NULL);
	chs_capture_flush_pending();
	chs_spi_begin(&saved);
	series_version = Int32GetDatum(capturing_version()->counting->series_version);
	/* the statement's snapshot may be older than the lock that it had to wait for */
	chs_spi_execute_now(NULL, "INSERT INTO chs.queue (xid, customer_id, enqueued_at,"
						"  series_version, rebuild)"
						" SELECT pg_current_xact_id(), customer_id, now(), $1, true"
						" FROM (SELECT customer_id FROM chs.customers"
						"       UNION SELECT customer_id FROM chs.queue) everyone",
						1, &type, &series_version, NULL);
	chs_spi_end(&saved);
	chs_wake_at_commit();
	truncated_in.command = GetCurrentCommandId(false);
	truncated_in.subid = GetCurrentSubTransactionId();
	PG_RETURN_POINTER(NULL);
}

static bool
column_differs(TupleTableSlot *a, TupleTableSlot *b, int column)
{
	Form_pg_attribute attribute = TupleDescAttr(a->tts_tupleDescriptor, column - 1);
	bool		null_a;
	bool		null_b;
	Datum		x = slot_getattr(a, column, &null_a);
	Datum		y = slot_getattr(b, column, &null_b);

	if (null_a || null_b)
		return null_a != null_b;
	return !datum_image_eq(x, y, attribute->attbyval, attribute->attlen);
}

/* The day on which a customer left, or DAY_NO_END. */
static int32
churn_day(TupleTableSlot *row)
{
	bool		isnull;
	Datum		churned_at = slot_getattr(row, CUSTOMERS_CHURNED_AT, &isnull);

	return isnull ? DAY_NO_END : chs_count_day(DatumGetTimestampTz(churned_at));
}

/* Has the past days be counted again on which a customer had left, or not, unlike before. */
static void
recount_days(TupleTableSlot *old, TupleTableSlot *new)
{
	int32		before = churn_day(old);
	int32		after = churn_day(new);

	if (before != after && Min(before, after) < chs_customer_today())
		chs_daily_counts_mark(Min(before, after));
}

static void
capture_changed_customer(TupleTableSlot *old, TupleTableSlot *new)
{
	int64		customer_id = slot_int64(new, CUSTOMERS_CUSTOMER_ID);
	bool		renumbered = column_differs(old, new, CUSTOMERS_CUSTOMER_ID);
	/* the day that is scored may be another one, or the events others */
	bool		rebuild = renumbered || column_differs(old, new, CUSTOMERS_EXTERNAL_ID) ||
		column_differs(old, new, CUSTOMERS_CHURNED_AT);

	if (!rebuild && !column_differs(old, new, CUSTOMERS_SEGMENT) &&
		!column_differs(old, new, CUSTOMERS_CREATED_AT))
		return;
	forget_customer(slot_int64(old, CUSTOMERS_CUSTOMER_ID));
	if (rebuild)
		chs_pending_rebuild(capturing_version(), customer_id, false);
	else
		chs_pending_score(capturing_version(), customer_id);
	recount_days(old, new);
	if (renumbered)
		chs_gone_forget(slot_int64(old, CUSTOMERS_CUSTOMER_ID), &customer_id);
}

/*
 * chs_capture_customer is the row trigger of chs.customers: queues the scoring
 * of a customer that is new, or of which changed what its score depends on.
 * What belongs to one who is gone goes, too.
 */
PG_FUNCTION_INFO_V1(chs_capture_customer);
Datum
chs_capture_customer(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	TupleTableSlot *row;
	const Live *live;
	int64		customer_id;

	check_trigger(fcinfo, true, "chs.capture_customer");
	check_table(fcinfo, chs_catalog_relation(CHS_CUSTOMERS), "chs.capture_customer", "customers");
	row = trigdata->tg_trigslot;
	customer_id = slot_int64(row, CUSTOMERS_CUSTOMER_ID);
	if (TRIGGER_FIRED_BY_DELETE(trigdata->tg_event))
	{
		forget_customer(customer_id);
		chs_gone_forget(customer_id, NULL);
		PG_RETURN_POINTER(NULL);
	}
	if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
	{
		capture_changed_customer(row, trigdata->tg_newslot);
		PG_RETURN_POINTER(NULL);
	}
	live = capturing_version();
	if (chs_restore_is_on(trigdata->tg_relation))
		queue_restored(live, customer_id);
	/* without foreign keys there may be events already */
	else if (SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA)
		chs_pending_rebuild(live, customer_id, false);
	else
		chs_pending_score(live, customer_id);
	PG_RETURN_POINTER(NULL);
}

/* ------------------------------------------------------ end of transactions */

/* The bytes of a memory context that are in use, its own administration included. */
static Size
used_bytes(MemoryContext context)
{
	MemoryContextCounters counters = {0};

	context->methods->stats(context, NULL, NULL, &counters, false);
	return counters.totalspace - counters.freespace;
}

/*
 * Resets the memory context of a committing subtransaction if all that was allocated
 * there has been freed.
 *
 * PostgreSQL deletes the context of a committed subtransaction only if nothing was
 * ever allocated in it, and else keeps it until the end of the transaction.  For a
 * statement trigger it allocates, and frees, a few bytes there; so without this each
 * subtransaction that inserts an event would keep 8 kB.
 */
static void
reset_if_unused(MemoryContext context)
{
	static Size unused = 0;

	if (unused == 0)
	{
		/* made like that of a subtransaction */
		MemoryContext fresh = AllocSetContextCreate(TopTransactionContext, "chs probe",
													ALLOCSET_DEFAULT_SIZES);

		unused = used_bytes(fresh);
		MemoryContextDelete(fresh);
	}
	if (!MemoryContextIsEmpty(context) && context->firstchild == NULL &&
		used_bytes(context) == unused)
		MemoryContextReset(context);
}

static void
at_transaction_end(XactEvent event, void *arg pg_attribute_unused())
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			chs_capture_flush_pending();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			chs_pending_end();
			has_fired = false;
			truncated_in.subid = InvalidSubTransactionId;
			attached->forget(InvalidSubTransactionId);
			break;
		default:
			break;
	}
}

static void
at_subtransaction_end(SubXactEvent event, SubTransactionId subid,
					  SubTransactionId parent, void *arg pg_attribute_unused())
{
	if (event == SUBXACT_EVENT_PRE_COMMIT_SUB)
	{
		attached->pass_on(subid, parent);
		chs_capture_flush_pending();
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB && has_fired)
		reset_if_unused(CurTransactionContext);
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		chs_pending_discard(subid);
		attached->forget(subid);
	}
}

/* chs_capture_init registers for the end of transactions. */
void
chs_capture_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
}

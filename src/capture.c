/*
 * capture.c
 *	  Capture: from inserted rows to deltas in the queue.
 *
 * Row triggers check every event and gather what it adds to the activity of its
 * customer; a statement trigger then appends one delta per customer to the queue.
 * Where no statement trigger fires (rows that arrive by logical replication, or
 * directly in a partition), the next statement or the end of the (sub)transaction
 * does it.  What is gathered belongs to a subtransaction: it goes to the queue
 * with that one's rows, or goes away with them.
 *
 * Memory stays within work_mem: beyond that, deltas go to the queue in mid-
 * statement.
 */
#include "capture.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "count.h"
#include "customer.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "queue.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "worker.h"

/* Columns of chs.customer_events. */
#define EVENTS_CUSTOMER_ID 2
#define EVENTS_EVENT_TYPE 3
#define EVENTS_EVENT_DATA 4
#define EVENTS_OCCURRED_AT 5

/* Columns of chs.customers. */
#define CUSTOMERS_CUSTOMER_ID 1
#define CUSTOMERS_SEGMENT 5
#define CUSTOMERS_CREATED_AT 7
#define CUSTOMERS_CHURNED_AT 8

/* Events may be so far ahead of the clock, for clocks that differ. */
#define MAX_AHEAD USECS_PER_DAY

/* A cell of one customer. */
typedef struct GatheredKey
{
	int64		customer_id;
	uint64		series_id;
	uint64		key;
	int32		day;
} GatheredKey;

typedef struct Gathered
{
	GatheredKey id;
	int64		n;
	int128		total;
	SeriesKind	kind;
	int			keep;
	char		status;
} Gathered;

#define GATHERED_HASH(k) \
	((uint32) murmurhash64((uint64) (k).customer_id * UINT64CONST(0x9e3779b97f4a7c15) ^ \
						   (k).series_id ^ ((k).key << 1) ^ ((uint64) (uint32) (k).day << 32)))
#define GATHERED_EQUAL(a, b) \
	((a).customer_id == (b).customer_id && (a).series_id == (b).series_id && \
	 (a).key == (b).key && (a).day == (b).day)

static inline uint64
murmurhash64(uint64 h)
{
	h ^= h >> 33;
	h *= UINT64CONST(0xff51afd7ed558ccd);
	h ^= h >> 33;
	h *= UINT64CONST(0xc4ceb9fe1a85ec53);
	h ^= h >> 33;
	return h;
}

#define SH_PREFIX gathered
#define SH_ELEMENT_TYPE Gathered
#define SH_KEY_TYPE GatheredKey
#define SH_KEY id
#define SH_HASH_KEY(tb, k) GATHERED_HASH(k)
#define SH_EQUAL(tb, a, b) GATHERED_EQUAL(a, b)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* A customer with something to queue. */
typedef struct Touched
{
	int64		customer_id;
	bool		rebuild;		/* activity from the raw events */
	bool		counted;		/* has events, so has a delta */
	char		status;
} Touched;

#define SH_PREFIX touched
#define SH_ELEMENT_TYPE Touched
#define SH_KEY_TYPE int64
#define SH_KEY customer_id
#define SH_HASH_KEY(tb, k) ((uint32) murmurhash64((uint64) (k)))
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* What one subtransaction has gathered and not yet queued. */
typedef struct Gathering
{
	SubTransactionId subid;
	MemoryContext context;		/* holds all of it, and the next table */
	int32		today;
	int			series_version;
	gathered_hash *cells;		/* NULL: none yet */
	touched_hash *customers;
	struct Gathering *outer;	/* of an outer subtransaction */
} Gathering;

static Gathering *innermost = NULL;
static bool wake_at_commit = false;

/* ---------------------------------------------------------------- gathering */

/* Returns what the current subtransaction gathers. */
static Gathering *
current_gathering(void)
{
	SubTransactionId subid = GetCurrentSubTransactionId();
	MemoryContext context;
	Gathering  *g = innermost;

	if (g != NULL && g->subid == subid)
		return g;
	context = AllocSetContextCreate(TopTransactionContext, "chs capture", ALLOCSET_SMALL_SIZES);
	g = MemoryContextAllocZero(context, sizeof(Gathering));
	g->subid = subid;
	g->context = context;
	g->today = chs_customer_today();
	g->customers = touched_create(context, 16, NULL);
	g->outer = innermost;
	innermost = g;
	return g;
}

static int
compare_int64(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return (x > y) - (x < y);
}

typedef struct CustomerIncrement
{
	int64		customer_id;
	Increment	increment;
} CustomerIncrement;

/* Returns the gathered cells, those of a customer together. */
static CustomerIncrement *
collect_increments(Gathering *g, int *n)
{
	CustomerIncrement *all;
	gathered_iterator it;
	Gathered   *cell;
	int			i = 0;

	*n = g->cells == NULL ? 0 : g->cells->members;
	all = palloc_extended(Max(*n, 1) * sizeof(CustomerIncrement), MCXT_ALLOC_HUGE);
	if (*n == 0)
		return all;
	gathered_start_iterate(g->cells, &it);
	while ((cell = gathered_iterate(g->cells, &it)) != NULL)
	{
		all[i].customer_id = cell->id.customer_id;
		all[i].increment = (Increment) {
			.series_id = cell->id.series_id,.kind = cell->kind,.keep = cell->keep,
			.cell = {.key = cell->id.key,.day = cell->id.day,.n = cell->n,.total = cell->total}
		};
		i++;
	}
	qsort(all, *n, sizeof(CustomerIncrement), compare_int64);
	return all;
}

/* Appends to the queue what one gathering holds, by ascending customer. */
static void
append_gathering(Gathering *g)
{
	QueueAppender appender;
	touched_iterator it;
	Touched    *customer;
	int64	   *ids = palloc_extended(g->customers->members * sizeof(int64), MCXT_ALLOC_HUGE);
	int			n = 0;
	int			ncells;
	int			next = 0;
	CustomerIncrement *cells = collect_increments(g, &ncells);
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "chs delta", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller;

	touched_start_iterate(g->customers, &it);
	while ((customer = touched_iterate(g->customers, &it)) != NULL)
		ids[n++] = customer->customer_id;
	qsort(ids, n, sizeof(int64), compare_int64);

	chs_queue_begin_append(&appender);
	caller = MemoryContextSwitchTo(scratch);
	for (int i = 0; i < n; i++)
	{
		int			first = next;
		Activity   *delta = NULL;

		CHECK_FOR_INTERRUPTS();
		customer = touched_lookup(g->customers, ids[i]);
		while (next < ncells && cells[next].customer_id == ids[i])
			next++;
		if (customer->counted && !customer->rebuild)
		{
			Increment  *increments = palloc_extended(Max(next - first, 1) * sizeof(Increment), MCXT_ALLOC_HUGE);

			for (int j = first; j < next; j++)
				increments[j - first] = cells[j].increment;
			delta = chs_activity_encode(chs_activity_from_increments(increments, next - first, g->today));
		}
		chs_queue_append(&appender, ids[i], delta, customer->rebuild, g->series_version);
		MemoryContextReset(scratch);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(scratch);
	chs_queue_end_append(&appender);
}

/* Drops the innermost gathering. */
static void
drop_innermost(void)
{
	Gathering  *g = innermost;

	innermost = g->outer;
	MemoryContextDelete(g->context);
}

/*
 * chs_capture_flush_pending appends to the queue what the current subtransaction
 * has gathered, and has the worker woken at commit.
 */
void
chs_capture_flush_pending(void)
{
	MemoryContext caller;
	bool		pushed;

	if (innermost == NULL || innermost->subid != GetCurrentSubTransactionId())
		return;
	caller = MemoryContextSwitchTo(innermost->context);
	/* at the end of a transaction there is none */
	pushed = !ActiveSnapshotSet();
	if (pushed)
		PushActiveSnapshot(GetTransactionSnapshot());
	append_gathering(innermost);
	if (pushed)
		PopActiveSnapshot();
	MemoryContextSwitchTo(caller);
	drop_innermost();
	wake_at_commit = true;
}

/* Remembers a customer; the first time makes sure that it exists. */
static Touched *
touch_customer(Gathering *g, int64 customer_id, bool must_exist)
{
	bool		found;
	Touched    *customer = touched_insert(g->customers, customer_id, &found);

	if (found)
		return customer;
	customer->rebuild = false;
	customer->counted = false;
	if (must_exist && !chs_customer_lock(customer_id))
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg("event has an unknown customer_id: %lld", (long long) customer_id),
				 errdetail("There is no such row in chs.customers."),
				 errhint("Insert the customer first.")));
	return customer;
}

static void
gather_increment(Gathering *g, int64 customer_id, const Increment *in)
{
	GatheredKey id = {customer_id, in->series_id, in->cell.key, in->cell.day};
	bool		found;
	Gathered   *cell = gathered_insert(g->cells, id, &found);

	if (!found)
	{
		cell->n = 0;
		cell->total = 0;
		cell->kind = in->kind;
		cell->keep = in->keep;
	}
	if (in->kind == SERIES_DISTINCT)
		cell->n = 1;
	else
	{
		cell->n += in->cell.n;
		cell->total += in->cell.total;
	}
}

/* ------------------------------------------------------------- checking */

/* An event as its row has it. */
typedef struct Event
{
	int64		customer_id;
	char	   *event_type;
	int			event_type_length;
	Jsonb	   *event_data;
	TimestampTz occurred_at;
} Event;

static const char *
event_type_text(const Event *event)
{
	return pnstrdup(event->event_type, event->event_type_length);
}

static bool
find_field(const Event *event, const char *field, JsonbValue *value)
{
	return getKeyJsonValueFromContainer(&event->event_data->root, field, strlen(field), value) != NULL &&
		value->type != jbvNull;
}

static char *
field_text(JsonbValue *value)
{
	Jsonb	   *jb = JsonbValueToJsonb(value);

	return JsonbToCString(NULL, &jb->root, VARSIZE(jb));
}

static void
check_fields(const EventRule *rule, const Event *event)
{
	JsonbValue	v;

	for (int i = 0; i < rule->nrequired; i++)
		if (!find_field(event, rule->required[i], &v))
			ereport(ERROR,
					(errcode(ERRCODE_CHECK_VIOLATION),
					 errmsg("event of customer %lld has no \"%s\"", (long long) event->customer_id, rule->required[i]),
					 errdetail("An event of type \"%s\" must have \"%s\" in event_data.",
							   event_type_text(event), rule->required[i])));
	for (int i = 0; i < rule->npositive; i++)
	{
		if (!find_field(event, rule->positive[i], &v))
			ereport(ERROR,
					(errcode(ERRCODE_CHECK_VIOLATION),
					 errmsg("event of customer %lld has no \"%s\"", (long long) event->customer_id, rule->positive[i]),
					 errdetail("An event of type \"%s\" must have \"%s\" as a number above 0 in event_data.",
							   event_type_text(event), rule->positive[i])));
		if (v.type != jbvNumeric || numeric_is_nan(v.val.numeric) ||
			DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(v.val.numeric),
											  DirectFunctionCall1(int4_numeric, Int32GetDatum(0)))) <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_CHECK_VIOLATION),
					 errmsg("event of customer %lld has an invalid \"%s\": %s",
							(long long) event->customer_id, rule->positive[i], field_text(&v)),
					 errdetail("An event of type \"%s\" must have \"%s\" as a number above 0 in event_data.",
							   event_type_text(event), rule->positive[i])));
	}
}

/* Raises an error that names the field and the value if an event breaks a rule. */
static void
check_event(const Live *live, const Event *event)
{
	const EventRule *rule = NULL;

	for (int i = 0; i < live->nrules && rule == NULL; i++)
		if (live->rules[i].event_type_length == event->event_type_length &&
			memcmp(live->rules[i].event_type, event->event_type, event->event_type_length) == 0)
			rule = &live->rules[i];
	if (rule == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg("event of customer %lld has an unknown event_type: \"%s\"",
						(long long) event->customer_id, event_type_text(event)),
				 errhint("Use a type that chs.event_types lists, or add a row for it there.")));
	if (!JB_ROOT_IS_OBJECT(event->event_data))
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("event of customer %lld has an invalid event_data: %s", (long long) event->customer_id,
						JsonbToCString(NULL, &event->event_data->root, VARSIZE(event->event_data))),
				 errdetail("It must be a JSON object.")));
	check_fields(rule, event);
	if (TIMESTAMP_NOT_FINITE(event->occurred_at))
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("event of customer %lld has an invalid occurred_at: %s",
						(long long) event->customer_id, timestamptz_to_str(event->occurred_at)),
				 errdetail("It must be finite.")));
	if (event->occurred_at - GetCurrentTransactionStartTimestamp() > MAX_AHEAD &&
		event->occurred_at - GetCurrentTimestamp() > MAX_AHEAD)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("event of customer %lld has an occurred_at too far ahead: %s",
						(long long) event->customer_id, timestamptz_to_str(event->occurred_at)),
				 errdetail("It may be at most one day after the current time.")));
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
				 errmsg("function \"%s\" must be fired AFTER, FOR EACH %s", name, row ? "ROW" : "STATEMENT")));
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

static void
capture_insert(const Live *live, Gathering *g, const Event *event)
{
	Increment  *increments;
	int			n;
	Touched    *customer = touch_customer(g, event->customer_id, true);

	customer->counted = true;
	/* a rebuild counts every event anyway */
	if (customer->rebuild)
		return;
	increments = palloc(Max(live->published->max_increments, 1) * sizeof(Increment));
	n = chs_count_event(live->published, event->event_type, event->event_type_length,
						event->event_data, chs_count_day(event->occurred_at), increments);
	if (n > 0 && g->cells == NULL)
		g->cells = gathered_create(g->context, 32, NULL);
	for (int i = 0; i < n; i++)
		if (increments[i].cell.day > g->today - increments[i].keep)
			gather_increment(g, event->customer_id, &increments[i]);
}

/*
 * chs_capture is the row trigger of chs.customer_events: an inserted event is
 * checked and counted; of updated and deleted ones the customers are rebuilt.
 */
PG_FUNCTION_INFO_V1(chs_capture);
Datum
chs_capture(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	const Live *live;
	Gathering  *g;
	Event		event;

	check_trigger(fcinfo, true, "chs.capture");
	live = chs_catalog_live();
	check_table(fcinfo, live->events, "chs.capture", "customer_events");
	g = current_gathering();
	if (g->customers->members > 0 && g->series_version != live->series_version)
	{
		/* published meanwhile */
		chs_capture_flush_pending();
		g = current_gathering();
	}
	g->series_version = live->series_version;

	if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
	{
		event = read_event(trigdata->tg_trigslot);
		check_event(live, &event);
		capture_insert(live, g, &event);
	}
	else if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
	{
		event = read_event(trigdata->tg_newslot);
		check_event(live, &event);
		touch_customer(g, event.customer_id, true)->rebuild = true;
		touch_customer(g, slot_int64(trigdata->tg_trigslot, EVENTS_CUSTOMER_ID), false)->rebuild = true;
	}
	else
		touch_customer(g, slot_int64(trigdata->tg_trigslot, EVENTS_CUSTOMER_ID), false)->rebuild = true;

	if (MemoryContextMemAllocated(g->context, true) > (Size) work_mem * 1024)
		chs_capture_flush_pending();
	PG_RETURN_POINTER(NULL);
}

/* chs_capture_flush is the statement trigger that appends what was gathered. */
PG_FUNCTION_INFO_V1(chs_capture_flush);
Datum
chs_capture_flush(PG_FUNCTION_ARGS)
{
	check_trigger(fcinfo, false, "chs.capture_flush");
	chs_capture_flush_pending();
	PG_RETURN_POINTER(NULL);
}

/* chs_capture_truncate queues a rebuild of everyone. */
PG_FUNCTION_INFO_V1(chs_capture_truncate);
Datum
chs_capture_truncate(PG_FUNCTION_ARGS)
{
	Gathering  *g;
	OwnerRights saved;
	Portal		portal;

	check_trigger(fcinfo, false, "chs.capture_truncate");
	check_table(fcinfo, chs_catalog_relation("customer_events"), "chs.capture_truncate", "customer_events");
	chs_capture_flush_pending();
	chs_catalog_become_owner(&saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	portal = SPI_cursor_open_with_args(NULL, "SELECT customer_id FROM chs.customers ORDER BY customer_id",
									   0, NULL, NULL, NULL, true, 0);
	for (;;)
	{
		SPI_cursor_fetch(portal, true, 1000);
		if (SPI_processed == 0)
			break;
		g = current_gathering();
		g->series_version = chs_catalog_live()->series_version;
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			bool		isnull;
			Datum		id = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);

			touch_customer(g, DatumGetInt64(id), false)->rebuild = true;
		}
		SPI_freetuptable(SPI_tuptable);
		chs_capture_flush_pending();
	}
	SPI_cursor_close(portal);
	SPI_finish();
	chs_catalog_become_caller(&saved);
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

/*
 * chs_capture_customer is the row trigger of chs.customers: queues the scoring
 * of a customer that is new, or of which changed what its score depends on.
 * What belongs to a deleted customer goes by foreign keys.
 */
PG_FUNCTION_INFO_V1(chs_capture_customer);
Datum
chs_capture_customer(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	Gathering  *g;
	Touched    *customer;

	check_trigger(fcinfo, true, "chs.capture_customer");
	check_table(fcinfo, chs_catalog_relation("customers"), "chs.capture_customer", "customers");
	if (TRIGGER_FIRED_BY_DELETE(trigdata->tg_event))
		PG_RETURN_POINTER(NULL);
	if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) &&
		!column_differs(trigdata->tg_trigslot, trigdata->tg_newslot, CUSTOMERS_CUSTOMER_ID) &&
		!column_differs(trigdata->tg_trigslot, trigdata->tg_newslot, CUSTOMERS_SEGMENT) &&
		!column_differs(trigdata->tg_trigslot, trigdata->tg_newslot, CUSTOMERS_CREATED_AT) &&
		!column_differs(trigdata->tg_trigslot, trigdata->tg_newslot, CUSTOMERS_CHURNED_AT))
		PG_RETURN_POINTER(NULL);

	g = current_gathering();
	g->series_version = chs_catalog_live()->series_version;
	if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
		touch_customer(g, slot_int64(trigdata->tg_trigslot, CUSTOMERS_CUSTOMER_ID), false);
	else
	{
		customer = touch_customer(g, slot_int64(trigdata->tg_newslot, CUSTOMERS_CUSTOMER_ID), false);
		/* the day that is scored may be another one, or the events others */
		if (column_differs(trigdata->tg_trigslot, trigdata->tg_newslot, CUSTOMERS_CHURNED_AT) ||
			column_differs(trigdata->tg_trigslot, trigdata->tg_newslot, CUSTOMERS_CUSTOMER_ID))
			customer->rebuild = true;
	}
	if (MemoryContextMemAllocated(g->context, true) > (Size) work_mem * 1024)
		chs_capture_flush_pending();
	PG_RETURN_POINTER(NULL);
}

/* chs_wake_worker has the worker look at this database after commit. */
PG_FUNCTION_INFO_V1(chs_wake_worker);
Datum
chs_wake_worker(PG_FUNCTION_ARGS)
{
	wake_at_commit = true;
	PG_RETURN_VOID();
}

/* ------------------------------------------------------ end of transactions */

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
			if (wake_at_commit)
				chs_worker_wake();
			/* fall through */
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			/* the memory goes with the transaction */
			innermost = NULL;
			wake_at_commit = false;
			break;
		default:
			break;
	}
}

static void
at_subtransaction_end(SubXactEvent event, SubTransactionId subid,
					  SubTransactionId parent pg_attribute_unused(), void *arg pg_attribute_unused())
{
	if (event == SUBXACT_EVENT_PRE_COMMIT_SUB)
		chs_capture_flush_pending();
	else if (event == SUBXACT_EVENT_ABORT_SUB)
		while (innermost != NULL && innermost->subid >= subid)
			drop_innermost();
}

/* chs_capture_init registers for the end of transactions. */
void
chs_capture_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
}

/*
 * capture.c
 *	  Capture: from inserted rows to deltas in the queue.
 *
 * Row triggers check every event and collect what it adds to the activity of its
 * customer; a statement trigger then appends one delta per customer to the queue.
 * If no statement trigger fires (for rows that arrive by logical replication, or
 * directly in a partition), the next statement or the end of the (sub)transaction
 * does that.  What is collected belongs to a subtransaction, and reaches the queue
 * or is discarded together with its rows.
 *
 * Memory stays within what a hash table may use (work_mem times
 * hash_mem_multiplier): beyond that, deltas go to the queue in mid-statement.
 */
#include "engine/capture.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/nodeHash.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "activity/activity.h"
#include "activity/activity_merge.h"
#include "activity/activity_write.h"
#include "base/catalog.h"
#include "base/error.h"
#include "base/id.h"
#include "base/spi.h"
#include "base/wake.h"
#include "score/count.h"
#include "score/scorecard.h"
#include "store/customer.h"
#include "store/event.h"
#include "store/gone.h"
#include "store/live.h"
#include "store/queue.h"
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
 * What an event adds to a series, in the order of arrival.  A total that does not
 * fit is split into two records.
 */
typedef struct Record
{
	uint32		next;			/* of the same customer: index plus 1, or 0 */
	int16		days_ago;
	uint16		series;			/* index into the gathering's, perhaps HIGH_PART */
	int64		value;			/* hash of a distinct value, total in millionths, or 0 */
} Record;

#define HIGH_PART 0x8000
#define HIGH_PART_SHIFT 62

/* of the live version and one that waits to become live */
StaticAssertDecl(2 * MAX_SERIES <= HIGH_PART, "indexes of series need a bit less");

/* A customer with something to queue, or one that is known to exist. */
typedef struct Touched
{
	int64		customer_id;
	uint32		last;			/* its last record: index plus 1, or 0 */
	bool		pending;		/* needs a row in the queue */
	bool		rebuild;		/* activity from the raw events */
	bool		counted;		/* has events, so has a delta */
	bool		must_exist;		/* has new events, so must be looked up */
	bool		exists;			/* and is locked, so continues to exist */
	bool		found;			/* has been looked up, but is not locked */
	char		status;
} Touched;

#define SH_PREFIX touched
#define SH_ELEMENT_TYPE Touched
#define SH_KEY_TYPE int64
#define SH_KEY customer_id
#define SH_HASH_KEY(tb, k) chs_id_hash(k)
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* What one subtransaction has collected and not yet queued. */
typedef struct Gathering
{
	SubTransactionId subid;
	MemoryContext context;		/* holds all of it */
	int32		today;
	int			version;		/* the live one, and */
	int			newest;			/* the one that was published last: whose series it counts */
	int			series_version;
	SeriesDefinition *series;	/* copied, since the live version may change */
	touched_hash *customers;
	uint32		npending;		/* customers that need a row */
	Record	   *records;
	uint32		nrecords;
	uint32		capacity;
	struct Gathering *outer;	/* of an outer subtransaction */
} Gathering;

static Gathering *innermost = NULL;

/* ---------------------------------------------------------------- gathering */

/* Returns what the current subtransaction has collected. */
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

/* The order of an activity: by series, distinct value and day. */
static int
compare_records(const void *a, const void *b, void *arg)
{
	const Record *x = a;
	const Record *y = b;
	const SeriesDefinition *series = arg;
	int			s = x->series & ~HIGH_PART;
	int			t = y->series & ~HIGH_PART;

	if (s != t)
		return s - t;
	if (series[s].kind == SERIES_DISTINCT && x->value != y->value)
		return (uint64) x->value < (uint64) y->value ? -1 : 1;
	return y->days_ago - x->days_ago;
}

/* Makes the delta of a customer from its records, in the current memory context. */
static Activity *
make_delta(const Gathering *g, const Touched *customer)
{
	Increment  *increments;
	Record	   *records;
	int			n = 0;

	Assert(customer->last <= g->nrecords);
	for (uint32 i = customer->last; i != 0; i = g->records[i - 1].next)
		n++;
	records = palloc_extended(Max(n, 1) * sizeof(Record), MCXT_ALLOC_HUGE);
	increments = palloc_extended(Max(n, 1) * sizeof(Increment), MCXT_ALLOC_HUGE);
	n = 0;
	for (uint32 i = customer->last; i != 0; i = g->records[i - 1].next)
		records[n++] = g->records[i - 1];
	/* sorted here, because records are smaller than increments */
	qsort_arg(records, n, sizeof(Record), compare_records, g->series);
	for (int i = 0; i < n; i++)
	{
		const Record *r = &records[i];
		const SeriesDefinition *s = &g->series[r->series & ~HIGH_PART];
		Increment  *in = &increments[i];

		*in = (Increment) {
			.series_id = s->id,.kind = s->kind,.keep = s->keep,
			.cell = {.n = 1,.day = g->today - r->days_ago}
		};
		if (s->kind == SERIES_DISTINCT)
			in->cell = chs_activity_distinct_cell((uint64) r->value, g->today - r->days_ago);
		else if (r->series & HIGH_PART)
		{
			in->cell.n = 0;
			in->cell.total = (int128) r->value * ((int128) 1 << HIGH_PART_SHIFT);
		}
		else
			in->cell.total = r->value;
	}
	return chs_activity_encode(chs_activity_from_increments(increments, n, g->today));
}

/* Whether a customer has new events and is not known to exist. */
static bool
must_be_checked(const Touched *customer)
{
	return customer->must_exist && !customer->exists;
}

/* Makes sure that a customer of new events exists, as a foreign key would. */
static void
check_exists(CustomerTable *customers, Touched *customer)
{
	if (!must_be_checked(customer))
		return;
	if (chs_customer_lock(customers, customer->customer_id, true, NULL, NULL) != CUSTOMER_LOCKED)
		chs_error_throw(chs_event_unknown_customer(customer->customer_id));
	customer->exists = true;
}

/*
 * Appends the contents of a gathering to the queue, by ascending customer, because
 * looking them up costs least in that order, and empties it, except for the
 * knowledge of which customers exist.
 */
static void
append_gathering(Gathering *g)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "chs deltas", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(scratch);
	int64	   *ids = palloc_extended(Max(g->npending, 1) * sizeof(int64), MCXT_ALLOC_HUGE);
	QueueAppender appender;
	CustomerTable customers;
	touched_iterator it;
	Touched    *customer;
	bool		any_must_exist = false;
	uint32		n = 0;

	touched_start_iterate(g->customers, &it);
	while ((customer = touched_iterate(g->customers, &it)) != NULL)
	{
		if (!customer->pending)
			continue;
		ids[n++] = customer->customer_id;
		any_must_exist |= must_be_checked(customer);
	}
	Assert(n == g->npending);
	Assert(ActiveSnapshotSet());
	qsort(ids, n, sizeof(int64), chs_id_compare);

	/* not for attached tables, whose rows have been looked up */
	if (any_must_exist)
		chs_customer_open(&customers);
	chs_queue_begin_append(&appender);
	for (uint32 i = 0; i < n; i++)
	{
		MemoryContext outer = MemoryContextSwitchTo(appender.row_context);
		Activity   *delta = NULL;

		CHECK_FOR_INTERRUPTS();
		customer = touched_lookup(g->customers, ids[i]);
		Assert(customer != NULL);
		check_exists(&customers, customer);
		if (customer->counted && !customer->rebuild)
			delta = make_delta(g, customer);
		chs_queue_append(&appender, ids[i], delta, customer->rebuild, g->series_version);
		MemoryContextSwitchTo(outer);
		customer->last = 0;
		customer->pending = customer->rebuild = customer->counted = customer->must_exist = false;
	}
	chs_queue_end_append(&appender);
	if (any_must_exist)
		chs_customer_close(&customers);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(scratch);
	g->nrecords = 0;
	g->npending = 0;
	chs_wake_at_commit();
}

/* Drops the innermost gathering. */
static void
drop_innermost(void)
{
	Gathering  *g = innermost;

	Assert(g != NULL);
	innermost = g->outer;
	MemoryContextDelete(g->context);
}

/* Appends to the queue what the current subtransaction has collected. */
static void
flush_gathering(void)
{
	bool		pushed = false;

	if (innermost == NULL || innermost->subid != GetCurrentSubTransactionId())
		return;
	/* at the end of a transaction there is no snapshot */
	if (!ActiveSnapshotSet())
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		pushed = true;
	}
	append_gathering(innermost);
	if (pushed)
		PopActiveSnapshot();
	drop_innermost();
}

/*
 * chs_capture_flush_pending appends to the queue what the current subtransaction
 * has collected, and arranges for the worker to be woken at commit.
 */
void
chs_capture_flush_pending(void)
{
	attached->flush();
	flush_gathering();
}

/*
 * chs_capture_is_pending tells whether events of the transaction are collected and
 * not yet in the queue: in mid-statement, or because no statement trigger fired.
 */
bool
chs_capture_is_pending(void)
{
	for (Gathering *g = innermost; g != NULL; g = g->outer)
		if (g->npending > 0)
			return true;
	return attached->is_pending();
}

/*
 * Makes room for n records: in more memory or, if that would exceed what a hash
 * table may use, by appending to the queue what has been collected.
 */
static void
make_room(Gathering *g, uint32 n)
{
	Size		limit = get_hash_memory_limit();
	Size		allocated = MemoryContextMemAllocated(g->context, true);
	Size		customers = allocated - g->capacity * sizeof(Record);
	/* more room means fewer deltas; but customers may need twice as much */
	uint32		most = Min((Max(limit, 2 * customers) - 2 * customers) / sizeof(Record), PG_UINT32_MAX / 2);

	if (g->npending > 0 && (g->nrecords + n > most || allocated > limit))
	{
		append_gathering(g);
		if (g->capacity > most)
		{
			pfree(g->records);
			g->records = NULL;
			g->capacity = 0;
		}
		/* nor must it know so many customers that there is no room left for records */
		if (customers > limit / 4)
		{
			touched_destroy(g->customers);
			g->customers = touched_create(g->context, 16, NULL);
		}
	}
	if (g->capacity - g->nrecords >= n)
		return;
	g->capacity = Max(g->nrecords + n, Min(Max(g->capacity * 2, 64), most));
	g->records = g->records == NULL ?
		MemoryContextAllocHuge(g->context, g->capacity * sizeof(Record)) :
		repalloc_huge(g->records, g->capacity * sizeof(Record));
}

/* The version to count by: the one that the transaction's scores use. */
static const Live *
capturing_version(void)
{
	return IsolationUsesXactSnapshot() ? chs_live_at(GetTransactionSnapshot()) : chs_live_version();
}

/*
 * Returns what the current subtransaction has collected, with room for an event,
 * which is counted as the live version and the waiting one require.
 */
static Gathering *
gathering_for(const Live *live)
{
	Gathering  *g = current_gathering();
	const Published *counted = live->counting->published;
	uint32		room = counted->max_increments * 2;
	bool		is_other = g->version != live->version || g->newest != live->newest;

	/* another version was published or went live meanwhile */
	if (g->npending > 0 && is_other)
	{
		/* kept rows stay: evaluating them could cause the live version to be reread */
		flush_gathering();
		g = current_gathering();
	}
	if (is_other)
	{
		Size		size = counted->nseries * sizeof(SeriesDefinition);

		g->version = live->version;
		g->newest = live->newest;
		g->series_version = live->counting->series_version;
		g->series = MemoryContextAlloc(g->context, Max(size, 1));
		memcpy(g->series, counted->series, size);
	}
	if (g->capacity - g->nrecords < room ||
		MemoryContextMemAllocated(g->context, true) > get_hash_memory_limit())
		make_room(g, room);
	return g;
}

/* What is known about a customer. */
static Touched *
know_customer(Gathering *g, int64 customer_id)
{
	bool		found;
	Touched    *customer = touched_insert(g->customers, customer_id, &found);

	if (!found)
	{
		customer->last = 0;
		customer->pending = customer->rebuild = customer->counted = false;
		customer->must_exist = customer->exists = customer->found = false;
	}
	return customer;
}

/* Remembers a customer to be queued, and whether it must exist. */
static Touched *
touch_customer(Gathering *g, int64 customer_id, bool must_exist)
{
	Touched    *customer = know_customer(g, customer_id);

	customer->must_exist |= must_exist;
	if (!customer->pending)
	{
		customer->pending = true;
		g->npending++;
	}
	return customer;
}

static void
add_record(Gathering *g, Touched *customer, int series, int32 day, int64 value)
{
	Assert(g->nrecords < g->capacity);
	Assert(series >= 0 && series <= PG_UINT16_MAX);
	Assert(g->today - day == (int16) (g->today - day));
	g->records[g->nrecords] = (Record) {
		.next = customer->last,.days_ago = (int16) (g->today - day),
		.series = (uint16) series,.value = value
	};
	customer->last = ++g->nrecords;
}

static void
add_increment(Gathering *g, Touched *customer, int32 day, const Increment *in)
{
	int64		value = (int64) in->cell.total;

	if (day <= g->today - in->keep)
		return;					/* no window reaches it */
	if (in->kind == SERIES_DISTINCT)
		value = (int64) in->cell.key;
	else if (in->cell.total != value)
	{
		int128		high = in->cell.total >> HIGH_PART_SHIFT;

		add_record(g, customer, in->series | HIGH_PART, day, (int64) high);
		value = (int64) (in->cell.total - high * ((int128) 1 << HIGH_PART_SHIFT));
	}
	add_record(g, customer, in->series, day, value);
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

/* Counts an event; must_exist tells whether its customer must exist. */
static void
count_event(const Live *live, Gathering *g, const Event *event, bool must_exist)
{
	int32		day = chs_count_day(event->occurred_at);
	Increment  *increments;
	int			n;
	Touched    *customer = touch_customer(g, event->customer_id, must_exist);

	customer->counted = true;
	/* a rebuild counts every event anyway */
	if (customer->rebuild)
		return;
	increments = palloc(Max(live->counting->published->max_increments, 1) * sizeof(Increment));
	n = chs_count_event(live->counting->published, event->event_type, event->event_type_length,
						event->event_data, day, increments);
	for (int i = 0; i < n; i++)
		add_increment(g, customer, day, &increments[i]);
}

/* Queues a rebuild, for later, of a customer of whom a row is restored from a dump. */
static void
touch_restored(Gathering *g, int64 customer_id)
{
	if (g->npending == 0)
		chs_restore_hold_worker();
	touch_customer(g, customer_id, false)->rebuild = true;
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
	Gathering  *g;
	Event		event;

	check_trigger(fcinfo, true, "chs.capture");
	live = capturing_version();
	check_table(fcinfo, live->events, "chs.capture", "customer_events");
	if (TRIGGER_FIRED_BY_DELETE(trigdata->tg_event) && deletes_ignored_before != DT_NOBEGIN &&
		read_event(trigdata->tg_trigslot).occurred_at < deletes_ignored_before)
		PG_RETURN_POINTER(NULL);
	g = gathering_for(live);
	if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event) && chs_restore_is_on(trigdata->tg_relation))
		touch_restored(g, slot_int64(trigdata->tg_trigslot, EVENTS_CUSTOMER_ID));
	else if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
	{
		event = read_event(trigdata->tg_trigslot);
		check_event(live, &event);
		count_event(live, g, &event, true);
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

/*
 * What was known of a customer may be so no more, after this transaction deleted it
 * or changed its key.
 */
static void
forget_customer(int64 customer_id)
{
	for (Gathering *g = innermost; g != NULL; g = g->outer)
	{
		Touched    *customer = touched_lookup(g->customers, customer_id);

		if (customer != NULL)
			customer->exists = customer->found = false;
	}
	attached->forget_keys();
}

/* The same for all of them, after TRUNCATE. */
static void
forget_customers(void)
{
	for (Gathering *g = innermost; g != NULL; g = g->outer)
	{
		touched_iterator it;
		Touched    *customer;

		touched_start_iterate(g->customers, &it);
		while ((customer = touched_iterate(g->customers, &it)) != NULL)
			customer->exists = customer->found = false;
	}
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
	Gathering  *g;
	OwnerRights saved;
	Portal		portal;

	check_trigger(fcinfo, false, "chs.capture_truncate");
	has_fired = true;
	if (trigdata->tg_trigger->tgnargs > 0)
	{
		/* else it was detached, or is a partition no more */
		if (!attached->is_truncated(trigdata))
			PG_RETURN_POINTER(NULL);
	}
	else if (RelationGetRelid(trigdata->tg_relation) == chs_catalog_relation(CHS_CUSTOMERS))
		forget_customers();
	else if (RelationGetRelid(trigdata->tg_relation) != chs_catalog_relation(CHS_QUEUE) &&
			 RelationGetRelid(trigdata->tg_relation) != chs_catalog_relation(CHS_ACTIVITY))
		check_table(fcinfo, chs_catalog_relation(CHS_CUSTOMER_EVENTS), "chs.capture_truncate", "customer_events");
	/* once for a table and its partitions */
	if (truncated_in.command == GetCurrentCommandId(false) && truncated_in.subid == GetCurrentSubTransactionId())
		PG_RETURN_POINTER(NULL);
	if (trigdata->tg_trigger->tgnargs > 0 && attached->is_past(trigdata))
		PG_RETURN_POINTER(NULL);
	chs_capture_flush_pending();
	chs_spi_begin(&saved);
	/* the statement's snapshot may be older than the lock that it had to wait for */
	PushActiveSnapshot(GetLatestSnapshot());
	portal = SPI_cursor_open_with_args(NULL, "SELECT customer_id FROM chs.customers"
									   " UNION SELECT customer_id FROM chs.queue",
									   0, NULL, NULL, NULL, true, 0);
	PopActiveSnapshot();
	for (;;)
	{
		SPI_cursor_fetch(portal, true, 1000);
		if (SPI_processed == 0)
			break;
		g = gathering_for(capturing_version());
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
	chs_spi_end(&saved);
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
	Gathering  *g;
	Touched    *customer;

	check_trigger(fcinfo, true, "chs.capture_customer");
	check_table(fcinfo, chs_catalog_relation(CHS_CUSTOMERS), "chs.capture_customer", "customers");
	if (TRIGGER_FIRED_BY_DELETE(trigdata->tg_event))
	{
		int64		customer_id = slot_int64(trigdata->tg_trigslot, CUSTOMERS_CUSTOMER_ID);

		forget_customer(customer_id);
		chs_gone_forget(customer_id, NULL);
		PG_RETURN_POINTER(NULL);
	}
	if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) &&
		!column_differs(trigdata->tg_trigslot, trigdata->tg_newslot, CUSTOMERS_CUSTOMER_ID) &&
		!column_differs(trigdata->tg_trigslot, trigdata->tg_newslot, CUSTOMERS_EXTERNAL_ID) &&
		!column_differs(trigdata->tg_trigslot, trigdata->tg_newslot, CUSTOMERS_SEGMENT) &&
		!column_differs(trigdata->tg_trigslot, trigdata->tg_newslot, CUSTOMERS_CREATED_AT) &&
		!column_differs(trigdata->tg_trigslot, trigdata->tg_newslot, CUSTOMERS_CHURNED_AT))
		PG_RETURN_POINTER(NULL);

	g = gathering_for(capturing_version());
	if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event) && chs_restore_is_on(trigdata->tg_relation))
		touch_restored(g, slot_int64(trigdata->tg_trigslot, CUSTOMERS_CUSTOMER_ID));
	else if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
	{
		customer = touch_customer(g, slot_int64(trigdata->tg_trigslot, CUSTOMERS_CUSTOMER_ID), false);
		/* without foreign keys there may be events already */
		customer->rebuild |= SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA;
	}
	else
	{
		forget_customer(slot_int64(trigdata->tg_trigslot, CUSTOMERS_CUSTOMER_ID));
		customer = touch_customer(g, slot_int64(trigdata->tg_newslot, CUSTOMERS_CUSTOMER_ID), false);
		/* the day that is scored may be another one, or the events others */
		if (column_differs(trigdata->tg_trigslot, trigdata->tg_newslot, CUSTOMERS_CHURNED_AT) ||
			column_differs(trigdata->tg_trigslot, trigdata->tg_newslot, CUSTOMERS_CUSTOMER_ID) ||
			column_differs(trigdata->tg_trigslot, trigdata->tg_newslot, CUSTOMERS_EXTERNAL_ID))
			customer->rebuild = true;
		if (column_differs(trigdata->tg_trigslot, trigdata->tg_newslot, CUSTOMERS_CUSTOMER_ID))
		{
			int64		renumbered = slot_int64(trigdata->tg_newslot, CUSTOMERS_CUSTOMER_ID);

			chs_gone_forget(slot_int64(trigdata->tg_trigslot, CUSTOMERS_CUSTOMER_ID), &renumbered);
		}
	}
	PG_RETURN_POINTER(NULL);
}

/* -------------------------------------------------------- attached tables */

/*
 * chs_capture_finds_customer tells whether a customer exists, without keeping it
 * from being deleted: what is queued for one who is gone is passed over.
 */
bool
chs_capture_finds_customer(const Live *live, int64 customer_id)
{
	Touched    *customer = know_customer(gathering_for(live), customer_id);

	if (!customer->found)
		customer->found = customer->exists || chs_customer_exists(customer_id);
	return customer->found;
}

/* chs_capture_event counts an event that keeps the rules, of a customer who exists. */
void
chs_capture_event(const Live *live, const Event *event)
{
	count_event(live, gathering_for(live), event, false);
}

/* chs_capture_rebuild queues a rebuild of a customer. */
void
chs_capture_rebuild(const Live *live, int64 customer_id)
{
	touch_customer(gathering_for(live), customer_id, false)->rebuild = true;
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
		MemoryContext fresh = AllocSetContextCreate(TopTransactionContext, "chs probe", ALLOCSET_DEFAULT_SIZES);

		unused = used_bytes(fresh);
		MemoryContextDelete(fresh);
	}
	if (!MemoryContextIsEmpty(context) && context->firstchild == NULL && used_bytes(context) == unused)
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
			/* the memory goes with the transaction */
			innermost = NULL;
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
		while (innermost != NULL && innermost->subid >= subid)
			drop_innermost();
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

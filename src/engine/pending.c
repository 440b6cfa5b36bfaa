/*
 * pending.c
 *	  Deltas that transactions have collected and not yet queued.
 *
 * What an event adds to the activity of its customer is a few small records, of which
 * one delta per customer is made when they are appended to the queue.  What is
 * collected belongs to a subtransaction, and reaches the queue or is discarded
 * together with its rows.
 *
 * Memory stays within what a hash table may use (work_mem times
 * hash_mem_multiplier): beyond that, deltas go to the queue in mid-statement.
 */
#include "engine/pending.h"

#include "access/xact.h"
#include "executor/nodeHash.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "activity/activity.h"
#include "activity/activity_merge.h"
#include "activity/activity_write.h"
#include "base/error.h"
#include "base/id.h"
#include "base/wake.h"
#include "score/count.h"
#include "score/scorecard.h"
#include "store/customer.h"
#include "store/event.h"
#include "store/live.h"
#include "store/queue.h"

/*
 * What an event adds to a series, in the order of arrival.  A total that does not
 * fit is split into two records.
 */
typedef struct PendingIncrement
{
	uint32		next;			/* of the same customer: index plus 1, or 0 */
	int16		days_ago;
	uint16		series;			/* index into the series, perhaps HIGH_PART */
	int64		value;			/* hash of a distinct value, total in millionths, or 0 */
} PendingIncrement;

#define HIGH_PART 0x8000
#define HIGH_PART_SHIFT 62

/* of the live version and one that waits to become live */
StaticAssertDecl(2 * MAX_SERIES <= HIGH_PART, "indexes of series need a bit less");

/* A customer with something to queue, or one that is known to exist. */
typedef struct PendingCustomer
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
} PendingCustomer;

#define SH_PREFIX customers
#define SH_ELEMENT_TYPE PendingCustomer
#define SH_KEY_TYPE int64
#define SH_KEY customer_id
#define SH_HASH_KEY(tb, k) chs_id_hash(k)
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* What one subtransaction has collected and not yet queued. */
typedef struct PendingDeltas
{
	SubTransactionId subid;
	MemoryContext context;		/* holds all of it */
	int32		today;
	int			version;		/* the live one, and */
	int			newest;			/* the one that was published last: whose series it counts */
	int			series_version;
	SeriesDefinition *series;	/* copied, since the live version may change */
	customers_hash *customers;
	uint32		npending;		/* customers that need a row */
	PendingIncrement *records;
	uint32		nrecords;
	uint32		capacity;
	struct PendingDeltas *outer;	/* of an outer subtransaction */
} PendingDeltas;

static PendingDeltas *innermost = NULL;

/* Returns what the current subtransaction has collected. */
static PendingDeltas *
current_pending(void)
{
	SubTransactionId subid = GetCurrentSubTransactionId();
	MemoryContext context;
	PendingDeltas *pending = innermost;

	if (pending != NULL && pending->subid == subid)
		return pending;
	context = AllocSetContextCreate(TopTransactionContext, "chs capture", ALLOCSET_SMALL_SIZES);
	pending = MemoryContextAllocZero(context, sizeof(PendingDeltas));
	pending->subid = subid;
	pending->context = context;
	pending->today = chs_customer_today();
	pending->customers = customers_create(context, 16, NULL);
	pending->outer = innermost;
	innermost = pending;
	return pending;
}

/* The order of an activity: by series, distinct value and day. */
static int
compare_records(const void *a, const void *b, void *arg)
{
	const PendingIncrement *x = a;
	const PendingIncrement *y = b;
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
make_delta(const PendingDeltas *pending, const PendingCustomer *customer)
{
	Increment  *increments;
	PendingIncrement *records;
	int			n = 0;

	Assert(customer->last <= pending->nrecords);
	for (uint32 i = customer->last; i != 0; i = pending->records[i - 1].next)
		n++;
	records = palloc_extended(Max(n, 1) * sizeof(PendingIncrement), MCXT_ALLOC_HUGE);
	increments = palloc_extended(Max(n, 1) * sizeof(Increment), MCXT_ALLOC_HUGE);
	n = 0;
	for (uint32 i = customer->last; i != 0; i = pending->records[i - 1].next)
		records[n++] = pending->records[i - 1];
	/* sorted here, because records are smaller than increments */
	qsort_arg(records, n, sizeof(PendingIncrement), compare_records, pending->series);
	for (int i = 0; i < n; i++)
	{
		const PendingIncrement *r = &records[i];
		const SeriesDefinition *s = &pending->series[r->series & ~HIGH_PART];
		Increment  *in = &increments[i];

		*in = (Increment) {
			.series_id = s->id,.kind = s->kind,.keep = s->keep,
			.cell = {.n = 1,.day = pending->today - r->days_ago}
		};
		if (s->kind == SERIES_DISTINCT)
			in->cell = chs_activity_distinct_cell((uint64) r->value, pending->today - r->days_ago);
		else if (r->series & HIGH_PART)
		{
			in->cell.n = 0;
			in->cell.total = (int128) r->value * ((int128) 1 << HIGH_PART_SHIFT);
		}
		else
			in->cell.total = r->value;
	}
	return chs_activity_encode(chs_activity_from_increments(increments, n, pending->today));
}

/* Whether a customer has new events and is not known to exist. */
static bool
must_be_checked(const PendingCustomer *customer)
{
	return customer->must_exist && !customer->exists;
}

/* Makes sure that a customer of new events exists, as a foreign key would. */
static void
check_exists(CustomerTable *customers, PendingCustomer *customer)
{
	if (!must_be_checked(customer))
		return;
	if (chs_customer_lock(customers, customer->customer_id, true, NULL, NULL) != CUSTOMER_LOCKED)
		chs_error_throw(chs_event_unknown_customer(customer->customer_id));
	customer->exists = true;
}

/*
 * Appends what is pending to the queue, by ascending customer, because
 * looking them up costs least in that order, and empties it, except for the
 * knowledge of which customers exist.
 */
static void
append_to_queue(PendingDeltas *pending)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "chs deltas",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(scratch);
	int64	   *ids = palloc_extended(Max(pending->npending, 1) * sizeof(int64), MCXT_ALLOC_HUGE);
	QueueAppender appender;
	CustomerTable customers;
	customers_iterator it;
	PendingCustomer *customer;
	bool		any_must_exist = false;
	uint32		n = 0;

	customers_start_iterate(pending->customers, &it);
	while ((customer = customers_iterate(pending->customers, &it)) != NULL)
	{
		if (!customer->pending)
			continue;
		ids[n++] = customer->customer_id;
		any_must_exist |= must_be_checked(customer);
	}
	Assert(n == pending->npending);
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
		customer = customers_lookup(pending->customers, ids[i]);
		Assert(customer != NULL);
		check_exists(&customers, customer);
		if (customer->counted && !customer->rebuild)
			delta = make_delta(pending, customer);
		chs_queue_append(&appender, ids[i], delta, customer->rebuild, pending->series_version);
		MemoryContextSwitchTo(outer);
		customer->last = 0;
		customer->pending = customer->rebuild = customer->counted = customer->must_exist = false;
	}
	chs_queue_end_append(&appender);
	if (any_must_exist)
		chs_customer_close(&customers);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(scratch);
	pending->nrecords = 0;
	pending->npending = 0;
	chs_wake_at_commit();
}

/* Drops what the innermost subtransaction has collected. */
static void
drop_innermost(void)
{
	PendingDeltas *pending = innermost;

	Assert(pending != NULL);
	innermost = pending->outer;
	MemoryContextDelete(pending->context);
}

/* chs_pending_flush appends to the queue what the current subtransaction has collected. */
void
chs_pending_flush(void)
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
	append_to_queue(innermost);
	if (pushed)
		PopActiveSnapshot();
	drop_innermost();
}

/* chs_pending_any tells whether any subtransaction has collected something. */
bool
chs_pending_any(void)
{
	for (PendingDeltas *pending = innermost; pending != NULL; pending = pending->outer)
		if (pending->npending > 0)
			return true;
	return false;
}

/* chs_pending_any_here tells whether the current subtransaction has. */
bool
chs_pending_any_here(void)
{
	return innermost != NULL && innermost->subid == GetCurrentSubTransactionId() &&
		innermost->npending > 0;
}

/* chs_pending_discard discards what an aborted subtransaction, or one within it, collected. */
void
chs_pending_discard(SubTransactionId subid)
{
	while (innermost != NULL && innermost->subid >= subid)
		drop_innermost();
}

/* chs_pending_end is for the end of a transaction, with which the memory goes anyway. */
void
chs_pending_end(void)
{
	innermost = NULL;
}

/*
 * Makes room for n records: in more memory or, if that would exceed what a hash
 * table may use, by appending to the queue what has been collected.
 */
static void
make_room(PendingDeltas *pending, uint32 n)
{
	Size		limit = get_hash_memory_limit();
	Size		allocated = MemoryContextMemAllocated(pending->context, true);
	Size		customers = allocated - pending->capacity * sizeof(PendingIncrement);
	/* more room means fewer deltas; but customers may need twice as much */
	uint32		most = Min((Max(limit, 2 * customers) - 2 * customers) / sizeof(PendingIncrement),
						   PG_UINT32_MAX / 2);

	if (pending->npending > 0 && (pending->nrecords + n > most || allocated > limit))
	{
		append_to_queue(pending);
		if (pending->capacity > most)
		{
			pfree(pending->records);
			pending->records = NULL;
			pending->capacity = 0;
		}
		/* nor must it know so many customers that there is no room left for records */
		if (customers > limit / 4)
		{
			customers_destroy(pending->customers);
			pending->customers = customers_create(pending->context, 16, NULL);
		}
	}
	if (pending->capacity - pending->nrecords >= n)
		return;
	pending->capacity = Max(pending->nrecords + n, Min(Max(pending->capacity * 2, 64), most));
	pending->records = pending->records == NULL ?
		MemoryContextAllocHuge(pending->context, pending->capacity * sizeof(PendingIncrement)) :
		repalloc_huge(pending->records, pending->capacity * sizeof(PendingIncrement));
}

/*
 * Returns what the current subtransaction has collected, with room for an event,
 * which is counted as the live version and the waiting one require.
 */
static PendingDeltas *
pending_for(const Live *live)
{
	PendingDeltas *pending = current_pending();
	const Published *counted = live->counting->published;
	uint32		room = counted->max_increments * 2;
	bool		is_other = pending->version != live->version || pending->newest != live->newest;

	/* another version was published or went live meanwhile */
	if (pending->npending > 0 && is_other)
	{
		/* kept rows stay: evaluating them could cause the live version to be reread */
		chs_pending_flush();
		pending = current_pending();
	}
	if (is_other)
	{
		Size		size = counted->nseries * sizeof(SeriesDefinition);

		pending->version = live->version;
		pending->newest = live->newest;
		pending->series_version = live->counting->series_version;
		pending->series = MemoryContextAlloc(pending->context, Max(size, 1));
		memcpy(pending->series, counted->series, size);
	}
	if (pending->capacity - pending->nrecords < room ||
		MemoryContextMemAllocated(pending->context, true) > get_hash_memory_limit())
		make_room(pending, room);
	return pending;
}

/* Finds or adds a customer. */
static PendingCustomer *
enter_customer(PendingDeltas *pending, int64 customer_id)
{
	bool		found;
	PendingCustomer *customer = customers_insert(pending->customers, customer_id, &found);

	if (!found)
	{
		customer->last = 0;
		customer->pending = customer->rebuild = customer->counted = false;
		customer->must_exist = customer->exists = customer->found = false;
	}
	return customer;
}

/* Has a customer queued, and tells whether it must exist. */
static PendingCustomer *
add_customer(PendingDeltas *pending, int64 customer_id, bool must_exist)
{
	PendingCustomer *customer = enter_customer(pending, customer_id);

	customer->must_exist |= must_exist;
	if (!customer->pending)
	{
		customer->pending = true;
		pending->npending++;
	}
	return customer;
}

static void
add_record(PendingDeltas *pending, PendingCustomer *customer, int series, int32 day, int64 value)
{
	Assert(pending->nrecords < pending->capacity);
	Assert(series >= 0 && series <= PG_UINT16_MAX);
	Assert(pending->today - day == (int16) (pending->today - day));
	pending->records[pending->nrecords] = (PendingIncrement) {
		.next = customer->last,.days_ago = (int16) (pending->today - day),
		.series = (uint16) series,.value = value
	};
	customer->last = ++pending->nrecords;
}

static void
add_increment(PendingDeltas *pending, PendingCustomer *customer, int32 day, const Increment *in)
{
	int64		value = (int64) in->cell.total;

	if (day <= pending->today - in->keep)
		return;					/* no window reaches it */
	if (in->kind == SERIES_DISTINCT)
		value = (int64) in->cell.key;
	else if (in->cell.total != value)
	{
		int128		high = in->cell.total >> HIGH_PART_SHIFT;

		add_record(pending, customer, in->series | HIGH_PART, day, (int64) high);
		value = (int64) (in->cell.total - high * ((int128) 1 << HIGH_PART_SHIFT));
	}
	add_record(pending, customer, in->series, day, value);
}

/*
 * chs_pending_event counts an event that keeps the rules; must_exist tells whether its
 * customer is to be looked up, and locked, before the delta is queued.
 */
void
chs_pending_event(const Live *live, const Event *event, bool must_exist)
{
	PendingDeltas *pending = pending_for(live);
	PendingCustomer *customer = add_customer(pending, event->customer_id, must_exist);
	const Published *counted = live->counting->published;
	int32		day = chs_count_day(event->occurred_at);
	Increment  *increments;
	int			n;

	customer->counted = true;
	/* a rebuild counts every event anyway */
	if (customer->rebuild)
		return;
	increments = palloc(Max(counted->max_increments, 1) * sizeof(Increment));
	n = chs_count_event(counted, event->event_type, event->event_type_length, event->event_data,
						day, increments);
	for (int i = 0; i < n; i++)
		add_increment(pending, customer, day, &increments[i]);
}

/* chs_pending_score has a customer queued, to be scored. */
void
chs_pending_score(const Live *live, int64 customer_id)
{
	(void) add_customer(pending_for(live), customer_id, false);
}

/*
 * chs_pending_rebuild has a customer queued, to be rebuilt; must_exist as with
 * chs_pending_event.
 */
void
chs_pending_rebuild(const Live *live, int64 customer_id, bool must_exist)
{
	add_customer(pending_for(live), customer_id, must_exist)->rebuild = true;
}

/*
 * chs_pending_finds_customer tells whether a customer exists, without keeping it from
 * being deleted: what is queued for one who is gone is passed over.
 */
bool
chs_pending_finds_customer(const Live *live, int64 customer_id)
{
	PendingCustomer *customer = enter_customer(pending_for(live), customer_id);

	if (!customer->found)
		customer->found = customer->exists || chs_customer_exists(customer_id);
	return customer->found;
}

/*
 * chs_pending_forget_customer forgets that a customer exists, after this transaction
 * deleted it or changed its key.
 */
void
chs_pending_forget_customer(int64 customer_id)
{
	for (PendingDeltas *pending = innermost; pending != NULL; pending = pending->outer)
	{
		PendingCustomer *customer = customers_lookup(pending->customers, customer_id);

		if (customer != NULL)
			customer->exists = customer->found = false;
	}
}

/* chs_pending_forget_customers does that for all of them, after TRUNCATE. */
void
chs_pending_forget_customers(void)
{
	for (PendingDeltas *pending = innermost; pending != NULL; pending = pending->outer)
	{
		customers_iterator it;
		PendingCustomer *customer;

		customers_start_iterate(pending->customers, &it);
		while ((customer = customers_iterate(pending->customers, &it)) != NULL)
			customer->exists = customer->found = false;
	}
}

/*
 * attached.c
 *	  Capture of attached tables.
 *
 * An unusable row must not fail the application's statement, so it is rejected:
 * recorded in chs.rejected_events.  If the mapping cannot fail, a row is evaluated
 * and counted at once, as in chs.customer_events.  Otherwise rows are kept, and
 * evaluated many at a time in a subtransaction.  What is kept belongs to a
 * subtransaction, like collected deltas.
 */
#include "attached.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "capture.h"
#include "catalog/pg_class.h"
#include "customer.h"
#include "executor/nodeHash.h"
#include "message.h"
#include "miscadmin.h"
#include "restore.h"
#include "source.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "worker.h"

/* The maximum number of rows that are evaluated at once. */
#define ROWS_AT_ONCE 256

/* Values of more than this total size might be too large for a document. */
#define LARGE_VALUES (100 * 1024 * 1024)

/* A row that was inserted (no old one), updated, or deleted (no new one). */
typedef struct KeptRow
{
	int			source_id;
	Oid			relation;
	Oid			storage;		/* its relfilenode, which changes if the rows are rewritten */
	HeapTuple	old;
	HeapTuple	new;
	bool		restored;		/* from a dump, which also has the rejected rows */
} KeptRow;

/* A row to be rejected or, without a trouble, one that was. */
typedef struct BadRow
{
	int			source_id;
	Oid			relation;
	HeapTuple	tuple;
	char	   *customer_key;
	bool		no_customer;
	Trouble    *trouble;
} BadRow;

/* A customer that has been looked up by its external_id, and has been locked, so that nobody else changes that. */
typedef struct KnownExternal
{
	char		external_id[NAMEDATALEN];	/* the key; longer ones are looked up each time */
	int64		customer_id;
} KnownExternal;

/* What a subtransaction has kept. */
typedef struct Kept
{
	SubTransactionId subid;
	MemoryContext context;		/* holds all of it */
	MemoryContext row_context;	/* holds the tuples */
	MemoryContext bad_context;
	int			nrows;
	Size		large;			/* bytes of their large values */
	KeptRow		rows[ROWS_AT_ONCE];
	int			nbad;
	BadRow		bad[ROWS_AT_ONCE];
	HTAB	   *external;		/* KnownExternal; or NULL */
	struct Kept *outer;			/* of an outer subtransaction */
} Kept;

static Kept *innermost = NULL;

static void write_bad(const Live *live, Kept *kept);

/* ------------------------------------------------------------------ keeping */

/* Returns what the current subtransaction keeps. */
static Kept *
current_kept(void)
{
	SubTransactionId subid = GetCurrentSubTransactionId();
	MemoryContext context;
	Kept	   *kept;

	if (innermost != NULL && innermost->subid == subid)
		return innermost;
	context = AllocSetContextCreate(TopTransactionContext, "chs rows to be captured", ALLOCSET_DEFAULT_SIZES);
	kept = MemoryContextAlloc(context, sizeof(Kept));
	kept->subid = subid;
	kept->context = context;
	kept->row_context = AllocSetContextCreate(context, "chs kept rows", ALLOCSET_DEFAULT_SIZES);
	kept->bad_context = AllocSetContextCreate(context, "chs bad rows", ALLOCSET_SMALL_SIZES);
	kept->nrows = kept->nbad = 0;
	kept->large = 0;
	kept->external = NULL;
	kept->outer = innermost;
	innermost = kept;
	return kept;
}

/*
 * chs_attached_is_pending tells whether there are kept rows of attached tables that
 * have not been counted.
 */
bool
chs_attached_is_pending(void)
{
	for (Kept *kept = innermost; kept != NULL; kept = kept->outer)
		if (kept->nrows > 0 || kept->nbad > 0)
			return true;
	return false;
}

/*
 * chs_attached_forget drops what an aborted subtransaction has kept; without one,
 * everything, whose memory goes with the transaction.
 */
void
chs_attached_forget(SubTransactionId subid)
{
	if (subid == InvalidSubTransactionId)
		innermost = NULL;
	while (innermost != NULL && innermost->subid >= subid)
	{
		Kept	   *kept = innermost;

		innermost = kept->outer;
		MemoryContextDelete(kept->context);
	}
}

static HeapTuple
keep_tuple(MemoryContext context, HeapTuple tuple)
{
	MemoryContext caller = MemoryContextSwitchTo(context);
	HeapTuple	copy = tuple ? heap_copytuple(tuple) : NULL;

	MemoryContextSwitchTo(caller);
	return copy;
}

static void
keep_row(Kept *kept, const KeptRow *row)
{
	KeptRow    *copy = &kept->rows[kept->nrows++];

	*copy = *row;
	copy->old = keep_tuple(kept->row_context, row->old);
	copy->new = keep_tuple(kept->row_context, row->new);
}

static void
keep_bad_row(Kept *kept, const BadRow *row)
{
	BadRow	   *copy = &kept->bad[kept->nbad++];
	MemoryContext caller = MemoryContextSwitchTo(kept->bad_context);

	*copy = *row;
	copy->tuple = heap_copytuple(row->tuple);
	copy->customer_key = row->customer_key ? pstrdup(row->customer_key) : NULL;
	copy->trouble = row->trouble ? chs_event_trouble(row->trouble->sqlerrcode, pstrdup(row->trouble->message), NULL, NULL) : NULL;
	MemoryContextSwitchTo(caller);
}

/*
 * chs_attached_pass_on gives what a committing subtransaction has kept to its
 * parent, because no other subtransaction can begin at its end.
 */
void
chs_attached_pass_on(SubTransactionId subid, SubTransactionId parent)
{
	/* otherwise this could add rows to what is being flushed, while subtransactions end in the middle of that */
	if (innermost == NULL || innermost->subid != subid)
		return;
	for (Kept *kept = innermost; kept != NULL && kept->subid == subid; kept = kept->outer)
		kept->subid = parent;
	/* in one piece, if they fit */
	while (innermost != NULL && innermost->outer != NULL && innermost->outer->subid == innermost->subid &&
		   innermost->outer->nrows + innermost->nrows <= ROWS_AT_ONCE &&
		   innermost->outer->nbad + innermost->nbad <= ROWS_AT_ONCE)
	{
		Kept	   *kept = innermost;

		innermost = kept->outer;
		for (int i = 0; i < kept->nrows; i++)
			keep_row(innermost, &kept->rows[i]);
		for (int i = 0; i < kept->nbad; i++)
			keep_bad_row(innermost, &kept->bad[i]);
		innermost->large += kept->large;
		MemoryContextDelete(kept->context);
	}
}

/*
 * Rejects a row, with a trouble, or, without one, removes it from the rejected
 * ones.
 */
static void
put_aside(const Live *live, const Source *source, Oid relation, HeapTuple tuple, char *customer_key, bool no_customer, const Trouble *trouble)
{
	BadRow		row = {
		.source_id = source->source_id,.relation = relation,.tuple = tuple,.customer_key = customer_key,
		.no_customer = no_customer,.trouble = (Trouble *) trouble
	};
	Kept	   *kept = current_kept();

	if (kept->nbad == ROWS_AT_ONCE)
		write_bad(live, kept);
	keep_bad_row(kept, &row);
	/* not many large documents at once */
	if (HeapTupleHasExternal(tuple))
		write_bad(live, kept);
}

/* ---------------------------------------------------------------- customers */

/*
 * chs_attached_forget_keys forgets which customers have which external_ids, since
 * this transaction deletes one or changes its key.
 */
void
chs_attached_forget_keys(void)
{
	for (Kept *kept = innermost; kept != NULL; kept = kept->outer)
	{
		if (kept->external != NULL)
			hash_destroy(kept->external);
		kept->external = NULL;
	}
}

static CustomerLock
find_external(const char *external_id, int64 *customer_id)
{
	Kept	   *kept = current_kept();
	bool		fits = strlen(external_id) < NAMEDATALEN;
	KnownExternal *known;
	CustomerLock lock;

	if (fits && kept->external != NULL &&
		(known = hash_search(kept->external, external_id, HASH_FIND, NULL)) != NULL)
	{
		*customer_id = known->customer_id;
		return CUSTOMER_LOCKED;
	}
	lock = chs_customer_lock_external(external_id, customer_id);
	if (!fits || lock != CUSTOMER_LOCKED)
		return lock;
	if (kept->external != NULL && hash_get_num_entries(kept->external) * sizeof(KnownExternal) > get_hash_memory_limit() / 4)
	{
		hash_destroy(kept->external);
		kept->external = NULL;
	}
	if (kept->external == NULL)
	{
		HASHCTL		control = {
			.keysize = NAMEDATALEN,.entrysize = sizeof(KnownExternal),.hcxt = kept->context
		};

		kept->external = hash_create("chs external ids", 64, &control, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	}
	known = hash_search(kept->external, external_id, HASH_ENTER, NULL);
	known->customer_id = *customer_id;
	return lock;
}

/* ---------------------------------------------------------------- counting */

/* What a row amounts to. */
typedef struct Found
{
	bool		is_event;
	bool		usable;
	bool		busy;			/* its customer may change: to be rebuilt */
	Event		event;
	char	   *customer_key;
	bool		no_customer;
	const Trouble *trouble;
} Found;

/*
 * Finds the customer of an event, or why it cannot be used.  If the event is to be
 * counted, keeps the customer's key from being changed.
 */
static void
find_customer(const Live *live, const Source *source, Datum key, bool to_count, Found *found)
{
	CustomerLock lock = CUSTOMER_GONE;

	if (source->by_external_id)
	{
		found->customer_key = TextDatumGetCString(key);
		if (to_count)
			lock = find_external(found->customer_key, &found->event.customer_id);
		else if (chs_customer_find_external(found->customer_key, &found->event.customer_id))
			lock = CUSTOMER_LOCKED;
	}
	else
	{
		found->event.customer_id = DatumGetInt64(key);
		if (to_count ? chs_capture_finds_customer(live, found->event.customer_id) : chs_customer_exists(found->event.customer_id))
			lock = CUSTOMER_LOCKED;
		else
			found->customer_key = psprintf("%lld", (long long) found->event.customer_id);
	}
	found->busy = lock == CUSTOMER_BUSY;
	found->no_customer = lock == CUSTOMER_GONE;
	if (!found->no_customer)
		return;
	if (source->by_external_id)
		found->trouble = chs_event_trouble(ERRCODE_FOREIGN_KEY_VIOLATION,
										   psprintf("event has an unknown external_id: \"%s\"",
													chs_message_value(found->customer_key, strlen(found->customer_key))),
										   NULL, NULL);
	else
		found->trouble = chs_event_unknown_customer(found->event.customer_id);
}

/* Classifies a row for which the mapping gave these values. */
static Found
find_event(const Live *live, const Source *source, const MappedRow *mapped, bool to_count)
{
	const bool *nulls = mapped->nulls;
	const Trouble *trouble = mapped->trouble;
	Found		found = {.is_event = true,.trouble = trouble};

	if (trouble == NULL && nulls[EVENT_TYPE])
	{
		found.is_event = false;
		return found;
	}
	if (trouble == NULL && nulls[EVENT_CUSTOMER])
		found.trouble = chs_event_trouble(ERRCODE_NOT_NULL_VIOLATION, "event has no customer", NULL, NULL);
	else if (trouble == NULL && nulls[EVENT_OCCURRED_AT])
		found.trouble = chs_event_trouble(ERRCODE_NOT_NULL_VIOLATION, "event has no occurred_at", NULL, NULL);
	if (found.trouble != NULL)
		return found;
	(void) chs_source_event(mapped->values, nulls, &found.event);
	find_customer(live, source, mapped->values[EVENT_CUSTOMER], to_count, &found);
	if (found.trouble == NULL)
		found.trouble = chs_source_check(live, &found.event);
	found.usable = found.trouble == NULL;
	if (!found.usable && found.customer_key == NULL)
		found.customer_key = psprintf("%lld", (long long) found.event.customer_id);
	return found;
}

/* Counts an inserted row, or rejects it. */
static void
take_inserted(const Live *live, const Source *source, Oid relation, const Found *found, HeapTuple tuple)
{
	if (!found->is_event)
		return;
	if (!found->usable)
		put_aside(live, source, relation, tuple, found->customer_key, found->no_customer, found->trouble);
	else if (found->busy)
		chs_capture_rebuild(live, found->event.customer_id);
	else
		chs_capture_event(live, &found->event);
}

/*
 * Whether a usable event may have been rejected for lack of its customer, which was
 * created meanwhile and has not been made from the raw events yet.
 */
static bool
may_be_put_aside(const Source *source, const Found *found)
{
	return chs_rejected_any_of(source->source_id, source->by_external_id ? found->customer_key :
							   psprintf("%lld", (long long) found->event.customer_id));
}

/* Handles the removal of a row that was counted or rejected. */
static void
take_deleted(const Live *live, const Source *source, Oid relation, const Found *found, HeapTuple tuple)
{
	if (!found->is_event)
		return;
	if (found->usable)
		chs_capture_rebuild(live, found->event.customer_id);
	if (!found->usable || may_be_put_aside(source, found))
		put_aside(live, source, relation, tuple, found->customer_key, found->no_customer, NULL);
}

/* Whether two rows amount to the same event. */
static bool
is_same(const Source *source, const MappedRow *a, const MappedRow *b)
{
	if (a->trouble != NULL || b->trouble != NULL)
		return false;
	for (int i = 0; i < EVENT_COLUMNS; i++)
	{
		bool		by_value = i == EVENT_OCCURRED_AT || (i == EVENT_CUSTOMER && !source->by_external_id);

		if (a->nulls[i] != b->nulls[i] ||
			(!a->nulls[i] && !datum_image_eq(a->values[i], b->values[i], by_value, by_value ? (int) sizeof(int64) : -1)))
			return false;
	}
	return true;
}

static void
take_updated(const Live *live, const Source *source, const Found *old, const Found *new, const KeptRow *row)
{
	take_deleted(live, source, row->relation, old, row->old);
	if (new->usable)
		chs_capture_rebuild(live, new->event.customer_id);
	else
		take_inserted(live, source, row->relation, new, row->new);
}

/* Takes a row that has been evaluated. */
static void
take_row(const Live *live, const Source *source, const KeptRow *row, const MappedRow *old, const MappedRow *new)
{
	Found		found_old = {0};
	Found		found_new = {0};

	if (row->old != NULL)
		found_old = find_event(live, source, old, true);
	if (row->new != NULL)
		found_new = find_event(live, source, new, true);
	if (row->restored)
	{
		if (found_new.usable)
			chs_capture_rebuild(live, found_new.event.customer_id);
	}
	else if (row->old == NULL)
		take_inserted(live, source, row->relation, &found_new, row->new);
	else if (row->new == NULL)
		take_deleted(live, source, row->relation, &found_old, row->old);
	else if (!found_old.usable || !is_same(source, old, new))
		take_updated(live, source, &found_old, &found_new, row);
}

/*
 * chs_attached_retry has the customer of a row rebuilt if the row can be used now,
 * and returns NULL, or why it cannot.
 */
const Trouble *
chs_attached_retry(const Live *live, const Source *source, const MappedRow *mapped)
{
	Found		found = find_event(live, source, mapped, true);

	if (found.usable)
		chs_capture_rebuild(live, found.event.customer_id);
	return found.trouble;
}

/*
 * chs_attached_is_unusable tells whether a row is an event that cannot be used, and
 * then why; nothing is counted.
 */
bool
chs_attached_is_unusable(const Live *live, const Source *source, const MappedRow *mapped, RejectedRow *rejected)
{
	Found		found = find_event(live, source, mapped, false);

	*rejected = (RejectedRow) {
		.source = source,.customer_key = found.customer_key,.no_customer = found.no_customer,.trouble = (Trouble *) found.trouble
	};
	return found.is_event && !found.usable;
}

/* ----------------------------------------------------------------- flushing */

/*
 * Makes documents of the rows, many at a time; NULL if there is nothing to be
 * written or removed, or if that fails.
 */
static Jsonb **
show_bad(const Live *live, const Kept *kept, int nbad)
{
	Jsonb	  **documents = palloc0(Max(nbad, 1) * sizeof(Jsonb *));
	HeapTuple  *tuples = palloc(Max(nbad, 1) * sizeof(HeapTuple));
	int			looked_up = 0;
	bool		any = false;

	for (int from = 0, to; from < nbad; from = to)
	{
		const BadRow *first = &kept->bad[from];
		const Source *source = chs_source_find(live, first->source_id);

		/* looked up once, since rows that were just removed slow this down */
		if (first->source_id != looked_up)
		{
			looked_up = first->source_id;
			any = chs_rejected_any(looked_up);
		}
		for (to = from; to < nbad && kept->bad[to].source_id == first->source_id &&
			 kept->bad[to].relation == first->relation; to++)
		{
			tuples[to] = kept->bad[to].tuple;
			any |= kept->bad[to].trouble != NULL;
		}
		/* it may have been detached */
		if (source != NULL && any)
			chs_mapping_rows_as_jsonb(chs_source_compile(live, source, first->relation)->mapping,
									  &tuples[from], to - from, &documents[from]);
	}
	return documents;
}

/* Records the rejected rows, and removes those that are gone. */
static void
write_bad(const Live *live, Kept *kept)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "chs rejected rows", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(scratch);
	int			nbad = kept->nbad;
	RejectedRow *rejected = palloc(Max(nbad, 1) * sizeof(RejectedRow));
	Jsonb	  **documents = show_bad(live, kept, nbad);
	int		   *source_ids = palloc(Max(nbad, 1) * sizeof(int));
	char	  **customer_keys = palloc(Max(nbad, 1) * sizeof(char *));
	int			n = 0;
	int			ncustomers = 0;

	kept->nbad = 0;
	for (int i = 0; i < nbad; i++)
	{
		const BadRow *bad = &kept->bad[i];
		const Source *source = chs_source_find(live, bad->source_id);

		CHECK_FOR_INTERRUPTS();
		if (source == NULL)
			continue;			/* it has been detached */
		if (bad->trouble != NULL)
		{
			rejected[n++] = (RejectedRow) {
				.source = source,.relation = bad->relation,.row = documents[i],
				.customer_key = bad->customer_key,.no_customer = bad->no_customer,.trouble = bad->trouble
			};
			continue;
		}
		/* in the order in which it was done */
		chs_rejected_add(rejected, n);
		n = 0;
		if (documents[i] != NULL)
			chs_rejected_remove(source, bad->relation, bad->tuple, documents[i]);
		/* a customer who came meanwhile has been made with the row */
		if (bad->no_customer)
		{
			source_ids[ncustomers] = bad->source_id;
			customer_keys[ncustomers++] = bad->customer_key;
		}
	}
	chs_rejected_add(rejected, n);
	chs_rejected_leave("rebuild customer", source_ids, customer_keys, ncustomers);
	MemoryContextReset(kept->bad_context);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(scratch);
	chs_worker_wake_at_commit();
}

/* The relfilenode of a table now; 0 if it has been dropped. */
static Oid
storage_of(Oid relation)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	Oid			storage;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	storage = ((Form_pg_class) GETSTRUCT(tuple))->relfilenode;
	ReleaseSysCache(tuple);
	return storage;
}

/* Evaluates and takes rows of one table and source. */
static void
evaluate_run(const KeptRow *rows, int n)
{
	const Live *live = chs_catalog_live();
	const Source *source = chs_source_find(live, rows->source_id);
	HeapTuple  *tuples = palloc(2 * n * sizeof(HeapTuple));
	MappedRow  *mapped = palloc(2 * n * sizeof(MappedRow));
	int			ntuples = 0;

	/* it has been detached, truncated or rewritten, which chs_source_altered() handles */
	if (source == NULL || storage_of(rows->relation) != rows->storage)
		return;
	for (int i = 0; i < n; i++)
	{
		if (rows[i].old != NULL)
			tuples[ntuples++] = rows[i].old;
		if (rows[i].new != NULL)
			tuples[ntuples++] = rows[i].new;
	}
	chs_mapping_evaluate(chs_source_compile(live, source, rows->relation)->mapping, tuples, ntuples, mapped);
	/* expressions may have run queries */
	live = chs_catalog_live();
	source = chs_source_find(live, rows->source_id);
	if (source == NULL)
		return;
	for (int i = 0; i < n; i++)
	{
		const MappedRow *old = rows[i].old ? mapped++ : NULL;
		const MappedRow *new = rows[i].new ? mapped++ : NULL;

		take_row(live, source, &rows[i], old, new);
	}
}

static void
flush_kept(Kept *kept)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "chs kept rows", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(scratch);
	int			nrows = kept->nrows;

	kept->nrows = 0;
	kept->large = 0;
	for (int from = 0, to; from < nrows; from = to)
	{
		for (to = from + 1; to < nrows; to++)
			if (kept->rows[to].source_id != kept->rows[from].source_id ||
				kept->rows[to].relation != kept->rows[from].relation ||
				kept->rows[to].storage != kept->rows[from].storage)
				break;
		evaluate_run(&kept->rows[from], to - from);
		MemoryContextReset(scratch);
	}
	MemoryContextReset(kept->row_context);
	if (kept->nbad > 0)
		write_bad(chs_catalog_live(), kept);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(scratch);
}

/*
 * chs_attached_flush counts or rejects the rows that the current subtransaction has
 * kept.
 */
void
chs_attached_flush(void)
{
	SubTransactionId subid = GetCurrentSubTransactionId();
	bool		pushed = false;
	Kept	   *kept = innermost;

	if (kept == NULL || kept->subid != subid || !chs_attached_is_pending())
		return;
	/* at the end of a transaction there is no snapshot */
	if (!ActiveSnapshotSet())
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		pushed = true;
	}
	/* in the order in which they came */
	while (kept->outer != NULL && kept->outer->subid == subid)
		kept = kept->outer;
	flush_kept(kept);
	while (innermost != kept)
	{
		Kept	   *passed_on = innermost;

		while (passed_on->outer != kept)
			passed_on = passed_on->outer;
		flush_kept(passed_on);
		kept = passed_on;
	}
	if (pushed)
		PopActiveSnapshot();
}

/* ---------------------------------------------------------------- triggers */

/*
 * chs_attached_is_truncated tells whether a trigger is fired for an attached table
 * that has been truncated, or a partition of it, and removes the rejected rows of
 * the table.
 */
bool
chs_attached_is_truncated(TriggerData *trigdata)
{
	const Source *source = chs_source_of_trigger(chs_catalog_live(), trigdata, "00_chs_capture_truncate");
	Oid			relation = RelationGetRelid(trigdata->tg_relation);

	if (source == NULL || !chs_source_has_table(source, relation))
		return false;
	chs_attached_flush();
	chs_rejected_remove_all(source->source_id, relation);
	return true;
}

/* Evaluates a row at once. */
static void
take_directly(const Live *live, const Source *source, Mapping *mapping, TriggerData *trigdata, const KeptRow *row)
{
	MappedRow	old = {0};
	MappedRow	new = {0};

	if (row->old != NULL)
	{
		chs_mapping_evaluate_directly(mapping, trigdata->tg_trigslot, old.values, old.nulls);
		/* the values last until the next row's */
		for (int i = 0; row->new != NULL && i < EVENT_COLUMNS; i++)
			old.values[i] = chs_mapping_copy_value(mapping, i, old.values[i], old.nulls[i]);
	}
	if (row->new != NULL)
		chs_mapping_evaluate_directly(mapping, row->old ? trigdata->tg_newslot : trigdata->tg_trigslot, new.values, new.nulls);
	take_row(live, source, row, &old, &new);
}

/*
 * chs_capture_source is the row trigger of an attached table: inserted rows are
 * counted; for updated and deleted ones the customers are rebuilt.
 */
PG_FUNCTION_INFO_V1(chs_capture_source);
Datum
chs_capture_source(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	const Live *live;
	const Source *source;
	CompiledSource *compiled;
	KeptRow		row;
	Kept	   *kept;
	Size		large;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigdata->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be fired AFTER, FOR EACH ROW", "chs.capture_source")));
	live = chs_catalog_live();
	source = chs_source_of_trigger(live, trigdata, "00_chs_capture");
	if (source == NULL)
		PG_RETURN_POINTER(NULL);
	row.source_id = source->source_id;
	row.relation = RelationGetRelid(trigdata->tg_relation);
	row.storage = trigdata->tg_relation->rd_rel->relfilenode;
	row.old = TRIGGER_FIRED_BY_INSERT(trigdata->tg_event) ? NULL : trigdata->tg_trigtuple;
	row.new = TRIGGER_FIRED_BY_INSERT(trigdata->tg_event) ? trigdata->tg_trigtuple :
		TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) ? trigdata->tg_newtuple : NULL;
	row.restored = row.old == NULL && chs_restore_is_on(trigdata->tg_relation);
	if (row.restored)
		chs_restore_hold_worker();
	compiled = chs_source_compile(live, source, row.relation);
	if (compiled->stranger)
		PG_RETURN_POINTER(NULL);
	large = chs_mapping_large_values(RelationGetDescr(trigdata->tg_relation), row.new) +
		chs_mapping_large_values(RelationGetDescr(trigdata->tg_relation), row.old);
	if (compiled->mapping->direct && large < LARGE_VALUES)
	{
		take_directly(live, source, compiled->mapping, trigdata, &row);
		PG_RETURN_POINTER(NULL);
	}
	kept = current_kept();
	if (kept->nrows == ROWS_AT_ONCE || (kept->nrows > 0 && kept->large + large > get_hash_memory_limit()))
		chs_attached_flush();
	keep_row(kept, &row);
	kept->large += large;
	PG_RETURN_POINTER(NULL);
}

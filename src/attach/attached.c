/*
 * attached.c
 *	  Capture of attached tables.
 *
 * An unusable row must not fail the application's statement, so it is rejected:
 * recorded in chs.rejected_events.  If the mapping cannot fail, a row is evaluated
 * and counted at once, as in chs.customer_events.  Otherwise, or if it turns out to
 * be unusable, it is kept, and evaluated with others in a subtransaction.
 *
 * A transaction keeps one list of rows, each with its subtransaction, whose end it
 * shares: they become the parent's, or go.  The list has a fixed size, so that
 * neither many rows nor many subtransactions need much memory.
 */
#include "attach/attached.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "executor/nodeHash.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "attach/partition.h"
#include "attach/rejected.h"
#include "base/error.h"
#include "base/message.h"
#include "base/worker_shared.h"
#include "engine/capture.h"
#include "source/mapping.h"
#include "source/mapping_direct.h"
#include "source/mapping_rows.h"
#include "source/source.h"
#include "store/customer.h"
#include "store/event.h"
#include "store/live.h"
#include "store/restore.h"
#include "store/sources.h"

/* The maximum number of rows that are kept, and evaluated at once. */
#define ROWS_AT_ONCE 256

/* Values of more than this total size might be too large for a document. */
#define LARGE_VALUES (100 * 1024 * 1024)

/* A row that was inserted (no old one), updated, or deleted (no new one). */
typedef struct KeptRow
{
	SubTransactionId subid;
	int			source_id;
	Oid			relation;
	Oid			storage;		/* its relfilenode, which changes if the rows are rewritten */
	HeapTuple	old;
	HeapTuple	new;
	bool		restored;		/* from a dump, which also has the rejected rows */
	Size		large;			/* bytes of its large values */
} KeptRow;

/* A row to be rejected or, without an error, one that was. */
typedef struct BadRow
{
	HeapTuple	tuple;
	char	   *customer_key;
	bool		no_customer;
	const ErrorData *error;
} BadRow;

/* Those of some rows of one table of a source. */
typedef struct BadRows
{
	int			source_id;
	Oid			relation;
	int			n;
	BadRow	   *rows;
} BadRows;

/* A customer that has been looked up by its external_id, and has been locked, so that nobody else changes that. */
typedef struct KnownExternal
{
	char		external_id[NAMEDATALEN];	/* the key; longer ones are looked up each time */
	int64		customer_id;
} KnownExternal;

/* What the transaction has kept; innermost subtransactions come last. */
typedef struct Kept
{
	MemoryContext context;		/* holds the tuples */
	Size		large;			/* bytes of large values */
	int			n;
	KeptRow		rows[ROWS_AT_ONCE];
} Kept;

static Kept *kept = NULL;
static HTAB *known_external = NULL; /* KnownExternal; or NULL */

/* ------------------------------------------------------------------ keeping */

/*
 * is_pending tells whether there are kept rows of attached tables that
 * have not been counted.
 */
static bool
is_pending(void)
{
	return kept != NULL && kept->n > 0;
}

/* Whether another row, with large values of some size, would be too much. */
static bool
is_full(Size large)
{
	return kept->n == ROWS_AT_ONCE || (kept->n > 0 && kept->large + large > get_hash_memory_limit());
}

static void
keep_row(const KeptRow *row)
{
	MemoryContext caller = MemoryContextSwitchTo(kept->context);
	KeptRow    *copy = &kept->rows[kept->n];

	*copy = *row;
	copy->old = row->old ? heap_copytuple(row->old) : NULL;
	copy->new = row->new ? heap_copytuple(row->new) : NULL;
	kept->large += row->large;
	kept->n++;
	MemoryContextSwitchTo(caller);
}

/* Frees rows that have been kept. */
static void
free_rows(const KeptRow *rows, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (rows[i].old != NULL)
			heap_freetuple(rows[i].old);
		if (rows[i].new != NULL)
			heap_freetuple(rows[i].new);
	}
}

/* Takes the rows of a subtransaction, and inner ones, off the list; returns their number. */
static int
take_off(SubTransactionId subid)
{
	int			n = 0;

	while (kept->n > 0 && kept->rows[kept->n - 1].subid >= subid)
	{
		kept->large -= kept->rows[--kept->n].large;
		n++;
	}
	return n;
}

/*
 * forget_keys forgets which customers have which external_ids, since
 * this transaction deletes one or changes its key.
 */
static void
forget_keys(void)
{
	if (known_external != NULL)
		hash_destroy(known_external);
	known_external = NULL;
}

/*
 * forget drops what an aborted subtransaction has kept; without one,
 * everything, whose memory goes with the transaction.
 */
static void
forget(SubTransactionId subid)
{
	if (subid == InvalidSubTransactionId)
	{
		kept = NULL;
		known_external = NULL;
	}
	else
	{
		/* locks are gone, too */
		forget_keys();
		if (kept != NULL)
		{
			int			n = take_off(subid);

			free_rows(&kept->rows[kept->n], n);
		}
	}
}

/*
 * pass_on gives what a committing subtransaction has kept to its
 * parent, because no other subtransaction can begin at its end.
 */
static void
pass_on(SubTransactionId subid, SubTransactionId parent)
{
	if (kept == NULL)
		return;
	for (int i = kept->n - 1; i >= 0 && kept->rows[i].subid == subid; i--)
		kept->rows[i].subid = parent;
}

/* ---------------------------------------------------------------- customers */

static CustomerLock
find_external(const char *external_id, int64 *customer_id)
{
	bool		fits = strlen(external_id) < NAMEDATALEN;
	KnownExternal *known;
	CustomerLock lock;

	if (fits && known_external != NULL &&
		(known = hash_search(known_external, external_id, HASH_FIND, NULL)) != NULL)
	{
		*customer_id = known->customer_id;
		return CUSTOMER_LOCKED;
	}
	lock = chs_customer_lock_external(external_id, customer_id);
	if (!fits || lock != CUSTOMER_LOCKED)
		return lock;
	if (known_external != NULL && hash_get_num_entries(known_external) * sizeof(KnownExternal) > get_hash_memory_limit() / 4)
		forget_keys();
	if (known_external == NULL)
	{
		HASHCTL		control = {
			.keysize = NAMEDATALEN,.entrysize = sizeof(KnownExternal),.hcxt = TopTransactionContext
		};

		known_external = hash_create("chs external ids", 64, &control, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	}
	known = hash_search(known_external, external_id, HASH_ENTER, NULL);
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
	const ErrorData *error;
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
		found->error = chs_error_make(ERRCODE_FOREIGN_KEY_VIOLATION,
									  psprintf("event has an unknown external_id: \"%s\"",
											   chs_message_value(found->customer_key, strlen(found->customer_key))),
									  NULL, NULL);
	else
		found->error = chs_event_unknown_customer(found->event.customer_id);
}

/* Classifies a row for which the mapping gave these values. */
static Found
find_event(const Live *live, const Source *source, const MappedRow *mapped, bool to_count)
{
	const bool *nulls = mapped->nulls;
	const ErrorData *error = mapped->error;
	Found		found = {.is_event = true,.error = error};

	if (error == NULL && nulls[EVENT_TYPE])
	{
		found.is_event = false;
		return found;
	}
	if (error == NULL && nulls[EVENT_CUSTOMER])
		found.error = chs_error_make(ERRCODE_NOT_NULL_VIOLATION, "event has no customer", NULL, NULL);
	else if (error == NULL && nulls[EVENT_OCCURRED_AT])
		found.error = chs_error_make(ERRCODE_NOT_NULL_VIOLATION, "event has no occurred_at", NULL, NULL);
	if (found.error != NULL)
		return found;
	(void) chs_source_event(mapped->values, nulls, &found.event);
	find_customer(live, source, mapped->values[EVENT_CUSTOMER], to_count, &found);
	if (found.error == NULL)
		found.error = chs_source_check(live, &found.event);
	found.usable = found.error == NULL;
	if (!found.usable && found.customer_key == NULL)
		found.customer_key = psprintf("%lld", (long long) found.event.customer_id);
	return found;
}

static void write_bad(const Live *live, BadRows *bad);

/*
 * Rejects a row, with an error, or, without one, removes it from the rejected
 * ones.
 */
static void
put_aside(const Live *live, BadRows *bad, HeapTuple tuple, const Found *found, const ErrorData *error)
{
	bad->rows[bad->n++] = (BadRow) {
		tuple, found->customer_key, found->no_customer, error
	};
	/* not many large documents at once */
	if (HeapTupleHasExternal(tuple))
		write_bad(live, bad);
}

/* Counts an inserted row, or rejects it. */
static void
take_inserted(const Live *live, BadRows *bad, const Found *found, HeapTuple tuple)
{
	if (!found->is_event)
		return;
	if (!found->usable)
		put_aside(live, bad, tuple, found, found->error);
	else if (found->busy)
		chs_capture_rebuild(live, found->event.customer_id);
	else
		chs_capture_event(live, &found->event);
}

/* Whether a row that is an event has been rejected, or may have been. */
static bool
may_be_put_aside(const Source *source, const Found *found)
{
	/* for lack of its customer, who was created meanwhile and has not been made from the raw events yet */
	return !found->usable ||
		chs_rejected_any_of(source->source_id, source->by_external_id ? found->customer_key :
							psprintf("%lld", (long long) found->event.customer_id));
}

/* Handles the removal of a row that was counted or rejected. */
static void
take_deleted(const Live *live, const Source *source, BadRows *bad, const Found *found, HeapTuple tuple)
{
	if (!found->is_event)
		return;
	if (found->usable)
		chs_capture_rebuild(live, found->event.customer_id);
	if (bad != NULL && may_be_put_aside(source, found))
		put_aside(live, bad, tuple, found, NULL);
}

/* Whether two rows amount to the same event. */
static bool
is_same(const Source *source, const MappedRow *a, const MappedRow *b)
{
	if (a->error != NULL || b->error != NULL)
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

/*
 * A customer who is getting another key may leave this one to a new customer, of whom
 * nothing can be known yet.
 */
static void
leave_key(const Source *source, const Found *found)
{
	char	   *key = found->customer_key;

	if (found->busy && source->by_external_id)
		chs_rejected_leave("rebuild customer", &source->source_id, &key, 1);
}

/*
 * Takes a row that has been evaluated, and adds those that are rejected, or are no
 * longer, to bad.  Without that, returns false instead where there would be any.
 */
static bool
take_row(const Live *live, const Source *source, BadRows *bad, const KeptRow *row, const MappedRow *old, const MappedRow *new)
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
		return true;
	}
	if (row->old != NULL && row->new != NULL && found_old.usable && is_same(source, old, new))
		return true;
	if (bad == NULL && ((found_old.is_event && may_be_put_aside(source, &found_old)) || (found_new.is_event && !found_new.usable)))
		return false;
	leave_key(source, &found_old);
	leave_key(source, &found_new);
	if (row->old != NULL)
		take_deleted(live, source, bad, &found_old, row->old);
	if (row->old != NULL && found_new.usable)
		chs_capture_rebuild(live, found_new.event.customer_id);
	else if (row->new != NULL)
		take_inserted(live, bad, &found_new, row->new);
	return true;
}

/*
 * chs_attached_retry has the customer of a row rebuilt if the row can be used now,
 * and returns NULL, or why it cannot.
 */
const ErrorData *
chs_attached_retry(const Live *live, const Source *source, const MappedRow *mapped)
{
	Found		found = find_event(live, source, mapped, true);

	if (found.usable)
		chs_capture_rebuild(live, found.event.customer_id);
	return found.error;
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
		.source = source,.customer_key = found.customer_key,.no_customer = found.no_customer,.error = (ErrorData *) found.error
	};
	return found.is_event && !found.usable;
}

/* ----------------------------------------------------------------- flushing */

/*
 * Makes documents of the rows, many at a time; NULL if there is nothing to be
 * written or removed, or if that fails.
 */
static Jsonb **
show_bad(const Live *live, const Source *source, const BadRows *bad)
{
	Jsonb	  **documents = palloc0(bad->n * sizeof(Jsonb *));
	HeapTuple  *tuples = palloc(bad->n * sizeof(HeapTuple));
	bool		any = chs_rejected_any(source->source_id);

	for (int i = 0; i < bad->n; i++)
	{
		tuples[i] = bad->rows[i].tuple;
		any |= bad->rows[i].error != NULL;
	}
	if (any)
		chs_mapping_rows_as_jsonb(chs_source_compile(live, source, bad->relation)->mapping, tuples, bad->n, documents);
	return documents;
}

/* Records the rejected rows, and removes those that are gone. */
static void
write_bad(const Live *live, BadRows *bad)
{
	MemoryContext scratch;
	MemoryContext caller;
	const Source *source = chs_source_find(live, bad->source_id);
	RejectedRow *rejected;
	Jsonb	  **documents;
	int		   *source_ids;
	char	  **customer_keys;
	int			n = 0;
	int			ncustomers = 0;

	/* it may have been detached */
	if (bad->n == 0 || source == NULL)
		return;
	scratch = AllocSetContextCreate(CurrentMemoryContext, "chs rejected rows", ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(scratch);
	rejected = palloc(bad->n * sizeof(RejectedRow));
	documents = show_bad(live, source, bad);
	source_ids = palloc(bad->n * sizeof(int));
	customer_keys = palloc(bad->n * sizeof(char *));
	for (int i = 0; i < bad->n; i++)
	{
		const BadRow *row = &bad->rows[i];

		CHECK_FOR_INTERRUPTS();
		if (row->error != NULL)
		{
			rejected[n++] = (RejectedRow) {
				.source = source,.relation = bad->relation,.row = documents[i],
				.customer_key = row->customer_key,.no_customer = row->no_customer,.error = (ErrorData *) row->error
			};
			continue;
		}
		/* in the order in which it was done */
		chs_rejected_add(rejected, n);
		n = 0;
		if (documents[i] != NULL)
			chs_rejected_remove(source, bad->relation, row->tuple, documents[i]);
		/* a customer who came meanwhile has been made with the row */
		if (row->no_customer)
		{
			source_ids[ncustomers] = bad->source_id;
			customer_keys[ncustomers++] = row->customer_key;
		}
	}
	chs_rejected_add(rejected, n);
	chs_rejected_leave("rebuild customer", source_ids, customer_keys, ncustomers);
	bad->n = 0;
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
	const Live *live = chs_live_version();
	const Source *source = chs_source_find(live, rows->source_id);
	HeapTuple  *tuples = palloc(2 * n * sizeof(HeapTuple));
	MappedRow  *mapped = palloc(2 * n * sizeof(MappedRow));
	BadRows		bad = {rows->source_id, rows->relation, 0, palloc(2 * n * sizeof(BadRow))};
	int			ntuples = 0;

	/* it has been detached, truncated or rewritten, which chs_follow_alter() handles */
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
	live = chs_live_version();
	source = chs_source_find(live, rows->source_id);
	if (source == NULL)
		return;
	for (int i = 0; i < n; i++)
	{
		const MappedRow *old = rows[i].old ? mapped++ : NULL;
		const MappedRow *new = rows[i].new ? mapped++ : NULL;

		(void) take_row(live, source, &bad, &rows[i], old, new);
	}
	write_bad(live, &bad);
}

/* Evaluates and takes rows, of which those of one table and source are done together. */
static void
evaluate_rows(const KeptRow *rows, int n)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "chs kept rows", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(scratch);

	for (int from = 0, to; from < n; from = to)
	{
		for (to = from + 1; to < n; to++)
			if (rows[to].source_id != rows[from].source_id || rows[to].relation != rows[from].relation ||
				rows[to].storage != rows[from].storage)
				break;
		evaluate_run(&rows[from], to - from);
		MemoryContextReset(scratch);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(scratch);
}

/*
 * flush_all counts or rejects the rows that the current subtransaction has
 * kept.
 */
static void
flush_all(void)
{
	bool		pushed = false;
	KeptRow    *rows;
	int			n;

	if (!is_pending() || (n = take_off(GetCurrentSubTransactionId())) == 0)
		return;
	/* expressions may write to attached tables, too */
	rows = palloc(n * sizeof(KeptRow));
	memcpy(rows, &kept->rows[kept->n], n * sizeof(KeptRow));
	/* at the end of a transaction there is no snapshot */
	if (!ActiveSnapshotSet())
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		pushed = true;
	}
	evaluate_rows(rows, n);
	if (pushed)
		PopActiveSnapshot();
	free_rows(rows, n);
	pfree(rows);
}

/* ---------------------------------------------------------------- triggers */

/*
 * is_truncated tells whether a trigger is fired for an attached table
 * that has been truncated, or a partition of it, and removes the rejected rows of
 * the table.
 */
static bool
is_truncated(TriggerData *trigdata)
{
	const Source *source = chs_source_of_trigger(chs_live_version(), trigdata, "00_chs_capture_truncate");
	Oid			relation = RelationGetRelid(trigdata->tg_relation);

	if (source == NULL || !chs_source_has_table(source, relation))
		return false;
	flush_all();
	chs_rejected_remove_all(source->source_id, relation);
	return true;
}

/* is_past tells whether this is a partition whose rows no window reaches. */
static bool
is_past(TriggerData *trigdata)
{
	const Live *live = chs_live_version();
	const Source *source = chs_source_of_trigger(live, trigdata, "00_chs_capture_truncate");
	Oid			relation = RelationGetRelid(trigdata->tg_relation);

	return source != NULL && relation != source->relation &&
		chs_partition_is_past(live, source, relation, get_partition_parent(relation, true), PARTITION_TRUNCATED);
}

/* Evaluates a row at once; false if it should be kept instead. */
static bool
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
	return take_row(live, source, NULL, row, &old, &new);
}

/* Takes a row later, together with others. */
static void
take_later(const KeptRow *row)
{
	if (kept == NULL)
	{
		MemoryContext context = AllocSetContextCreate(TopTransactionContext, "chs rows to be captured", ALLOCSET_DEFAULT_SIZES);

		kept = MemoryContextAllocZero(context, sizeof(Kept));
		kept->context = context;
	}
	if (is_full(row->large))
		flush_all();
	/* outer subtransactions must take their own rows */
	if (is_full(row->large))
		evaluate_rows(row, 1);
	else
		keep_row(row);
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

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigdata->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be fired AFTER, FOR EACH ROW", "chs.capture_source")));
	live = chs_live_version();
	source = chs_source_of_trigger(live, trigdata, "00_chs_capture");
	if (source == NULL)
		PG_RETURN_POINTER(NULL);
	row.subid = GetCurrentSubTransactionId();
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
	row.large = chs_mapping_large_values(RelationGetDescr(trigdata->tg_relation), row.new) +
		chs_mapping_large_values(RelationGetDescr(trigdata->tg_relation), row.old);
	if (!compiled->mapping->direct || row.large >= LARGE_VALUES ||
		!take_directly(live, source, compiled->mapping, trigdata, &row))
		take_later(&row);
	PG_RETURN_POINTER(NULL);
}

/* chs_attached_init has capture call what is here. */
void
chs_attached_init(void)
{
	static const CaptureHooks hooks = {
		.flush = flush_all,
		.is_pending = is_pending,
		.pass_on = pass_on,
		.forget = forget,
		.forget_keys = forget_keys,
		.is_truncated = is_truncated,
		.is_past = is_past
	};

	chs_capture_set_hooks(&hooks);
}

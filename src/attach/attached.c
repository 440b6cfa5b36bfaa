/*
 * attached.c
 *	  Capture of attached tables.
 *
 * An unusable row must not fail the application's statement, so it is rejected:
 * recorded in chs.rejected_events.  If the mapping cannot fail, a row is evaluated
 * and counted at once, as in chs.customer_events.  Otherwise, or if there is more to be
 * written, it is deferred, and evaluated with others in a subtransaction.
 *
 * A transaction has one list of such rows, each with its subtransaction, whose end it
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
#include "engine/capture.h"
#include "engine/pending.h"
#include "source/mapping.h"
#include "source/mapping_direct.h"
#include "source/mapping_rows.h"
#include "source/source.h"
#include "store/customer.h"
#include "store/event.h"
#include "store/live.h"
#include "store/missing.h"
#include "store/restore.h"
#include "store/sources.h"

/* The maximum number of rows that are deferred, and evaluated at once. */
#define ROWS_AT_ONCE 256

/* Values of more than this total size might be too large for a document. */
#define LARGE_VALUES (100 * 1024 * 1024)

/* A row that was inserted (no old one), updated, or deleted (no new one). */
typedef struct CapturedRow
{
	SubTransactionId subid;
	int			source_id;
	Oid			relation;
	Oid			storage;		/* its relfilenode, which changes if the rows are rewritten */
	HeapTuple	old;
	HeapTuple	new;
	bool		restored;		/* from a dump, which also has the log of rejected rows */
	Size		large;			/* bytes of its large values */
} CapturedRow;

/* A customer that was looked up by its external_id, and locked, so that others leave that. */
typedef struct KnownExternal
{
	char		external_id[NAMEDATALEN];	/* the key; longer ones are looked up each time */
	int64		customer_id;
} KnownExternal;

/* The rows that the transaction has deferred; those of innermost subtransactions come last. */
typedef struct DeferredRows
{
	MemoryContext context;		/* holds the tuples */
	Size		large;			/* bytes of large values */
	int			n;
	CapturedRow rows[ROWS_AT_ONCE];
} DeferredRows;

static DeferredRows *deferred = NULL;
static HTAB *known_external = NULL; /* KnownExternal; or NULL */

/* ------------------------------------------------------------------ keeping */

/*
 * is_pending tells whether there are deferred rows of attached tables that
 * have not been counted.
 */
static bool
is_pending(void)
{
	return deferred != NULL && deferred->n > 0;
}

/* Whether another row, with large values of some size, would be too much. */
static bool
is_full(Size large)
{
	return deferred->n == ROWS_AT_ONCE ||
		(deferred->n > 0 && deferred->large + large > get_hash_memory_limit());
}

static void
defer_row(const CapturedRow *row)
{
	MemoryContext caller = MemoryContextSwitchTo(deferred->context);
	CapturedRow    *copy = &deferred->rows[deferred->n];

	*copy = *row;
	copy->old = row->old ? heap_copytuple(row->old) : NULL;
	copy->new = row->new ? heap_copytuple(row->new) : NULL;
	deferred->large += row->large;
	deferred->n++;
	MemoryContextSwitchTo(caller);
}

/* Frees rows that have been deferred. */
static void
free_rows(const CapturedRow *rows, int n)
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

	while (deferred->n > 0 && deferred->rows[deferred->n - 1].subid >= subid)
	{
		deferred->large -= deferred->rows[--deferred->n].large;
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
 * forget drops what an aborted subtransaction has deferred; without one,
 * everything, whose memory goes with the transaction.
 */
static void
forget(SubTransactionId subid)
{
	if (subid == InvalidSubTransactionId)
	{
		deferred = NULL;
		known_external = NULL;
	}
	else
	{
		/* locks are gone, too */
		forget_keys();
		if (deferred != NULL)
		{
			int			n = take_off(subid);

			free_rows(&deferred->rows[deferred->n], n);
		}
	}
}

/*
 * pass_on gives what a committing subtransaction has deferred to its
 * parent, because no other subtransaction can begin at its end.
 */
static void
pass_on(SubTransactionId subid, SubTransactionId parent)
{
	if (deferred == NULL)
		return;
	for (int i = deferred->n - 1; i >= 0 && deferred->rows[i].subid == subid; i--)
		deferred->rows[i].subid = parent;
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
	if (known_external != NULL &&
		hash_get_num_entries(known_external) * sizeof(KnownExternal) > get_hash_memory_limit() / 4)
		forget_keys();
	if (known_external == NULL)
	{
		HASHCTL		control = {
			.keysize = NAMEDATALEN,.entrysize = sizeof(KnownExternal),.hcxt = TopTransactionContext
		};

		known_external = hash_create("chs external ids", 64, &control,
									 HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	}
	known = hash_search(known_external, external_id, HASH_ENTER, NULL);
	known->customer_id = *customer_id;
	return lock;
}

/* ---------------------------------------------------------------- counting */

/* What a row amounts to. */
typedef struct RowEvent
{
	bool		is_event;
	bool		uncertain;		/* its customer is missing, or another may get the key */
	Event		event;			/* with a customer unless uncertain or unusable */
	char	   *customer_key;	/* that the row names; or NULL */
	const ErrorData *error;		/* why it cannot be used; or NULL */
} RowEvent;

/* What some rows of one table of a source have left to be written. */
typedef struct Leftovers
{
	const Source *source;
	Oid			relation;
	int			nrejected;
	RejectedRow *rejected;		/* without documents, for which there are */
	HeapTuple  *tuples;			/* these */
	int			nmissing;
	char	  **missing;		/* external_ids */
} Leftovers;

/*
 * Finds the customer of an event, or why it cannot be used.  If the event is to be
 * counted, keeps the customer's key from being changed.
 */
static void
find_customer(const Live *live, const Source *source, bool to_count, RowEvent *found)
{
	const char *key = found->customer_key;
	int64	   *customer_id = &found->event.customer_id;
	CustomerLock lock;
	bool		exists;

	if (source->by_external_id && to_count)
		lock = find_external(key, customer_id);
	else
	{
		exists = source->by_external_id ? chs_customer_find_external(key, customer_id) :
			to_count ? chs_pending_finds_customer(live, *customer_id) :
			chs_customer_exists(*customer_id);
		lock = exists ? CUSTOMER_LOCKED : CUSTOMER_GONE;
	}
	found->uncertain = lock != CUSTOMER_LOCKED;
	if (lock == CUSTOMER_GONE)
		found->error = !source->by_external_id ? chs_event_unknown_customer(*customer_id) :
			chs_error_make(ERRCODE_FOREIGN_KEY_VIOLATION,
						   psprintf("event has an unknown external_id: \"%s\"",
									chs_message_value(key, strlen(key))), NULL, NULL);
}

/* Tells what a row amounts to for which the mapping gave these values. */
static RowEvent
event_of_row(const Live *live, const Source *source, const MappedRow *mapped, bool to_count)
{
	const bool *nulls = mapped->nulls;
	RowEvent	found = {.error = mapped->error};

	found.is_event = found.error != NULL || !nulls[EVENT_TYPE];
	if (!found.is_event || found.error != NULL)
		return found;
	if (nulls[EVENT_CUSTOMER])
		found.error = chs_error_make(ERRCODE_NOT_NULL_VIOLATION, "event has no customer",
									 NULL, NULL);
	else if (source->by_external_id)
		found.customer_key = TextDatumGetCString(mapped->values[EVENT_CUSTOMER]);
	else
		found.event.customer_id = DatumGetInt64(mapped->values[EVENT_CUSTOMER]);
	if (found.error == NULL && nulls[EVENT_OCCURRED_AT])
		found.error = chs_error_make(ERRCODE_NOT_NULL_VIOLATION, "event has no occurred_at",
									 NULL, NULL);
	if (found.error == NULL)
	{
		(void) chs_source_event(mapped->values, nulls, &found.event);
		find_customer(live, source, to_count, &found);
	}
	if (found.error == NULL)
		found.error = chs_source_check(live, &found.event);
	if (found.error != NULL && !source->by_external_id && !nulls[EVENT_CUSTOMER])
		found.customer_key = psprintf("%lld", (long long) found.event.customer_id);
	return found;
}

/* Whether two rows amount to the same event. */
static bool
is_same(const Source *source, const MappedRow *a, const MappedRow *b)
{
	if (a->error != NULL || b->error != NULL)
		return false;
	for (int i = 0; i < EVENT_COLUMNS; i++)
	{
		bool		by_value = i == EVENT_OCCURRED_AT ||
			(i == EVENT_CUSTOMER && !source->by_external_id);
		int			length = by_value ? (int) sizeof(int64) : -1;

		if (a->nulls[i] != b->nulls[i] ||
			(!a->nulls[i] && !datum_image_eq(a->values[i], b->values[i], by_value, length)))
			return false;
	}
	return true;
}

/* Writes what is left, and empties it. */
static void
write_leftovers(const Live *live, Leftovers *left)
{
	if (left->nrejected > 0)
	{
		MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "chs rejected rows",
													  ALLOCSET_DEFAULT_SIZES);
		MemoryContext caller = MemoryContextSwitchTo(scratch);
		Jsonb	  **documents = palloc0(left->nrejected * sizeof(Jsonb *));

		chs_mapping_rows_as_jsonb(chs_source_compile(live, left->source, left->relation)->mapping,
								  left->tuples, left->nrejected, documents);
		for (int i = 0; i < left->nrejected; i++)
			left->rejected[i].row = documents[i];
		chs_rejected_add(left->rejected, left->nrejected);
		MemoryContextSwitchTo(caller);
		MemoryContextDelete(scratch);
	}
	chs_missing_add(left->missing, left->nmissing);
	left->nrejected = left->nmissing = 0;
}

/* Has whoever has the key in the end rebuilt. */
static void
note_missing(const Live *live, const Source *source, Leftovers *left, const RowEvent *found)
{
	if (!source->by_external_id)
	{
		chs_pending_rebuild(live, found->event.customer_id, false);
		return;
	}
	for (int i = 0; i < left->nmissing; i++)
		if (strcmp(left->missing[i], found->customer_key) == 0)
			return;
	left->missing[left->nmissing++] = found->customer_key;
}

/* Adds a row to the log. */
static void
reject_row(const Live *live, Leftovers *left, const RowEvent *found, HeapTuple tuple)
{
	left->rejected[left->nrejected] = (RejectedRow) {
		.source_id = left->source->source_id,.relation = left->relation,
		.customer_key = found->customer_key,.error = found->error
	};
	left->tuples[left->nrejected++] = tuple;
	/* not many large documents at once */
	if (HeapTupleHasExternal(tuple))
		write_leftovers(live, left);
}

/*
 * Takes a row that has been evaluated, and adds what it leaves to that of others;
 * without that, returns false instead where it would leave anything.
 */
static bool
take_row(const Live *live, const Source *source, Leftovers *left, const CapturedRow *row,
		 const MappedRow *old, const MappedRow *new)
{
	RowEvent	was = {0};
	RowEvent	is = {0};

	if (row->old != NULL)
		was = event_of_row(live, source, old, true);
	if (row->new != NULL)
		is = event_of_row(live, source, new, true);
	if (row->restored)
	{
		if (is.is_event && is.error == NULL)
			chs_pending_rebuild(live, is.event.customer_id, false);
		return true;
	}
	if (row->new != NULL && was.is_event && was.error == NULL && is_same(source, old, new))
		return true;
	if (left == NULL && ((source->by_external_id && (was.uncertain || is.uncertain)) ||
						 (is.is_event && is.error != NULL)))
		return false;

	if (was.uncertain)
		note_missing(live, source, left, &was);
	else if (was.is_event && was.error == NULL)
		chs_pending_rebuild(live, was.event.customer_id, false);
	if (is.uncertain)
		note_missing(live, source, left, &is);
	else if (is.is_event && is.error == NULL && row->old != NULL)
		chs_pending_rebuild(live, is.event.customer_id, false);
	else if (is.is_event && is.error == NULL)
		chs_pending_event(live, &is.event, false);
	if (is.is_event && is.error != NULL)
		reject_row(live, left, &is, row->new);
	return true;
}

/*
 * chs_attached_check tells which customer a row names, and why it cannot be used.
 * Without an error, it is an event of *customer_id; or without a customer_key none.
 */
void
chs_attached_check(const Live *live, const Source *source, const MappedRow *mapped,
				   RejectedRow *rejected, int64 *customer_id)
{
	RowEvent	found = event_of_row(live, source, mapped, false);

	*customer_id = found.event.customer_id;
	if (found.is_event && found.error == NULL && found.customer_key == NULL)
		found.customer_key = psprintf("%lld", (long long) found.event.customer_id);
	*rejected = (RejectedRow) {
		.source_id = source->source_id,.customer_key = found.customer_key,.error = found.error
	};
}

/* ----------------------------------------------------------------- flushing */

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
evaluate_run(const CapturedRow *rows, int n)
{
	const Live *live = chs_live_version();
	const Source *source = chs_source_find(live, rows->source_id);
	HeapTuple  *tuples = palloc(2 * n * sizeof(HeapTuple));
	MappedRow  *mapped = palloc(2 * n * sizeof(MappedRow));
	Leftovers	left = {.relation = rows->relation};
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
	chs_mapping_evaluate(chs_source_compile(live, source, rows->relation)->mapping,
						 tuples, ntuples, mapped);
	/* expressions may have run queries */
	live = chs_live_version();
	source = chs_source_find(live, rows->source_id);
	if (source == NULL)
		return;
	left.source = source;
	left.rejected = palloc(n * sizeof(RejectedRow));
	left.tuples = palloc(n * sizeof(HeapTuple));
	left.missing = palloc(2 * n * sizeof(char *));
	for (int i = 0; i < n; i++)
	{
		const MappedRow *old = rows[i].old ? mapped++ : NULL;
		const MappedRow *new = rows[i].new ? mapped++ : NULL;

		(void) take_row(live, source, &left, &rows[i], old, new);
	}
	write_leftovers(live, &left);
}

/* Evaluates and takes rows, of which those of one table and source are done together. */
static void
evaluate_rows(const CapturedRow *rows, int n)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "chs deferred rows",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(scratch);

	for (int from = 0, to; from < n; from = to)
	{
		for (to = from + 1; to < n; to++)
			if (rows[to].source_id != rows[from].source_id ||
				rows[to].relation != rows[from].relation ||
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
 * deferred.
 */
static void
flush_all(void)
{
	bool		pushed = false;
	CapturedRow    *rows;
	int			n;

	if (!is_pending() || (n = take_off(GetCurrentSubTransactionId())) == 0)
		return;
	/* expressions may write to attached tables, too */
	rows = palloc(n * sizeof(CapturedRow));
	memcpy(rows, &deferred->rows[deferred->n], n * sizeof(CapturedRow));
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
 * that has been truncated, or a partition of it.
 */
static bool
is_truncated(TriggerData *trigdata)
{
	const Source *source = chs_source_of_trigger(chs_live_version(), trigdata,
												 "00_chs_capture_truncate");

	if (source == NULL || !chs_source_has_table(source, RelationGetRelid(trigdata->tg_relation)))
		return false;
	flush_all();
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
		chs_partition_is_past(live, source, relation, get_partition_parent(relation, true),
							  PARTITION_TRUNCATED);
}

/* Evaluates a row at once; false if it is to be deferred instead. */
static bool
take_directly(const Live *live, const Source *source, Mapping *mapping, TriggerData *trigdata,
			  const CapturedRow *row)
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
		chs_mapping_evaluate_directly(mapping,
									  row->old ? trigdata->tg_newslot : trigdata->tg_trigslot,
									  new.values, new.nulls);
	return take_row(live, source, NULL, row, &old, &new);
}

/* Takes a row later, together with others. */
static void
take_later(const CapturedRow *row)
{
	if (deferred == NULL)
	{
		MemoryContext context = AllocSetContextCreate(TopTransactionContext, "chs deferred rows",
													  ALLOCSET_DEFAULT_SIZES);

		deferred = MemoryContextAllocZero(context, sizeof(DeferredRows));
		deferred->context = context;
	}
	if (is_full(row->large))
		flush_all();
	/* outer subtransactions must take their own rows */
	if (is_full(row->large))
		evaluate_rows(row, 1);
	else
		defer_row(row);
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
	CapturedRow		row;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigdata->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be fired AFTER, FOR EACH ROW",
						"chs.capture_source")));
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
	if (compiled->unrelated)
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

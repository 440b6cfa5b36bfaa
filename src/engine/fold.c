/*
 * fold.c
 *	  Folding: from the queue into activity, health and history.
 *
 * One transaction deletes deltas from the queue, merges them into the activity, and
 * writes the score that results.  So every snapshot sees a delta either in the
 * queue or in the activity.
 *
 * Several sessions can fold at the same time, each customer only one of them until
 * the end of its transaction, see claim.c.  Every batch reads under one snapshot:
 * what it sees in the queue and what it reads from the raw events for a rebuild is
 * the same.
 */
#include "engine/fold.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "activity/activity.h"
#include "activity/activity_merge.h"
#include "activity/activity_read.h"
#include "activity/activity_write.h"
#include "base/budget.h"
#include "base/catalog.h"
#include "base/slow.h"
#include "base/spi.h"
#include "base/tables.h"
#include "base/try.h"
#include "base/wake.h"
#include "base/xid.h"
#include "engine/capture.h"
#include "engine/plugin.h"
#include "score/score.h"
#include "score/scorecard.h"
#include "source/raw.h"
#include "source/rewritten.h"
#include "store/claim.h"
#include "store/customer.h"
#include "store/failure.h"
#include "store/health.h"
#include "store/live.h"
#include "store/missing.h"
#include "store/queue.h"

/* Whether the current transaction has folded anything. */
static bool has_folded = false;

/* How many customers of a batch whose score fails are logged individually. */
#define MAX_LOGGED_FAILURES 5

/*
 * Customers that the transaction has folded become free at its end.  A prepared
 * transaction would hold them up for as long as nobody ends it, also after a restart
 * of the server.
 */
static void
at_transaction_end(XactEvent event, void *arg pg_attribute_unused())
{
	if (event == XACT_EVENT_PRE_PREPARE && has_folded)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot PREPARE a transaction that has stored scores"),
				 errdetail("It would keep the scores of these customers as they are until it is"
						   " committed or rolled back."),
				 errhint("Leave the scores to the worker, or store them after COMMIT PREPARED;"
						 " chs_score() can be used in any transaction.")));
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
	{
		chs_budget_end();
		/* a worker may have skipped customers that this session had */
		if (has_folded)
			chs_wake_to_retry();
		has_folded = false;
	}
}

/* chs_fold_init has the end of transactions noticed. */
void
chs_fold_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
}

static void
lock_tables(void)
{
	/* before what refers to it, as TRUNCATE does */
	LockRelationOid(chs_catalog_relation(CHS_CUSTOMERS), AccessShareLock);
	chs_table_lock(CHS_ACTIVITY);
	chs_table_lock(CHS_CUSTOMER_HEALTH);
	chs_table_lock(CHS_HEALTH_SCORES);
	/* last, so that the queue stays free where one of the others is locked */
	chs_table_lock(CHS_QUEUE);
}

/* chs_fold_begin takes a snapshot, which is the active one until chs_fold_end. */
void
chs_fold_begin(Fold *fold)
{
	chs_claim_check_transaction();
	has_folded = true;
	fold->in_capture = chs_capture_is_pending();
	chs_capture_flush_pending();
	CommandCounterIncrement();
	/* of a table that is written anew while it is waited for, an earlier snapshot sees no rows */
	lock_tables();
	PushActiveSnapshot(GetTransactionSnapshot());
	fold->live = chs_live_at(GetActiveSnapshot());
	fold->snapshot = GetActiveSnapshot();
	fold->horizon = chs_xid_horizon(fold->snapshot);
	fold->today = chs_customer_today();
	fold->any_failures = chs_failure_any(fold->snapshot);
	chs_health_open(&fold->tables, fold->live, fold->today, fold->snapshot);
	fold->scratch = AllocSetContextCreate(CurrentMemoryContext, "chs fold", ALLOCSET_DEFAULT_SIZES);
	fold->plugins = NULL;
	fold->raw = NULL;
}

static void
forget_plugins(Fold *fold)
{
	if (fold->plugins != NULL)
		chs_plugin_end(fold->plugins);
	fold->plugins = NULL;
}

/* chs_fold_end ends what chs_fold_begin began. */
void
chs_fold_end(Fold *fold)
{
	forget_plugins(fold);
	MemoryContextDelete(fold->scratch);
	chs_health_close(&fold->tables);
	PopActiveSnapshot();
	CommandCounterIncrement();
}

static const Scorecard *
scorecard_of(const Fold *fold, const Customer *customer)
{
	return chs_scorecard_of_segment(fold->live->published, customer->segment);
}

/* Scores a customer's activity, with the values of plug-ins; NULL if there is no time for these. */
static Score *
calculate(Fold *fold, const Customer *customer, const ActivityView *activity)
{
	const Scorecard *scorecard = scorecard_of(fold, customer);
	ScoreInput *input = chs_score_prepare(fold->live->published, activity);
	ScoreSubject subject = {
		.segment = customer->segment,
		.created_day = customer->created_day,
		.as_of_day = Min(fold->today, customer->last_day)
	};

	if (scorecard->has_functions)
	{
		if (fold->plugins == NULL)
			fold->plugins = chs_plugin_begin(MemoryContextGetParent(fold->scratch));
		if (!chs_plugin_add_values(fold->plugins, input, scorecard, customer->customer_id,
								   subject.as_of_day, PLUGIN_TREND))
			return NULL;
	}
	return chs_score_calculate(input, scorecard, &subject);
}

/* How a customer is to be folded. */
typedef struct FoldOrder
{
	bool		rebuild;		/* from the raw events, in any case */
	bool		count;			/* likewise, where its activity does not count what the waiting
								 * version needs */
	bool		wait;			/* for whoever has it locked */
	/* what the raw events give, as far as a score for today needs them, or NULL */
	const Activity *from_events;
	Snapshot	events_snapshot;	/* that saw those */
} FoldOrder;

/*
 * Whether an activity that was made from raw events earlier can be stored: nothing
 * that its snapshot did not see must have been folded meanwhile.
 */
static bool
events_are_fresh(const Fold *fold, const FoldOrder *order, const StoredActivity *stored,
				 const Customer *customer)
{
	return order->from_events != NULL && customer->last_day >= fold->today &&
		(stored->row == NULL ||
		 chs_customer_row_is_seen(HeapTupleHeaderGetXmin(stored->row->t_data),
								  order->events_snapshot));
}

/*
 * Whether the activity must be made from the raw events.  One that counts what the
 * live version needs is left alone until it is its turn to count what the waiting
 * one needs; but one that counts that already continues to do so.
 */
static bool
must_rebuild(const Live *live, const FoldOrder *order, const StoredActivity *stored,
			 const QueuedDeltas *queued)
{
	bool		is_counting = chs_customer_is_current(stored, live->counting);

	return order->rebuild || queued->rebuild || !chs_customer_is_current(stored, live) ||
		(is_counting ? queued->series_version < live->counting->series_version : order->count);
}

/* Warns of what was found damaged, and is to be made from the raw events. */
static void
warn_of_damage(int64 customer_id, const StoredActivity *stored, const QueuedDeltas *queued)
{
	if (stored->damage != NULL)
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the activity of customer %lld is damaged and will be rebuilt from the raw"
						" events",
						(long long) customer_id),
				 errdetail_internal("%s", _(stored->damage))));
	if (queued->damage != NULL)
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("a queued delta of customer %lld is damaged, and the activity will be"
						" rebuilt from the raw events",
						(long long) customer_id),
				 errdetail_internal("%s", _(queued->damage))));
}

/* The activity that a customer is to have. */
typedef struct ChosenActivity
{
	ActivityData *data;			/* NULL: for lack of time the raw events were not read */
	const Live *counted;		/* the version whose series it counts */
	bool		rebuilt;		/* from the raw events, whatever was stored and queued */
	bool		raw;			/* made from raw events, for whatever reason */
} ChosenActivity;

/*
 * Chooses where the activity of a customer comes from: what is stored and queued; or,
 * if that does not do, the raw events, which may have been read before the batch, for
 * the batch, or not yet.  folded is the snapshot whose events it is to have.
 */
static ChosenActivity
choose_activity(Fold *fold, const FoldOrder *order, const Customer *customer,
				const StoredActivity *stored, const QueuedDeltas *queued, Snapshot folded)
{
	const Live *live = fold->live;
	int32		as_of_day = Min(fold->today, customer->last_day);
	ChosenActivity chosen = {
		.rebuilt = must_rebuild(live, order, stored, queued) ||
			(order->wait && chs_missing_has(live, customer->customer_id, fold->snapshot))
	};

	chosen.counted = chosen.rebuilt || chs_customer_is_current(stored, live->counting) ?
		live->counting : live;
	if (!chosen.rebuilt)
	{
		chosen.data = chs_activity_cells_of(stored->view);
		if (queued->ndeltas > 0)
			chosen.data = chs_activity_merge_two(chosen.data,
												 chs_activity_merge_many(queued->deltas,
																		 queued->ndeltas));
		/* else the last day of a churned customer, which is scored, may have been pruned */
		if (chosen.data->day <= as_of_day)
			return chosen;
	}
	if (fold->in_capture)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("customer %lld cannot be rebuilt while events are being inserted in the"
						" same transaction",
						(long long) customer->customer_id),
				 errhint("Rebuild the customer after the statement, or in a separate"
						 " transaction.")));
	chosen.raw = true;
	if (folded != fold->snapshot)
		chosen.data = chs_activity_decode(order->from_events);
	else if (chosen.rebuilt && as_of_day == fold->today &&
			 chs_raw_has(fold->raw, customer->customer_id))
	{
		chosen.data = chs_raw_activity(fold->raw, customer->customer_id);
		chs_activity_prune_to(chosen.data, fold->today);
	}
	else if (live->nsources > 1 && chs_budget_is_spent())
		chosen.data = NULL;
	else
		chosen.data = chs_raw_customer_activity(customer->customer_id, live->counting, as_of_day,
												DAY_NO_END);
	return chosen;
}

/* Queues a customer, to be rebuilt or only scored. */
static void
queue_customer(const Fold *fold, int64 customer_id, bool rebuild)
{
	QueueAppender appender;

	chs_queue_begin_append(&appender);
	chs_queue_append(&appender, customer_id, NULL, rebuild, fold->live->series_version);
	chs_queue_end_append(&appender);
	chs_wake_at_commit();
}

/*
 * Finds or locks a customer.  Whoever deletes it waits for the claim before looking
 * for what is to go, see gone.c, so a lock, which has to be logged, is only for waiting,
 * and for who is not as the snapshot sees it.
 */
static CustomerLock
find_or_lock(const Fold *fold, int64 customer_id, bool wait, Customer *customer)
{
	if (!wait && chs_customer_find(customer_id, fold->snapshot, customer))
		return CUSTOMER_LOCKED;
	return chs_customer_lock_one(customer_id, wait, fold->snapshot, customer);
}

/*
 * Folds what is queued for a customer, from the raw events if requested or
 * necessary, and stores its health.  Returns the score, or NULL if the customer
 * does not exist (any more), or is busy and must not be waited for, or was taken by
 * somebody else, or there was no time for it: then everything stays as it is.  Allocates
 * in the current memory context.
 */
static Score *
fold_in_scratch(Fold *fold, int64 customer_id, const FoldOrder *order, CustomerLock *lock)
{
	StoredActivity stored = chs_health_stored_activity(&fold->tables, customer_id);
	Snapshot	folded = fold->snapshot;
	QueuedDeltas queued;
	Customer	customer;
	ChosenActivity chosen;
	Activity   *activity;
	Score	   *score = NULL;
	bool		changes;

	*lock = find_or_lock(fold, customer_id, order->wait, &customer);
	if (*lock == CUSTOMER_BUSY)
		return NULL;
	if (*lock != CUSTOMER_GONE && events_are_fresh(fold, order, &stored, &customer))
		folded = order->events_snapshot;
	/* a rebuild leaves no row, whatever had been folded */
	queued = chs_queue_of_customer(customer_id,
								   order->rebuild ? InvalidFullTransactionId : stored.folded_to,
								   fold->live->series_version, folded);
	if (*lock == CUSTOMER_GONE)
	{
		chs_queue_delete(&queued);
		return NULL;
	}
	Assert(*lock == CUSTOMER_LOCKED);
	warn_of_damage(customer_id, &stored, &queued);
	chosen = choose_activity(fold, order, &customer, &stored, &queued, folded);
	changes = queued.any || chosen.rebuilt || stored.row == NULL;
	if (chosen.raw && chs_rewritten_since(fold->live, folded))
	{
		*lock = CUSTOMER_TAKEN;
		return NULL;
	}
	if (chosen.data != NULL)
	{
		if (changes)
		{
			chs_scorecard_project(chosen.data, chosen.counted->published);
			chs_activity_prune_to(chosen.data, Min(fold->today, customer.last_day));
		}
		activity = chs_activity_encode(chosen.data);
		score = calculate(fold, &customer, chs_activity_view(activity));
	}
	if (score == NULL)
	{
		*lock = CUSTOMER_PUT_OFF;
		return NULL;
	}
	/* before anything else is written: it claims the customer */
	if (!chs_health_store(&fold->tables, &customer, scorecard_of(fold, &customer), score))
	{
		*lock = CUSTOMER_TAKEN;
		return NULL;
	}
	chs_queue_delete(&queued);
	if (changes)
		chs_health_store_activity(&fold->tables, customer_id, &stored, activity,
								  chosen.counted->series_version, chs_xid_horizon(folded));
	/* rows that were written meanwhile by whoever does not see its key yet have not been read */
	if (chosen.rebuilt && fold->live->nsources > 1 && chs_customer_is_own(customer_id))
		queue_customer(fold, customer_id, true);
	if (fold->any_failures)
		chs_failure_clear(customer_id, fold->snapshot);
	return score;
}

/*
 * Scores a customer from its activity as it is stored, and stores its health.  The
 * queue is left to folding.  Does nothing and returns false if that is not enough,
 * or somebody else has taken the customer.
 */
static bool
rescore_in_scratch(Fold *fold, const Customer *customer)
{
	StoredActivity stored = chs_health_stored_activity(&fold->tables, customer->customer_id);
	Score	   *score;

	if (stored.row == NULL || !chs_customer_is_current(&stored, fold->live->counting) ||
		stored.view->day > Min(fold->today, customer->last_day))
		return false;
	score = calculate(fold, customer, stored.view);
	if (score == NULL ||
		!chs_health_store(&fold->tables, customer, scorecard_of(fold, customer), score))
		return false;
	if (fold->any_failures)
		chs_failure_clear(customer->customer_id, fold->snapshot);
	return true;
}

static bool
rescore_customer(Fold *fold, const Customer *customer)
{
	MemoryContext caller = MemoryContextSwitchTo(fold->scratch);
	bool		done;

	CHECK_FOR_INTERRUPTS();
	done = rescore_in_scratch(fold, customer);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(fold->scratch);
	return done;
}

/* The result of folding a customer. */
typedef struct Folded
{
	CustomerLock lock;
	bool		exists;
	bool		known;			/* has a score */
	double		score;
} Folded;

static Folded
fold_customer(Fold *fold, int64 customer_id, const FoldOrder *order)
{
	MemoryContext caller = MemoryContextSwitchTo(fold->scratch);
	Folded		folded = {0};
	Score	   *score;

	CHECK_FOR_INTERRUPTS();
	score = fold_in_scratch(fold, customer_id, order, &folded.lock);
	folded.exists = score != NULL;
	folded.known = score != NULL && score->status != STATUS_UNKNOWN;
	folded.score = folded.known ? score->score : 0;
	MemoryContextSwitchTo(caller);
	MemoryContextReset(fold->scratch);
	return folded;
}

/* Skips a customer for now, so that it is processed later, from the queue. */
static void
skip_customer(const Fold *fold, FoldList *list, int64 customer_id, SkipReason reason)
{
	list->skipped[list->nskipped++] = (SkippedCustomer) {customer_id, reason};
	/* what is not queued nobody would come back to */
	if (list->rebuild || list->rescore != NULL)
		queue_customer(fold, customer_id, list->rebuild);
	if (reason == SKIP_SLOW)
		chs_slow_offer(customer_id);
}

/* Why a customer is put off: whether it is slow. */
static SkipReason
put_off_reason(void)
{
	return chs_budget_was_exceeded() ? SKIP_SLOW : SKIP_PUT_OFF;
}

/* Whether earlier batches found a customer slow. */
static bool
is_slow(const FoldList *list, int64 customer_id)
{
	for (int i = 0; i < list->nslow; i++)
		if (list->slow[i] == customer_id)
			return true;
	return false;
}

/* Whether anything is queued for a customer. */
static bool
is_queued(Fold *fold, int64 customer_id)
{
	MemoryContext caller = MemoryContextSwitchTo(fold->scratch);
	StoredActivity stored = chs_health_stored_activity(&fold->tables, customer_id);
	bool		any = chs_queue_of_customer(customer_id, stored.folded_to,
											fold->live->series_version, fold->snapshot).any;

	MemoryContextSwitchTo(caller);
	MemoryContextReset(fold->scratch);
	return any;
}

static void
fold_listed(Fold *fold, FoldList *list, int i)
{
	FoldOrder	order = {.rebuild = list->rebuild,.count = list->count || list->rescore != NULL};
	int64		customer_id = list->customer_ids[i];

	fold->customer_id = customer_id;
	chs_budget_customer();
	if (is_slow(list, customer_id))
	{
		if (is_queued(fold, customer_id))
			skip_customer(fold, list, customer_id, SKIP_SLOW);
		return;
	}
	if (list->retry && chs_budget_is_spent())
	{
		skip_customer(fold, list, customer_id, SKIP_PUT_OFF);
		return;
	}
	/* the caller of a rebuild may have solved the problem */
	if (fold->any_failures && !list->rebuild &&
		chs_failure_must_wait(customer_id, fold->live->newest, fold->snapshot))
	{
		skip_customer(fold, list, customer_id, SKIP_BUSY);
		return;
	}
	if (list->from_events != NULL)
	{
		order.from_events = list->from_events[i];
		order.events_snapshot = list->events_snapshot;
	}
	if (list->rescore == NULL || !rescore_customer(fold, &list->rescore[i]))
	{
		CustomerLock lock = fold_customer(fold, customer_id, &order).lock;

		if (lock < CUSTOMER_BUSY)
			return;
		if (lock == CUSTOMER_TAKEN && !TransactionIdIsValid(list->blocker))
			list->blocker = chs_health_taken_by(customer_id);
		skip_customer(fold, list, customer_id,
					  lock == CUSTOMER_PUT_OFF ? put_off_reason() : SKIP_BUSY);
	}
}

/* If one of so many customers, or more, is to be read, a scan beats looking up each. */
#define SCAN_STRIDE 16

/* Whether customers are in ascending order, and close enough to each other for a scan. */
static bool
are_near(const int64 *customer_ids, int n)
{
	for (int i = 1; i < n; i++)
		if (customer_ids[i] <= customer_ids[i - 1])
			return false;
	return n > 1 &&
		(uint64) customer_ids[n - 1] - (uint64) customer_ids[0] < (uint64) n * SCAN_STRIDE;
}

/* Some of the listed customers: from, up to but without to. */
typedef struct FoldRange
{
	Fold	   *fold;
	FoldList   *list;
	int			from;
	int			to;
} FoldRange;

static void
fold_range(void *arg)
{
	FoldRange  *range = arg;
	Fold	   *fold = range->fold;
	FoldList   *list = range->list;
	int			n = range->to - range->from;

	if (are_near(list->customer_ids + range->from, n))
		chs_health_begin_scan(&fold->tables, list->customer_ids[range->from]);
	for (int i = range->from; i < range->to; i++)
		fold_listed(fold, list, i);
	chs_health_end_scan(&fold->tables);
	chs_health_write_history(&fold->tables);
}

/* Folds some of the listed customers.  Returns NULL, or the error that has undone all of them. */
static ErrorData *
try_listed(Fold *fold, FoldList *list, int from, int to)
{
	FoldRange	range = {fold, list, from, to};
	HealthTables before = fold->tables;
	FoldList	list_before = *list;
	ErrorData  *error = chs_try(fold_range, &range);

	if (error != NULL)
	{
		/* the counts are undone as well */
		fold->tables = before;
		*list = list_before;
		forget_plugins(fold);
	}
	return error;
}

/* The customers of a list, within SPI, whose activities are to be made from the raw events. */
static int
find_rebuilds(const Fold *fold, const FoldList *list, int64 *customer_ids)
{
	Oid			types[] = {INT8ARRAYOID, INT4OID};
	Datum		args[2];
	Datum	   *elements = palloc(list->n * sizeof(Datum));
	const Live *live = list->rescore != NULL ? fold->live->counting : fold->live;
	int			n = 0;

	for (int i = 0; i < list->n; i++)
		if (!is_slow(list, list->customer_ids[i]))
			elements[n++] = Int64GetDatum(list->customer_ids[i]);
	args[0] = PointerGetDatum(construct_array(elements, n, INT8OID, sizeof(int64), true,
											  TYPALIGN_DOUBLE));
	args[1] = Int32GetDatum(live->series_version);
	chs_spi_select("SELECT c.customer_id"
				   " FROM unnest($1) i JOIN chs.customers c ON c.customer_id = i"
				   " LEFT JOIN chs.activity a ON a.customer_id = i"
				   " WHERE a.series_version IS NULL OR a.series_version < $2"
				   " OR EXISTS (SELECT FROM chs.queue q WHERE q.customer_id = i"
				   " AND (q.rebuild OR q.series_version < $2))",
				   lengthof(types), types, args);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;

		customer_ids[i] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
													  1, &isnull));
	}
	return (int) SPI_processed;
}

/*
 * Attached tables may have no index that leads to the events of one customer, so
 * those of all customers to be made from them are read at once.
 */
static void
read_raw_events(Fold *fold, const FoldList *list)
{
	MemoryContext caller = CurrentMemoryContext;
	RawRequest	request = {
		.live = fold->live->counting,.last_day = DAY_NO_END,
		.first_day = fold->today - fold->live->counting->published->max_keep + 1
	};
	OwnerRights saved;
	int64	   *customer_ids = palloc(list->n * sizeof(int64));

	chs_spi_begin(&saved);
	request.n = find_rebuilds(fold, list, customer_ids);
	chs_spi_end(&saved);
	MemoryContextSwitchTo(caller);
	request.customer_ids = customer_ids;
	/* a single one is read as usual; if a source cannot be read, each customer fails by itself */
	if (request.n > 1 && !fold->in_capture)
		fold->raw = chs_raw_try(&request);
	/* so that there is always time for the first customer */
	if (chs_budget_is_on())
		chs_budget_begin();
}

/* Handles the failure of a customer of the list; only the first few are logged. */
static void
fail_listed(Fold *fold, FoldList *list, int64 customer_id, const ErrorData *error, int *nlogged)
{
	if (chs_failure_record(customer_id, fold->live->newest, error, fold->snapshot) &&
		(*nlogged)++ < MAX_LOGGED_FAILURES)
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("chs could not score customer %lld: %s", (long long) customer_id,
						error->message)));
	skip_customer(fold, list, customer_id, SKIP_BUSY);
}

/*
 * chs_fold_list folds the listed customers.  If that fails, each is tried by
 * itself, so that a failure is recorded for the right one.
 */
void
chs_fold_list(Fold *fold, FoldList *list)
{
	bool		has_budget = chs_slow_has_budget();
	int			nlogged = 0;
	ErrorData  *error;
	bool		exceeded;
	int64		slow_customer;

	fold->raw = NULL;
	list->skipped = palloc(Max(list->n, 1) * sizeof(SkippedCustomer));
	if (list->n == 0)
		return;
	Assert(fold->snapshot == GetActiveSnapshot());
	if (has_budget)
		chs_budget_begin();
	if (list->n > 1 && list->from_events == NULL && fold->live->nsources > 1)
		read_raw_events(fold, list);
	error = try_listed(fold, list, 0, list->n);
	exceeded = error != NULL && chs_budget_was_exceeded();
	slow_customer = fold->customer_id;
	if (exceeded)
		chs_slow_note(error->message);
	if (has_budget && error != NULL)
		chs_budget_begin();		/* all of it is done again */
	for (int i = 0; error != NULL && i < list->n; i++)
	{
		ErrorData  *own_error;

		if (exceeded && list->customer_ids[i] == slow_customer)
		{
			skip_customer(fold, list, slow_customer, SKIP_SLOW);
			continue;
		}
		own_error = try_listed(fold, list, i, i + 1);
		if (own_error == NULL)
			continue;
		if (chs_budget_was_exceeded())
			skip_customer(fold, list, list->customer_ids[i], SKIP_SLOW);
		else
			fail_listed(fold, list, list->customer_ids[i], own_error, &nlogged);
		FreeErrorData(own_error);
	}
	chs_budget_end();
	if (nlogged > MAX_LOGGED_FAILURES)
		ereport(LOG,
				(errmsg("chs could not score %d further customers", nlogged - MAX_LOGGED_FAILURES),
				 errhint("See chs.failures.")));
}

/* chs_fold_slow folds a customer that is slow, by itself, for as long as that takes. */
void
chs_fold_slow(int64 customer_id)
{
	FoldList	list = {.n = 1,.customer_ids = &customer_id,.count = true};
	Fold		fold;

	chs_fold_begin(&fold);
	chs_fold_list(&fold, &list);
	chs_fold_end(&fold);
}

/* Folds one customer, waiting for whoever has taken it. */
static Folded
fold_one_after_others(int64 customer_id, const FoldOrder *order)
{
	for (;;)
	{
		Fold		fold;
		Folded		folded;

		chs_fold_begin(&fold);
		folded = fold_customer(&fold, customer_id, order);
		chs_fold_end(&fold);
		if (folded.lock != CUSTOMER_TAKEN)
			return folded;
		chs_health_wait(customer_id);
	}
}

/* Folds one customer, or raises an error if it does not exist. */
static Folded
fold_one(int64 customer_id, bool rebuild)
{
	FoldOrder	order = {.rebuild = rebuild,.count = true,.wait = true};
	Folded		folded = fold_one_after_others(customer_id, &order);

	if (folded.lock == CUSTOMER_BUSY)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("customer %lld was changed concurrently", (long long) customer_id),
				 errhint("Try again.")));
	if (!folded.exists)
		chs_customer_not_found(customer_id);
	return folded;
}

/* chs_recalculate folds and scores one customer. */
PG_FUNCTION_INFO_V1(chs_recalculate);
Datum
chs_recalculate(PG_FUNCTION_ARGS)
{
	Folded		folded = fold_one(PG_GETARG_INT64(0), false);

	if (!folded.known)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(folded.score);
}

/* chs_rebuild rebuilds the activity of one customer from the raw events. */
PG_FUNCTION_INFO_V1(chs_rebuild);
Datum
chs_rebuild(PG_FUNCTION_ARGS)
{
	(void) fold_one(PG_GETARG_INT64(0), true);
	PG_RETURN_INT64(1);
}

/*
 * fold.c
 *	  Folding: from the queue into activity, health and history.
 *
 * One transaction deletes deltas from the queue, merges them into the activity, and
 * writes the score that results.  So every snapshot sees a delta either in the
 * queue or in the activity.
 *
 * Whoever folds a customer has claimed it until the end of the transaction, so that
 * several sessions can fold at the same time.  Every batch reads under one
 * snapshot, taken after the claim: what it sees in the queue and what it reads from
 * the raw events for a rebuild is the same.
 */
#include "fold.h"

#include "access/xact.h"
#include "attached.h"
#include "capture.h"
#include "catalog/pg_type.h"
#include "claim.h"
#include "count.h"
#include "customer.h"
#include "failure.h"
#include "funcapi.h"
#include "health.h"
#include "miscadmin.h"
#include "plugin.h"
#include "raw.h"
#include "rejected.h"
#include "settings.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "worker.h"

/* How many customers of a batch whose score fails are logged individually. */
#define MAX_LOGGED_FAILURES 5

/*
 * chs_fold_check_transaction raises an error if the transaction cannot store
 * scores.
 */
void
chs_fold_check_transaction(void)
{
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("scores cannot be stored in a transaction of isolation level %s",
						IsolationIsSerializable() ? "SERIALIZABLE" : "REPEATABLE READ"),
				 errhint("Use a transaction of isolation level READ COMMITTED; chs_score() works in any.")));
	PreventCommandIfReadOnly("folding");
}

/*
 * chs_fold_begin claims customers to fold, and then takes a snapshot, which is the
 * active one until chs_fold_end.  A snapshot from before the claim could miss what
 * another session has folded meanwhile.
 */
void
chs_fold_begin(Fold *fold, const ClaimRequest *request)
{
	chs_fold_check_transaction();
	fold->in_capture = chs_capture_is_pending();
	chs_capture_flush_pending();
	fold->claim = chs_claim(request);
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	fold->live = chs_catalog_live_at(GetActiveSnapshot());
	fold->snapshot = GetActiveSnapshot();
	fold->horizon = chs_catalog_snapshot_horizon(fold->snapshot);
	fold->today = chs_customer_today();
	fold->any_failures = chs_failure_any(fold->snapshot);
	chs_health_open(&fold->tables);
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

/* chs_fold_end ends what chs_fold_begin began; the claim stays until the end of the transaction. */
void
chs_fold_end(Fold *fold)
{
	forget_plugins(fold);
	MemoryContextDelete(fold->scratch);
	chs_health_close(&fold->tables, &fold->claim, fold->live, fold->snapshot);
	PopActiveSnapshot();
	CommandCounterIncrement();
}

/* Dashboards count a customer until the day on which it churned. */
static bool
is_active(const Customer *customer, int32 today)
{
	return customer->last_day > today;
}

/* Scores a customer's activity, with the values of plug-ins. */
static Score *
calculate(Fold *fold, int64 customer_id, const ActivityView *activity,
		  const Scorecard *scorecard, const ScoreSubject *subject)
{
	ScoreInput *input = chs_score_prepare(fold->live->published, activity);

	if (scorecard->has_functions)
	{
		if (fold->plugins == NULL)
			fold->plugins = chs_plugin_begin(MemoryContextGetParent(fold->scratch));
		chs_plugin_add_values(fold->plugins, input, scorecard, customer_id, subject->as_of_day, PLUGIN_TREND);
	}
	return chs_score_calculate(input, scorecard, subject);
}

/* How a customer is to be folded. */
typedef struct FoldOrder
{
	bool		rebuild;		/* from the raw events, in any case */
	bool		count;			/* likewise, where its activity does not count what the waiting version needs */
	bool		wait;			/* for whoever has it locked */
	/* what the raw events give, as far as a score for today needs them, or NULL */
	const Activity *from_events;
	Snapshot	events_snapshot;	/* that saw those */
} FoldOrder;

/*
 * Whether an activity that was made from raw events before the claim can be stored:
 * nothing that its snapshot did not see must have been folded meanwhile.
 */
static bool
events_are_fresh(const Fold *fold, const FoldOrder *order, const StoredActivity *stored, const Customer *customer)
{
	return order->from_events != NULL && customer->last_day >= fold->today &&
		(stored->row == NULL ||
		 chs_customer_row_is_seen(HeapTupleHeaderGetXmin(stored->row->t_data), order->events_snapshot));
}

/*
 * Whether the activity must be made from the raw events.  One that counts what the
 * live version needs is left alone until it is its turn to count what the waiting
 * one needs; but one that counts that already continues to do so.
 */
static bool
must_rebuild(const Live *live, const FoldOrder *order, const StoredActivity *stored, const QueuedDeltas *queued)
{
	bool		is_counting = chs_customer_is_current(stored, live->counting);

	return order->rebuild || queued->rebuild || !chs_customer_is_current(stored, live) ||
		(is_counting ? queued->series_version < live->counting->series_version : order->count);
}

/*
 * Folds what is queued for a customer, from the raw events if requested or
 * necessary, and stores its health.  Returns the score, or NULL if the customer
 * does not exist (any more), or is busy and must not be waited for: then everything
 * stays as it is.
 */
static Score *
fold_customer_in_scratch(Fold *fold, int64 customer_id, const FoldOrder *order, CustomerLock *lock)
{
	const Live *live = fold->live;
	StoredActivity stored = chs_health_stored_activity(&fold->tables, customer_id, fold->snapshot);
	QueuedDeltas queued;
	Customer	customer;
	ScoreSubject subject;
	const Scorecard *scorecard;
	ActivityData *data;
	Activity   *activity;
	Score	   *score;
	Snapshot	folded = fold->snapshot;
	const Live *counted;
	bool		found;
	bool		rebuild;

	/* from here on nobody deletes what is about to be written */
	*lock = chs_customer_lock_one(customer_id, order->wait, fold->snapshot, &customer);
	if (*lock == CUSTOMER_BUSY)
		return NULL;
	found = *lock != CUSTOMER_GONE;
	if (found && events_are_fresh(fold, order, &stored, &customer))
		folded = order->events_snapshot;
	queued = chs_queue_of_customer(customer_id, stored.folded_to, live->series_version, folded);
	chs_queue_delete(&queued);
	if (!found)
		return NULL;

	scorecard = chs_scorecard_of_segment(live->published, customer.segment);
	subject.segment = customer.segment;
	subject.created_day = customer.created_day;
	subject.as_of_day = Min(fold->today, customer.last_day);

	rebuild = must_rebuild(live, order, &stored, &queued);
	if (stored.damage != NULL)
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the activity of customer %lld was damaged: %s", (long long) customer_id, stored.damage),
				 errdetail("It will be rebuilt from the raw events.")));
	data = chs_customer_decode(&stored);
	if (!rebuild && queued.ndeltas > 0)
		data = chs_activity_merge_two(data, chs_activity_merge_many(queued.deltas, queued.ndeltas));
	/* for a churned customer the last day is scored, which may have been deleted */
	if (fold->in_capture && (rebuild || data->day > subject.as_of_day))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("customer %lld cannot be rebuilt while events are being inserted in the same transaction",
						(long long) customer_id),
				 errhint("Rebuild the customer after the statement, or in a separate transaction.")));
	if (folded != fold->snapshot)
		data = chs_activity_decode(order->from_events);
	else if (rebuild && subject.as_of_day == fold->today && chs_raw_has(fold->raw, customer_id))
	{
		data = chs_raw_activity(fold->raw, customer_id);
		chs_activity_prune_to(data, fold->today);
	}
	else if (rebuild || data->day > subject.as_of_day)
		data = chs_customer_from_events(customer_id, live->counting, subject.as_of_day, DAY_NO_END);
	counted = rebuild || chs_customer_is_current(&stored, live->counting) ? live->counting : live;
	if (queued.any || rebuild || stored.row == NULL)
	{
		chs_scorecard_project(data, counted->published);
		chs_activity_prune_to(data, subject.as_of_day);
	}
	activity = chs_activity_encode(data);
	if (queued.any || rebuild || stored.row == NULL)
		chs_health_store_activity(&fold->tables, customer_id, &stored, activity,
								  counted->series_version, chs_catalog_snapshot_horizon(folded));
	if (rebuild && live->nsources > 1)
		chs_retry_customer_came(live, customer_id);
	score = calculate(fold, customer_id, chs_activity_view(activity), scorecard, &subject);
	if (!chs_health_store(&fold->tables, &customer, live, scorecard, score, subject.as_of_day,
						  is_active(&customer, fold->today), fold->snapshot))
		elog(ERROR, "health of customer %lld was updated concurrently", (long long) customer_id);
	return score;
}

/*
 * Scores a customer from its activity as it is stored, and stores its health.  The
 * queue is left to folding.  Does nothing and returns false if that is not enough,
 * or somebody is deleting the customer.
 */
static bool
rescore_in_scratch(Fold *fold, const Customer *customer)
{
	const Live *live = fold->live;
	StoredActivity stored = chs_health_stored_activity(&fold->tables, customer->customer_id, fold->snapshot);
	const Scorecard *scorecard;
	ScoreSubject subject;
	Score	   *score;

	scorecard = chs_scorecard_of_segment(live->published, customer->segment);
	subject.segment = customer->segment;
	subject.created_day = customer->created_day;
	subject.as_of_day = Min(fold->today, customer->last_day);
	if (stored.row == NULL || !chs_customer_is_current(&stored, live->counting) || stored.view->day > subject.as_of_day)
		return false;
	score = calculate(fold, customer->customer_id, stored.view, scorecard, &subject);
	return chs_health_store(&fold->tables, customer, live, scorecard, score, subject.as_of_day,
							is_active(customer, fold->today), fold->snapshot);
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
	score = fold_customer_in_scratch(fold, customer_id, order, &folded.lock);
	folded.exists = score != NULL;
	folded.known = score != NULL && score->status != STATUS_UNKNOWN;
	folded.score = folded.known ? score->score : 0;
	MemoryContextSwitchTo(caller);
	MemoryContextReset(fold->scratch);
	return folded;
}

/* Queues a rebuild of a customer. */
static void
queue_rebuild(const Fold *fold, int64 customer_id)
{
	QueueAppender appender;

	chs_queue_begin_append(&appender);
	chs_queue_append(&appender, customer_id, NULL, true, fold->live->series_version);
	chs_queue_end_append(&appender);
	chs_worker_wake_at_commit();
}

/* Skips a customer for now, so that it is processed later. */
static void
skip_customer(const Fold *fold, FoldList *list, int64 customer_id)
{
	list->nskipped++;
	if (list->rebuild)
		queue_rebuild(fold, customer_id);
}

static void
fold_listed(Fold *fold, FoldList *list, int i)
{
	FoldOrder	order = {.rebuild = list->rebuild,.count = list->rescore != NULL};
	int64		customer_id = list->customer_ids[i];

	if (!chs_claim_has(&fold->claim, customer_id))
	{
		list->nunclaimed += chs_claim_wants(&fold->claim, customer_id);
		return;
	}
	/* the caller of a rebuild may have solved the problem */
	if (fold->any_failures && !list->rebuild && chs_failure_must_wait(customer_id, fold->live->newest, fold->snapshot))
	{
		list->nskipped++;
		return;
	}
	if (list->from_events != NULL)
	{
		order.from_events = list->from_events[i];
		order.events_snapshot = list->events_snapshot;
	}
	if ((list->rescore == NULL || !rescore_customer(fold, &list->rescore[i])) &&
		fold_customer(fold, customer_id, &order).lock == CUSTOMER_BUSY)
	{
		skip_customer(fold, list, customer_id);
		return;
	}
	if (fold->any_failures)
		chs_failure_clear(customer_id, fold->snapshot);
}

/* An error that is not one customer's fault. */
static bool
concerns_everyone(const ErrorData *error)
{
	int			category = ERRCODE_TO_CATEGORY(error->sqlerrcode);

	return category == ERRCODE_OPERATOR_INTERVENTION || category == ERRCODE_INSUFFICIENT_RESOURCES ||
		category == ERRCODE_TRANSACTION_ROLLBACK || category == ERRCODE_SYSTEM_ERROR;
}

/* If at least one of this many customers is to be read, a scan is faster than a look-up for each. */
#define SCAN_STRIDE 16

/* Whether customers are in ascending order, and close enough to each other for a scan. */
static bool
are_near(const int64 *customer_ids, int n)
{
	for (int i = 1; i < n; i++)
		if (customer_ids[i] <= customer_ids[i - 1])
			return false;
	return n > 1 && (uint64) customer_ids[n - 1] - (uint64) customer_ids[0] < (uint64) n * SCAN_STRIDE;
}

/*
 * Folds some of the listed customers in a subtransaction.  Returns NULL, or the
 * error that undid all of them.
 */
static ErrorData *
try_listed(Fold *fold, FoldList *list, int from, int to)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	HealthTables before = fold->tables;
	FoldList	list_before = *list;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		if (are_near(list->customer_ids + from, to - from))
			chs_health_begin_scan(&fold->tables, list->customer_ids[from], fold->snapshot);
		for (int i = from; i < to; i++)
			fold_listed(fold, list, i);
		chs_health_end_scan(&fold->tables);
		chs_health_write_history(&fold->tables);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		/* the counts are undone as well */
		fold->tables = before;
		*list = list_before;
		forget_plugins(fold);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	if (error != NULL && concerns_everyone(error))
		ReThrowError(error);
	return error;
}

/* The customers of a list, within SPI, whose activities are to be made from the raw events. */
static int
find_rebuilds(const Fold *fold, const FoldList *list, int64 *customer_ids)
{
	Oid			types[] = {INT8ARRAYOID, INT4OID};
	Datum		args[2];
	Datum	   *elements = palloc(list->n * sizeof(Datum));

	for (int i = 0; i < list->n; i++)
		elements[i] = Int64GetDatum(list->customer_ids[i]);
	args[0] = PointerGetDatum(construct_array(elements, list->n, INT8OID, sizeof(int64), true, TYPALIGN_DOUBLE));
	args[1] = Int32GetDatum((list->rescore != NULL ? fold->live->counting : fold->live)->series_version);
	if (SPI_execute_with_args("SELECT i FROM unnest($1) i LEFT JOIN chs.activity a ON a.customer_id = i"
							  " WHERE a.series_version IS NULL OR a.series_version < $2"
							  " OR EXISTS (SELECT FROM chs.queue q WHERE q.customer_id = i AND (q.rebuild OR q.series_version < $2))",
							  lengthof(types), types, args, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read chs.activity");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;

		customer_ids[i] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
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

	chs_catalog_become_owner(&saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	request.n = find_rebuilds(fold, list, customer_ids);
	SPI_finish();
	chs_catalog_become_caller(&saved);
	MemoryContextSwitchTo(caller);
	request.customer_ids = customer_ids;
	/* a single customer is read as usual; if a source cannot be read, each customer fails by itself */
	if (request.n > 1 && !fold->in_capture)
		fold->raw = chs_raw_try(&request);
}

/* Handles the failure of a customer of the list; only the first few are logged. */
static void
fail_listed(Fold *fold, FoldList *list, int64 customer_id, const ErrorData *error, int *nlogged)
{
	if (chs_failure_record(customer_id, fold->live->newest, error, fold->snapshot) && (*nlogged)++ < MAX_LOGGED_FAILURES)
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("chs could not score customer %lld: %s", (long long) customer_id, error->message)));
	skip_customer(fold, list, customer_id);
}

/*
 * chs_fold_list folds the listed customers.  If that fails, each is tried by
 * itself, so that a failure is recorded for the right one.
 */
void
chs_fold_list(Fold *fold, FoldList *list)
{
	int			nlogged = 0;

	fold->raw = NULL;
	if (list->n > 1 && list->from_events == NULL && fold->live->nsources > 1)
		read_raw_events(fold, list);
	if (list->n == 0 || try_listed(fold, list, 0, list->n) == NULL)
		return;
	for (int i = 0; i < list->n; i++)
	{
		ErrorData  *error = try_listed(fold, list, i, i + 1);

		if (error == NULL)
			continue;
		fail_listed(fold, list, list->customer_ids[i], error, &nlogged);
		FreeErrorData(error);
	}
	if (nlogged > MAX_LOGGED_FAILURES)
		ereport(LOG,
				(errmsg("chs could not score %d further customers", nlogged - MAX_LOGGED_FAILURES),
				 errhint("See chs.failures.")));
}

/*
 * chs_fold_batch folds the customers of the next rows of the queue, at most limit
 * rows, within the current transaction, and returns the number of rows. *complete
 * is set if there were no more.
 *
 * A pass goes through the queue in the order of its pages.  Rows of transactions
 * that were still running when it began may lie behind its position or be in pages
 * that it does not read, so the next pass begins with the oldest of those; or where
 * this one did, if it skipped customers that were busy or claimed by somebody else.
 * The progress must be reset if the transaction does not commit.
 */
int64
chs_fold_batch(FoldProgress *progress, int64 limit, bool *complete)
{
	Fold		fold;
	int64	   *customer_ids;
	FoldList	list = {0};
	int64		nrows;

	chs_fold_begin(&fold, &progress->claim);
	if (!progress->in_pass)
	{
		progress->in_pass = true;
		chs_queue_begin_pass(&progress->pass, progress->skipped ? progress->pass.from : progress->next_from,
							 fold.snapshot);
		progress->skipped = false;
		progress->next_from = fold.horizon;
	}
	nrows = chs_queue_customers(&progress->pass, limit, fold.snapshot, &fold.claim,
								&customer_ids, &list.n, &progress->skipped);
	*complete = nrows < limit;
	if (*complete)
		progress->in_pass = false;
	list.customer_ids = customer_ids;
	chs_fold_list(&fold, &list);
	progress->skipped |= list.nskipped > 0 || list.nunclaimed > 0;
	progress->ncustomers = list.n;
	pfree(customer_ids);
	if (*complete && chs_rejected_check(fold.live))
		progress->skipped = true;
	chs_fold_end(&fold);
	return nrows;
}

/* Folds the queue, up to a number of rows.  Returns the number of rows. */
static int64
fold_queue(int64 limit)
{
	FoldProgress progress = {.pass.context = CurrentMemoryContext};
	int64		nrows = 0;
	bool		complete = false;

	while (!complete && nrows < limit)
		nrows += chs_fold_batch(&progress, Min(limit - nrows, chs_batch_size), &complete);
	return nrows;
}

/* Folds one customer, or raises an error if it does not exist. */
static Folded
fold_one(int64 customer_id, bool rebuild)
{
	Fold		fold;
	FoldOrder	order = {.rebuild = rebuild,.count = true,.wait = true};
	Folded		folded;

	chs_fold_begin(&fold, &(ClaimRequest) {.kind = CLAIM_CUSTOMER,.customer_id = customer_id});
	folded = fold_customer(&fold, customer_id, &order);
	if (folded.lock == CUSTOMER_BUSY)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("customer %lld was changed concurrently", (long long) customer_id),
				 errhint("Try again.")));
	if (!folded.exists)
		chs_customer_not_found(customer_id);
	chs_fold_end(&fold);
	return folded;
}

/* chs_process_queue folds the queue, up to a number of rows. */
PG_FUNCTION_INFO_V1(chs_process_queue);
Datum
chs_process_queue(PG_FUNCTION_ARGS)
{
	int64		limit = PG_ARGISNULL(0) ? PG_INT64_MAX : PG_GETARG_INT64(0);

	if (limit < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for \"%s\": %lld", "max_deltas", (long long) limit),
				 errdetail("It must not be negative.")));
	PG_RETURN_INT64(fold_queue(limit));
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

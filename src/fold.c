/*
 * fold.c
 *	  Folding: from the queue into activity, health and history.
 *
 * One transaction deletes deltas from the queue, merges them into the activity,
 * and writes the score that results.  So every snapshot sees a delta either in
 * the queue or in the activity.
 *
 * Whoever folds a customer has claimed it until the end of the transaction, so
 * several sessions can fold at once.  Every batch reads under one snapshot, taken
 * after the claim: what it sees in the queue and what it reads from the raw events
 * for a rebuild is the same.
 */
#include "fold.h"

#include "access/xact.h"
#include "capture.h"
#include "claim.h"
#include "count.h"
#include "customer.h"
#include "failure.h"
#include "funcapi.h"
#include "health.h"
#include "miscadmin.h"
#include "settings.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* What folding shares between the customers of a batch. */
typedef struct Fold
{
	Claim		claim;			/* on the customers that may be folded */
	const Live *live;
	Snapshot	snapshot;
	FullTransactionId horizon;	/* every transaction before it has ended */
	int32		today;
	bool		any_failures;	/* that chs.failures has */
	bool		in_capture;		/* raw events may be seen whose deltas are to come */
	HealthTables tables;
	MemoryContext scratch;		/* for one customer */
} Fold;

/*
 * Claims customers to fold, and then takes a snapshot.  A snapshot from before
 * the claim could miss what another session has folded meanwhile.
 */
static void
begin_fold(Fold *fold, const ClaimRequest *request)
{
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("scores cannot be stored in a transaction of isolation level %s",
						IsolationIsSerializable() ? "SERIALIZABLE" : "REPEATABLE READ"),
				 errhint("Use a transaction of isolation level READ COMMITTED; chs_score() works in any.")));
	PreventCommandIfReadOnly("folding");
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
}

static void
end_fold(Fold *fold)
{
	MemoryContextDelete(fold->scratch);
	chs_health_close(&fold->tables, &fold->claim, fold->snapshot);
	PopActiveSnapshot();
	CommandCounterIncrement();
}

static bool
is_current(const StoredActivity *stored, const Live *live)
{
	return stored->row == NULL || stored->series_version == live->series_version;
}

/* Dashboards count a customer until the day that it churned. */
static bool
is_active(const Customer *customer, int32 today)
{
	return customer->last_day > today;
}

/* How a customer is to be folded. */
typedef struct FoldOrder
{
	bool		rebuild;		/* from the raw events, in any case */
	bool		wait;			/* for whoever has it locked */
	/* what the raw events give, as far as a score for today needs them, or NULL */
	const Activity *from_events;
} FoldOrder;

/*
 * Folds what is queued for a customer, from the raw events where asked to or
 * needed, and stores its health.  Returns the score, or NULL where the customer
 * does not exist (any more), or is busy and not to be waited for: then all stays
 * as it is.
 */
static Score *
fold_customer_in_scratch(Fold *fold, int64 customer_id, const FoldOrder *order, CustomerLock *lock)
{
	const Live *live = fold->live;
	StoredActivity stored = chs_customer_stored(customer_id, fold->snapshot);
	QueuedDeltas queued = chs_queue_of_customer(customer_id, stored.folded_to,
												live->series_version, fold->snapshot);
	Customer	customer;
	ScoreSubject subject;
	const Scorecard *scorecard;
	ActivityData *data = stored.activity;
	Score	   *score;
	bool		rebuild;

	/* from here on nobody deletes what is about to be written */
	*lock = chs_customer_lock(customer_id, order->wait, fold->snapshot, &customer);
	if (*lock == CUSTOMER_BUSY)
		return NULL;
	chs_queue_delete(&queued);
	if (*lock == CUSTOMER_GONE)
		return NULL;

	scorecard = chs_scorecard_of_segment(live->published, customer.segment);
	subject.segment = customer.segment;
	subject.created_day = customer.created_day;
	subject.as_of_day = Min(fold->today, customer.last_day);

	rebuild = order->rebuild || queued.rebuild || !is_current(&stored, live);
	if (!rebuild && queued.ndeltas > 0)
		data = chs_activity_merge_two(data, chs_activity_merge_many(queued.deltas, queued.ndeltas));
	/* of a churned customer the last day is scored, which may be gone */
	if (fold->in_capture && (rebuild || data->day > subject.as_of_day))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("customer %lld cannot be rebuilt while events are being inserted in the same transaction",
						(long long) customer_id),
				 errhint("Do it after the statement, or in a transaction of its own.")));
	if (order->from_events != NULL && subject.as_of_day == fold->today)
		data = chs_activity_decode(order->from_events);
	else if (rebuild || data->day > subject.as_of_day)
		data = chs_customer_from_events(customer_id, live, subject.as_of_day, DAY_NO_END);
	if (queued.any || rebuild || stored.row == NULL)
	{
		chs_scorecard_project(data, live->published);
		chs_activity_prune_to(data, subject.as_of_day);
		chs_health_store_activity(&fold->tables, customer_id, &stored, chs_activity_encode(data),
								  live->series_version, fold->horizon);
	}
	score = chs_score_calculate(chs_score_prepare(live->published, data), scorecard, &subject);
	if (!chs_health_store(&fold->tables, &customer, live, scorecard, score, subject.as_of_day,
						  is_active(&customer, fold->today), fold->snapshot))
		elog(ERROR, "health of customer %lld was written concurrently", (long long) customer_id);
	return score;
}

/*
 * Scores a customer from its activity as it is stored, and stores its health.
 * What is queued is left to folding.  False where that is not enough, or somebody
 * is deleting the customer: then nothing has been done.
 */
static bool
rescore_in_scratch(Fold *fold, const Customer *customer)
{
	const Live *live = fold->live;
	StoredActivity stored = chs_customer_stored(customer->customer_id, fold->snapshot);
	const Scorecard *scorecard;
	ScoreSubject subject;
	Score	   *score;

	scorecard = chs_scorecard_of_segment(live->published, customer->segment);
	subject.segment = customer->segment;
	subject.created_day = customer->created_day;
	subject.as_of_day = Min(fold->today, customer->last_day);
	if (stored.row == NULL || !is_current(&stored, live) || stored.activity->day > subject.as_of_day)
		return false;
	score = chs_score_calculate(chs_score_prepare(live->published, stored.activity), scorecard, &subject);
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

/* What came of folding a customer. */
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

/* Customers to be folded, or only scored, one after the other. */
typedef struct FoldList
{
	int			n;
	const int64 *customer_ids;
	const Customer *rescore;	/* the same ones, to be scored if that is enough; or NULL */
	bool		skipped;		/* some were left out, to be tried again */
} FoldList;

static void
fold_listed(Fold *fold, FoldList *list, int i)
{
	FoldOrder	order = {0};
	int64		customer_id = list->customer_ids[i];

	if (!chs_claim_has(&fold->claim, customer_id))
	{
		list->skipped |= chs_claim_wants(&fold->claim, customer_id);
		return;
	}
	if (fold->any_failures && chs_failure_must_wait(customer_id, fold->snapshot))
	{
		list->skipped = true;
		return;
	}
	if ((list->rescore == NULL || !rescore_customer(fold, &list->rescore[i])) &&
		fold_customer(fold, customer_id, &order).lock == CUSTOMER_BUSY)
	{
		list->skipped = true;
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
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		for (int i = from; i < to; i++)
			fold_listed(fold, list, i);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		/* what had been counted is undone, too */
		fold->tables = before;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	if (error != NULL && concerns_everyone(error))
		ReThrowError(error);
	return error;
}

/*
 * Folds the listed customers.  If that fails, each is tried by itself, so that a
 * failure, which is written down, is its own.
 */
static void
fold_list(Fold *fold, FoldList *list)
{
	if (try_listed(fold, list, 0, list->n) == NULL)
		return;
	for (int i = 0; i < list->n; i++)
	{
		ErrorData  *error = try_listed(fold, list, i, i + 1);

		if (error == NULL)
			continue;
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("chs could not score customer %lld: %s",
						(long long) list->customer_ids[i], error->message)));
		chs_failure_record(list->customer_ids[i], error, fold->snapshot);
		list->skipped = true;
		FreeErrorData(error);
	}
}

/*
 * chs_fold_batch folds the customers of the next rows of the queue, at most
 * limit rows, within the current transaction, and returns the number of rows.
 * *complete tells that there were no more.
 *
 * A pass goes through the queue in the order of its pages.  Rows of transactions
 * that were still running when it began may lie behind its position or be in pages
 * that it does not read, so the next pass begins with the oldest of those; or
 * where this one did, if it left out customers that were busy or claimed by
 * somebody else.  Progress must be forgotten if the transaction does not commit.
 */
int64
chs_fold_batch(FoldProgress *progress, int64 limit, bool *complete)
{
	Fold		fold;
	int64	   *customer_ids;
	FoldList	list = {0};
	int64		nrows;

	begin_fold(&fold, &progress->claim);
	if (!progress->in_pass)
	{
		progress->in_pass = true;
		chs_queue_begin_pass(&progress->pass, progress->skipped ? progress->pass.from : progress->next_from,
							 fold.snapshot);
		progress->skipped = false;
		progress->next_from = fold.horizon;
	}
	nrows = chs_queue_customers(&progress->pass, limit, fold.snapshot, &fold.claim,
								&customer_ids, &list.n, &list.skipped);
	*complete = nrows < limit;
	if (*complete)
		progress->in_pass = false;
	list.customer_ids = customer_ids;
	fold_list(&fold, &list);
	progress->skipped |= list.skipped;
	progress->ncustomers = list.n;
	pfree(customer_ids);
	end_fold(&fold);
	return nrows;
}

/* Folds the queue, at most so many rows.  Returns the number of rows. */
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

/* Reads a row (customer_id, segment, created_at, churned_at). */
static Customer
read_customer(HeapTuple row, TupleDesc desc)
{
	Customer	customer;
	NullableDatum columns[4];

	for (size_t i = 0; i < lengthof(columns); i++)
		columns[i].value = SPI_getbinval(row, desc, i + 1, &columns[i].isnull);
	chs_customer_set(&customer, DatumGetInt64(columns[0].value), columns[1], columns[2], columns[3]);
	return customer;
}

/*
 * Queries the next customers after one, at most so many, in the order of their
 * identifiers; only those whose health is stale, if so asked.  Within SPI.
 */
static void
query_customers(int64 after, int limit, bool stale, int32 today, int version)
{
	Oid			types[] = {INT8OID, INT8OID, BOOLOID, DATEOID, INT4OID};
	Datum		args[5];

	args[0] = Int64GetDatum(after);
	args[1] = Int64GetDatum(limit);
	args[2] = BoolGetDatum(stale);
	args[3] = DateADTGetDatum(today);
	args[4] = Int32GetDatum(version);
	if (SPI_execute_with_args("SELECT c.customer_id, c.segment, c.created_at, c.churned_at FROM chs.customers c"
							  " WHERE c.customer_id > $1 AND (NOT $3 OR NOT EXISTS ("
							  "  SELECT FROM chs.customer_health h"
							  "  WHERE h.customer_id = c.customer_id AND h.version = $5"
							  "  AND h.as_of >= LEAST($4, (c.churned_at AT TIME ZONE 'UTC')::date)"
							  "  AND h.active = COALESCE((c.churned_at AT TIME ZONE 'UTC')::date > $4, true)))"
							  " ORDER BY c.customer_id LIMIT $2",
							  lengthof(types), types, args, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read chs.customers");
}

/*
 * Scores the next customers after *last, at most so many, and moves *last.
 * Returns how many there were.
 */
static int
rescore_slice(const ClaimRequest *request, int64 *last, int limit, bool stale, bool *skipped)
{
	Fold		fold;
	OwnerRights saved;
	FoldList	list = {0};
	Customer   *customers;
	int64	   *customer_ids;

	begin_fold(&fold, request);
	chs_catalog_become_owner(&saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	query_customers(*last, limit, stale, fold.today, fold.live->version);
	list.n = SPI_processed;
	list.rescore = customers = palloc(Max(list.n, 1) * sizeof(Customer));
	list.customer_ids = customer_ids = palloc(Max(list.n, 1) * sizeof(int64));
	for (int i = 0; i < list.n; i++)
	{
		customers[i] = read_customer(SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
		*last = customer_ids[i] = customers[i].customer_id;
	}
	fold_list(&fold, &list);
	*skipped |= list.skipped;
	SPI_finish();
	chs_catalog_become_caller(&saved);
	end_fold(&fold);
	return list.n;
}

/*
 * chs_fold_rescore_stale scores, within the current transaction, the next
 * customers after *last_customer_id whose health is of an earlier day or version
 * or missing, and returns how many there were: fewer than the limit at the end.
 * *skipped tells that some were busy and stay stale.
 */
int
chs_fold_rescore_stale(const ClaimRequest *request, int64 *last_customer_id, int limit, bool *skipped)
{
	return rescore_slice(request, last_customer_id, limit, true, skipped);
}

static void
report_skipped(bool skipped)
{
	if (skipped)
		ereport(NOTICE,
				(errmsg("customers that other transactions have locked, or that failed, were left out"),
				 errhint("See chs.failures, or run it again when those have ended.")));
}

/* Scores all customers, in slices. */
static int64
rescore_everyone(void)
{
	ClaimRequest everyone = {.kind = CLAIM_EVERYONE};
	int64		last = PG_INT64_MIN;
	int64		folded = 0;
	bool		skipped = false;
	int			n;

	do
		folded += n = rescore_slice(&everyone, &last, chs_batch_size, false, &skipped);
	while (n == chs_batch_size);
	report_skipped(skipped);
	return folded;
}

/* Opens a cursor over all customers with the activity that their events give. */
static Portal
open_everyone_from_events(const Fold *fold)
{
	Oid			types[] = {JSONBOID, TIMESTAMPTZOID};
	Datum		args[2];
	int64		first = (int64) fold->today - fold->live->published->max_keep + 1;

	args[0] = JsonbPGetDatum(fold->live->document);
	args[1] = TimestampTzGetDatum(first * USECS_PER_DAY);
	return SPI_cursor_open_with_args(NULL,
									 psprintf("SELECT customer_id, e.activity FROM chs.customers LEFT JOIN"
											  " (SELECT customer_id, %s.chs_activity_agg($1, event_type, event_data, occurred_at) AS activity"
											  "  FROM chs.customer_events WHERE occurred_at >= $2 GROUP BY customer_id) e"
											  " USING (customer_id)",
											  quote_identifier(get_namespace_name(chs_catalog_extension_schema()))),
									 lengthof(types), types, args, NULL, true, 0);
}

/*
 * Makes the activities of all customers again, in one pass over the events
 * rather than with a look-up for each customer.
 */
static int64
rebuild_everyone(void)
{
	Fold		fold;
	OwnerRights saved;
	Portal		portal;
	Activity   *no_events = chs_activity_encode(chs_activity_empty(DAY_NEVER));
	int64		folded = 0;
	bool		skipped = false;

	begin_fold(&fold, &(ClaimRequest) {.kind = CLAIM_EVERYONE});
	chs_catalog_become_owner(&saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	portal = open_everyone_from_events(&fold);
	for (;;)
	{
		SPITupleTable *rows;

		SPI_cursor_fetch(portal, true, 100);
		if (SPI_processed == 0)
			break;
		rows = SPI_tuptable;
		for (uint64 i = 0; i < rows->numvals; i++)
		{
			FoldOrder	order = {.rebuild = true};
			Folded		result;
			bool		isnull;
			Datum		customer_id = SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &isnull);
			Datum		activity = SPI_getbinval(rows->vals[i], rows->tupdesc, 2, &isnull);

			order.from_events = isnull ? no_events : DatumGetActivity(activity);
			result = fold_customer(&fold, DatumGetInt64(customer_id), &order);
			folded += result.exists;
			skipped |= result.lock == CUSTOMER_BUSY;
		}
		SPI_freetuptable(rows);
	}
	SPI_cursor_close(portal);
	SPI_finish();
	chs_catalog_become_caller(&saved);
	end_fold(&fold);
	report_skipped(skipped);
	return folded;
}

/* Folds one customer, or raises an error where there is none. */
static Folded
fold_one(int64 customer_id, bool rebuild)
{
	Fold		fold;
	FoldOrder	order = {.rebuild = rebuild,.wait = true};
	Folded		folded;

	begin_fold(&fold, &(ClaimRequest) {.kind = CLAIM_CUSTOMER,.customer_id = customer_id});
	folded = fold_customer(&fold, customer_id, &order);
	if (folded.lock == CUSTOMER_BUSY)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("customer %lld was changed concurrently", (long long) customer_id),
				 errhint("Try again.")));
	if (!folded.exists)
		chs_customer_not_found(customer_id);
	end_fold(&fold);
	return folded;
}

/* chs_process_queue folds the queue, at most so many rows. */
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

/* chs_recalculate_all folds the queue and scores everyone. */
PG_FUNCTION_INFO_V1(chs_recalculate_all);
Datum
chs_recalculate_all(PG_FUNCTION_ARGS)
{
	/* first the queue, which may also hold what is of no customer any more */
	(void) fold_queue(PG_INT64_MAX);
	PG_RETURN_INT64(rescore_everyone());
}

/* chs_rebuild makes activities again from the raw events, of one customer or all. */
PG_FUNCTION_INFO_V1(chs_rebuild);
Datum
chs_rebuild(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
	{
		int64		rebuilt = rebuild_everyone();

		/* what is left is of no customer any more */
		(void) fold_queue(PG_INT64_MAX);
		PG_RETURN_INT64(rebuilt);
	}
	(void) fold_one(PG_GETARG_INT64(0), true);
	PG_RETURN_INT64(1);
}

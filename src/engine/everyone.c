/*
 * everyone.c
 *	  Scoring and rebuilding all customers, in slices by ascending customer.
 */
#include "engine/everyone.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/tstoreReceiver.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "activity/activity.h"
#include "activity/activity_write.h"
#include "base/catalog.h"
#include "base/scan.h"
#include "base/settings.h"
#include "base/spi.h"
#include "engine/capture.h"
#include "engine/fold.h"
#include "engine/pass.h"
#include "engine/publish.h"
#include "source/raw.h"
#include "source/slice.h"
#include "store/claim.h"
#include "store/customer.h"
#include "store/health.h"
#include "store/live.h"
#include "store/progress.h"
#include "store/restore.h"

/*
 * Events of many customers lie in the same blocks, so a slice of few customers
 * reads nearly as many blocks as one of many.  A slice of a rebuild should take
 * about this long, in milliseconds.
 */
#define REBUILD_SLICE_MS 3000
#define FIRST_REBUILD_SLICE 100
#define MIN_REBUILD_SLICE 10
#define MAX_REBUILD_SLICE 1000000

static const Part everyone = {0};

/* The events of attached tables are held in memory, so their slices are smaller. */
#define MAX_ATTACHED_SLICE 20000

/* The number of rebuilt customers that are folded at once. */
#define REBUILD_LIST 1000

/*
 * Lists the next customers after *last, up to a limit, or only the wanted stale
 * ones among them, and advances *last.  Returns how many it looked at.
 */
static int
list_customers(Fold *fold, FoldList *list, const Part *part, int64 *last, int limit,
			   bool only_stale)
{
	Relation	rel = table_open(chs_catalog_relation(CHS_CUSTOMERS), AccessShareLock);
	Relation	primary_key = index_open(chs_catalog_relation(CHS_CUSTOMERS_PKEY), AccessShareLock);
	Customer   *customers = palloc(limit * sizeof(Customer));
	int64	   *customer_ids = palloc(limit * sizeof(int64));
	CustomerScan scan;
	TupleTableSlot *row;
	int64		from = *last == PG_INT64_MAX ? *last : *last + 1;
	int			n = 0;

	chs_scan_begin(&scan, rel, primary_key, from, fold->snapshot);
	if (only_stale)
		chs_health_begin_scan(&fold->tables, from);
	while (n < limit && *last != PG_INT64_MAX && (row = chs_scan_next(&scan, last)) != NULL)
	{
		Customer   *customer = &customers[list->n];

		n++;
		chs_customer_set_from(customer, *last, row);
		if (only_stale && (!chs_health_is_stale(&fold->tables, customer) ||
						   !chs_part_has(part, *last)))
			continue;
		customer_ids[list->n++] = *last;
	}
	chs_health_end_scan(&fold->tables);
	chs_scan_end(&scan);
	index_close(primary_key, AccessShareLock);
	table_close(rel, AccessShareLock);
	list->rescore = customers;
	list->customer_ids = customer_ids;
	return n;
}

/*
 * Scores the next customers of a pass, up to a limit, or only the stale ones among
 * them.  While a version waits, it also makes their activities count what that
 * needs.  Returns how many customers it looked at, and in *nscored how many were to
 * be scored.
 */
static int
rescore_slice(const Part *part, EveryonePass *pass, int limit, bool only_stale, int *nscored)
{
	MemoryContext slice = AllocSetContextCreate(CurrentMemoryContext, "chs customers to score",
												ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(slice);
	Fold		fold;
	FoldList	list = {0};
	int			n;

	chs_fold_begin(&fold);
	n = list_customers(&fold, &list, part, &pass->last_customer_id, limit, only_stale);
	chs_fold_list(&fold, &list);
	*nscored = list.n;
	pass->skipped |= list.nskipped > 0;
	pass->nput_off = 0;
	for (int i = 0; i < list.nskipped; i++)
		pass->nput_off += list.skipped[i].reason == SKIP_PUT_OFF;
	chs_fold_end(&fold);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(slice);
	return n;
}

/*
 * chs_everyone_rescore_stale looks, within the current transaction, at the next
 * customers of a pass, scores those whose health is of an earlier day or version or
 * missing, or whose activity does not count what a waiting version needs, and sets
 * *nscored to their number.  Returns how many it looked at: fewer than the limit at
 * the end.
 */
int
chs_everyone_rescore_stale(const Part *part, EveryonePass *pass, int limit, int *nscored)
{
	return rescore_slice(part, pass, limit, true, nscored);
}

/* Lists the customers after one, up to a limit, ascending, and sets *n.  Within SPI. */
static int64 *
next_customers(int64 after, int limit, int *n)
{
	int64	   *customer_ids;

	*n = (int) chs_spi_select(psprintf("SELECT customer_id FROM chs.customers WHERE customer_id > "
									   INT64_FORMAT " ORDER BY customer_id LIMIT %d", after, limit),
							  0, NULL, NULL);
	customer_ids = palloc(Max(*n, 1) * sizeof(int64));
	for (int i = 0; i < *n; i++)
	{
		bool		isnull;

		customer_ids[i] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
													  1, &isnull));
	}
	return customer_ids;
}

/*
 * Stores the activities of customers, whose events were read under a snapshot and
 * counted by a series_version.  Returns how many customers were left for later.
 */
static int
store_activities(EventSlice *events, const int64 *customer_ids, int n, Snapshot snapshot,
				 int series_version)
{
	Fold		fold;
	Activity   *from_events[REBUILD_LIST];
	MemoryContext chunk = AllocSetContextCreate(CurrentMemoryContext, "chs rebuilt activities",
												ALLOCSET_DEFAULT_SIZES);
	int			nskipped = 0;

	chs_fold_begin(&fold);
	for (int first = 0; first < n; first += REBUILD_LIST)
	{
		FoldList	list = {
			.rebuild = true,.customer_ids = customer_ids + first,.n = Min(n - first, REBUILD_LIST),
			.events_snapshot = snapshot
		};
		MemoryContext caller = MemoryContextSwitchTo(chunk);

		for (int i = 0; i < list.n; i++)
			from_events[i] = chs_activity_encode(chs_slice_activity(events, list.customer_ids[i]));
		MemoryContextSwitchTo(caller);
		/* a version that counts other things may have been published meanwhile */
		if (fold.live->counting->series_version == series_version)
			list.from_events = from_events;
		chs_fold_list(&fold, &list);
		nskipped += list.nskipped;
		MemoryContextReset(chunk);
	}
	chs_fold_end(&fold);
	MemoryContextDelete(chunk);
	return nskipped;
}

/*
 * Rebuilds the next customers after *last, up to a limit, and advances *last.  Adds
 * the number of those left for later to *nskipped.  Returns how many there were.
 *
 * The events are read before the customers are folded, because that takes long, and
 * workers leave those for later.  Customers that are folded meanwhile are rebuilt
 * individually.
 */
static int
rebuild_slice(int64 *last, int limit, int *nskipped)
{
	OwnerRights saved;
	RawRequest	request = {.last_day = DAY_NO_END};
	Snapshot	snapshot;
	const Live *live;
	int			series_version;

	chs_capture_flush_pending();
	CommandCounterIncrement();
	/* of a table that is written anew while it is waited for, an earlier snapshot sees no rows */
	LockRelationOid(chs_catalog_relation(CHS_CUSTOMERS), AccessShareLock);
	PushActiveSnapshot(GetTransactionSnapshot());
	snapshot = GetActiveSnapshot();
	live = chs_live_at(snapshot);
	series_version = live->counting->series_version;
	chs_spi_begin(&saved);
	if (live->nsources > 1)
		limit = Min(limit, MAX_ATTACHED_SLICE);
	request.live = live->counting;
	request.first_day = chs_customer_today() - live->counting->published->max_keep + 1;
	request.customer_ids = next_customers(*last, limit, &request.n);
	if (request.n > 0)
	{
		EventSlice *events = chs_slice_read(&request, live->counting->document);

		*last = request.customer_ids[request.n - 1];
		*nskipped += store_activities(events, request.customer_ids, request.n, snapshot,
									  series_version);
		chs_slice_end(events);
	}
	chs_spi_end(&saved);
	PopActiveSnapshot();
	return request.n;
}

/*
 * Folds what is queued, possibly for customers that no longer exist.  Waits for what
 * workers are folding, but not for sessions.  Returns whether any customers are left.
 */
static bool
fold_queue(Job *job)
{
	FoldProgress progress = {.pass.context = CurrentMemoryContext};
	bool		complete = false;
	int			nwaits = 0;

	do
	{
		while (!complete)
		{
			(void) chs_pass_batch(&progress, chs_batch_size, &complete);
			chs_progress_store(job, "folding the queue");
		}
		chs_progress_store(job, "folding the queue");
	} while (nwaits++ < MAX_WORKER_WAITS && chs_pass_retry_after_workers(&progress, &complete));
	return chs_pass_has_retries(&progress);
}

static void score_everyone(Job *job);

/*
 * Makes a version live that waited only for this, and scores everyone by it; or by
 * another one that is live or waits in its place.
 */
static void
make_live(Job *job, int version)
{
	if (!chs_publish_make_live(version, true) && chs_publish_waiting() == version)
	{
		ereport(NOTICE,
				(errmsg("version %d cannot become live because events of a source cannot be read",
						version),
				 errhint("See chs.source_status.")));
		return;
	}
	job->done = 0;
	job->last_customer_id = PG_INT64_MIN;
	chs_progress_store(job, "scoring");
	score_everyone(job);
}

/*
 * Scores everyone; if a version waits, first those whose activities do not count
 * what it needs, after which it is live.
 */
static void
score_everyone(Job *job)
{
	EveryonePass pass = {.last_customer_id = job->last_customer_id};
	int			waiting = chs_publish_waiting();
	int			nscored;
	int			n;

	do
	{
		n = rescore_slice(&everyone, &pass, chs_batch_size, waiting > 0, &nscored);
		job->done += n;
		job->last_customer_id = pass.last_customer_id;
		chs_progress_store(job, waiting > 0 ? "counting" : "scoring");
	} while (n == chs_batch_size);
	/* those that a worker was folding are queued, and need no more than another look */
	if (pass.skipped)
		pass.skipped = fold_queue(job);
	if (waiting > 0)
		make_live(job, waiting);
	else if (pass.skipped)
		ereport(NOTICE,
				(errmsg("customers that other transactions have locked, or that failed, were"
						" skipped"),
				 errhint("See chs.failures, or run it again when those transactions have ended.")));
}

/* The version that is live, and the one that waits to be, if any. */
static char *
versions_text(void)
{
	int			waiting = chs_publish_waiting();
	int			version = chs_live_version()->version;

	return waiting == 0 ? psprintf("version %d", version) :
		psprintf("version %d before %d", version, waiting);
}

/*
 * chs_recalculate_all is a procedure: it folds the queue and scores everyone.  Its
 * results become useless once another version or day is current.
 */
PG_FUNCTION_INFO_V1(chs_recalculate_all);
Datum
chs_recalculate_all(PG_FUNCTION_ARGS)
{
	Job			job;
	Datum		today;

	today = DirectFunctionCall1(date_out, DateADTGetDatum(chs_customer_today()));
	chs_progress_begin(&job, JOB_RECALCULATE, fcinfo,
					   psprintf("%s, %s", versions_text(), DatumGetCString(today)));
	(void) fold_queue(&job);
	score_everyone(&job);
	chs_progress_end(&job);
	PG_RETURN_VOID();
}

/* The number of customers in the next slice of a rebuild, given how long the last one took. */
static int
next_slice_size(int size, int milliseconds)
{
	double		wanted = (double) size * REBUILD_SLICE_MS / Max(milliseconds, 1);

	/* by at most a factor of four, since customers differ */
	wanted = Min(wanted, size * 4.0);
	wanted = Max(wanted, size / 4.0);
	return (int) Min(Max(wanted, MIN_REBUILD_SLICE), MAX_REBUILD_SLICE);
}

/*
 * chs_rebuild_all is a procedure: it makes the activities of all customers again
 * from the raw events, and scores them.
 */
PG_FUNCTION_INFO_V1(chs_rebuild_all);
Datum
chs_rebuild_all(PG_FUNCTION_ARGS)
{
	Job			job;
	int			size = FIRST_REBUILD_SLICE;
	int			nskipped = 0;
	int			waiting = chs_publish_waiting();
	int			n;
	Oid			type = BOOLOID;
	Datum		restoring;

	chs_progress_begin(&job, JOB_REBUILD, fcinfo, versions_text());
	do
	{
		instr_time	start;
		instr_time	end;
		int			limit = size;

		INSTR_TIME_SET_CURRENT(start);
		n = rebuild_slice(&job.last_customer_id, limit, &nskipped);
		INSTR_TIME_SET_CURRENT(end);
		INSTR_TIME_SUBTRACT(end, start);
		size = next_slice_size(limit, (int) INSTR_TIME_GET_MILLISEC(end));
		job.done += n;
		chs_progress_store(&job, "rebuilding");
		if (n < limit)
			break;
	} while (true);
	/* what is left in the queue is for customers that no longer exist or were skipped */
	restoring = BoolGetDatum(!chs_restore_lock_out());
	chs_spi_execute_as_owner("SELECT chs.remove_invalid($1)", 1, &type, &restoring, NULL);
	if (!fold_queue(&job))
		nskipped = 0;
	chs_spi_execute_as_owner("SELECT chs.correct_health_counts()", 0, NULL, NULL, NULL);
	if (nskipped > 0)
		ereport(NOTICE,
				(errmsg_plural("the rebuild of %d customer, which another transaction had locked"
							   " or which failed, is queued",
							   "the rebuilds of %d customers, which other transactions had locked"
							   " or which failed, are queued",
							   nskipped, nskipped),
				 errhint("See chs.failures.")));
	if (waiting > 0)
		make_live(&job, waiting);
	chs_progress_end(&job);
	PG_RETURN_VOID();
}

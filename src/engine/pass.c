/*
 * pass.c
 *	  Passes through the queue, and customers that they have to try again.
 *
 * A pass goes through the queue in the order of its pages.  Rows of transactions that
 * were still running when it began may lie behind its position or be in pages that it
 * does not read; the pass after their end looks for them.
 *
 * Customers that were busy, failed or are slow are skipped: passes go on beyond their
 * rows, and they are tried again by themselves, less and less often.  So it costs
 * nobody else anything for how long that lasts.
 */
#include "engine/pass.h"

#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/id.h"
#include "base/settings.h"
#include "base/xid.h"
#include "engine/fold.h"
#include "store/claim.h"
#include "store/missing.h"
#include "store/queue.h"

#define MIN_RETRY_DELAY_MS 10
#define MAX_RETRY_DELAY_MS 30000

/* If too many are put off to be remembered, those that are come first for so long. */
#define PUT_OFF_DELAY_MS 5000

/* ------------------------------------------------------------------ retries */

/* Sets when to try again, a while after the last time. */
static void
postpone(int *delay, TimestampTz *due_at)
{
	*delay = Min(Max(*delay * 2, MIN_RETRY_DELAY_MS), MAX_RETRY_DELAY_MS);
	*due_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), *delay);
}

/* Gives a list those customers that earlier batches found slow. */
static void
set_slow(FoldList *list, const FoldProgress *progress)
{
	list->slow = palloc(Max(progress->nretries, 1) * sizeof(int64));
	for (int i = 0; i < progress->nretries; i++)
		if (progress->retries[i].slow)
			list->slow[list->nslow++] = progress->retries[i].customer_id;
}

/* Remembers to try a customer again that a pass has skipped. */
static void
add_retry(FoldProgress *progress, const SkippedCustomer *skipped)
{
	FoldRetry  *retry = progress->retries;
	FoldRetry  *end = progress->retries + progress->nretries;

	while (retry < end && retry->customer_id != skipped->customer_id)
		retry++;
	if (retry < end)
		retry->slow |= skipped->reason == SKIP_SLOW;
	else if (progress->nretries < MAX_RETRIES)
	{
		*retry = (FoldRetry) {
			.customer_id = skipped->customer_id,.slow = skipped->reason == SKIP_SLOW
		};
		postpone(&retry->delay, &retry->due_at);
		progress->nretries++;
	}
	else
	{
		if (skipped->reason == SKIP_PUT_OFF)
			progress->overflow_delay = Max(progress->overflow_delay, PUT_OFF_DELAY_MS);
		if (!progress->overflowed)
			postpone(&progress->overflow_delay, &progress->overflow_due_at);
		progress->overflowed = true;
		progress->overflow_put_off |= skipped->reason == SKIP_PUT_OFF;
	}
}

/* The same for all customers of a list that were skipped. */
static void
add_retries(FoldProgress *progress, const FoldList *list)
{
	if (list->nskipped > 0 && !chs_pass_has_retries(progress))
		progress->retry_from = progress->pass.from;
	if (TransactionIdIsValid(list->blocker))
		progress->blocker = list->blocker;
	if (list->nskipped > 0 && progress->retries == NULL)
		progress->retries = MemoryContextAlloc(progress->pass.context,
											   MAX_RETRIES * sizeof(FoldRetry));
	for (int i = 0; i < list->nskipped; i++)
		add_retry(progress, &list->skipped[i]);
}

/* chs_pass_has_retries tells whether passes have skipped customers. */
bool
chs_pass_has_retries(const FoldProgress *progress)
{
	return progress->nretries > 0 || progress->overflowed;
}

/* chs_pass_folded_before returns the transaction before which nothing is queued any more. */
FullTransactionId
chs_pass_folded_before(const FoldProgress *progress)
{
	return chs_pass_has_retries(progress) &&
		FullTransactionIdPrecedes(progress->retry_from, progress->all_from) ?
		progress->retry_from : progress->all_from;
}

/* chs_pass_retry_due_at returns when to try the next of them; DT_NOEND if there are none. */
TimestampTz
chs_pass_retry_due_at(const FoldProgress *progress)
{
	TimestampTz due_at = progress->overflowed ? progress->overflow_due_at : DT_NOEND;

	for (int i = 0; i < progress->nretries; i++)
		due_at = Min(due_at, progress->retries[i].due_at);
	return due_at;
}

/*
 * chs_pass_retry_delay returns the shortest time that any of them waits between two
 * attempts, in milliseconds.
 */
int
chs_pass_retry_delay(const FoldProgress *progress)
{
	int			delay = progress->overflowed ? progress->overflow_delay : MAX_RETRY_DELAY_MS;

	for (int i = 0; i < progress->nretries; i++)
		delay = Min(delay, progress->retries[i].delay);
	return delay;
}

/* chs_pass_retry_now makes all of them due, as somebody who had customers has ended. */
void
chs_pass_retry_now(FoldProgress *progress)
{
	progress->overflow_delay = 0;
	progress->overflow_due_at = DT_NOBEGIN;
	for (int i = 0; i < progress->nretries; i++)
	{
		progress->retries[i].delay = 0;
		progress->retries[i].due_at = DT_NOBEGIN;
	}
}

/* both can be compared like the customers that they begin with */
StaticAssertDecl(offsetof(FoldRetry, customer_id) == 0, "a retry begins with its customer");
StaticAssertDecl(offsetof(SkippedCustomer, customer_id) == 0, "so does who is skipped");

/*
 * Forgets those that were due and have been folded, and postpones those that were
 * skipped again.  Returns how many of these were put off for lack of time.
 */
static int
settle_retries(FoldProgress *progress, FoldList *list, TimestampTz now)
{
	int			nkept = 0;
	int			nput_off = 0;

	qsort(list->skipped, list->nskipped, sizeof(SkippedCustomer), chs_id_compare);
	for (int i = 0; i < progress->nretries; i++)
	{
		FoldRetry	retry = progress->retries[i];

		if (retry.due_at <= now)
		{
			const SkippedCustomer *skipped = bsearch(&retry.customer_id, list->skipped,
													 list->nskipped, sizeof(SkippedCustomer),
													 chs_id_compare);

			if (skipped == NULL)
				continue;
			retry.slow = skipped->reason == SKIP_SLOW;
			/* for lack of time others need not wait longer */
			if (skipped->reason == SKIP_PUT_OFF)
				retry.delay = 0;
			nput_off += skipped->reason == SKIP_PUT_OFF;
			postpone(&retry.delay, &retry.due_at);
		}
		progress->retries[nkept++] = retry;
	}
	progress->nretries = nkept;
	return nput_off;
}

/*
 * chs_pass_retry tries those that are due, within the current transaction; for those
 * that are not remembered, the next pass begins where the first of them was skipped.
 */
void
chs_pass_retry(FoldProgress *progress)
{
	TimestampTz now = GetCurrentTimestamp();
	int64	   *customer_ids = palloc(Max(progress->nretries, 1) * sizeof(int64));
	FoldList	list = {.customer_ids = customer_ids,.retry = true};
	Fold		fold;

	if (progress->overflowed && progress->overflow_due_at <= now)
	{
		postpone(&progress->overflow_delay, &progress->overflow_due_at);
		progress->next_from = progress->retry_from;
		progress->nretries = 0;
		progress->overflowed = progress->overflow_put_off = progress->in_pass = false;
		return;
	}
	qsort(progress->retries, progress->nretries, sizeof(FoldRetry), chs_id_compare);
	for (int i = 0; i < progress->nretries; i++)
		if (progress->retries[i].due_at <= now)
			customer_ids[list.n++] = progress->retries[i].customer_id;
	set_slow(&list, progress);
	chs_fold_begin(&fold);
	chs_fold_list(&fold, &list);
	chs_fold_end(&fold);
	progress->ncustomers = list.n - list.nskipped;
	if (TransactionIdIsValid(list.blocker))
		progress->blocker = list.blocker;
	if (settle_retries(progress, &list, now) == 0 && progress->overflow_put_off)
	{
		progress->overflow_delay = 0;
		progress->overflow_due_at = DT_NOBEGIN;
	}
}

/*
 * chs_pass_retry_after_workers is for sessions: it waits for what workers are folding,
 * but not for other sessions, which may leave their transactions open, and tries all
 * again.  Returns false if there was none to try or nothing to wait for.  If there were
 * too many to be remembered, *complete becomes false: a pass begins where they are.
 */
bool
chs_pass_retry_after_workers(FoldProgress *progress, bool *complete)
{
	if (!chs_pass_has_retries(progress) || !chs_claim_wait_for_workers())
		return false;
	*complete = !progress->overflowed;
	chs_pass_retry_now(progress);
	chs_pass_retry(progress);
	return true;
}

/* ------------------------------------------------------------------- passes */

static bool
is_running(FullTransactionId xid, Snapshot snapshot)
{
	for (uint32 i = 0; i < snapshot->xcnt; i++)
		if (FullTransactionIdEquals(chs_xid_full(snapshot->xip[i]), xid))
			return true;
	return false;
}

/*
 * Returns where the next pass begins: with what no snapshot of an earlier one saw, or
 * the oldest transaction that has ended since.  One that goes on running does not keep
 * passes from advancing, as it has nothing to show before its end.
 */
static FullTransactionId
next_from(FoldProgress *progress, const Fold *fold)
{
	Snapshot	snapshot = fold->snapshot;
	FullTransactionId from = progress->next_from;

	for (int i = 0; i < progress->nrunning; i++)
		if (FullTransactionIdPrecedes(progress->running[i], from) &&
			!is_running(progress->running[i], snapshot))
			from = progress->running[i];
	if (progress->running != NULL)
		pfree(progress->running);
	progress->running = MemoryContextAlloc(progress->pass.context,
										   Max(snapshot->xcnt, 1) * sizeof(FullTransactionId));
	progress->nrunning = snapshot->xcnt;
	for (uint32 i = 0; i < snapshot->xcnt; i++)
		progress->running[i] = chs_xid_full(snapshot->xip[i]);
	progress->next_from = chs_xid_full(snapshot->xmax);
	return from;
}

static void
begin_pass(FoldProgress *progress, const Fold *fold)
{
	progress->in_pass = true;
	progress->all_from = FullTransactionIdPrecedes(progress->next_from, progress->horizon) ?
		progress->next_from : progress->horizon;
	progress->horizon = fold->horizon;
	chs_queue_begin_pass(&progress->pass, next_from(progress, fold), fold->snapshot);
	progress->again = false;
}

/*
 * chs_pass_batch folds the customers of the next rows of the queue, at most limit
 * rows, within the current transaction, and returns the number of rows.  *complete is
 * set if there were no more.  Those that are skipped the next pass does not look for,
 * see chs_pass_retry.
 * The progress must be reset if the transaction does not commit.
 */
int64
chs_pass_batch(FoldProgress *progress, int64 limit, bool *complete)
{
	Fold		fold;
	int64	   *customer_ids;
	FoldList	list = {0};
	int64		nrows;

	chs_fold_begin(&fold);
	if (!progress->in_pass)
		begin_pass(progress, &fold);
	nrows = chs_queue_customers(&progress->pass, limit, fold.snapshot, &progress->part,
								&customer_ids, &list.n);
	*complete = nrows < limit;
	if (*complete)
		progress->in_pass = false;
	list.customer_ids = customer_ids;
	set_slow(&list, progress);
	chs_fold_list(&fold, &list);
	add_retries(progress, &list);
	progress->ncustomers = list.n;
	pfree(customer_ids);
	if (*complete && chs_missing_resolve(fold.live, fold.snapshot))
		progress->again = true;
	chs_fold_end(&fold);
	return nrows;
}

/* chs_process_queue folds the queue, up to a number of rows, and returns the number of rows. */
PG_FUNCTION_INFO_V1(chs_process_queue);
Datum
chs_process_queue(PG_FUNCTION_ARGS)
{
	int64		limit = PG_ARGISNULL(0) ? PG_INT64_MAX : PG_GETARG_INT64(0);
	FoldProgress progress = {.pass.context = CurrentMemoryContext};
	int64		nrows = 0;
	bool		complete = false;
	int			nwaits = 0;

	if (limit < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for \"%s\": %lld", "max_deltas", (long long) limit),
				 errdetail("It must not be negative.")));
	do
	{
		while (!complete && nrows < limit)
			nrows += chs_pass_batch(&progress, Min(limit - nrows, chs_batch_size), &complete);
	} while (nwaits++ < MAX_WORKER_WAITS && chs_pass_retry_after_workers(&progress, &complete));
	PG_RETURN_INT64(nrows);
}

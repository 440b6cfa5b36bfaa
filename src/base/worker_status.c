/*
 * worker_status.c
 *	  The status that workers keep in shared memory, and chs.worker_status, which
 *	  shows it for the current database.
 */
#include "base/worker_status.h"

#include "common/hashfn.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/settings.h"
#include "base/worker_shared.h"

/* What a worker did more than this many microseconds of work ago counts less and less. */
#define PACE_OVER (10 * USECS_PER_SEC)

/* ---------------------------------------------------- notes of the workers */

/* chs_worker_status_state records what a worker is doing. */
void
chs_worker_status_state(WorkerSlot *worker, WorkerState state)
{
	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	worker->state = state;
	LWLockRelease(chs_worker_shared->lock);
}

/* chs_worker_status_batch records a committed batch, and how long it took. */
void
chs_worker_status_batch(WorkerSlot *worker, int64 deltas, int64 customers, int64 microseconds)
{
	WorkerPace *pace = &worker->pace;

	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	worker->last_batch_at = GetCurrentTimestamp();
	worker->last_deltas = deltas;
	worker->last_customers = customers;
	if (pace->busy > PACE_OVER)
		*pace = (WorkerPace) {
		.deltas = pace->deltas / 2,.customers = pace->customers / 2,.busy = pace->busy / 2
	};
	pace->deltas += deltas;
	pace->customers += customers;
	pace->busy += Max(microseconds, 1);
	LWLockRelease(chs_worker_shared->lock);
}

/*
 * chs_worker_status_retries records how many customers are to be tried again, and
 * which transaction has one of them, if known.
 */
void
chs_worker_status_retries(WorkerSlot *worker, int customers, TransactionId blocker)
{
	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	worker->retries = customers;
	worker->blocker = blocker;
	LWLockRelease(chs_worker_shared->lock);
}

/* chs_worker_status_pass records how far a pass over all customers has come. */
void
chs_worker_status_pass(WorkerSlot *worker, int64 customer_id)
{
	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	worker->rescored_to = customer_id;
	LWLockRelease(chs_worker_shared->lock);
}

/* chs_worker_status_begin_work records that everything committed so far is being processed. */
void
chs_worker_status_begin_work(DatabaseSlot *slot)
{
	TimestampTz since = pg_atomic_exchange_u64(&slot->waiting_since, 0);

	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	if (slot->working_since == 0)
		slot->working_since = since;
	LWLockRelease(chs_worker_shared->lock);
}

/* chs_worker_status_end_work records that this has been done. */
void
chs_worker_status_end_work(DatabaseSlot *slot)
{
	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	slot->working_since = 0;
	LWLockRelease(chs_worker_shared->lock);
}

/*
 * chs_worker_status_error records the error that is being handled, and returns
 * a hash of its text, never 0.
 */
uint32
chs_worker_status_error(DatabaseSlot *slot)
{
	MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
	ErrorData  *error = CopyErrorData();
	const char *message = error->message ? error->message : "";
	int			length = pg_mbcliplen(message, strlen(message), MAX_ERROR_LENGTH - 1);
	uint32		hash = hash_bytes((const unsigned char *) message, strlen(message));

	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	memcpy(slot->last_error, message, length);
	slot->last_error[length] = '\0';
	slot->last_error_at = GetCurrentTimestamp();
	LWLockRelease(chs_worker_shared->lock);
	FreeErrorData(error);
	MemoryContextSwitchTo(caller);
	return Max(hash, 1);
}

/* ------------------------------------------------------ chs.worker_status */

/* Columns of chs.worker_status(). */
enum
{
	STATUS_WORKER = 0,
	STATUS_PID,
	STATUS_STATE,
	STATUS_STARTED_AT,
	STATUS_LAST_BATCH_AT,
	STATUS_LAST_DELTAS,
	STATUS_LAST_CUSTOMERS,
	STATUS_DELTAS_PER_SECOND,
	STATUS_CUSTOMERS_PER_SECOND,
	STATUS_LAST_ERROR,
	STATUS_LAST_ERROR_AT,
	STATUS_LAG,
	STATUS_RETRIES,
	STATUS_BLOCKER,
	STATUS_SLOW_CUSTOMERS,
	STATUS_SLOW_BECAUSE,
	STATUS_RESCORED_TO,
	STATUS_COLUMNS
};

static const char *
state_name(const DatabaseSlot *slot, const WorkerSlot *worker)
{
	static const char *const names[] = {
		[WORKER_STARTING] = "starting",
		[WORKER_FOLDING] = "folding",
		[WORKER_FOLDING_SLOW] = "folding slow customers",
		[WORKER_RESCORING] = "rescoring",
		[WORKER_HOUSEKEEPING] = "housekeeping",
		[WORKER_WAITING] = "waiting",
		[WORKER_HELD_UP] = "held up"
	};

	if (worker->pid != 0)
		return names[worker->state];
	if (!chs_enabled)
		return "disabled";
	if (slot->state == DATABASE_EXCLUDED)
		return "excluded";
	if (slot->state == DATABASE_PAUSED)
		return "paused";
	if (worker->started_at != 0 && !worker->ended_well)
		return "failed";
	return worker->started_at == 0 ? "starting" : "away";
}

/* How long committed work has been waiting to be folded. */
static TimestampTz
waiting_since(DatabaseSlot *slot)
{
	return slot->working_since != 0 ?
		slot->working_since : (TimestampTz) pg_atomic_read_u64(&slot->waiting_since);
}

static void
set_timestamp(Datum *values, bool *nulls, int column, TimestampTz time)
{
	values[column] = TimestampTzGetDatum(time);
	nulls[column] = time == 0;
}

static void
put_worker(ReturnSetInfo *rsinfo, DatabaseSlot *slot, int number)
{
	const WorkerSlot *worker = &slot->workers[number];
	Datum		values[STATUS_COLUMNS];
	bool		nulls[STATUS_COLUMNS] = {0};
	TimestampTz since = waiting_since(slot);
	TimestampTz now = GetCurrentTimestamp();
	double		seconds = (double) worker->pace.busy / USECS_PER_SEC;

	values[STATUS_WORKER] = Int32GetDatum(number + 1);
	values[STATUS_PID] = Int32GetDatum(worker->pid);
	nulls[STATUS_PID] = worker->pid == 0;
	values[STATUS_STATE] = CStringGetTextDatum(state_name(slot, worker));
	set_timestamp(values, nulls, STATUS_STARTED_AT, worker->started_at);
	set_timestamp(values, nulls, STATUS_LAST_BATCH_AT, worker->last_batch_at);
	values[STATUS_LAST_DELTAS] = Int64GetDatum(worker->last_deltas);
	values[STATUS_LAST_CUSTOMERS] = Int64GetDatum(worker->last_customers);
	nulls[STATUS_LAST_DELTAS] = nulls[STATUS_LAST_CUSTOMERS] = worker->last_batch_at == 0;
	nulls[STATUS_DELTAS_PER_SECOND] = nulls[STATUS_CUSTOMERS_PER_SECOND] = worker->pace.busy == 0;
	values[STATUS_DELTAS_PER_SECOND] = Float8GetDatum(worker->pace.deltas / Max(seconds, 1e-6));
	values[STATUS_CUSTOMERS_PER_SECOND] =
		Float8GetDatum(worker->pace.customers / Max(seconds, 1e-6));
	nulls[STATUS_LAST_ERROR] = slot->last_error_at == 0;
	values[STATUS_LAST_ERROR] = CStringGetTextDatum(slot->last_error);
	set_timestamp(values, nulls, STATUS_LAST_ERROR_AT, slot->last_error_at);
	values[STATUS_LAG] =
		Float8GetDatum(since == 0 ? 0 : Max(now - since, 0) / (double) USECS_PER_SEC);
	values[STATUS_RETRIES] = Int64GetDatum(worker->retries);
	values[STATUS_BLOCKER] = TransactionIdGetDatum(worker->blocker);
	nulls[STATUS_BLOCKER] = !TransactionIdIsValid(worker->blocker);
	values[STATUS_SLOW_CUSTOMERS] = Int64GetDatum(slot->nslow);
	nulls[STATUS_SLOW_BECAUSE] = slot->slow_because[0] == '\0';
	values[STATUS_SLOW_BECAUSE] = CStringGetTextDatum(slot->slow_because);
	nulls[STATUS_RESCORED_TO] = worker->pid == 0 || worker->state != WORKER_RESCORING;
	values[STATUS_RESCORED_TO] = Int64GetDatum(worker->rescored_to);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * chs_worker_status returns a row for the first worker of the current database, and
 * for each further one that ever ran; none if the library was not preloaded, so
 * that there are no workers.
 */
PG_FUNCTION_INFO_V1(chs_worker_status);
Datum
chs_worker_status(PG_FUNCTION_ARGS)
{
	DatabaseSlot *slot;
	DatabaseSlot *copy = palloc(sizeof(DatabaseSlot));

	InitMaterializedSRF(fcinfo, 0);
	if (chs_worker_shared == NULL || (slot = chs_worker_slot(MyDatabaseId)) == NULL)
		return (Datum) 0;
	LWLockAcquire(chs_worker_shared->lock, LW_SHARED);
	memcpy(copy, slot, sizeof(DatabaseSlot));
	LWLockRelease(chs_worker_shared->lock);
	for (int number = 0; number < WORKER_SLOTS; number++)
		if (number == 0 || copy->workers[number].started_at != 0)
			put_worker((ReturnSetInfo *) fcinfo->resultinfo, copy, number);
	return (Datum) 0;
}

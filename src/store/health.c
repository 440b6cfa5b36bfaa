/*
 * health.c
 *	  The tables chs.activity, chs.customer_health and chs.health_scores, as
 *	  folding writes them.
 *
 * Whoever has stored the health of a customer has claimed it, see claim.c, so that
 * nobody else writes its rows.
 */
#include "store/health.h"

#include <math.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/subtrans.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "activity/activity.h"
#include "base/catalog.h"
#include "base/scan.h"
#include "base/settings.h"
#include "base/tables.h"
#include "score/count.h"
#include "score/score.h"
#include "score/scorecard.h"
#include "score/values.h"
#include "store/announce.h"
#include "store/claim.h"
#include "store/customer.h"
#include "store/daily_counts.h"
#include "store/health_counts.h"
#include "store/live.h"

/* Columns of chs.customer_health. */
enum
{
	HEALTH_CUSTOMER_ID = 1,
	HEALTH_SEGMENT,
	HEALTH_SCORECARD,
	HEALTH_VERSION,
	HEALTH_AS_OF,
	HEALTH_STATUS,
	HEALTH_TREND,
	HEALTH_COVERAGE,
	HEALTH_FACTOR_SCORES,
	HEALTH_CALCULATED_AT,
	HEALTH_SCORE,
	SHARED_COLUMNS = HEALTH_SCORE,
	HEALTH_RECORDED_SCORE,
	HEALTH_RISK_SCORE,
	HEALTH_ACTIVE,
	HEALTH_STATUS_SINCE,
	HEALTH_PREVIOUS_STATUS,
	HEALTH_COLUMNS = HEALTH_PREVIOUS_STATUS
};

/* In chs.health_scores those that both tables have follow the identifier. */
#define HISTORY_COLUMN(column) (1 + (column))
#define HISTORY_BACKFILLED HISTORY_COLUMN(SHARED_COLUMNS + 1)
#define HISTORY_MAY_CHANGE (HISTORY_BACKFILLED + 1)
#define HISTORY_CHANGED_BY (HISTORY_MAY_CHANGE + 1)
#define HISTORY_CALM_STATUS (HISTORY_CHANGED_BY + 1)
#define HISTORY_COLUMNS HISTORY_CALM_STATUS

/*
 * chs_health_open opens the tables, to be read as a snapshot sees them, and written for
 * the version that is live for it.
 */
void
chs_health_open(HealthTables *tables, const Live *live, int32 today, Snapshot snapshot)
{
	tables->live = live;
	tables->snapshot = snapshot;
	tables->today = today;
	chs_table_open(&tables->activity, chs_catalog_relation(CHS_ACTIVITY), true);
	chs_table_open(&tables->health, chs_catalog_relation(CHS_CUSTOMER_HEALTH), true);
	chs_table_open(&tables->history, chs_catalog_relation(CHS_HEALTH_SCORES), false);
	tables->calculated_at = GetCurrentTimestamp();
	tables->any_changed = false;
	tables->any_recorded = false;
	tables->nrecorded = 0;
	tables->recorded_context = AllocSetContextCreate(CurrentMemoryContext, "chs history",
													 ALLOCSET_DEFAULT_SIZES);
	tables->scanning = false;
	tables->scan_context = AllocSetContextCreate(CurrentMemoryContext, "chs scan of customers",
												 ALLOCSET_DEFAULT_SIZES);
	tables->history_sequence = chs_identity_sequence(tables->history.rel, 1);
	chs_health_counts_begin(&tables->counts, snapshot);
}

/*
 * chs_health_close writes the counts, announces that statuses have changed, and closes
 * the tables, keeping the locks.
 */
void
chs_health_close(HealthTables *tables)
{
	chs_health_write_history(tables);
	if (tables->any_changed)
		chs_announce();
	/* the transaction lasts beyond midnight, and the day may have been counted */
	if (tables->any_recorded && tables->today < chs_count_day(GetCurrentTimestamp()))
		chs_daily_counts_mark(tables->today);
	chs_health_counts_end(&tables->counts, tables->live->published->nsegments);
	chs_table_close(&tables->history);
	chs_table_close(&tables->health);
	chs_table_close(&tables->activity);
	MemoryContextDelete(tables->scan_context);
	MemoryContextDelete(tables->recorded_context);
}

/*
 * chs_health_begin_scan makes activity and health be read by one scan each until
 * chs_health_end_scan, or until the subtransaction fails.  Customers must then be
 * requested in ascending order, and should be close to each other.
 */
void
chs_health_begin_scan(HealthTables *tables, int64 from)
{
	MemoryContext caller;

	/* an error may have left a scan behind */
	MemoryContextReset(tables->scan_context);
	caller = MemoryContextSwitchTo(tables->scan_context);
	chs_scan_begin(&tables->activity_scan, tables->activity.rel, tables->activity.primary_key, from,
				   tables->snapshot);
	chs_scan_begin(&tables->health_scan, tables->health.rel, tables->health.primary_key, from,
				   tables->snapshot);
	MemoryContextSwitchTo(caller);
	tables->scanning = true;
}

/* chs_health_end_scan ends that. */
void
chs_health_end_scan(HealthTables *tables)
{
	if (!tables->scanning)
		return;
	tables->scanning = false;
	chs_scan_end(&tables->health_scan);
	chs_scan_end(&tables->activity_scan);
}

/* Finds the row of a customer, valid until another one's is looked up; or NULL. */
static HeapTuple
find_row(HealthTables *tables, OwnTable *table, CustomerScan *scan, ChsRelation primary_key,
		 int64 customer_id)
{
	TupleTableSlot *row;

	if (!tables->scanning)
		return chs_table_find(table->rel, primary_key, customer_id, tables->snapshot);
	row = chs_scan_to(scan, customer_id);
	return row == NULL ? NULL : ExecFetchSlotHeapTuple(row, false, NULL);
}

/* chs_health_stored_activity reads the row of chs.activity. */
StoredActivity
chs_health_stored_activity(HealthTables *tables, int64 customer_id)
{
	return chs_customer_read_activity(find_row(tables, &tables->activity, &tables->activity_scan,
											   CHS_ACTIVITY_PKEY, customer_id),
									  RelationGetDescr(tables->activity.rel));
}

static HeapTuple
find_health_row(HealthTables *tables, int64 customer_id)
{
	return find_row(tables, &tables->health, &tables->health_scan, CHS_CUSTOMER_HEALTH_PKEY,
					customer_id);
}

/* Whether a version waits, and the activity of a customer does not count what it needs. */
static bool
is_to_be_counted(HealthTables *tables, int64 customer_id)
{
	const Live *live = tables->live;
	HeapTuple	row = live->newest == live->version ? NULL :
		find_row(tables, &tables->activity, &tables->activity_scan, CHS_ACTIVITY_PKEY, customer_id);
	bool		isnull;

	return row != NULL &&
		DatumGetInt32(heap_getattr(row, ACTIVITY_SERIES_VERSION,
								   RelationGetDescr(tables->activity.rel), &isnull)) <
		live->counting->series_version;
}

/*
 * chs_health_is_stale tells whether the health of a customer is missing, of an earlier
 * day or of another version, or its activity does not count what a waiting version
 * needs.
 */
bool
chs_health_is_stale(HealthTables *tables, const Customer *customer)
{
	int32		today = tables->today;
	HeapTuple	row = find_health_row(tables, customer->customer_id);
	TupleDesc	desc = RelationGetDescr(tables->health.rel);
	bool		isnull;

	return row == NULL ||
		DatumGetInt32(heap_getattr(row, HEALTH_VERSION, desc, &isnull)) != tables->live->version ||
		DatumGetDateADT(heap_getattr(row, HEALTH_AS_OF, desc, &isnull)) <
		Min(today, customer->last_day) ||
		DatumGetBool(heap_getattr(row, HEALTH_ACTIVE, desc, &isnull)) !=
		(customer->last_day > today) ||
		is_to_be_counted(tables, customer->customer_id);
}

/* chs_health_store_activity writes the row of chs.activity. */
void
chs_health_store_activity(HealthTables *tables, int64 customer_id, const StoredActivity *stored,
						  Activity *activity, int series_version, FullTransactionId folded_to)
{
	Datum		values[ACTIVITY_COLUMNS];
	bool		nulls[ACTIVITY_COLUMNS] = {0};

	values[ACTIVITY_CUSTOMER_ID - 1] = Int64GetDatum(customer_id);
	values[ACTIVITY_SERIES_VERSION - 1] = Int32GetDatum(series_version);
	values[ACTIVITY_ACTIVITY - 1] = PointerGetDatum(activity);
	values[ACTIVITY_FOLDED_TO - 1] = FullTransactionIdGetDatum(folded_to);
	if (!chs_table_store(&tables->activity, stored->row, values, nulls, lengthof(values)))
		elog(ERROR, "activity of customer %lld was updated concurrently", (long long) customer_id);
}

/* The row of chs.customer_health that is to be replaced, and what was recorded last. */
typedef struct StoredHealth
{
	HeapTuple	row;			/* NULL where there is none */
	bool		has_history;
	int32		as_of;
	int			version;
	bool		recorded;		/* whether the history's latest row has a score */
	double		recorded_score;
	bool		active;
	KnownScore	known;
	HealthStatus calm_status;	/* of the history's latest row, if that was read */
	char	   *segment;		/* or NULL */
	NullableDatum status_since; /* of the row */
	NullableDatum previous_status;
} StoredHealth;

static HealthStatus
status_of_name(const char *name)
{
	for (HealthStatus status = STATUS_CRITICAL; status <= STATUS_HEALTHY; status++)
		if (strcmp(name, chs_score_status_name(status)) == 0)
			return status;
	return STATUS_UNKNOWN;
}

/* A value of a row of the history, by the column of health that it is of. */
static Datum
of_history(HeapTuple row, TupleDesc desc, int column, bool *isnull)
{
	return heap_getattr(row, HISTORY_COLUMN(column), desc, isnull);
}

/*
 * Reads the latest row of the history.  A customer without health, as everyone is
 * after a restore, must not be recorded twice.
 */
static void
find_history(HealthTables *tables, int64 customer_id, StoredHealth *stored)
{
	Relation	index = index_open(chs_catalog_relation(CHS_HEALTH_SCORES_PKEY), AccessShareLock);
	TupleDesc	desc = RelationGetDescr(tables->history.rel);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	row;
	bool		isnull;
	Datum		datum;

	ScanKeyInit(&key, HISTORY_COLUMN(HEALTH_CUSTOMER_ID), BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(customer_id));
	scan = systable_beginscan_ordered(tables->history.rel, index, tables->snapshot, 1, &key);
	row = systable_getnext_ordered(scan, BackwardScanDirection);
	if (HeapTupleIsValid(row))
	{
		datum = of_history(row, desc, HEALTH_STATUS, &isnull);
		stored->has_history = true;
		stored->known.status = status_of_name(TextDatumGetCString(datum));
		stored->as_of = DatumGetDateADT(of_history(row, desc, HEALTH_AS_OF, &isnull));
		stored->version = DatumGetInt32(of_history(row, desc, HEALTH_VERSION, &isnull));
		datum = of_history(row, desc, HEALTH_SCORE, &isnull);
		stored->recorded = !isnull;
		stored->recorded_score = isnull ? 0 : DatumGetFloat8(datum);
		stored->known.score = stored->recorded_score;
		datum = heap_getattr(row, HISTORY_CALM_STATUS, desc, &isnull);
		stored->calm_status = isnull ? stored->known.status :
			status_of_name(TextDatumGetCString(datum));
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
}

static StoredHealth
find_health(HealthTables *tables, int64 customer_id)
{
	StoredHealth stored = {0};
	TupleDesc	desc = RelationGetDescr(tables->health.rel);
	Datum	   *values;
	bool	   *nulls;

	stored.row = find_health_row(tables, customer_id);
	if (stored.row == NULL)
	{
		find_history(tables, customer_id, &stored);
		return stored;
	}
	values = palloc(desc->natts * sizeof(Datum));
	nulls = palloc(desc->natts * sizeof(bool));
	heap_deform_tuple(stored.row, desc, values, nulls);
	stored.has_history = true;
	stored.known.status = status_of_name(TextDatumGetCString(values[HEALTH_STATUS - 1]));
	stored.known.score = nulls[HEALTH_SCORE - 1] ? 0 : DatumGetFloat8(values[HEALTH_SCORE - 1]);
	stored.active = DatumGetBool(values[HEALTH_ACTIVE - 1]);
	stored.as_of = DatumGetDateADT(values[HEALTH_AS_OF - 1]);
	stored.version = DatumGetInt32(values[HEALTH_VERSION - 1]);
	stored.recorded = !nulls[HEALTH_RECORDED_SCORE - 1];
	stored.recorded_score = stored.recorded ? DatumGetFloat8(values[HEALTH_RECORDED_SCORE - 1]) : 0;
	stored.segment = nulls[HEALTH_SEGMENT - 1] ?
		NULL : TextDatumGetCString(values[HEALTH_SEGMENT - 1]);
	stored.status_since = (NullableDatum) {
		values[HEALTH_STATUS_SINCE - 1], nulls[HEALTH_STATUS_SINCE - 1]
	};
	stored.previous_status = (NullableDatum) {
		values[HEALTH_PREVIOUS_STATUS - 1], nulls[HEALTH_PREVIOUS_STATUS - 1]
	};
	return stored;
}

/* When a row of the history begins to hold: one that was added later, at the end of its day. */
static Datum
begin_of(TimestampTz calculated_at, int32 as_of_day)
{
	return TimestampTzGetDatum(Min(calculated_at, ((int64) as_of_day + 1) * USECS_PER_DAY));
}

/*
 * Whether the history's latest row up to a day is that of the stored health.  It may not
 * be if the customer's last day, or the clock, was put back.
 */
static bool
is_latest(const StoredHealth *stored, int32 as_of_day)
{
	return stored->has_history &&
		(stored->as_of == as_of_day ||
		 (stored->as_of < as_of_day && (stored->row == NULL || stored->active)));
}

/*
 * Determines since when a customer has had a status that begins to be recorded now, and
 * the one before: *since must be set to now, and is put back to the first of the
 * history's rows, up to a day, that have had it since.
 */
static void
find_begin_of_status(HealthTables *tables, int64 customer_id, int32 as_of_day, const char *status,
					 NullableDatum *since, NullableDatum *previous)
{
	Relation	index = index_open(chs_catalog_relation(CHS_HEALTH_SCORES_PKEY), AccessShareLock);
	TupleDesc	desc = RelationGetDescr(tables->history.rel);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	row;
	bool		isnull;

	ScanKeyInit(&keys[0], HISTORY_COLUMN(HEALTH_CUSTOMER_ID), BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(customer_id));
	ScanKeyInit(&keys[1], HISTORY_COLUMN(HEALTH_AS_OF), BTLessEqualStrategyNumber, F_DATE_LE,
				DateADTGetDatum(as_of_day));
	scan = systable_beginscan_ordered(tables->history.rel, index, tables->snapshot,
									  lengthof(keys), keys);
	while (previous->isnull &&
		   HeapTupleIsValid(row = systable_getnext_ordered(scan, BackwardScanDirection)))
	{
		char	   *earlier = TextDatumGetCString(of_history(row, desc, HEALTH_STATUS, &isnull));

		if (strcmp(earlier, status) == 0)
			since->value =
				begin_of(DatumGetTimestampTz(of_history(row, desc, HEALTH_CALCULATED_AT, &isnull)),
						 DatumGetDateADT(of_history(row, desc, HEALTH_AS_OF, &isnull)));
		else
			*previous = (NullableDatum) {CStringGetTextDatum(earlier), false};
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
}

/*
 * Determines the status that counts for changes of status, and in *before the one until
 * now: both are the statuses themselves unless the scorecard has a dead band.
 */
static HealthStatus
find_calm_status(HealthTables *tables, int64 customer_id, const Scorecard *scorecard,
				 const Score *score, const StoredHealth *stored, HealthStatus *before)
{
	StoredHealth latest = {0};

	*before = stored->known.status;
	if (scorecard->calm_points == 0 || !stored->has_history)
		return score->status;
	find_history(tables, customer_id, &latest);
	if (latest.has_history)
		*before = latest.calm_status;
	return chs_score_calm_status(scorecard, score, *before);
}

/* Whether a score belongs in the history: on a new day, or after a significant change. */
static bool
is_worth_recording(const StoredHealth *stored, const Score *score, const Live *live,
				   int32 as_of_day)
{
	bool		known = score->status != STATUS_UNKNOWN;

	return !stored->has_history || stored->as_of != as_of_day || stored->version != live->version ||
		stored->known.status != score->status ||
		(known && stored->recorded && score->score != stored->recorded_score &&
		 fabs(score->score - stored->recorded_score) >= chs_history_threshold);
}

/*
 * Inserts the first health of a customer; false if somebody else is doing so, or has
 * done so.  There is no row yet that whoever deletes the customer would wait for, so
 * the customer is locked.
 */
static bool
insert_health(HealthTables *tables, int64 customer_id, const Datum *values, const bool *nulls)
{
	SnapshotData dirty;
	Customer	customer;
	bool		is_new;

	if (!chs_claim_new(customer_id))
		return false;
	InitDirtySnapshot(dirty);
	is_new =
		chs_customer_lock_one(customer_id, false, tables->snapshot, &customer) == CUSTOMER_LOCKED &&
		chs_table_find(tables->health.rel, CHS_CUSTOMER_HEALTH_PKEY, customer_id, &dirty) == NULL;
	if (is_new)
		(void) chs_table_store(&tables->health, NULL, values, nulls, HEALTH_COLUMNS);
	chs_claim_new_end(customer_id);
	return is_new;
}

/* How long to wait for whoever has taken a customer, if unknown, in milliseconds. */
#define LOCKED_WAIT_MS 10

/*
 * chs_health_taken_by returns the transaction that has written, or locked, the row of
 * a customer; InvalidTransactionId if it has ended, or if there are several.
 */
TransactionId
chs_health_taken_by(int64 customer_id)
{
	Relation	rel = table_open(chs_catalog_relation(CHS_CUSTOMER_HEALTH), AccessShareLock);
	SnapshotData dirty;
	HeapTuple	row;
	TransactionId xid = InvalidTransactionId;

	InitDirtySnapshot(dirty);
	row = chs_table_find(rel, CHS_CUSTOMER_HEALTH_PKEY, customer_id, &dirty);
	table_close(rel, AccessShareLock);
	if (row == NULL)
		return xid;
	if (TransactionIdIsValid(dirty.xmin))
		xid = dirty.xmin;
	else if (TransactionIdIsValid(dirty.xmax))
		xid = dirty.xmax;
	else if ((row->t_data->t_infomask & (HEAP_XMAX_INVALID | HEAP_XMAX_IS_MULTI)) == 0)
		xid = HeapTupleHeaderGetRawXmax(row->t_data);
	/* committed subtransactions have no locks by which their session could be found */
	return TransactionIdIsValid(xid) && TransactionIdIsInProgress(xid) ?
		SubTransGetTopmostTransaction(xid) : InvalidTransactionId;
}

/* chs_health_wait waits for whoever has taken a customer; there may be others afterwards. */
void
chs_health_wait(int64 customer_id)
{
	static uint32 wait_event = 0;
	TransactionId xid = chs_health_taken_by(customer_id);

	CHECK_FOR_INTERRUPTS();
	if (TransactionIdIsValid(xid))
		XactLockTableWait(xid, NULL, NULL, XLTW_None);
	else
		(void) WaitLatch(NULL, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LOCKED_WAIT_MS,
						 chs_wait_event(wait_event, "ChsHealthLocked"));
}

/*
 * chs_health_write_history inserts the rows of the history that have been recorded.
 * Must be called in the subtransaction that recorded them.
 */
void
chs_health_write_history(HealthTables *tables)
{
	TupleTableSlot *slots[HISTORY_ROWS];

	if (tables->nrecorded == 0)
		return;
	for (int i = 0; i < tables->nrecorded; i++)
	{
		slots[i] = MakeSingleTupleTableSlot(RelationGetDescr(tables->history.rel),
											&TTSOpsHeapTuple);
		ExecStoreHeapTuple(tables->recorded[i], slots[i], false);
	}
	chs_table_insert_many(&tables->history, slots, tables->nrecorded);
	for (int i = 0; i < tables->nrecorded; i++)
		ExecDropSingleTupleTableSlot(slots[i]);
	tables->nrecorded = 0;
}

/*
 * Records a row of the history, which has the health's first columns; changed tells
 * whether it changes the calm status, may_change whether the status of the row before, which may
 * be added later, may be another one.
 */
static void
record_history(HealthTables *tables, const Datum *health, const bool *health_nulls,
			   HealthStatus status, HealthStatus calm_status, bool changed, bool may_change)
{
	Datum		values[HISTORY_COLUMNS];
	bool		nulls[HISTORY_COLUMNS] = {0};
	MemoryContext caller;

	values[0] = Int64GetDatum(nextval_internal(tables->history_sequence, false));
	memcpy(&values[1], health, SHARED_COLUMNS * sizeof(Datum));
	memcpy(&nulls[1], health_nulls, SHARED_COLUMNS * sizeof(bool));
	values[HISTORY_BACKFILLED - 1] = BoolGetDatum(false);
	values[HISTORY_MAY_CHANGE - 1] = BoolGetDatum(may_change);
	values[HISTORY_CHANGED_BY - 1] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	nulls[HISTORY_CHANGED_BY - 1] = !changed;
	values[HISTORY_CALM_STATUS - 1] = CStringGetTextDatum(chs_score_status_name(calm_status));
	nulls[HISTORY_CALM_STATUS - 1] = calm_status == status;
	if (tables->nrecorded == HISTORY_ROWS)
		chs_health_write_history(tables);
	/* an error may have left some behind */
	if (tables->nrecorded == 0)
		MemoryContextReset(tables->recorded_context);
	chs_table_fill(&tables->history, tables->history.slot, NULL, values, nulls, HISTORY_COLUMNS);
	caller = MemoryContextSwitchTo(tables->recorded_context);
	tables->recorded[tables->nrecorded++] = ExecCopySlotHeapTuple(tables->history.slot);
	MemoryContextSwitchTo(caller);
	ExecClearTuple(tables->history.slot);
}

/*
 * chs_health_store writes the health of a customer, and a row of its history if the
 * change is significant.  Does nothing and returns false if somebody else has written
 * the row since the snapshot was taken, or has it locked: the customer is taken, see
 * claim.c.
 */
bool
chs_health_store(HealthTables *tables, const Customer *customer, const Scorecard *scorecard,
				 const Score *score)
{
	Datum		values[HEALTH_COLUMNS];
	bool		nulls[HEALTH_COLUMNS] = {0};
	StoredHealth stored = find_health(tables, customer->customer_id);
	KnownScore	known = {.status = score->status,.score = score->score};
	int32		as_of_day = Min(tables->today, customer->last_day);
	/* dashboards count a customer until the day on which it churned */
	bool		active = customer->last_day > tables->today;
	bool		at_risk = score->status == STATUS_AT_RISK || score->status == STATUS_CRITICAL;
	HealthStatus calm_before;
	HealthStatus calm_status = find_calm_status(tables, customer->customer_id, scorecard, score,
												&stored, &calm_before);
	bool		same_status = stored.has_history && stored.known.status == score->status;
	bool		same_calm = stored.has_history && calm_status == calm_before;
	/* the first score of a customer is no change */
	bool		changed = stored.has_history && active && !same_calm;
	bool		record = changed || is_worth_recording(&stored, score, tables->live, as_of_day);
	bool		goes_on = same_status && is_latest(&stored, as_of_day);
	NullableDatum since = {begin_of(tables->calculated_at, as_of_day), false};
	NullableDatum previous = {(Datum) 0, true};

	values[HEALTH_CUSTOMER_ID - 1] = Int64GetDatum(customer->customer_id);
	nulls[HEALTH_SEGMENT - 1] = customer->segment == NULL;
	values[HEALTH_SEGMENT - 1] = customer->segment == NULL ?
		(Datum) 0 : CStringGetTextDatum(customer->segment);
	values[HEALTH_SCORECARD - 1] = CStringGetTextDatum(scorecard->name);
	values[HEALTH_VERSION - 1] = Int32GetDatum(tables->live->version);
	values[HEALTH_AS_OF - 1] = DateADTGetDatum(as_of_day);
	values[HEALTH_STATUS - 1] = CStringGetTextDatum(chs_score_status_name(score->status));
	values[HEALTH_TREND - 1] = chs_value_trend(score->trend, &nulls[HEALTH_TREND - 1]);
	values[HEALTH_COVERAGE - 1] = Float8GetDatum(score->coverage);
	values[HEALTH_FACTOR_SCORES - 1] = chs_value_factor_scores(scorecard, score);
	values[HEALTH_CALCULATED_AT - 1] = TimestampTzGetDatum(tables->calculated_at);
	values[HEALTH_SCORE - 1] = Float8GetDatum(score->score);
	nulls[HEALTH_SCORE - 1] = score->status == STATUS_UNKNOWN;
	values[HEALTH_RECORDED_SCORE - 1] =
		Float8GetDatum(record ? score->score : stored.recorded_score);
	nulls[HEALTH_RECORDED_SCORE - 1] = record ? nulls[HEALTH_SCORE - 1] : !stored.recorded;
	values[HEALTH_RISK_SCORE - 1] = Float8GetDatum(score->score);
	nulls[HEALTH_RISK_SCORE - 1] = !active || !at_risk;
	values[HEALTH_ACTIVE - 1] = BoolGetDatum(active);
	if (goes_on && stored.row != NULL)
	{
		since = stored.status_since;
		previous = stored.previous_status;
	}
	else if (stored.has_history)
		find_begin_of_status(tables, customer->customer_id, as_of_day,
							 chs_score_status_name(score->status), &since, &previous);
	values[HEALTH_STATUS_SINCE - 1] = since.value;
	nulls[HEALTH_STATUS_SINCE - 1] = since.isnull;
	values[HEALTH_PREVIOUS_STATUS - 1] = previous.value;
	nulls[HEALTH_PREVIOUS_STATUS - 1] = previous.isnull;
	if (stored.row == NULL ? !insert_health(tables, customer->customer_id, values, nulls) :
		!chs_table_store(&tables->health, stored.row, values, nulls, HEALTH_COLUMNS))
		return false;
	if (stored.row != NULL && stored.active)
		chs_health_counts_add(&tables->counts, stored.segment, stored.known, -1);
	chs_health_counts_add(&tables->counts, customer->segment, known, active ? 1 : 0);
	if (record)
		record_history(tables, values, nulls, score->status, calm_status, changed,
					   !goes_on || !same_calm || as_of_day > stored.as_of + 1);
	tables->any_recorded |= record;
	tables->any_changed |= changed;
	return true;
}

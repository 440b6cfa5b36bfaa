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
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/subtrans.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/pg_type.h"
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
#include "base/spi.h"
#include "base/tables.h"
#include "score/explain.h"
#include "score/score.h"
#include "score/scorecard.h"
#include "store/announce.h"
#include "store/claim.h"
#include "store/customer.h"
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
	HISTORY_BACKFILLED = HEALTH_SCORE + 1,	/* chs.health_scores has an identifier before */
	HISTORY_CHANGED_BY,
	HISTORY_COLUMNS,
	HEALTH_RECORDED_SCORE = HEALTH_SCORE + 1,
	HEALTH_RISK_SCORE,
	HEALTH_ACTIVE,
	HEALTH_COLUMNS = HEALTH_ACTIVE
};

/* Columns of chs.health_counts. */
enum
{
	COUNTS_SEGMENT = 1,
	COUNTS_HEALTHY,
	COUNTS_AT_RISK,
	COUNTS_CRITICAL,
	COUNTS_UNKNOWN,
	COUNTS_SCORE_HUNDREDTHS,
	COUNTS_LAST_UPDATED,
	COUNTS_COLUMNS = COUNTS_LAST_UPDATED
};

static const int count_columns[] = {
	[STATUS_HEALTHY] = COUNTS_HEALTHY,[STATUS_AT_RISK] = COUNTS_AT_RISK,
	[STATUS_CRITICAL] = COUNTS_CRITICAL,[STATUS_UNKNOWN] = COUNTS_UNKNOWN
};

/*
 * If chs.health_counts has this many rows, and twice as many as there are segments,
 * they are replaced by their sums.
 */
#define MAX_COUNT_ROWS 128

/*
 * What this session knows about chs.health_counts, which is read only once a second
 * instead of for each batch, since an old snapshot may keep dead rows from being
 * removed.
 */
typedef struct KnownCounts
{
	TimestampTz inspected_at;
	TimestampTz last_updated;
	int			nrows;
} KnownCounts;

static KnownCounts known_counts;

/* chs_health_open opens the tables. */
void
chs_health_open(HealthTables *tables)
{
	chs_table_open(&tables->activity, chs_catalog_relation(CHS_ACTIVITY), true);
	chs_table_open(&tables->health, chs_catalog_relation(CHS_CUSTOMER_HEALTH), true);
	chs_table_open(&tables->history, chs_catalog_relation(CHS_HEALTH_SCORES), false);
	tables->context = CurrentMemoryContext;
	tables->calculated_at = GetCurrentTimestamp();
	tables->ncounts = 0;
	tables->any_changed = false;
	tables->nrecorded = 0;
	tables->recorded_context = AllocSetContextCreate(CurrentMemoryContext, "chs history", ALLOCSET_DEFAULT_SIZES);
	tables->scanning = false;
	tables->scan_context = AllocSetContextCreate(CurrentMemoryContext, "chs scan of customers", ALLOCSET_DEFAULT_SIZES);
	tables->history_sequence = chs_identity_sequence(tables->history.rel, 1);
}

/* Determines how many rows chs.health_counts has, and when the latest was written. */
static void
inspect_counts(Relation rel, Snapshot snapshot, TimestampTz now)
{
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	HeapTuple	tuple;

	known_counts = (KnownCounts) {.inspected_at = now,.last_updated = DT_NOBEGIN};
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		datum = heap_getattr(tuple, COUNTS_LAST_UPDATED, RelationGetDescr(rel), &isnull);

		if (!isnull)
			known_counts.last_updated = Max(known_counts.last_updated, DatumGetTimestampTz(datum));
		known_counts.nrows++;
	}
	systable_endscan(scan);
}

/*
 * Appends what was counted to chs.health_counts, one row per segment; if nothing
 * changed, only the time, and that only once a second.
 */
static void
append_counts(HealthTables *tables, Snapshot snapshot)
{
	OwnTable	table;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz last_updated;

	chs_table_open(&table, chs_catalog_relation(CHS_HEALTH_COUNTS), false);
	if (now < known_counts.inspected_at || now - known_counts.inspected_at >= USECS_PER_SEC)
		inspect_counts(table.rel, snapshot, now);
	last_updated = known_counts.last_updated;
	for (int i = 0; i < tables->ncounts; i++)
	{
		const HealthCount *count = &tables->counts[i];
		Datum		values[1 + COUNTS_COLUMNS];
		bool		nulls[1 + COUNTS_COLUMNS] = {0};
		bool		changed = count->score_hundredths != 0;

		nulls[COUNTS_SEGMENT] = count->segment == NULL;
		values[COUNTS_SEGMENT] = nulls[COUNTS_SEGMENT] ? (Datum) 0 : CStringGetTextDatum(count->segment);
		for (HealthStatus status = STATUS_UNKNOWN; status <= STATUS_HEALTHY; status++)
		{
			values[count_columns[status]] = Int64GetDatum(count->customers[status]);
			changed |= count->customers[status] != 0;
		}
		values[COUNTS_SCORE_HUNDREDTHS] = Int64GetDatum(count->score_hundredths);
		values[COUNTS_LAST_UPDATED] = TimestampTzGetDatum(now);
		if (!changed && last_updated != DT_NOBEGIN && now - last_updated < USECS_PER_SEC)
			continue;
		(void) chs_table_store(&table, NULL, values + 1, nulls + 1, COUNTS_COLUMNS);
		known_counts.last_updated = now;
		known_counts.nrows++;
	}
	chs_table_close(&table);
	tables->ncounts = 0;
}

/* Replaces the rows of chs.health_counts by one per segment, except those that somebody else is replacing. */
static void
sum_counts(void)
{
	OwnerRights saved;

	CommandCounterIncrement();
	chs_spi_begin(&saved);
	chs_spi_execute("WITH free AS (SELECT ctid FROM chs.health_counts FOR UPDATE SKIP LOCKED)"
					", gone AS (DELETE FROM chs.health_counts h USING free WHERE h.ctid = free.ctid RETURNING h.*)"
					" INSERT INTO chs.health_counts"
					" SELECT segment, sum(healthy), sum(at_risk), sum(critical), sum(unknown),"
					" sum(score_hundredths), max(last_updated) FROM gone GROUP BY segment", 0, NULL, NULL, NULL);
	chs_spi_end(&saved);
	known_counts.nrows = 0;
}

/*
 * chs_health_correct_counts appends to chs.health_counts what it lacks.  Folding
 * changes both sides of the comparison by the same amount in one transaction, so it
 * need not be kept out; only others that correct are waited for.
 */
void
chs_health_correct_counts(void)
{
	OwnerRights saved;

	chs_claim_counts_wait();
	CommandCounterIncrement();
	chs_spi_begin(&saved);
	chs_spi_execute("INSERT INTO chs.health_counts (segment, healthy, at_risk, critical, unknown, score_hundredths)"
					" SELECT segment, sum(healthy), sum(at_risk), sum(critical), sum(unknown), sum(score_hundredths)"
					" FROM (" HEALTH_COUNTS_ACTUAL
					"       UNION ALL SELECT segment, -healthy, -at_risk, -critical, -unknown, -score_hundredths"
					"       FROM (" HEALTH_COUNTS_STORED ") s) lacking"
					" GROUP BY segment HAVING (sum(healthy), sum(at_risk), sum(critical), sum(unknown), sum(score_hundredths))"
					"                  <> (0, 0, 0, 0, 0)", 0, NULL, NULL, NULL);
	chs_spi_end(&saved);
}

/* Returns the counts of a segment. */
static HealthCount *
count_of_segment(HealthTables *tables, const char *segment, Snapshot snapshot)
{
	HealthCount *count;

	for (int i = 0; i < tables->ncounts; i++)
	{
		const char *other = tables->counts[i].segment;

		if (segment == NULL || other == NULL ? segment == other : strcmp(segment, other) == 0)
			return &tables->counts[i];
	}
	if (tables->ncounts == MAX_COUNTED_SEGMENTS)
		append_counts(tables, snapshot);
	count = &tables->counts[tables->ncounts++];
	memset(count, 0, sizeof(*count));
	if (segment != NULL)
		count->segment = MemoryContextStrdup(tables->context, segment);
	return count;
}

/*
 * chs_health_close writes the counts, announces that statuses have changed, and closes
 * the tables, keeping the locks.
 */
void
chs_health_close(HealthTables *tables, const Live *live, Snapshot snapshot)
{
	chs_health_write_history(tables);
	if (tables->any_changed)
		chs_announce();
	if (tables->ncounts > 0)
		append_counts(tables, snapshot);
	if (known_counts.nrows >= Max(MAX_COUNT_ROWS, 2 * live->published->nsegments))
		sum_counts();
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
chs_health_begin_scan(HealthTables *tables, int64 from, Snapshot snapshot)
{
	MemoryContext caller;

	/* an error may have left a scan behind */
	MemoryContextReset(tables->scan_context);
	caller = MemoryContextSwitchTo(tables->scan_context);
	chs_scan_begin(&tables->activity_scan, tables->activity.rel, tables->activity.primary_key, from, snapshot);
	chs_scan_begin(&tables->health_scan, tables->health.rel, tables->health.primary_key, from, snapshot);
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
		 int64 customer_id, Snapshot snapshot)
{
	TupleTableSlot *row;

	if (!tables->scanning)
		return chs_table_find(table->rel, primary_key, customer_id, snapshot);
	row = chs_scan_to(scan, customer_id);
	return row == NULL ? NULL : ExecFetchSlotHeapTuple(row, false, NULL);
}

/* chs_health_stored_activity reads the row of chs.activity. */
StoredActivity
chs_health_stored_activity(HealthTables *tables, int64 customer_id, Snapshot snapshot)
{
	return chs_customer_read_activity(find_row(tables, &tables->activity, &tables->activity_scan,
											   CHS_ACTIVITY_PKEY, customer_id, snapshot),
									  RelationGetDescr(tables->activity.rel));
}

static HeapTuple
find_health_row(HealthTables *tables, int64 customer_id, Snapshot snapshot)
{
	return find_row(tables, &tables->health, &tables->health_scan, CHS_CUSTOMER_HEALTH_PKEY, customer_id, snapshot);
}

/* Whether a version waits, and the activity of a customer does not count what it needs. */
static bool
is_to_be_counted(HealthTables *tables, int64 customer_id, const Live *live, Snapshot snapshot)
{
	HeapTuple	row = live->newest == live->version ? NULL :
		find_row(tables, &tables->activity, &tables->activity_scan, CHS_ACTIVITY_PKEY, customer_id, snapshot);
	bool		isnull;

	return row != NULL && DatumGetInt32(heap_getattr(row, ACTIVITY_SERIES_VERSION, RelationGetDescr(tables->activity.rel), &isnull)) <
		live->counting->series_version;
}

/*
 * chs_health_is_stale tells whether the health of a customer is missing, of an earlier
 * day or of another version, or its activity does not count what a waiting version
 * needs.
 */
bool
chs_health_is_stale(HealthTables *tables, const Customer *customer, const Live *live, int32 today, Snapshot snapshot)
{
	HeapTuple	row = find_health_row(tables, customer->customer_id, snapshot);
	TupleDesc	desc = RelationGetDescr(tables->health.rel);
	bool		isnull;

	return row == NULL ||
		DatumGetInt32(heap_getattr(row, HEALTH_VERSION, desc, &isnull)) != live->version ||
		DatumGetDateADT(heap_getattr(row, HEALTH_AS_OF, desc, &isnull)) < Min(today, customer->last_day) ||
		DatumGetBool(heap_getattr(row, HEALTH_ACTIVE, desc, &isnull)) != (customer->last_day > today) ||
		is_to_be_counted(tables, customer->customer_id, live, snapshot);
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
	char	   *segment;		/* or NULL */
} StoredHealth;

static HealthStatus
status_of_name(const char *name)
{
	for (HealthStatus status = STATUS_CRITICAL; status <= STATUS_HEALTHY; status++)
		if (strcmp(name, chs_score_status_name(status)) == 0)
			return status;
	return STATUS_UNKNOWN;
}

/*
 * Reads the latest row of the history.  A customer without health, as everyone is
 * after a restore, must not be recorded twice.
 */
static void
find_history(HealthTables *tables, int64 customer_id, Snapshot snapshot, StoredHealth *stored)
{
	Relation	index = index_open(chs_catalog_relation(CHS_HEALTH_SCORES_PKEY), AccessShareLock);
	TupleDesc	desc = RelationGetDescr(tables->history.rel);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	row;
	bool		isnull;
	Datum		datum;

	ScanKeyInit(&key, 1 + HEALTH_CUSTOMER_ID, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(customer_id));
	scan = systable_beginscan_ordered(tables->history.rel, index, snapshot, 1, &key);
	row = systable_getnext_ordered(scan, BackwardScanDirection);
	if (HeapTupleIsValid(row))
	{
		stored->has_history = true;
		stored->known.status = status_of_name(TextDatumGetCString(heap_getattr(row, 1 + HEALTH_STATUS, desc, &isnull)));
		stored->as_of = DatumGetDateADT(heap_getattr(row, 1 + HEALTH_AS_OF, desc, &isnull));
		stored->version = DatumGetInt32(heap_getattr(row, 1 + HEALTH_VERSION, desc, &isnull));
		datum = heap_getattr(row, 1 + HEALTH_SCORE, desc, &isnull);
		stored->recorded = !isnull;
		stored->recorded_score = isnull ? 0 : DatumGetFloat8(datum);
		stored->known.score = stored->recorded_score;
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
}

static StoredHealth
find_health(HealthTables *tables, int64 customer_id, Snapshot snapshot)
{
	StoredHealth stored = {0};
	TupleDesc	desc = RelationGetDescr(tables->health.rel);
	Datum	   *values;
	bool	   *nulls;

	stored.row = find_health_row(tables, customer_id, snapshot);
	if (stored.row == NULL)
	{
		find_history(tables, customer_id, snapshot, &stored);
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
	stored.segment = nulls[HEALTH_SEGMENT - 1] ? NULL : TextDatumGetCString(values[HEALTH_SEGMENT - 1]);
	return stored;
}

/* Adds a customer to the counts or, with n = -1, removes it. */
static void
count_customer(HealthTables *tables, const char *segment, KnownScore known, int n, Snapshot snapshot)
{
	HealthCount *count = count_of_segment(tables, segment, snapshot);

	count->customers[known.status] += n;
	if (known.status != STATUS_UNKNOWN)
		count->score_hundredths += n * (int64) rint(known.score * 100);
}

/* Whether a score belongs in the history: on a new day, or after a significant change. */
static bool
is_worth_recording(const StoredHealth *stored, const Score *score, const Live *live, int32 as_of_day)
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
insert_health(HealthTables *tables, int64 customer_id, const Datum *values, const bool *nulls, Snapshot snapshot)
{
	SnapshotData dirty;
	Customer	customer;
	bool		is_new;

	if (!chs_claim_new(customer_id))
		return false;
	InitDirtySnapshot(dirty);
	is_new = chs_customer_lock_one(customer_id, false, snapshot, &customer) == CUSTOMER_LOCKED &&
		chs_table_find(tables->health.rel, CHS_CUSTOMER_HEALTH_PKEY, customer_id, &dirty) == NULL;
	if (is_new)
		(void) chs_table_store(&tables->health, NULL, values, nulls, HEALTH_COLUMNS);
	chs_claim_new_end(customer_id);
	return is_new;
}

/* How long to wait for whoever has taken a customer, where it is not known who that is, in milliseconds. */
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
	return TransactionIdIsValid(xid) && TransactionIdIsInProgress(xid) ? SubTransGetTopmostTransaction(xid) : InvalidTransactionId;
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
		slots[i] = MakeSingleTupleTableSlot(RelationGetDescr(tables->history.rel), &TTSOpsHeapTuple);
		ExecStoreHeapTuple(tables->recorded[i], slots[i], false);
	}
	chs_table_insert_many(&tables->history, slots, tables->nrecorded);
	for (int i = 0; i < tables->nrecorded; i++)
		ExecDropSingleTupleTableSlot(slots[i]);
	tables->nrecorded = 0;
}

/* Records a row of the history. */
static void
record_history(HealthTables *tables, const Datum *values, const bool *nulls)
{
	MemoryContext caller;

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
 * change is significant.  Does nothing and returns
 * false if somebody else has written the row since the snapshot was taken, or has it
 * locked: the customer is taken, see claim.c.
 */
bool
chs_health_store(HealthTables *tables, const Customer *customer, const Live *live,
				 const Scorecard *scorecard, const Score *score, int32 as_of_day, bool active, Snapshot snapshot)
{
	/* the identifier of the history's row comes first */
	Datum		values[1 + HEALTH_COLUMNS];
	bool		nulls[1 + HEALTH_COLUMNS] = {0};
	StoredHealth stored = find_health(tables, customer->customer_id, snapshot);
	bool		record = is_worth_recording(&stored, score, live, as_of_day);
	bool		changed;

	values[HEALTH_CUSTOMER_ID] = Int64GetDatum(customer->customer_id);
	values[HEALTH_SCORE] = Float8GetDatum(score->score);
	nulls[HEALTH_SCORE] = score->status == STATUS_UNKNOWN;
	values[HEALTH_STATUS] = CStringGetTextDatum(chs_score_status_name(score->status));
	values[HEALTH_COVERAGE] = Float8GetDatum(score->coverage);
	values[HEALTH_TREND] = chs_explain_trend(score->trend, &nulls[HEALTH_TREND]);
	values[HEALTH_FACTOR_SCORES] = chs_explain_factor_scores(scorecard, score);
	nulls[HEALTH_SEGMENT] = customer->segment == NULL;
	values[HEALTH_SEGMENT] = nulls[HEALTH_SEGMENT] ? (Datum) 0 : CStringGetTextDatum(customer->segment);
	values[HEALTH_SCORECARD] = CStringGetTextDatum(scorecard->name);
	values[HEALTH_VERSION] = Int32GetDatum(live->version);
	values[HEALTH_AS_OF] = DateADTGetDatum(as_of_day);
	values[HEALTH_CALCULATED_AT] = TimestampTzGetDatum(tables->calculated_at);
	values[HEALTH_RECORDED_SCORE] = Float8GetDatum(record ? score->score : stored.recorded_score);
	nulls[HEALTH_RECORDED_SCORE] = record ? nulls[HEALTH_SCORE] : !stored.recorded;
	values[HEALTH_ACTIVE] = BoolGetDatum(active);
	values[HEALTH_RISK_SCORE] = values[HEALTH_SCORE];
	nulls[HEALTH_RISK_SCORE] = !active || (score->status != STATUS_AT_RISK && score->status != STATUS_CRITICAL);
	if (stored.row == NULL ? !insert_health(tables, customer->customer_id, values + 1, nulls + 1, snapshot) :
		!chs_table_store(&tables->health, stored.row, values + 1, nulls + 1, HEALTH_COLUMNS))
		return false;
	if (stored.row != NULL && stored.active)
		count_customer(tables, stored.segment, stored.known, -1, snapshot);
	/* also one that does not count, because of the time */
	count_customer(tables, customer->segment, (KnownScore) {.status = score->status,.score = score->score}, active ? 1 : 0, snapshot);
	if (!record)
		return true;
	/* the first score of a customer is no change */
	changed = stored.has_history && active && stored.known.status != score->status;
	tables->any_changed |= changed;
	values[0] = Int64GetDatum(nextval_internal(tables->history_sequence, false));
	values[HISTORY_BACKFILLED] = BoolGetDatum(false);
	nulls[HISTORY_BACKFILLED] = false;
	values[HISTORY_CHANGED_BY] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	nulls[HISTORY_CHANGED_BY] = !changed;
	record_history(tables, values, nulls);
	return true;
}

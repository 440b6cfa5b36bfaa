/*
 * health_counts.c
 *	  The table chs.health_counts: how many customers have which status, by segment.
 *
 * Rows are only appended, so that nobody waits for whoever counts the same segment,
 * and replaced by their sums when there are many.
 */
#include "store/health_counts.h"

#include <math.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/catalog.h"
#include "base/spi.h"
#include "base/tables.h"
#include "score/score.h"

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
	COUNTS_BY_SCORE,
	COUNTS_COLUMNS = COUNTS_BY_SCORE
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
 * What this session knows about the table, which is read only once a second instead of
 * for each batch, since an old snapshot may keep dead rows from being removed.  It may
 * count rows of a subtransaction that failed: then the time is written, or the rows are
 * summed, up to a second too late or too early, which changes no count.
 */
typedef struct KnownCounts
{
	TimestampTz inspected_at;
	TimestampTz last_updated;
	int			nrows;
} KnownCounts;

static KnownCounts known_counts;

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
		Datum		datum = heap_getattr(tuple, COUNTS_LAST_UPDATED, RelationGetDescr(rel),
										 &isnull);

		if (!isnull)
			known_counts.last_updated = Max(known_counts.last_updated, DatumGetTimestampTz(datum));
		known_counts.nrows++;
	}
	systable_endscan(scan);
}

/* The changes by range of scores as an array; NULL if there are none. */
static Datum
by_score_array(const SegmentCount *count, bool *isnull)
{
	Datum		elements[SCORE_RANGES];

	*isnull = true;
	for (int i = 0; i < SCORE_RANGES; i++)
	{
		elements[i] = Int32GetDatum(count->by_score[i]);
		*isnull &= count->by_score[i] == 0;
	}
	return *isnull ? (Datum) 0 :
		PointerGetDatum(construct_array(elements, SCORE_RANGES, INT4OID, sizeof(int32), true,
										TYPALIGN_INT));
}

/*
 * Appends what was counted to chs.health_counts, one row per segment; if nothing
 * changed, only the time, and that only once a second.
 */
static void
append_counts(HealthCounts *counts)
{
	OwnTable	table;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz last_updated;

	chs_table_open(&table, chs_catalog_relation(CHS_HEALTH_COUNTS), false);
	if (now < known_counts.inspected_at || now - known_counts.inspected_at >= USECS_PER_SEC)
		inspect_counts(table.rel, counts->snapshot, now);
	last_updated = known_counts.last_updated;
	for (int i = 0; i < counts->nsegments; i++)
	{
		const SegmentCount *count = &counts->segments[i];
		Datum		values[COUNTS_COLUMNS];
		bool		nulls[COUNTS_COLUMNS] = {0};
		bool		changed = count->score_hundredths != 0;

		nulls[COUNTS_SEGMENT - 1] = count->segment == NULL;
		values[COUNTS_SEGMENT - 1] = nulls[COUNTS_SEGMENT - 1] ?
			(Datum) 0 : CStringGetTextDatum(count->segment);
		for (HealthStatus status = STATUS_UNKNOWN; status <= STATUS_HEALTHY; status++)
		{
			values[count_columns[status] - 1] = Int64GetDatum(count->customers[status]);
			changed |= count->customers[status] != 0;
		}
		values[COUNTS_SCORE_HUNDREDTHS - 1] = Int64GetDatum(count->score_hundredths);
		values[COUNTS_LAST_UPDATED - 1] = TimestampTzGetDatum(now);
		values[COUNTS_BY_SCORE - 1] = by_score_array(count, &nulls[COUNTS_BY_SCORE - 1]);
		changed |= !nulls[COUNTS_BY_SCORE - 1];
		if (!changed && last_updated != DT_NOBEGIN && now - last_updated < USECS_PER_SEC)
			continue;
		(void) chs_table_store(&table, NULL, values, nulls, COUNTS_COLUMNS);
		known_counts.last_updated = now;
		known_counts.nrows++;
	}
	chs_table_close(&table);
	counts->nsegments = 0;
}

/*
 * Replaces the rows of chs.health_counts by one per segment, except those that
 * somebody else is replacing.
 */
static void
sum_counts(void)
{
	OwnerRights saved;

	CommandCounterIncrement();
	chs_spi_begin(&saved);
	chs_spi_execute("WITH free AS (SELECT ctid FROM chs.health_counts FOR UPDATE SKIP LOCKED)"
					", gone AS (DELETE FROM chs.health_counts h USING free"
					" WHERE h.ctid = free.ctid RETURNING h.*)"
					" INSERT INTO chs.health_counts"
					" SELECT segment, sum(healthy), sum(at_risk), sum(critical), sum(unknown),"
					" sum(score_hundredths), max(last_updated), chs.sum_by_score(by_score)"
					" FROM gone GROUP BY segment",
					0, NULL, NULL, NULL);
	chs_spi_end(&saved);
	known_counts.nrows = 0;
}

/*
 * Returns the changes of a segment; if there are too many segments, after appending
 * what there is.
 */
static SegmentCount *
count_of_segment(HealthCounts *counts, const char *segment)
{
	SegmentCount *count;

	for (int i = 0; i < counts->nsegments; i++)
	{
		const char *other = counts->segments[i].segment;

		if (segment == NULL || other == NULL ? segment == other : strcmp(segment, other) == 0)
			return &counts->segments[i];
	}
	if (counts->nsegments == MAX_COUNTED_SEGMENTS)
		append_counts(counts);
	count = &counts->segments[counts->nsegments++];
	memset(count, 0, sizeof(*count));
	if (segment != NULL)
		count->segment = MemoryContextStrdup(counts->context, segment);
	return count;
}

/*
 * chs_health_counts_begin begins to count the changes of a batch, in the current memory
 * context, which must last until chs_health_counts_end.
 */
void
chs_health_counts_begin(HealthCounts *counts, Snapshot snapshot)
{
	counts->context = CurrentMemoryContext;
	counts->snapshot = snapshot;
	counts->nsegments = 0;
}

/*
 * chs_health_counts_add counts a customer n times: 1, -1 for one that was counted, or 0
 * to note the time.
 */
void
chs_health_counts_add(HealthCounts *counts, const char *segment, KnownScore known, int n)
{
	SegmentCount *count = count_of_segment(counts, segment);

	count->customers[known.status] += n;
	if (known.status != STATUS_UNKNOWN)
	{
		int			hundredths = (int) rint(known.score * 100);

		count->score_hundredths += n * (int64) hundredths;
		count->by_score[Min(hundredths / SCORE_RANGE_HUNDREDTHS, SCORE_RANGES - 1)] += n;
	}
}

/* chs_health_counts_end appends the changes; nsegments is how many segments there are. */
void
chs_health_counts_end(HealthCounts *counts, int nsegments)
{
	if (counts->nsegments > 0)
		append_counts(counts);
	if (known_counts.nrows >= Max(MAX_COUNT_ROWS, 2 * nsegments))
		sum_counts();
}

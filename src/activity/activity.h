/*
 * activity.h
 *	  The activity: a summary of a customer's events that can be merged.
 *
 * An activity holds series.  A series is one running aggregate of one event
 * type (a count, a sum or distinct values) and consists of cells, one per UTC
 * day, or per distinct value and block of days.  Days count from 2000-01-01.
 *
 * In tables and between processes it is a flat varlena, Activity, whose bytes are
 * described in activity_bytes.h.  Scoring looks at it in place, through an
 * ActivityView; merging works on an ActivityData.
 */
#ifndef CHS_ACTIVITY_H
#define CHS_ACTIVITY_H

#include "base/compat.h"

#include "fmgr.h"

typedef enum SeriesKind
{
	SERIES_COUNT = 1,			/* n events */
	SERIES_SUM = 2,				/* n numeric values, total of their millionths */
	SERIES_DISTINCT = 3			/* key is the hash of a value, total the days it was seen */
} SeriesKind;

/*
 * The number of distinct values per day up to which the count is exact.  A series
 * keeps those with the smallest hashes, and one more to show that there are others.
 * What is kept depends only on the day's own events, and is therefore the same
 * for any order of merging and pruning.  Beyond the bound, the count is estimated
 * from the density of the hashes that were kept.
 */
#define MAX_DISTINCT_PER_DAY 256

/* The day of an activity that was never pruned. */
#define DAY_NEVER PG_INT32_MIN

typedef struct Cell
{
	uint64		key;			/* hash of a distinct value, else 0 */
	int64		n;				/* events or values; 0 where distinct */
	int128		total;			/* sum in millionths; a bit per day where distinct; else 0 */
	int32		day;			/* the first of a block where distinct */
} Cell;

/* Of the 128 bits of a total, two are needed for its sign and its unit. */
#define TOTAL_IN_RANGE(t) ((t) < (int128) 1 << 125 && (t) > -((int128) 1 << 125))

/* Days that a cell of distinct values covers, starting at a multiple of them. */
#define DISTINCT_BLOCK 128

/* The cell of a distinct value that was seen on a day. */
static inline Cell
chs_activity_distinct_cell(uint64 key, int32 day)
{
	return (Cell) {
		.key = key,.day = day & ~(DISTINCT_BLOCK - 1),
		.total = (int128) ((uint128) 1 << (day & (DISTINCT_BLOCK - 1)))
	};
}

/* The first day of a cell of distinct values, counted from the start of its block. */
static inline int
chs_activity_lowest_bit(uint128 days)
{
	return (uint64) days != 0 ? __builtin_ctzll((uint64) days) :
		64 + __builtin_ctzll((uint64) (days >> 64));
}

typedef struct Series
{
	uint64		id;				/* identifies the definition, see series.c */
	SeriesKind	kind;
	int			keep;			/* days that are kept */
	int			ncells;
	Cell	   *cells;			/* ascending by key, then day */
} Series;

typedef struct ActivityData
{
	int32		day;			/* as of which it was pruned, or DAY_NEVER:
								 * cells up to day - keep are gone */
	int			nseries;
	Series	   *series;			/* ascending by id */
} ActivityData;

typedef struct Activity Activity;

/* A series in the bytes of an activity; see activity_bytes.h. */
typedef struct SeriesView
{
	uint64		id;
	SeriesKind	kind;
	int			keep;			/* days that are kept */
	int			n;				/* cells; or distinct values */
	int32		first;			/* day */
	int			gap_width;		/* bytes of a number */
	int			count_width;
	int			total_width;
	int			unit;			/* of totals, in millionths */
	const char *gaps;
	const char *counts;
	const char *totals;
	const char *values;			/* distinct ones */
	const char *end;			/* of all bytes that may be read */
} SeriesView;

typedef struct ActivityView
{
	int32		day;			/* as of which it was pruned, or DAY_NEVER */
	int			nseries;
	SeriesView *series;			/* ascending by id */
} ActivityView;

/* A series summed up over a window. */
typedef struct WindowTotal
{
	int64		n;				/* events or values; if distinct, days of values */
	int128		total;			/* sum in millionths */
	int			days;			/* days with any; not for distinct */
	int32		last;			/* the last of these days */
	double		distinct;
	bool		estimated;
} WindowTotal;

#define DatumGetActivity(d) ((Activity *) PG_DETOAST_DATUM(d))
#define PG_GETARG_ACTIVITY(n) DatumGetActivity(PG_GETARG_DATUM(n))

/* A single contribution to a series, what one event adds. */
typedef struct Increment
{
	uint64		series_id;
	SeriesKind	kind;
	int			keep;
	int			series;			/* index of the definition, where counted */
	Cell		cell;
} Increment;

/* The state of the aggregate: an activity that increments can be added to. */
extern const char *chs_activity_kind_name(SeriesKind kind);
extern Activity *chs_activity_open_state(void);
extern Activity *chs_activity_add(Activity *state, const Increment *increments, int n);

#endif							/* CHS_ACTIVITY_H */

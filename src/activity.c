/*
 * activity.c
 *	  The bytes of an activity: writing, reading, what they amount to in a window.
 *
 * Layout of the varlena, all integers little-endian or variable-length ("var":
 * seven bits a byte, least significant first; signed ones zigzag):
 *
 *		4		length word
 *		1		format, 1
 *		1		flags
 *		2		number of series
 *		4		day as of which it was pruned
 *		series, ascending by id:
 *			8		id
 *			1		kind
 *			var		days kept
 *			var		number of cells (of distinct values)
 *			var		first day (signed)
 *			counts and sums:
 *				1		widths, of so many bytes as the largest number needs: of the
 *						gaps (high half), of the counts (low half), 1 or more
 *				1		of sums: width of the totals; high bit set where all are whole
 *						units, else they are millionths
 *				gaps	days between each cell and the one before it
 *				counts	n of each cell, less 1
 *				totals	of each cell (zigzag)
 *			distinct values:	8 hash, var days since the first day, var number
 *								of bytes that follow, a bit for each later day
 *
 * Numbers of a series have the same width, so that the days of a window are found
 * and summed up where they lie: scores are made of views, without cells.
 *
 * A canonical activity has no cell that its day and the number of days kept
 * rule out, no empty series, and the shortest form of every number, so equal
 * activities are equal bytes.
 *
 * The aggregate's state has FLAG_OPEN: between header and series stand the
 * sizes of an unsorted tail of increments, with room to spare, so that adding an
 * event costs an append and only now and then a merge.  Every function takes
 * both forms; only canonical ones come in from outside.
 */
#include "activity.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "message.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define ACTIVITY_FORMAT 1
#define FLAG_OPEN 0x01
#define WHOLE_UNITS 0x80		/* in the width of totals */

struct Activity
{
	int32		vl_len_;
	uint8		format;
	uint8		flags;
	uint16		nseries;
	int32		day;
};

#define HEADER_SIZE sizeof(Activity)

/* Follows the header of an open activity; the series and the tail follow it. */
typedef struct OpenHeader
{
	uint32		body;			/* bytes of series */
	uint32		ntail;			/* increments in the tail */
	uint32		captail;		/* room for increments */
} OpenHeader;

#define OPEN_BODY(a) ((char *) (a) + HEADER_SIZE + sizeof(OpenHeader))
#define OPEN_SIZE(body, captail) \
	(HEADER_SIZE + sizeof(OpenHeader) + (body) + (Size) (captail) * sizeof(Increment))

/* Days of any valid timestamp, with some to spare for windows. */
#define MIN_DAY (-2500000)
#define MAX_DAY 110000000
#define MAX_KEEP 4000
#define MAX_SPAN (MAX_DAY - MIN_DAY)
#define MAX_CELLS ((int) (MaxAllocSize / sizeof(Cell)))

/* What invalid bytes are a sign of: a client's mistake, or a damaged table. */
static int	invalid_errcode = ERRCODE_DATA_CORRUPTED;

static ActivityData *decode(const Activity *activity);
pg_noreturn static void activity_corrupted(const char *what);

static void
activity_corrupted(const char *what)
{
	ereport(ERROR,
			(errcode(invalid_errcode),
			 errmsg("invalid chs_activity: %s", what)));
}

/* ---------------------------------------------------------------- writing */

typedef struct Writer
{
	char	   *start;
	char	   *next;
	char	   *end;
} Writer;

static void
writer_reserve(Writer *w, Size more)
{
	if ((Size) (w->end - w->next) < more)
	{
		Size		used = w->next - w->start;
		Size		size = Max((Size) (w->end - w->start) * 2, used + more);

		w->start = repalloc(w->start, size);
		w->next = w->start + used;
		w->end = w->start + size;
	}
}

static inline void
put_varint(Writer *w, uint64 v)
{
	while (v >= 0x80)
	{
		*w->next++ = (char) (v | 0x80);
		v >>= 7;
	}
	*w->next++ = (char) v;
}

static inline void
put_uint64(Writer *w, uint64 v)
{
#ifdef WORDS_BIGENDIAN
	v = pg_bswap64(v);
#endif
	memcpy(w->next, &v, sizeof(v));
	w->next += sizeof(v);
}

static inline uint64
zigzag(int64 v)
{
	return ((uint64) v << 1) ^ (uint64) (v >> 63);
}

/* Writes the cells of one value. */
static void
put_value(Writer *w, const Cell *cells, int ncells, int32 first)
{
	int32		first_day = cells[0].day + chs_activity_lowest_bit(cells[0].total);
	int			nbytes = 0;
	char	   *bytes;

	/* enough for all days of the last block */
	int			most = (cells[ncells - 1].day + DISTINCT_BLOCK - first_day) / 8 + 1;

	writer_reserve(w, 32 + most);
	put_uint64(w, cells[0].key);
	put_varint(w, first_day - first);
	/* the number of bytes goes before them; it is a single byte nearly always */
	bytes = palloc0(most);
	for (int i = 0; i < ncells; i++)
	{
		for (uint128 days = cells[i].total; days != 0; days &= days - 1)
		{
			int			bit = cells[i].day + chs_activity_lowest_bit(days) - first_day - 1;

			if (bit < 0)
				continue;		/* the first day itself */
			bytes[bit / 8] |= 1 << (bit % 8);
			nbytes = bit / 8 + 1;
		}
	}
	put_varint(w, nbytes);
	memcpy(w->next, bytes, nbytes);
	w->next += nbytes;
	pfree(bytes);
}

static void
put_distinct(Writer *w, const Series *s, int32 first)
{
	int			i = 0;

	while (i < s->ncells)
	{
		int			n = 1;

		while (i + n < s->ncells && s->cells[i + n].key == s->cells[i].key)
			n++;
		put_value(w, &s->cells[i], n, first);
		i += n;
	}
}

static int
series_nvalues(const Series *s)
{
	int			n = 1;

	if (s->kind != SERIES_DISTINCT)
		return s->ncells;
	for (int i = 1; i < s->ncells; i++)
		n += s->cells[i].key != s->cells[i - 1].key;
	return n;
}

/* How many bytes a number needs. */
static int
width_of(uint64 v)
{
	return v == 0 ? 0 : pg_leftmost_one_pos64(v) / 8 + 1;
}

static int
width_of_total(uint128 v)
{
	return v >> 64 != 0 ? 8 + width_of((uint64) (v >> 64)) : width_of((uint64) v);
}

/* Writes the low bytes of a number; there must be room for all of it. */
static inline void
put_fixed(Writer *w, uint64 v, int width)
{
	put_uint64(w, v);
	w->next += width - (int) sizeof(v);
}

static bool
is_whole(int128 total)
{
	return (int64) total == total ? (int64) total % 1000000 == 0 : total % 1000000 == 0;
}

/* A total as it is written: whole units, more often than not, take fewer bytes. */
static uint128
zigzag_total(int128 total, bool whole)
{
	int128		v = whole ? total / 1000000 : total;

	return ((uint128) v << 1) ^ (uint128) (v >> 127);
}

static void
put_totals(Writer *w, const Series *s, bool whole, int width)
{
	for (int i = 0; i < s->ncells; i++)
	{
		uint128		z = zigzag_total(s->cells[i].total, whole);

		put_fixed(w, (uint64) z, Min(width, 8));
		if (width > 8)
			put_fixed(w, (uint64) (z >> 64), width - 8);
	}
}

static void
put_run(Writer *w, const Series *s)
{
	uint64		gaps = 0;
	uint64		counts = 0;
	uint128		totals = 0;
	bool		whole = true;
	int			gap_width;
	int			count_width;
	int			total_width;

	/* the bits of all together are as many as those of the largest */
	for (int i = 0; i < s->ncells; i++)
	{
		gaps |= i > 0 ? s->cells[i].day - s->cells[i - 1].day - 1 : 0;
		counts |= s->cells[i].n - 1;
		whole = whole && is_whole(s->cells[i].total);
	}
	for (int i = 0; i < s->ncells && s->kind == SERIES_SUM; i++)
		totals |= zigzag_total(s->cells[i].total, whole);
	gap_width = width_of(gaps);
	count_width = Max(width_of(counts), 1);
	total_width = width_of_total(totals);
	writer_reserve(w, 3 + (Size) s->ncells * (gap_width + count_width + total_width) + sizeof(uint64));
	*w->next++ = (char) (gap_width << 4 | count_width);
	if (s->kind == SERIES_SUM)
		*w->next++ = (char) (total_width | (whole ? WHOLE_UNITS : 0));
	for (int i = 1; i < s->ncells; i++)
		put_fixed(w, s->cells[i].day - s->cells[i - 1].day - 1, gap_width);
	for (int i = 0; i < s->ncells; i++)
		put_fixed(w, s->cells[i].n - 1, count_width);
	if (s->kind == SERIES_SUM)
		put_totals(w, s, whole, total_width);
}

static void
put_series(Writer *w, const Series *s)
{
	int32		first = chs_activity_first_day(s);

	writer_reserve(w, 48);
	put_uint64(w, s->id);
	*w->next++ = (char) s->kind;
	put_varint(w, s->keep);
	put_varint(w, series_nvalues(s));
	put_varint(w, zigzag(first));
	if (s->kind == SERIES_DISTINCT)
		put_distinct(w, s, first);
	else
		put_run(w, s);
}

/*
 * chs_activity_encode returns the canonical varlena of what is in memory, in
 * the current memory context.
 */
Activity *
chs_activity_encode(const ActivityData *data)
{
	Writer		w;
	Activity   *result;
	int			nseries = 0;

	w.start = palloc(512);
	w.end = w.start + 512;
	w.next = w.start + HEADER_SIZE;
	for (int i = 0; i < data->nseries; i++)
	{
		if (data->series[i].ncells == 0)
			continue;
		put_series(&w, &data->series[i]);
		nseries++;
	}
	if (nseries > PG_UINT16_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("an activity cannot hold more than %d series", PG_UINT16_MAX)));
	result = (Activity *) w.start;
	SET_VARSIZE(result, w.next - w.start);
	result->format = ACTIVITY_FORMAT;
	result->flags = 0;
	result->nseries = nseries;
	result->day = data->day;
	return result;
}

/* ---------------------------------------------------------------- reading */

typedef struct Reader
{
	const char *next;
	const char *end;
} Reader;

static inline uint8
get_byte(Reader *r)
{
	if (unlikely(r->next >= r->end))
		activity_corrupted("it ends too early");
	return (uint8) *r->next++;
}

static inline uint64
get_varint(Reader *r)
{
	uint8		b = get_byte(r);
	uint64		v = b & 0x7f;
	int			shift = 7;

	while (b & 0x80)
	{
		b = get_byte(r);
		if (unlikely(shift > 63 || (shift == 63 && b > 1) || b == 0))
			activity_corrupted("a number is malformed");
		v |= (uint64) (b & 0x7f) << shift;
		shift += 7;
	}
	return v;
}

/* Reads a number that must be in the given range. */
static inline int64
get_number(Reader *r, int64 low, int64 high, const char *what)
{
	uint64		v = get_varint(r);

	if (unlikely(v > (uint64) high || (int64) v < low))
		activity_corrupted(what);
	return (int64) v;
}

static inline uint64
get_uint64(Reader *r)
{
	uint64		v;

	if (unlikely(r->end - r->next < (ptrdiff_t) sizeof(v)))
		activity_corrupted("it ends too early");
	memcpy(&v, r->next, sizeof(v));
	r->next += sizeof(v);
#ifdef WORDS_BIGENDIAN
	v = pg_bswap64(v);
#endif
	return v;
}

/* Reads the low bytes of a word. */
static inline uint64
get_word(const char *from, int width)
{
	uint64		v;

	memcpy(&v, from, sizeof(v));
#ifdef WORDS_BIGENDIAN
	v = pg_bswap64(v);
#endif
	return v & (width < 8 ? ((uint64) 1 << width * 8) - 1 : ~(uint64) 0);
}

/* Reads a number of so many bytes, at most 8. */
static inline uint64
get_fixed(const char *from, const char *end, int width)
{
	uint64		v = 0;

	/* reading a word is faster, and mostly more follows */
	if (likely(end - from >= (ptrdiff_t) sizeof(v)))
		return get_word(from, width);
	for (int i = 0; i < width; i++)
		v |= (uint64) (uint8) from[i] << i * 8;
	return v;
}

static inline int64
unzigzag(uint64 z)
{
	return (int64) (z >> 1) ^ -(int64) (z & 1);
}

/* Days between a cell of a run and the next one. */
static inline int64
get_gap(const SeriesView *s, int i)
{
	return (int64) get_fixed(s->gaps + (Size) i * s->gap_width, s->end, s->gap_width) + 1;
}

static inline int64
get_count(const SeriesView *s, int i)
{
	return (int64) get_fixed(s->counts + (Size) i * s->count_width, s->end, s->count_width) + 1;
}

/* A total in the unit of its series; such of 8 bytes and fewer need no more than a word. */
static inline int64
get_short_total(const SeriesView *s, int i)
{
	return unzigzag(get_fixed(s->totals + (Size) i * s->total_width, s->end, s->total_width));
}

static int128
get_long_total(const SeriesView *s, int i)
{
	const char *from = s->totals + (Size) i * s->total_width;
	uint128		z = (uint128) get_fixed(from + 8, s->end, s->total_width - 8) << 64 | get_fixed(from, s->end, 8);

	return (int128) (z >> 1) ^ -(int128) (z & 1);
}

static inline int128
get_total(const SeriesView *s, int i)
{
	return s->total_width <= 8 ? get_short_total(s, i) : get_long_total(s, i);
}

/* Checks what a run has that its widths alone do not keep in range. */
static void
check_run(const SeriesView *s)
{
	int64		day = s->first;

	if (day + ((int64) (s->n - 1) << s->gap_width * 8) > MAX_DAY)
		for (int i = 0; i < s->n - 1; i++)
			if ((day += get_gap(s, i)) > MAX_DAY)
				activity_corrupted("a day is out of range");
	for (int i = 0; i < s->n && s->count_width == 8; i++)
		if (get_count(s, i) < 1)
			activity_corrupted("a count is out of range");
	for (int i = 0; i < s->n && s->total_width > 8; i++)
	{
		int128		total;

		if (__builtin_mul_overflow(get_long_total(s, i), (int128) s->unit, &total) || !TOTAL_IN_RANGE(total))
			activity_corrupted("a total is out of range");
	}
}

static void
view_run(Reader *r, SeriesView *s)
{
	uint8		widths = get_byte(r);
	int64		size;

	s->gap_width = widths >> 4;
	s->count_width = widths & 0xf;
	s->total_width = 0;
	s->unit = 1;
	if (s->kind == SERIES_SUM)
	{
		uint8		byte = get_byte(r);

		s->total_width = byte & ~WHOLE_UNITS;
		s->unit = byte & WHOLE_UNITS ? 1000000 : 1;
	}
	if (s->gap_width > 4 || s->count_width < 1 || s->count_width > 8 || s->total_width > 16)
		activity_corrupted("a width is out of range");
	size = (int64) (s->n - 1) * s->gap_width + (int64) s->n * (s->count_width + s->total_width);
	if (size > r->end - r->next)
		activity_corrupted("it ends too early");
	s->gaps = r->next;
	s->counts = s->gaps + (Size) (s->n - 1) * s->gap_width;
	s->totals = s->counts + (Size) s->n * s->count_width;
	r->next += size;
	check_run(s);
}

/* A distinct value: its first day, and bytes that have a bit for each later one. */
typedef struct DistinctValue
{
	uint64		key;
	int32		first;
	int			nbytes;
	const char *days;
} DistinctValue;

static pg_attribute_always_inline void
get_value(Reader *r, const SeriesView *s, DistinctValue *v)
{
	int64		first;

	v->key = get_uint64(r);
	first = s->first + get_number(r, 0, MAX_SPAN, "a day is out of range");
	v->nbytes = get_number(r, 0, MAX_SPAN / 8, "a day is out of range");
	v->days = r->next;
	if (v->nbytes > r->end - r->next)
		activity_corrupted("it ends too early");
	if (v->nbytes > 0 && v->days[v->nbytes - 1] == 0)
		activity_corrupted("days are malformed");
	if (first + (int64) v->nbytes * 8 > MAX_DAY)
		activity_corrupted("a day is out of range");
	v->first = (int32) first;
	r->next += v->nbytes;
}

static void
view_distinct(Reader *r, SeriesView *s)
{
	DistinctValue v;
	uint64		last_key = 0;
	bool		has_first = false;

	s->values = r->next;
	for (int i = 0; i < s->n; i++)
	{
		get_value(r, s, &v);
		if (i > 0 && v.key <= last_key)
			activity_corrupted("distinct values are out of order");
		last_key = v.key;
		has_first |= v.first == s->first;
	}
	if (!has_first)
		activity_corrupted("the first day is missing");
}

static void
view_series(Reader *r, SeriesView *s)
{
	uint64		z;
	int64		first;

	s->id = get_uint64(r);
	s->kind = get_byte(r);
	if (s->kind < SERIES_COUNT || s->kind > SERIES_DISTINCT)
		activity_corrupted("a series is of an unknown kind");
	s->keep = get_number(r, 1, MAX_KEEP, "the number of days kept is out of range");
	s->n = get_number(r, 1, MAX_CELLS / 4, "the number of cells is out of range");
	z = get_varint(r);
	first = unzigzag(z);
	if (first < MIN_DAY || first > MAX_DAY)
		activity_corrupted("a day is out of range");
	s->first = (int32) first;
	s->end = r->end;
	if (s->kind == SERIES_DISTINCT)
		view_distinct(r, s);
	else
		view_run(r, s);
}

static ActivityView *
view_body(const char *body, Size size, int nseries, int32 day)
{
	ActivityView *view = palloc(sizeof(ActivityView));
	Reader		r = {body, body + size};

	/* every series is fourteen bytes or more */
	if (nseries > (r.end - r.next) / 14)
		activity_corrupted("it ends too early");
	view->day = day;
	view->nseries = nseries;
	view->series = palloc(Max(nseries, 1) * sizeof(SeriesView));
	for (int i = 0; i < nseries; i++)
	{
		view_series(&r, &view->series[i]);
		if (i > 0 && view->series[i].id <= view->series[i - 1].id)
			activity_corrupted("series are out of order");
	}
	if (r.next != r.end)
		activity_corrupted("it has bytes to spare");
	return view;
}

/* Checks the header. */
static void
check_header(const Activity *activity)
{
	if (VARSIZE(activity) < HEADER_SIZE)
		activity_corrupted("it ends too early");
	if (activity->format != ACTIVITY_FORMAT)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("chs_activity of unknown format %d", activity->format),
				 errhint("It was written by a newer version of chs.")));
	if (activity->day != DAY_NEVER && (activity->day < MIN_DAY || activity->day > MAX_DAY))
		activity_corrupted("its day is out of range");
	if (activity->flags != 0 && activity->flags != FLAG_OPEN)
		activity_corrupted("a flag is unknown");
}

/*
 * chs_activity_view returns what an activity holds as it lies in its bytes, which it
 * refers to, in the current memory context.  It trusts no byte, since the value may
 * come from anywhere; whatever reads the view can.
 */
ActivityView *
chs_activity_view(const Activity *activity)
{
	invalid_errcode = ERRCODE_DATA_CORRUPTED;
	check_header(activity);
	if (activity->flags == FLAG_OPEN)
		return chs_activity_view_of(decode(activity));
	return view_body((const char *) activity + HEADER_SIZE, VARSIZE(activity) - HEADER_SIZE,
					 activity->nseries, activity->day);
}

/* chs_activity_view_of returns the view of an activity in memory. */
ActivityView *
chs_activity_view_of(const ActivityData *data)
{
	return chs_activity_view(chs_activity_encode(data));
}

static void
cells_of_run(const SeriesView *v, Series *s)
{
	int64		day = v->first;

	s->cells = palloc(v->n * sizeof(Cell));
	s->ncells = v->n;
	for (int i = 0; i < v->n; i++)
	{
		if (i > 0)
			day += get_gap(v, i - 1);
		s->cells[i] = (Cell) {.day = (int32) day,.n = get_count(v, i),.total = get_total(v, i) * v->unit};
	}
}

/* Adds 64 days, from the given one on, to the last cells of a value. */
static void
add_days(Series *s, int first_cell, uint64 key, int64 day, uint64 days)
{
	int32		block = (int32) day & ~(DISTINCT_BLOCK - 1);
	int			offset = (int) (day - block);
	uint128		low = (uint128) days << offset;
	uint128		high = offset > 64 ? (uint128) days >> (DISTINCT_BLOCK - offset) : 0;

	if (low != 0)
	{
		if (s->ncells > first_cell && s->cells[s->ncells - 1].day == block)
			s->cells[s->ncells - 1].total |= low;
		else
			s->cells[s->ncells++] = (Cell) {.key = key,.day = block,.total = (int128) low};
	}
	if (high != 0)
		s->cells[s->ncells++] = (Cell) {.key = key,.day = block + DISTINCT_BLOCK,.total = (int128) high};
}

static void
cells_of_distinct(const SeriesView *v, Series *s)
{
	Reader		r = {v->values, v->end};
	int64		capacity = v->n * (int64) 2;

	s->cells = palloc(capacity * sizeof(Cell));
	s->ncells = 0;
	for (int i = 0; i < v->n; i++)
	{
		DistinctValue value;
		int			first_cell = s->ncells;

		get_value(&r, v, &value);
		if (s->ncells + value.nbytes * 8 / DISTINCT_BLOCK + 3 > capacity)
		{
			capacity = Max(capacity * 2, s->ncells + value.nbytes * 8 / DISTINCT_BLOCK + 3);
			if (capacity > MAX_CELLS)
				activity_corrupted("the number of cells is out of range");
			s->cells = repalloc(s->cells, capacity * sizeof(Cell));
		}
		add_days(s, first_cell, value.key, value.first, 1);
		for (int byte = 0; byte < value.nbytes; byte += 8)
			add_days(s, first_cell, value.key, (int64) value.first + 1 + byte * 8,
					 get_fixed(value.days + byte, v->end, Min(value.nbytes - byte, 8)));
	}
}

/* Copies what a view shows. */
static ActivityData *
cells_of(const ActivityView *view)
{
	ActivityData *data = palloc(sizeof(ActivityData));

	data->day = view->day;
	data->nseries = view->nseries;
	data->series = palloc(Max(view->nseries, 1) * sizeof(Series));
	for (int i = 0; i < view->nseries; i++)
	{
		const SeriesView *v = &view->series[i];
		Series	   *s = &data->series[i];

		s->id = v->id;
		s->kind = v->kind;
		s->keep = v->keep;
		if (v->kind == SERIES_DISTINCT)
			cells_of_distinct(v, s);
		else
			cells_of_run(v, s);
	}
	return data;
}

/* Reads the tail of an open activity, which is in order when it has been read. */
static ActivityData *
decode_tail(const char *bytes, uint32 n, int32 day)
{
	Increment  *tail = palloc_extended((Size) n * sizeof(Increment), MCXT_ALLOC_HUGE);

	memcpy(tail, bytes, (Size) n * sizeof(Increment));
	qsort(tail, n, sizeof(Increment), chs_activity_compare_increments);
	for (uint32 i = 0; i < n; i++)
	{
		const Increment *in = &tail[i];
		const Cell *c = &in->cell;

		if (in->kind < SERIES_COUNT || in->kind > SERIES_DISTINCT ||
			(i > 0 && in->series_id == in[-1].series_id && in->kind != in[-1].kind))
			activity_corrupted("a series is of an unknown kind");
		if (in->keep < 1 || in->keep > MAX_KEEP)
			activity_corrupted("the number of days kept is out of range");
		if (c->day < MIN_DAY || c->day > MAX_DAY)
			activity_corrupted("a day is out of range");
		if (in->kind == SERIES_DISTINCT ?
			c->n != 0 || c->total == 0 || c->day % DISTINCT_BLOCK != 0 :
			c->n < 1 || c->key != 0)
			activity_corrupted("a count is out of range");
		if (in->kind == SERIES_COUNT ? c->total != 0 :
			in->kind == SERIES_SUM && !TOTAL_IN_RANGE(c->total))
			activity_corrupted("a total is out of range");
	}
	return chs_activity_from_increments(tail, n, day);
}

static ActivityData *
decode(const Activity *activity)
{
	Size		size = VARSIZE(activity);
	OpenHeader	open;
	ActivityData *body;

	check_header(activity);
	if (activity->flags != FLAG_OPEN)
		return cells_of(view_body((const char *) activity + HEADER_SIZE, size - HEADER_SIZE,
								  activity->nseries, activity->day));
	if (size < OPEN_SIZE(0, 0))
		activity_corrupted("its size is wrong");

	memcpy(&open, (const char *) activity + HEADER_SIZE, sizeof(open));
	if (open.ntail > open.captail || size != OPEN_SIZE(open.body, open.captail))
		activity_corrupted("its size is wrong");
	body = cells_of(view_body(OPEN_BODY(activity), open.body, activity->nseries, activity->day));
	if (open.ntail == 0)
		return body;
	return chs_activity_merge_two(body, decode_tail(OPEN_BODY(activity) + open.body, open.ntail, activity->day));
}

/*
 * chs_activity_decode returns what an activity holds as cells, in the current memory
 * context.  It trusts no byte either.
 */
ActivityData *
chs_activity_decode(const Activity *activity)
{
	invalid_errcode = ERRCODE_DATA_CORRUPTED;
	return decode(activity);
}

/*
 * chs_activity_try_view returns the view of what comes from a table; where that is
 * damaged it returns NULL and what is wrong.
 */
ActivityView *
chs_activity_try_view(const Activity *activity, char **damage)
{
	MemoryContext caller = CurrentMemoryContext;
	ActivityView *volatile view = NULL;

	*damage = NULL;
	/* reading bytes holds nothing but memory, so that no subtransaction is needed */
	PG_TRY();
	{
		view = chs_activity_view(activity);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		if (error->sqlerrcode != ERRCODE_DATA_CORRUPTED && error->sqlerrcode != ERRCODE_FEATURE_NOT_SUPPORTED)
			PG_RE_THROW();
		FlushErrorState();
		*damage = error->message;
	}
	PG_END_TRY();
	return view;
}

/* ------------------------------------------------------------- windows */

/* Of totals of so many bytes not even as many as there can be sum to more than an int64. */
#define SHORT_TOTAL 5

/* Adds up numbers of the same width, at most 8. */
static inline int64
sum_fixed(const char *from, const char *end, int width, int n, bool zigzag)
{
	const char *stop = from + (Size) n * width;
	const char *words = Min(stop, end - sizeof(uint64) + 1);
	int64		sum = 0;

	for (; from < words; from += width)
		sum += zigzag ? unzigzag(get_word(from, width)) : (int64) get_word(from, width);
	for (; from < stop; from += width)
		sum += zigzag ? unzigzag(get_fixed(from, end, width)) : (int64) get_fixed(from, end, width);
	return sum;
}

static int128
sum_totals(const SeriesView *s, int start, int end)
{
	int128		sum = 0;

	for (int i = start; i < end; i++)
		sum += get_total(s, i);
	return sum;
}

static void
total_run(const SeriesView *s, int32 from, int32 to, WindowTotal *w)
{
	int			start = 0;
	int			end;

	if (s->gap_width == 0)
	{
		/* a cell for every day */
		start = (int) Min(Max((int64) from - s->first, 0), s->n);
		end = (int) Min(Max((int64) to - s->first + 1, start), s->n);
		w->last = s->first + end - 1;
	}
	else
	{
		int64		day = s->first;

		/* there is no gap after the last cell */
		for (; start < s->n && day < from; start++)
			if (start + 1 < s->n)
				day += get_gap(s, start);
		for (end = start; end < s->n && day <= to; end++)
		{
			w->last = (int32) day;
			if (end + 1 < s->n)
				day += get_gap(s, end);
		}
	}
	w->days = end - start;
	w->n = w->days + sum_fixed(s->counts + (Size) start * s->count_width, s->end, s->count_width, w->days, false);
	if (s->total_width <= SHORT_TOTAL)
		w->total = sum_fixed(s->totals + (Size) start * s->total_width, s->end, s->total_width, w->days, true);
	else
		w->total = sum_totals(s, start, end);
	w->total *= s->unit;
}

/* Those of 64 days, from the given one on, that lie in a window. */
static inline uint64
days_in_window(uint64 days, int64 first, int32 from, int32 to)
{
	if (first + 63 < from || first > to)
		return 0;
	if (first < from)
		days &= ~(uint64) 0 << (from - first);
	if (first + 63 > to)
		days &= ((uint64) 2 << (to - first)) - 1;
	return days;
}

/* The days of a distinct value are in so many words, of which the first begins with its first day. */
#define VALUE_WORDS(v) (1 + (v)->nbytes / 8)

/* The days of a word that lie in a window, and the day of its lowest bit. */
static inline uint64
value_in_window(const SeriesView *s, const DistinctValue *v, int word, int32 from, int32 to, int64 *first)
{
	int			byte = word * 8 - 1;

	*first = (int64) v->first + 1 + byte * 8;
	if (word > 0)
		return days_in_window(get_fixed(v->days + byte, s->end, Min(v->nbytes - byte, 8)), *first, from, to);
	*first = v->first;
	return days_in_window(get_fixed(v->days, s->end, Min(v->nbytes, 7)) << 1 | 1, *first, from, to);
}

/*
 * Finds theta, the hash below which the distinct values of a window are complete;
 * false where all are.  A day that has more values than are kept has all of those
 * below its largest hash kept; theta is the smallest such hash.
 */
static bool
find_theta(const SeriesView *s, int32 from, int32 to, uint64 *theta)
{
	Reader		r = {s->values, s->end};
	DistinctValue v;
	int		   *per_day;

	if (s->n <= MAX_DISTINCT_PER_DAY)
		return false;
	per_day = palloc0((to - from + 1) * sizeof(int));
	/* hashes ascend */
	for (int i = 0; i < s->n; i++)
	{
		get_value(&r, s, &v);
		*theta = v.key;
		for (int word = 0; word < VALUE_WORDS(&v); word++)
		{
			int64		first;

			for (uint64 days = value_in_window(s, &v, word, from, to, &first); days != 0; days &= days - 1)
				if (++per_day[first + pg_rightmost_one_pos64(days) - from] > MAX_DISTINCT_PER_DAY)
				{
					pfree(per_day);
					return true;
				}
		}
	}
	pfree(per_day);
	return false;
}

/*
 * Counts the distinct values of a window, or, where not all were kept, estimates
 * them from the share of all hashes that lies below theta.
 */
static void
count_distinct(const SeriesView *s, int32 from, int32 to, WindowTotal *w)
{
	Reader		r = {s->values, s->end};
	DistinctValue v;
	uint64		theta = 0;
	int64		values = 0;
	int64		below = 0;

	w->estimated = find_theta(s, from, to, &theta);
	for (int i = 0; i < s->n; i++)
	{
		int64		days = 0;
		int64		first;

		get_value(&r, s, &v);
		for (int word = 0; word < VALUE_WORDS(&v); word++)
			days += pg_popcount64(value_in_window(s, &v, word, from, to, &first));
		w->n += days;
		values += days > 0;
		below += days > 0 && v.key < theta;
	}
	w->distinct = values;
	if (w->estimated)
		w->distinct = Max(w->distinct, rint(below * (18446744073709551616.0 / theta)));
}

/* chs_activity_window returns what a series amounts to from one day to another. */
WindowTotal
chs_activity_window(const SeriesView *series, int32 from, int32 to)
{
	WindowTotal w = {.last = DAY_NEVER};

	if (series->kind == SERIES_DISTINCT)
		count_distinct(series, from, to, &w);
	else
		total_run(series, from, to, &w);
	return w;
}

/* ---------------------------------------------------- the aggregate's state */

static Activity *
open_state(const char *body, uint32 size, int nseries, int32 day, uint32 room)
{
	/* room in proportion to the body makes the merges rare enough */
	OpenHeader	open = {size, 0, Max(room, Max(16, size / sizeof(Increment)))};
	Size		total = OPEN_SIZE(open.body, open.captail);
	Activity   *state;

	if (!AllocSizeIsValid(total))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("activity is too large")));
	state = palloc0(total);
	SET_VARSIZE(state, total);
	state->format = ACTIVITY_FORMAT;
	state->flags = FLAG_OPEN;
	state->nseries = nseries;
	state->day = day;
	memcpy((char *) state + HEADER_SIZE, &open, sizeof(open));
	memcpy(OPEN_BODY(state), body, size);
	return state;
}

/* chs_activity_open_state returns the state of no events. */
Activity *
chs_activity_open_state(void)
{
	return open_state("", 0, 0, DAY_NEVER, 0);
}

/*
 * chs_activity_add adds what an event contributes to a state, in place where
 * there is room, else in a new one in the current memory context.
 */
Activity *
chs_activity_add(Activity *state, const Increment *increments, int n)
{
	OpenHeader	open = {0};

	if (state->flags == FLAG_OPEN)
		memcpy(&open, (char *) state + HEADER_SIZE, sizeof(open));
	if (state->flags != FLAG_OPEN || open.captail - open.ntail < (uint32) n)
	{
		Activity   *flat = chs_activity_encode(chs_activity_decode(state));

		state = open_state((char *) flat + HEADER_SIZE, VARSIZE(flat) - HEADER_SIZE,
						   flat->nseries, flat->day, n);
		memcpy(&open, (char *) state + HEADER_SIZE, sizeof(open));
	}
	memcpy(OPEN_BODY(state) + open.body + (Size) open.ntail * sizeof(Increment),
		   increments, n * sizeof(Increment));
	open.ntail += n;
	memcpy((char *) state + HEADER_SIZE, &open, sizeof(open));
	return state;
}

/* ------------------------------------------------------ input and output */

/*
 * Checks bytes from outside by reading them whole; only canonical ones pass, so
 * that equal activities stay equal bytes.
 */
static Activity *
activity_from_bytes(const char *bytes, Size size, int sqlerrcode)
{
	Activity   *activity;
	Activity   *canonical;
	ActivityData *data;

	invalid_errcode = sqlerrcode;
	if (size < HEADER_SIZE - VARHDRSZ || !AllocSizeIsValid(size + VARHDRSZ))
		activity_corrupted("it ends too early");
	activity = palloc(size + VARHDRSZ);
	SET_VARSIZE(activity, size + VARHDRSZ);
	memcpy((char *) activity + VARHDRSZ, bytes, size);
#ifdef WORDS_BIGENDIAN
	activity->nseries = pg_bswap16(activity->nseries);
	activity->day = (int32) pg_bswap32((uint32) activity->day);
#endif
	if (activity->format == ACTIVITY_FORMAT && activity->flags != 0)
		activity_corrupted("a flag is unknown");
	data = decode(activity);
	/* what it could not have kept makes it another one */
	for (int i = 0; i < data->nseries; i++)
	{
		chs_activity_prune_series(&data->series[i], data->day);
		chs_activity_cap_distinct(&data->series[i]);
	}
	canonical = chs_activity_encode(data);
	if (VARSIZE(canonical) != VARSIZE(activity) ||
		memcmp(canonical, activity, VARSIZE(activity)) != 0)
		activity_corrupted("it is not in the form that chs writes");
	return canonical;
}

/* The bytes that travel: all but the length word, in their shortest form. */
static bytea *
activity_to_bytes(const Activity *activity)
{
	Activity   *flat;

	flat = chs_activity_encode(chs_activity_decode(activity));
#ifdef WORDS_BIGENDIAN
	flat->nseries = pg_bswap16(flat->nseries);
	flat->day = (int32) pg_bswap32((uint32) flat->day);
#endif
	return (bytea *) flat;
}

/* chs_activity_in reads the text form: the bytes in hexadecimal. */
PG_FUNCTION_INFO_V1(chs_activity_in);
Datum
chs_activity_in(PG_FUNCTION_ARGS)
{
	char	   *text = PG_GETARG_CSTRING(0);
	Size		length = strlen(text);
	char	   *bytes;
	const char *digits = "0123456789abcdef";

	if (length % 2 != 0 || strspn(text, digits) != length)
		chs_input_error(fcinfo,
						(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
						 errmsg("invalid input syntax for type %s: \"%s\"", "chs_activity", chs_message_value(text, length)),
						 errdetail("An activity is written as an even number of hexadecimal digits in lower case.")));
	bytes = palloc(length / 2 + 1);
	for (Size i = 0; i < length / 2; i++)
		bytes[i] = (char) ((strchr(digits, text[2 * i]) - digits) << 4 |
						   (strchr(digits, text[2 * i + 1]) - digits));
	PG_RETURN_POINTER(activity_from_bytes(bytes, length / 2, ERRCODE_INVALID_TEXT_REPRESENTATION));
}

/* chs_activity_out writes the text form. */
PG_FUNCTION_INFO_V1(chs_activity_out);
Datum
chs_activity_out(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = activity_to_bytes(PG_GETARG_ACTIVITY(0));
	Size		size = VARSIZE_ANY_EXHDR(bytes);
	char	   *text = palloc(size * 2 + 1);

	hex_encode(VARDATA_ANY(bytes), size, text);
	text[size * 2] = '\0';
	PG_RETURN_CSTRING(text);
}

/* chs_activity_recv reads the binary form: the bytes as they are. */
PG_FUNCTION_INFO_V1(chs_activity_recv);
Datum
chs_activity_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);
	int			size = buf->len - buf->cursor;

	PG_RETURN_POINTER(activity_from_bytes(pq_getmsgbytes(buf, size), size,
										  ERRCODE_INVALID_BINARY_REPRESENTATION));
}

/* chs_activity_send writes the binary form. */
PG_FUNCTION_INFO_V1(chs_activity_send);
Datum
chs_activity_send(PG_FUNCTION_ARGS)
{
	PG_RETURN_BYTEA_P(activity_to_bytes(PG_GETARG_ACTIVITY(0)));
}

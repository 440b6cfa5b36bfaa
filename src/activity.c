/*
 * activity.c
 *	  The bytes of an activity, and how activities merge.
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
 *			cells of a count:	var days since the cell before, var n
 *			cells of a sum:		the same, then var total (signed; low bit set
 *								where it is in millionths, else in whole units)
 *			distinct values:	8 hash, var days since the first day, var number
 *								of bytes that follow, a bit for each later day
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

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "message.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define ACTIVITY_FORMAT 1
#define FLAG_OPEN 0x01

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
#define MAX_DISTINCT_SPAN 1000000	/* days, where there are many values */
#define MAX_CELLS ((int) (MaxAllocSize / sizeof(Cell)))

/* Two bits of a total's 128 are needed for its sign and its unit. */
#define TOTAL_IN_RANGE(t) ((t) < (int128) 1 << 125 && (t) > -((int128) 1 << 125))

/* What invalid bytes are a sign of: a client's mistake, or a damaged table. */
static int	invalid_errcode = ERRCODE_DATA_CORRUPTED;

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
		Size		size = Max((w->end - w->start) * 2, used + more);

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
put_varint128(Writer *w, uint128 v)
{
	while (v >= 0x80)
	{
		*w->next++ = (char) ((uint8) v | 0x80);
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

/* A total is whole units more often than not, which saves three bytes. */
static void
put_total(Writer *w, int128 total)
{
	bool		whole = total % 1000000 == 0;
	int128		v = whole ? total / 1000000 : total;
	uint128		z = ((uint128) v << 1) ^ (uint128) (v >> 127);

	put_varint128(w, z << 1 | (whole ? 0 : 1));
}

static int32
series_first_day(const Series *s)
{
	int32		first = PG_INT32_MAX;

	if (s->kind != SERIES_DISTINCT)
		return s->cells[0].day;
	for (int i = 0; i < s->ncells; i++)
		first = Min(first, s->cells[i].day + chs_activity_lowest_bit(s->cells[i].total));
	return first;
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

static void
put_series(Writer *w, const Series *s)
{
	int32		first = series_first_day(s);

	writer_reserve(w, 48);
	put_uint64(w, s->id);
	*w->next++ = (char) s->kind;
	put_varint(w, s->keep);
	put_varint(w, series_nvalues(s));
	put_varint(w, zigzag(first));
	if (s->kind == SERIES_DISTINCT)
		put_distinct(w, s, first);
	else
	{
		int32		day = first;

		for (int i = 0; i < s->ncells; i++)
		{
			const Cell *c = &s->cells[i];

			writer_reserve(w, 48);
			put_varint(w, c->day - day);
			put_varint(w, c->n);
			if (s->kind == SERIES_SUM)
				put_total(w, c->total);
			day = c->day;
		}
	}
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

/* Reads the rest of a total that does not fit into 56 bits. */
static int128
get_long_total(Reader *r, uint64 low)
{
	uint128		v = low;
	int			shift = 56;
	uint8		b;
	int128		total;

	do
	{
		b = get_byte(r);
		if (shift > 126 || (shift == 126 && b > 3) || b == 0)
			activity_corrupted("a total is malformed");
		v |= (uint128) (b & 0x7f) << shift;
		shift += 7;
	} while (b & 0x80);

	total = (int128) (v >> 2) ^ -(int128) (v >> 1 & 1);
	if ((v & 1 ? total % 1000000 == 0 :
		 __builtin_mul_overflow(total, (int128) 1000000, &total)) ||
		!TOTAL_IN_RANGE(total))
		activity_corrupted("a total is out of range");
	return total;
}

/*
 * Stores a total by halves.  Left to the compiler it goes through memory by
 * halves and is read from there as a whole, for which the processor has to wait.
 */
static inline void
set_total(int128 *total, int128 value)
{
	uint64	   *halves = (uint64 *) total;

#ifdef WORDS_BIGENDIAN
	halves[0] = (uint64) (value >> 64);
	halves[1] = (uint64) value;
#else
	halves[0] = (uint64) value;
	halves[1] = (uint64) (value >> 64);
#endif
}

static inline void
get_total(Reader *r, int128 *total)
{
	uint64		v = 0;

	for (int shift = 0; shift < 56; shift += 7)
	{
		uint8		b = get_byte(r);
		int64		number;

		v |= (uint64) (b & 0x7f) << shift;
		if (b & 0x80)
			continue;
		if (shift > 0 && b == 0)
			activity_corrupted("a total is malformed");
		number = (int64) (v >> 2) ^ -(int64) (v >> 1 & 1);
		if ((v & 1) && number % 1000000 == 0)
			activity_corrupted("a total is out of range");
		set_total(total, (int128) number * (v & 1 ? 1 : 1000000));
		return;
	}
	*total = get_long_total(r, v);
}

static void
get_run(Reader *r, Series *s, int32 first, int ncells)
{
	int64		day = first;

	/* every cell is two bytes or more */
	if (ncells > (r->end - r->next) / 2)
		activity_corrupted("it ends too early");
	s->cells = palloc0(ncells * sizeof(Cell));
	s->ncells = ncells;
	for (int i = 0; i < ncells; i++)
	{
		Cell	   *c = &s->cells[i];

		day += get_number(r, i > 0, MAX_SPAN, "days are out of order");
		if (day > MAX_DAY || (i == 0 && day != first))
			activity_corrupted("a day is out of range");
		c->day = (int32) day;
		c->n = get_number(r, 1, PG_INT64_MAX, "a count is out of range");
		if (s->kind == SERIES_SUM)
			get_total(r, &c->total);
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

/* Reads so many bytes of days, at most 8, from an offset on. */
static inline uint64
get_days(const Reader *r, int offset, int nbytes)
{
	const char *from = r->next + offset;
	uint64		days = 0;

	/* mostly more follows, and reading all of a word is faster */
	memcpy(&days, from, r->end - from >= 8 ? 8 : nbytes);
#ifdef WORDS_BIGENDIAN
	days = pg_bswap64(days);
#endif
	return nbytes < 8 ? days & (((uint64) 1 << nbytes * 8) - 1) : days;
}

static void
get_distinct(Reader *r, Series *s, int32 first, int nvalues)
{
	int64		capacity = nvalues * (int64) 2;
	bool		has_first = false;

	/* every value is ten bytes or more */
	if (nvalues > (r->end - r->next) / 10)
		activity_corrupted("it ends too early");
	s->cells = palloc(capacity * sizeof(Cell));
	s->ncells = 0;
	for (int i = 0; i < nvalues; i++)
	{
		uint64		key = get_uint64(r);
		int64		day = first + get_number(r, 0, MAX_SPAN, "a day is out of range");
		int			nbytes = get_number(r, 0, MAX_SPAN / 8, "a day is out of range");
		int			first_cell = s->ncells;

		if (s->ncells > 0 && key <= s->cells[s->ncells - 1].key)
			activity_corrupted("distinct values are out of order");
		if (nbytes > r->end - r->next)
			activity_corrupted("it ends too early");
		if (nbytes > 0 && r->next[nbytes - 1] == 0)
			activity_corrupted("days are malformed");
		if (day + (int64) nbytes * 8 > MAX_DAY)
			activity_corrupted("a day is out of range");
		if (s->ncells + nbytes * 8 / DISTINCT_BLOCK + 3 > capacity)
		{
			capacity = Max(capacity * 2, s->ncells + nbytes * 8 / DISTINCT_BLOCK + 3);
			if (capacity > MAX_CELLS)
				activity_corrupted("the number of cells is out of range");
			s->cells = repalloc(s->cells, capacity * sizeof(Cell));
		}
		has_first |= day == first;
		add_days(s, first_cell, key, day, 1);
		for (int byte = 0; byte < nbytes; byte += 8)
		{
			uint64		days = get_days(r, byte, Min(nbytes - byte, 8));

			add_days(s, first_cell, key, day + 1 + byte * 8, days);
		}
		r->next += nbytes;
	}
	if (!has_first)
		activity_corrupted("the first day is missing");
}

static void
get_series(Reader *r, Series *s)
{
	int			ncells;
	uint64		z;
	int64		first;

	s->id = get_uint64(r);
	s->kind = get_byte(r);
	if (s->kind < SERIES_COUNT || s->kind > SERIES_DISTINCT)
		activity_corrupted("a series is of an unknown kind");
	s->keep = get_number(r, 1, MAX_KEEP, "the number of days kept is out of range");
	ncells = get_number(r, 1, MAX_CELLS / 4, "the number of cells is out of range");
	z = get_varint(r);
	first = (int64) (z >> 1) ^ -(int64) (z & 1);
	if (first < MIN_DAY || first > MAX_DAY)
		activity_corrupted("a day is out of range");
	if (s->kind == SERIES_DISTINCT)
		get_distinct(r, s, (int32) first, ncells);
	else
		get_run(r, s, (int32) first, ncells);
}

static ActivityData *
decode_body(const char *body, Size size, int nseries, int32 day)
{
	ActivityData *data = palloc(sizeof(ActivityData));
	Reader		r = {body, body + size};

	data->day = day;
	data->nseries = nseries;
	data->series = palloc(Max(nseries, 1) * sizeof(Series));
	for (int i = 0; i < nseries; i++)
	{
		get_series(&r, &data->series[i]);
		if (i > 0 && data->series[i].id <= data->series[i - 1].id)
			activity_corrupted("series are out of order");
	}
	if (r.next != r.end)
		activity_corrupted("it has bytes to spare");
	return data;
}

static int	compare_increments(const void *a, const void *b);

/* Reads the tail of an open activity, which is in order when it has been read. */
static ActivityData *
decode_tail(const char *bytes, uint32 n, int32 day)
{
	Increment  *tail = palloc_extended((Size) n * sizeof(Increment), MCXT_ALLOC_HUGE);

	memcpy(tail, bytes, (Size) n * sizeof(Increment));
	qsort(tail, n, sizeof(Increment), compare_increments);
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

	if (size < HEADER_SIZE)
		activity_corrupted("it ends too early");
	if (activity->format != ACTIVITY_FORMAT)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("chs_activity of unknown format %d", activity->format),
				 errhint("It was written by a newer version of chs.")));
	if (activity->day != DAY_NEVER && (activity->day < MIN_DAY || activity->day > MAX_DAY))
		activity_corrupted("its day is out of range");
	if (activity->flags == 0)
		return decode_body((const char *) activity + HEADER_SIZE, size - HEADER_SIZE,
						   activity->nseries, activity->day);
	if (activity->flags != FLAG_OPEN || size < OPEN_SIZE(0, 0))
		activity_corrupted("a flag is unknown");

	memcpy(&open, (const char *) activity + HEADER_SIZE, sizeof(open));
	if (open.ntail > open.captail || size != OPEN_SIZE(open.body, open.captail))
		activity_corrupted("its size is wrong");
	body = decode_body(OPEN_BODY(activity), open.body, activity->nseries, activity->day);
	if (open.ntail == 0)
		return body;
	return chs_activity_merge_two(body, decode_tail(OPEN_BODY(activity) + open.body, open.ntail, activity->day));
}

/*
 * chs_activity_decode returns what an activity holds, in the current memory
 * context.  It trusts no byte, since the value may come from anywhere.
 */
ActivityData *
chs_activity_decode(const Activity *activity)
{
	invalid_errcode = ERRCODE_DATA_CORRUPTED;
	return decode(activity);
}

/*
 * chs_activity_try_decode does the same with what comes from a table; where that
 * is damaged it returns NULL and what is wrong.
 */
ActivityData *
chs_activity_try_decode(const Activity *activity, char **damage)
{
	MemoryContext caller = CurrentMemoryContext;
	ActivityData *volatile data = NULL;

	*damage = NULL;
	/* reading bytes holds nothing but memory, so that no subtransaction is needed */
	PG_TRY();
	{
		data = chs_activity_decode(activity);
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
	return data;
}

/* ---------------------------------------------------------------- merging */

static int
compare_cells(const void *a, const void *b)
{
	const Cell *x = a;
	const Cell *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return (x->day > y->day) - (x->day < y->day);
}

static void
add_cell(Cell *to, const Cell *from, SeriesKind kind)
{
	if (kind == SERIES_DISTINCT)
	{
		to->total |= from->total;
		return;
	}
	if (pg_add_s64_overflow(to->n, from->n, &to->n) ||
		__builtin_add_overflow(to->total, from->total, &to->total) ||
		!TOTAL_IN_RANGE(to->total))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("a total of an activity is out of range")));
}

/* Keeps the values with the smallest hashes of each day, see MAX_DISTINCT_PER_DAY. */
static void
series_cap_distinct(Series *s)
{
	int32		first;
	int32		last = PG_INT32_MIN;
	int		   *seen;
	int			kept = 0;

	if (s->kind != SERIES_DISTINCT || s->ncells <= MAX_DISTINCT_PER_DAY + 1)
		return;
	first = series_first_day(s);
	for (int i = 0; i < s->ncells; i++)
		last = Max(last, s->cells[i].day + DISTINCT_BLOCK - 1);
	if ((int64) last - first > MAX_DISTINCT_SPAN)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("an activity cannot hold distinct values of more than %d days", MAX_DISTINCT_SPAN)));
	seen = palloc0(((Size) last - first + 1) * sizeof(int));
	/* cells ascend by hash, so the first ones of a day are the ones to keep */
	for (int i = 0; i < s->ncells; i++)
	{
		Cell	   *c = &s->cells[i];
		uint128		days = c->total;

		for (uint128 rest = days; rest != 0; rest &= rest - 1)
		{
			int			bit = chs_activity_lowest_bit(rest);

			if (seen[c->day + bit - first]++ > MAX_DISTINCT_PER_DAY)
				days &= ~((uint128) 1 << bit);
		}
		if (days == 0)
			continue;
		s->cells[kept] = *c;
		s->cells[kept++].total = days;
	}
	s->ncells = kept;
	pfree(seen);
}

/* Drops the days up to the given one less what is kept. */
static void
series_prune(Series *s, int32 day)
{
	int64		gone = (int64) day - s->keep;
	int			kept = 0;

	if (day == DAY_NEVER)
		return;
	for (int i = 0; i < s->ncells; i++)
	{
		Cell		c = s->cells[i];

		if (s->kind == SERIES_DISTINCT && c.day <= gone)
		{
			if (gone - c.day + 1 >= DISTINCT_BLOCK)
				continue;
			c.total &= ~(((uint128) 1 << (gone - c.day + 1)) - 1);
			if (c.total == 0)
				continue;
		}
		else if (c.day <= gone)
			continue;
		s->cells[kept++] = c;
	}
	s->ncells = kept;
}

/*
 * chs_activity_prune_to drops what no window reaches from the given day on.
 * An activity that was pruned as of a later day stays as it is.
 */
void
chs_activity_prune_to(ActivityData *data, int32 day)
{
	if (day <= data->day)
		return;
	data->day = day;
	for (int i = 0; i < data->nseries; i++)
		series_prune(&data->series[i], day);
}

static void
merge_series(Series *to, const Series *a, const Series *b)
{
	int			i = 0;
	int			j = 0;
	int			n = 0;

	if (a->kind != b->kind)
		activity_corrupted("a series is of two kinds");
	*to = *a;
	to->keep = Max(a->keep, b->keep);
	to->cells = palloc_extended(((Size) a->ncells + b->ncells) * sizeof(Cell), MCXT_ALLOC_HUGE);
	while (i < a->ncells || j < b->ncells)
	{
		int			order = i >= a->ncells ? 1 : j >= b->ncells ? -1 :
			compare_cells(&a->cells[i], &b->cells[j]);

		to->cells[n] = order <= 0 ? a->cells[i++] : b->cells[j];
		if (order >= 0)
		{
			if (order == 0)
				add_cell(&to->cells[n], &b->cells[j], to->kind);
			j++;
		}
		n++;
	}
	to->ncells = n;
	series_cap_distinct(to);
}

/*
 * chs_activity_merge_two returns the activity of the events of both, in the
 * current memory context; the inputs stay as they are, but may share cells
 * with the result.
 */
ActivityData *
chs_activity_merge_two(const ActivityData *a, const ActivityData *b)
{
	ActivityData *to = palloc(sizeof(ActivityData));
	int			i = 0;
	int			j = 0;

	to->day = Max(a->day, b->day);
	to->series = palloc(Max(a->nseries + b->nseries, 1) * sizeof(Series));
	to->nseries = 0;
	while (i < a->nseries || j < b->nseries)
	{
		Series	   *s = &to->series[to->nseries++];
		int32		pruned = DAY_NEVER;

		if (j >= b->nseries || (i < a->nseries && a->series[i].id < b->series[j].id))
			pruned = a->day, *s = a->series[i++];
		else if (i >= a->nseries || b->series[j].id < a->series[i].id)
			pruned = b->day, *s = b->series[j++];
		else
			merge_series(s, &a->series[i++], &b->series[j++]);
		/* only a side that was pruned less can hold something that must go */
		if (pruned != to->day && to->day != DAY_NEVER)
		{
			Cell	   *own = palloc_extended(Max(s->ncells, 1) * sizeof(Cell), MCXT_ALLOC_HUGE);

			memcpy(own, s->cells, s->ncells * sizeof(Cell));
			s->cells = own;
			series_prune(s, to->day);
		}
	}
	return to;
}

/*
 * chs_activity_merge_many merges n activities, one or more, in pairs of like
 * size, so that the work grows with n log n.  The array is used up.
 */
ActivityData *
chs_activity_merge_many(ActivityData **inputs, int n)
{
	while (n > 1)
	{
		int			half = 0;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i + 1 < n; i += 2)
			inputs[half++] = chs_activity_merge_two(inputs[i], inputs[i + 1]);
		if (n % 2 == 1)
			inputs[half++] = inputs[n - 1];
		n = half;
	}
	return inputs[0];
}

/* chs_activity_empty returns an activity of no events. */
ActivityData *
chs_activity_empty(int32 day)
{
	ActivityData *data = palloc0(sizeof(ActivityData));

	data->day = day;
	return data;
}

static int
compare_increments(const void *a, const void *b)
{
	const Increment *x = a;
	const Increment *y = b;

	if (x->series_id != y->series_id)
		return x->series_id < y->series_id ? -1 : 1;
	return compare_cells(&x->cell, &y->cell);
}

/*
 * chs_activity_from_increments returns the activity of n increments in any
 * order, pruned as of the day.  Sorts the array.
 */
ActivityData *
chs_activity_from_increments(Increment *increments, int n, int32 day)
{
	ActivityData *data = chs_activity_empty(day);
	Cell	   *cells = palloc_extended(Max(n, 1) * sizeof(Cell), MCXT_ALLOC_HUGE);
	int			capacity = 0;
	Series	   *s = NULL;

	qsort(increments, n, sizeof(Increment), compare_increments);
	for (int i = 0; i < n; i++)
	{
		Increment  *in = &increments[i];

		if (s == NULL || s->id != in->series_id)
		{
			if (data->nseries == capacity)
			{
				capacity = Max(capacity * 2, 8);
				data->series = data->series == NULL ?
					palloc(capacity * sizeof(Series)) :
					repalloc(data->series, capacity * sizeof(Series));
			}
			s = &data->series[data->nseries++];
			*s = (Series) {.id = in->series_id,.kind = in->kind,.keep = in->keep,.cells = cells};
		}
		if (s->ncells > 0 && compare_cells(&s->cells[s->ncells - 1], &in->cell) == 0)
			add_cell(&s->cells[s->ncells - 1], &in->cell, s->kind);
		else
		{
			s->cells[s->ncells++] = in->cell;
			cells++;
		}
	}
	for (int i = 0; i < data->nseries; i++)
	{
		series_prune(&data->series[i], day);
		series_cap_distinct(&data->series[i]);
	}
	return data;
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
		series_prune(&data->series[i], data->day);
		series_cap_distinct(&data->series[i]);
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

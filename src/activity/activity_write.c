/*
 * activity_write.c
 *	  Writing the bytes of an activity.
 */
#include "activity/activity_write.h"

#include "port/pg_bitutils.h"

#include "activity/activity.h"
#include "activity/activity_bytes.h"
#include "activity/activity_check.h"
#include "activity/activity_merge.h"

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
	Assert(w->end - w->next >= (ptrdiff_t) sizeof(v));
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

	/* enough for all days up to the end of the last block */
	int			most = (cells[ncells - 1].day + DISTINCT_BLOCK - first_day) / 8 + 1;

	writer_reserve(w, 32 + most);
	put_uint64(w, cells[0].key);
	put_varint(w, first_day - first);
	/* their number precedes the bytes; it nearly always takes a single byte */
	bytes = palloc0(most);
	for (int i = 0; i < ncells; i++)
	{
		for (uint128 days = cells[i].total; days != 0; days &= days - 1)
		{
			int			bit = cells[i].day + chs_activity_lowest_bit(days) - first_day - 1;

			if (bit < 0)
				continue;		/* the first day itself */
			Assert(bit / 8 < most);
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

/* The number of bytes that a number needs. */
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

/* A total as it is written: in whole units, if possible, which take fewer bytes. */
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

	/* all of them ORed together need as many bytes as the largest */
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
	writer_reserve(w, 3 + (Size) s->ncells * (gap_width + count_width + total_width) +
				   sizeof(uint64));
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
 * chs_activity_encode returns an activity as a canonical varlena, in the current
 * memory context.
 */
Activity *
chs_activity_encode(const ActivityData *data)
{
	Writer		w;
	Activity   *result;
	int			nseries = 0;

	chs_activity_check(data);
	w.start = palloc(512);
	w.end = w.start + 512;
	w.next = w.start + HEADER_SIZE + CHECKSUM_SIZE;
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
	put_checksum(result);
	return result;
}

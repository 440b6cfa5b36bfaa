/*
 * activity_window.c
 *	  Sums over windows, taken from the bytes in place.
 */
#include "activity/activity_window.h"

#include <math.h>

#include "port/pg_bitutils.h"

#include "activity/activity.h"
#include "activity/activity_bytes.h"

/* Totals of up to this many bytes cannot overflow an int64, however many there are. */
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
		/* there is a cell for every day */
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
	w->n = w->days + sum_fixed(s->counts + (Size) start * s->count_width, s->end,
							   s->count_width, w->days, false);
	if (s->total_width <= SHORT_TOTAL)
		w->total = sum_fixed(s->totals + (Size) start * s->total_width, s->end,
							 s->total_width, w->days, true);
	else
		w->total = sum_totals(s, start, end);
	w->total *= s->unit;
}

/* Masks 64 days, starting with the given one, to those that lie in a window. */
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

/* The number of words for the days of a distinct value; the first begins with its first day. */
#define VALUE_WORDS(v) (1 + (v)->nbytes / 8)

/* The days of a word that lie in a window, and the day of its lowest bit. */
static inline uint64
value_in_window(const SeriesView *s, const DistinctValue *v, int word, int32 from, int32 to,
				int64 *first)
{
	int			byte = word * 8 - 1;
	uint64		days;

	if (word > 0)
	{
		*first = (int64) v->first + 1 + byte * 8;
		days = get_fixed(v->days + byte, s->end, Min(v->nbytes - byte, 8));
	}
	else
	{
		*first = v->first;
		days = get_fixed(v->days, s->end, Min(v->nbytes, 7)) << 1 | 1;
	}
	return days_in_window(days, *first, from, to);
}

/*
 * Finds theta, the hash below which the distinct values of a window are complete;
 * returns false if they all are.  On a day with more values than are kept, those
 * below its largest kept hash are complete; theta is the smallest such hash.
 */
static bool
find_theta(const SeriesView *s, int32 from, int32 to, uint64 *theta)
{
	Reader		r = {s->values, s->end, NULL};
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
			uint64		days = value_in_window(s, &v, word, from, to, &first);

			for (; days != 0; days &= days - 1)
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
 * Counts the distinct values of a window or, if not all were kept, estimates
 * their number from the share of all hashes that lies below theta.
 */
static void
count_distinct(const SeriesView *s, int32 from, int32 to, WindowTotal *w)
{
	Reader		r = {s->values, s->end, NULL};
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

/* chs_activity_window sums up a series from one day to another, both included. */
WindowTotal
chs_activity_window(const SeriesView *series, int32 from, int32 to)
{
	WindowTotal w = {.last = DAY_NEVER};

	Assert(from <= to && from >= 2 * MIN_DAY && to <= MAX_DAY);
	Assert(series->n > 0);
	if (series->kind == SERIES_DISTINCT)
		count_distinct(series, from, to, &w);
	else
		total_run(series, from, to, &w);
	return w;
}

/*
 * activity_merge.c
 *	  How activities merge, and what they keep.
 */
#include "activity/activity_merge.h"

#include "common/int.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "activity/activity.h"
#include "activity/activity_check.h"

#define MAX_DISTINCT_SPAN 1000000	/* days on which there are many values */

/* chs_activity_first_day returns the first day that a series has. */
int32
chs_activity_first_day(const Series *s)
{
	int32		first = PG_INT32_MAX;

	Assert(s->ncells > 0);
	if (s->kind != SERIES_DISTINCT)
		return s->cells[0].day;
	for (int i = 0; i < s->ncells; i++)
		first = Min(first, s->cells[i].day + chs_activity_lowest_bit(s->cells[i].total));
	return first;
}

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

/*
 * chs_activity_cap_distinct keeps the values with the smallest hashes of each day, see
 * MAX_DISTINCT_PER_DAY.  False if there are too many days to tell.
 */
bool
chs_activity_cap_distinct(Series *s)
{
	int32		first;
	int32		last = PG_INT32_MIN;
	int		   *seen;
	int			kept = 0;

	if (s->kind != SERIES_DISTINCT || s->ncells <= MAX_DISTINCT_PER_DAY + 1)
		return true;
	first = chs_activity_first_day(s);
	for (int i = 0; i < s->ncells; i++)
		last = Max(last, s->cells[i].day + DISTINCT_BLOCK - 1);
	if ((int64) last - first > MAX_DISTINCT_SPAN)
		return false;
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
	return true;
}

static void
cap_distinct(Series *s)
{
	if (!chs_activity_cap_distinct(s))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("an activity cannot hold distinct values of more than %d days",
						MAX_DISTINCT_SPAN)));
}

/* chs_activity_prune_series drops the days that are too old to be kept as of the given one. */
void
chs_activity_prune_series(Series *s, int32 day)
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
		chs_activity_prune_series(&data->series[i], day);
	chs_activity_check(data);
}

static void
merge_series(Series *to, const Series *a, const Series *b)
{
	int			i = 0;
	int			j = 0;
	int			n = 0;

	if (a->kind != b->kind)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("activities with the same series, of two kinds, cannot be merged")));
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
	cap_distinct(to);
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

	chs_activity_check(a);
	chs_activity_check(b);
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
		/* only the side that was pruned less can hold something to be dropped */
		if (pruned != to->day && to->day != DAY_NEVER)
		{
			Cell	   *own = palloc_extended(Max(s->ncells, 1) * sizeof(Cell), MCXT_ALLOC_HUGE);

			memcpy(own, s->cells, s->ncells * sizeof(Cell));
			s->cells = own;
			chs_activity_prune_series(s, to->day);
		}
	}
	chs_activity_check(to);
	return to;
}

/*
 * chs_activity_merge_many merges n activities, one or more, in pairs of similar
 * size, so that the work grows with n log n.  The array is overwritten.
 */
ActivityData *
chs_activity_merge_many(ActivityData **inputs, int n)
{
	Assert(n > 0);
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

/* chs_activity_compare_increments orders increments by series, then as cells, for qsort. */
int
chs_activity_compare_increments(const void *a, const void *b)
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

	qsort(increments, n, sizeof(Increment), chs_activity_compare_increments);
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
		chs_activity_prune_series(&data->series[i], day);
		cap_distinct(&data->series[i]);
	}
	chs_activity_check(data);
	return data;
}

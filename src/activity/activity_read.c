/*
 * activity_read.c
 *	  Reading the bytes of an activity: as a view, or as cells.
 */
#include "activity/activity_read.h"

#include "activity/activity.h"
#include "activity/activity_bytes.h"
#include "activity/activity_merge.h"
#include "activity/activity_write.h"

int			chs_activity_invalid_errcode = ERRCODE_DATA_CORRUPTED;

/* chs_activity_invalid raises the error about invalid bytes. */
void
chs_activity_invalid(const char *what)
{
	ereport(ERROR,
			(errcode(chs_activity_invalid_errcode),
			 errmsg("invalid chs_activity: %s", what)));
}

/* Checks the numbers of a run that its widths alone do not keep in range. */
static void
check_run(const SeriesView *s)
{
	int64		day = s->first;

	if (day + ((int64) (s->n - 1) << s->gap_width * 8) > MAX_DAY)
		for (int i = 0; i < s->n - 1; i++)
			if ((day += get_gap(s, i)) > MAX_DAY)
				chs_activity_invalid("a day is out of range");
	for (int i = 0; i < s->n && s->count_width == 8; i++)
		if (get_count(s, i) < 1)
			chs_activity_invalid("a count is out of range");
	for (int i = 0; i < s->n && s->total_width > 8; i++)
	{
		int128		total;

		if (__builtin_mul_overflow(get_long_total(s, i), (int128) s->unit, &total) || !TOTAL_IN_RANGE(total))
			chs_activity_invalid("a total is out of range");
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
		chs_activity_invalid("a width is out of range");
	size = (int64) (s->n - 1) * s->gap_width + (int64) s->n * (s->count_width + s->total_width);
	if (size > r->end - r->next)
		chs_activity_invalid("it ends too early");
	s->gaps = r->next;
	s->counts = s->gaps + (Size) (s->n - 1) * s->gap_width;
	s->totals = s->counts + (Size) s->n * s->count_width;
	r->next += size;
	check_run(s);
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
			chs_activity_invalid("distinct values are out of order");
		last_key = v.key;
		has_first |= v.first == s->first;
	}
	if (!has_first)
		chs_activity_invalid("the first day is missing");
}

static void
view_series(Reader *r, SeriesView *s)
{
	uint64		z;
	int64		first;

	s->id = get_uint64(r);
	s->kind = get_byte(r);
	if (s->kind < SERIES_COUNT || s->kind > SERIES_DISTINCT)
		chs_activity_invalid("a series is of an unknown kind");
	s->keep = get_number(r, 1, MAX_KEEP, "the number of days kept is out of range");
	s->n = get_number(r, 1, MAX_CELLS / 4, "the number of cells is out of range");
	z = get_varint(r);
	first = unzigzag(z);
	if (first < MIN_DAY || first > MAX_DAY)
		chs_activity_invalid("a day is out of range");
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
		chs_activity_invalid("it ends too early");
	view->day = day;
	view->nseries = nseries;
	view->series = palloc(Max(nseries, 1) * sizeof(SeriesView));
	for (int i = 0; i < nseries; i++)
	{
		view_series(&r, &view->series[i]);
		if (i > 0 && view->series[i].id <= view->series[i - 1].id)
			chs_activity_invalid("series are out of order");
	}
	if (r.next != r.end)
		chs_activity_invalid("it has bytes to spare");
	return view;
}

/* Checks the header, and whether the bytes are those that were written. */
static void
check_header(const Activity *activity)
{
	if (VARSIZE(activity) < HEADER_SIZE)
		chs_activity_invalid("it ends too early");
	if (activity->format != ACTIVITY_FORMAT)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("chs_activity of unknown format %d", activity->format),
				 errhint("It was written by a newer version of chs.")));
	if (activity->flags != 0 && activity->flags != FLAG_OPEN)
		chs_activity_invalid("a flag is unknown");
	if (activity->flags != FLAG_OPEN)
	{
		if (VARSIZE(activity) < HEADER_SIZE + CHECKSUM_SIZE)
			chs_activity_invalid("it ends too early");
		if (!has_checksum(activity))
			chs_activity_invalid("its checksum is wrong");
	}
	if (activity->day != DAY_NEVER && (activity->day < MIN_DAY || activity->day > MAX_DAY))
		chs_activity_invalid("its day is out of range");
}

/*
 * chs_activity_view returns a view of an activity, which points into its bytes, in the
 * current memory context.  All bytes are checked, even though the checksum is
 * right, since the value may come from anywhere; whatever reads the view can rely
 * on it.
 */
ActivityView *
chs_activity_view(const Activity *activity)
{
	chs_activity_invalid_errcode = ERRCODE_DATA_CORRUPTED;
	check_header(activity);
	if (activity->flags == FLAG_OPEN)
		return chs_activity_view_of(chs_activity_decode_any(activity));
	return view_body(BODY(activity), BODY_SIZE(activity), activity->nseries, activity->day);
}

/* chs_activity_view_of returns the view of an activity in memory. */
ActivityView *
chs_activity_view_of(const ActivityData *data)
{
	const Activity *activity = chs_activity_encode(data);

	return view_body(BODY(activity), BODY_SIZE(activity), activity->nseries, activity->day);
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

/* Adds up to 64 days, starting with the given one, to the last cells of a value. */
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
				chs_activity_invalid("the number of cells is out of range");
			s->cells = repalloc(s->cells, capacity * sizeof(Cell));
		}
		add_days(s, first_cell, value.key, value.first, 1);
		for (int byte = 0; byte < value.nbytes; byte += 8)
			add_days(s, first_cell, value.key, (int64) value.first + 1 + byte * 8,
					 get_fixed(value.days + byte, v->end, Min(value.nbytes - byte, 8)));
	}
}

/*
 * chs_activity_cells_of returns what a view shows as cells, which can be merged and
 * changed, in the current memory context.
 */
ActivityData *
chs_activity_cells_of(const ActivityView *view)
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

/* Reads the tail of an open activity, and sorts it. */
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
			chs_activity_invalid("a series is of an unknown kind");
		if (in->keep < 1 || in->keep > MAX_KEEP)
			chs_activity_invalid("the number of days kept is out of range");
		if (c->day < MIN_DAY || c->day > MAX_DAY)
			chs_activity_invalid("a day is out of range");
		if (in->kind == SERIES_DISTINCT ?
			c->n != 0 || c->total == 0 || c->day % DISTINCT_BLOCK != 0 :
			c->n < 1 || c->key != 0)
			chs_activity_invalid("a count is out of range");
		if (in->kind == SERIES_COUNT ? c->total != 0 :
			in->kind == SERIES_SUM && !TOTAL_IN_RANGE(c->total))
			chs_activity_invalid("a total is out of range");
	}
	return chs_activity_from_increments(tail, n, day);
}

/*
 * chs_activity_decode_any returns what an activity of either form holds as cells, in
 * the current memory context, after checking all bytes.
 */
ActivityData *
chs_activity_decode_any(const Activity *activity)
{
	Size		size = VARSIZE(activity);
	OpenHeader	open;
	ActivityData *body;

	check_header(activity);
	if (activity->flags != FLAG_OPEN)
		return chs_activity_cells_of(view_body(BODY(activity), BODY_SIZE(activity), activity->nseries, activity->day));
	if (size < OPEN_SIZE(0, 0))
		chs_activity_invalid("its size is wrong");

	memcpy(&open, (const char *) activity + HEADER_SIZE, sizeof(open));
	if (open.ntail > open.captail || size != OPEN_SIZE(open.body, open.captail))
		chs_activity_invalid("its size is wrong");
	body = chs_activity_cells_of(view_body(OPEN_BODY(activity), open.body, activity->nseries, activity->day));
	if (open.ntail == 0)
		return body;
	return chs_activity_merge_two(body, decode_tail(OPEN_BODY(activity) + open.body, open.ntail, activity->day));
}

/*
 * chs_activity_decode does the same for an activity that is expected to be valid.
 */
ActivityData *
chs_activity_decode(const Activity *activity)
{
	chs_activity_invalid_errcode = ERRCODE_DATA_CORRUPTED;
	return chs_activity_decode_any(activity);
}

/*
 * chs_activity_try_view returns the view of an activity from a table; if it is
 * damaged, it returns NULL and sets damage to what is wrong.
 */
ActivityView *
chs_activity_try_view(const Activity *activity, const char **damage)
{
	MemoryContext caller = CurrentMemoryContext;
	ActivityView *volatile view = NULL;

	*damage = NULL;
	/* reading bytes acquires nothing but memory, so no subtransaction is needed */
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

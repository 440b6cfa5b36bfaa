/*
 * activity_read.c
 *	  Reading the bytes of an activity: as a view, or as cells.
 */
#include "activity/activity_read.h"

#include "activity/activity.h"
#include "activity/activity_bytes.h"
#include "activity/activity_check.h"
#include "activity/activity_merge.h"
#include "activity/activity_write.h"
#include "base/try.h"

#define UNKNOWN_KIND "A series is of an unknown kind."
#define KEEP_OUT_OF_RANGE "The number of days kept is out of range."
#define COUNT_OUT_OF_RANGE "A count is out of range."
#define TOTAL_OUT_OF_RANGE "A total is out of range."
#define WRONG_SIZE "Its size is wrong."

/* Checks the numbers of a run that its widths alone do not keep in range. */
static const char *
find_damage_of_run(const SeriesView *s)
{
	int64		day = s->first;

	if (day + ((int64) (s->n - 1) << s->gap_width * 8) > MAX_DAY)
		for (int i = 0; i < s->n - 1; i++)
			if ((day += get_gap(s, i)) > MAX_DAY)
				return DAY_OUT_OF_RANGE;
	for (int i = 0; i < s->n && s->count_width == 8; i++)
		if (get_count(s, i) < 1)
			return COUNT_OUT_OF_RANGE;
	for (int i = 0; i < s->n && s->total_width > 8; i++)
	{
		int128		total;

		if (__builtin_mul_overflow(get_long_total(s, i), (int128) s->unit, &total) ||
			!TOTAL_IN_RANGE(total))
			return TOTAL_OUT_OF_RANGE;
	}
	return NULL;
}

static void
view_run(Reader *r, SeriesView *s)
{
	uint8		widths = get_byte(r);
	const char *damage;
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
	{
		reader_fail(r, "A width is out of range.");
		return;
	}
	size = (int64) (s->n - 1) * s->gap_width + (int64) s->n * (s->count_width + s->total_width);
	if (size > r->end - r->next)
	{
		reader_fail(r, ENDS_TOO_EARLY);
		return;
	}
	s->gaps = r->next;
	s->counts = s->gaps + (Size) (s->n - 1) * s->gap_width;
	s->totals = s->counts + (Size) s->n * s->count_width;
	r->next += size;
	if ((damage = find_damage_of_run(s)) != NULL)
		reader_fail(r, damage);
}

static void
view_distinct(Reader *r, SeriesView *s)
{
	DistinctValue v;
	uint64		last_key = 0;
	bool		has_first = false;

	s->values = r->next;
	for (int i = 0; i < s->n && r->damage == NULL; i++)
	{
		get_value(r, s, &v);
		if (i > 0 && v.key <= last_key)
			reader_fail(r, "Distinct values are out of order.");
		last_key = v.key;
		has_first |= v.first == s->first;
	}
	if (!has_first)
		reader_fail(r, "The first day is missing.");
}

static void
view_series(Reader *r, SeriesView *s)
{
	int64		first;

	s->id = get_uint64(r);
	s->kind = get_byte(r);
	if (s->kind < SERIES_COUNT || s->kind > SERIES_DISTINCT)
		reader_fail(r, UNKNOWN_KIND);
	s->keep = get_number(r, 1, MAX_KEEP, KEEP_OUT_OF_RANGE);
	s->n = get_number(r, 1, MAX_CELLS / 4, "The number of cells is out of range.");
	first = unzigzag(get_varint(r));
	if (first < MIN_DAY || first > MAX_DAY)
		reader_fail(r, DAY_OUT_OF_RANGE);
	s->first = (int32) first;
	s->end = r->end;
	if (r->damage != NULL)
		return;
	if (s->kind == SERIES_DISTINCT)
		view_distinct(r, s);
	else
		view_run(r, s);
}

/* Returns a view of series; if they are damaged, NULL, and sets damage. */
static ActivityView *
view_body(const char *body, Size size, int nseries, int32 day, const char **damage)
{
	ActivityView *view = palloc(sizeof(ActivityView));
	Reader		r = {body, body + size, NULL};

	view->day = day;
	view->nseries = nseries;
	/* every series is fourteen bytes or more */
	if (nseries > (r.end - r.next) / 14)
		reader_fail(&r, ENDS_TOO_EARLY);
	else
		view->series = palloc(Max(nseries, 1) * sizeof(SeriesView));
	for (int i = 0; i < nseries && r.damage == NULL; i++)
	{
		view_series(&r, &view->series[i]);
		if (i > 0 && view->series[i].id <= view->series[i - 1].id)
			reader_fail(&r, "Series are out of order.");
	}
	if (r.next != r.end)
		reader_fail(&r, "It has bytes to spare.");
	*damage = r.damage;
	return r.damage == NULL ? view : NULL;
}

/* Says what is wrong with the header, or that the bytes are not those that were written. */
static const char *
find_damage_of_header(const Activity *activity)
{
	if (VARSIZE(activity) < HEADER_SIZE)
		return ENDS_TOO_EARLY;
	if (activity->format != ACTIVITY_FORMAT)
		return "It is of a format that this version of chs does not know.";
	if (activity->flags != 0 && activity->flags != FLAG_OPEN)
		return "A flag is unknown.";
	if (activity->flags != FLAG_OPEN)
	{
		if (VARSIZE(activity) < HEADER_SIZE + CHECKSUM_SIZE)
			return ENDS_TOO_EARLY;
		if (!has_checksum(activity))
			return "Its checksum is wrong.";
	}
	if (activity->day != DAY_NEVER && (activity->day < MIN_DAY || activity->day > MAX_DAY))
		return "Its day is out of range.";
	return NULL;
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
		s->cells[i] = (Cell) {
			.day = (int32) day,.n = get_count(v, i),.total = get_total(v, i) * v->unit
		};
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
		s->cells[s->ncells++] = (Cell) {
			.key = key,.day = block + DISTINCT_BLOCK,.total = (int128) high
		};
}

static void
cells_of_distinct(const SeriesView *v, Series *s)
{
	Reader		r = {v->values, v->end, NULL};
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
				ereport(ERROR,
						(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						 errmsg("activity is too large")));
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
	chs_activity_check(data);
	return data;
}

/* Whether an increment is one that chs_activity_add could have been given. */
static const char *
find_damage_of_increment(const Increment *in)
{
	const Cell *c = &in->cell;

	if (in->kind < SERIES_COUNT || in->kind > SERIES_DISTINCT)
		return UNKNOWN_KIND;
	if (in->keep < 1 || in->keep > MAX_KEEP)
		return KEEP_OUT_OF_RANGE;
	if (c->day < MIN_DAY || c->day > MAX_DAY)
		return DAY_OUT_OF_RANGE;
	if (in->kind == SERIES_DISTINCT ?
		c->n != 0 || c->total == 0 || c->day % DISTINCT_BLOCK != 0 :
		c->n < 1 || c->key != 0)
		return COUNT_OUT_OF_RANGE;
	if (in->kind == SERIES_COUNT ? c->total != 0 :
		in->kind == SERIES_SUM && !TOTAL_IN_RANGE(c->total))
		return TOTAL_OUT_OF_RANGE;
	return NULL;
}

/* Reads the tail of an aggregate's state. */
static ActivityData *
decode_tail(const char *bytes, uint32 n, int32 day, const char **damage)
{
	Increment  *tail = palloc_extended((Size) n * sizeof(Increment), MCXT_ALLOC_HUGE);

	memcpy(tail, bytes, (Size) n * sizeof(Increment));
	qsort(tail, n, sizeof(Increment), chs_activity_compare_increments);
	for (uint32 i = 0; i < n; i++)
	{
		*damage = find_damage_of_increment(&tail[i]);
		if (*damage == NULL && i > 0 && tail[i].series_id == tail[i - 1].series_id &&
			tail[i].kind != tail[i - 1].kind)
			*damage = UNKNOWN_KIND;
		if (*damage != NULL)
			return NULL;
	}
	return chs_activity_from_increments(tail, n, day);
}

/* Reads an aggregate's state, whose header is right; if it is damaged, NULL. */
static ActivityData *
decode_state(const Activity *state, const char **damage)
{
	Size		size = VARSIZE(state);
	OpenHeader	open;
	ActivityView *body;
	ActivityData *tail;

	*damage = WRONG_SIZE;
	if (size < OPEN_SIZE(0, 0))
		return NULL;
	memcpy(&open, (const char *) state + HEADER_SIZE, sizeof(open));
	if (open.ntail > open.captail || size != OPEN_SIZE(open.body, open.captail))
		return NULL;
	body = view_body(OPEN_BODY(state), open.body, state->nseries, state->day, damage);
	if (body == NULL)
		return NULL;
	if (open.ntail == 0)
		return chs_activity_cells_of(body);
	tail = decode_tail(OPEN_BODY(state) + open.body, open.ntail, state->day, damage);
	return tail == NULL ? NULL : chs_activity_merge_two(chs_activity_cells_of(body), tail);
}

/* Raises the error about a value that should have been right. */
pg_noreturn static void
raise_damage(const char *damage)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("invalid value of type %s", "chs_activity"),
			 errdetail_internal("%s", _(damage))));
}

/*
 * chs_activity_try_view returns a view of an activity, which points into its bytes, in
 * the current memory context; if they are damaged, it returns NULL and sets damage to
 * what is wrong, as a sentence.  All bytes are checked, even though the checksum is
 * right, since the value may come from anywhere; whatever reads the view can rely
 * on it.
 */
ActivityView *
chs_activity_try_view(const Activity *activity, const char **damage)
{
	*damage = find_damage_of_header(activity);
	if (*damage != NULL)
		return NULL;
	if (activity->flags == FLAG_OPEN)
	{
		ActivityData *data = decode_state(activity, damage);

		return data != NULL ? chs_activity_view_of(data) : NULL;
	}
	return view_body(BODY(activity), BODY_SIZE(activity), activity->nseries, activity->day,
					 damage);
}

typedef struct Fetch
{
	Datum		stored;
	Activity   *activity;
} Fetch;

static void
fetch(void *arg)
{
	Fetch	   *f = arg;

	f->activity = DatumGetActivity(f->stored);
}

/*
 * chs_activity_try_stored is the same for a value of a table; one that is stored out of
 * line is damaged as well if it cannot be fetched.
 */
ActivityView *
chs_activity_try_stored(Datum stored, const char **damage)
{
	Fetch		f = {.stored = stored};
	ErrorData  *error = NULL;

	if (VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(stored)))
		error = chs_try(fetch, &f);
	else
		fetch(&f);
	if (error == NULL)
		return chs_activity_try_view(f.activity, damage);
	if (error->sqlerrcode != ERRCODE_DATA_CORRUPTED)
		ReThrowError(error);
	*damage = error->message;
	return NULL;
}

/* chs_activity_view is the same for an activity that must not be damaged. */
ActivityView *
chs_activity_view(const Activity *activity)
{
	const char *damage;
	ActivityView *view = chs_activity_try_view(activity, &damage);

	if (view == NULL)
		raise_damage(damage);
	return view;
}

/* chs_activity_view_of returns the view of an activity in memory, in the current context. */
ActivityView *
chs_activity_view_of(const ActivityData *data)
{
	const Activity *activity = chs_activity_encode(data);
	const char *damage;
	ActivityView *view = view_body(BODY(activity), BODY_SIZE(activity), activity->nseries,
								   activity->day, &damage);

	Assert(view != NULL);
	return view;
}

/*
 * chs_activity_decode returns what an activity of either form holds as cells, in the
 * current memory context, after checking all bytes.
 */
ActivityData *
chs_activity_decode(const Activity *activity)
{
	const char *damage = find_damage_of_header(activity);
	ActivityData *data;

	if (damage != NULL || activity->flags != FLAG_OPEN)
		return chs_activity_cells_of(chs_activity_view(activity));
	data = decode_state(activity, &damage);
	if (data == NULL)
		raise_damage(damage);
	return data;
}

/*
 * target.c
 *	  Gives an input to the functions that read what comes from outside.
 *
 * An input may be refused, but not with an internal error; what was taken must
 * come out as it went in, and all that is made of it must be taken again.
 * The checksum of an activity is mended first, or nothing damaged would be read
 * any further; only the text input gets it as it is.
 */
#include "postgres.h"

#include "activity/activity_bytes.h"
#include "activity/activity_merge.h"
#include "activity/activity_read.h"
#include "activity/activity_window.h"
#include "activity/activity_write.h"
#include "base/compat.h"
#include "fuzz.h"
#include "lib/stringinfo.h"

/* Of src/activity/activity.c and src/score/scorecard.c, as PostgreSQL calls them. */
extern Datum chs_activity_in(PG_FUNCTION_ARGS);
extern Datum chs_activity_out(PG_FUNCTION_ARGS);
extern Datum chs_activity_recv(PG_FUNCTION_ARGS);
extern Datum chs_activity_send(PG_FUNCTION_ARGS);
extern Datum chs_curve_is_valid(PG_FUNCTION_ARGS);
extern Datum chs_curve(PG_FUNCTION_ARGS);

static void
fail(const char *what)
{
	fprintf(stderr, "FAILED: %s\n", what);
	abort();
}

static Datum
call(PGFunction function, Datum a, Datum b)
{
	LOCAL_FCINFO(fcinfo, 2);

	memset(fcinfo, 0, SizeForFunctionCallInfo(2));
	fcinfo->args[0].value = a;
	fcinfo->args[1].value = b;
	fcinfo->nargs = 2;
	return function(fcinfo);
}

static Activity *
receive(const uint8_t *data, size_t size)
{
	/* where it ends, reading further is found out */
	StringInfoData message = {palloc(size), (int) size, (int) size, 0};

	memcpy(message.data, data, size);
	return (Activity *) DatumGetPointer(call(chs_activity_recv, PointerGetDatum(&message), 0));
}

/* The bytes as an activity whose checksum is right, if that has a place. */
static Activity *
mend_checksum(const uint8_t *data, size_t size)
{
	Activity   *activity = palloc(VARHDRSZ + size);

	SET_VARSIZE(activity, VARHDRSZ + size);
	memcpy((char *) activity + VARHDRSZ, data, size);
	if (VARSIZE(activity) >= HEADER_SIZE + CHECKSUM_SIZE && activity->flags != FLAG_OPEN)
		put_checksum(activity);
	return activity;
}

static bool
same(const void *a, const void *b)
{
	return VARSIZE(a) == VARSIZE(b) && memcmp(a, b, VARSIZE(a)) == 0;
}

/* What chs itself has made must be taken. */
static void
check_taken(const ActivityData *data)
{
	Activity   *activity = chs_activity_encode(data);
	sigjmp_buf	saved;

	memcpy(&saved, &fuzz_error, sizeof(saved));
	if (sigsetjmp(fuzz_error, 0) != 0)
		fail("what chs made is refused");
	if (!same(activity, receive((uint8_t *) activity + VARHDRSZ, VARSIZE(activity) - VARHDRSZ)))
		fail("what chs made comes back as another activity");
	memcpy(&fuzz_error, &saved, sizeof(saved));
}

/* What the bytes amount to in a window is what the cells do, with the same overflow. */
static void
check_window(const SeriesView *view, const Series *series, int32 from, int32 to)
{
	WindowTotal window = chs_activity_window(view, from, to);
	uint64		n = 0;
	uint128		total = 0;
	int			days = 0;
	int			values = 0;
	int32		last = DAY_NEVER;
	const Cell *counted = NULL;

	for (int i = 0; i < series->ncells; i++)
	{
		const Cell *c = &series->cells[i];
		int			inside = 0;

		if (series->kind != SERIES_DISTINCT)
		{
			if (c->day < from || c->day > to)
				continue;
			n += (uint64) c->n;
			total += (uint128) c->total;
			days++;
			last = c->day;
			continue;
		}
		for (uint128 rest = (uint128) c->total; rest != 0; rest &= rest - 1)
		{
			int			day = c->day + chs_activity_lowest_bit(rest);

			inside += day >= from && day <= to;
		}
		n += (uint64) inside;
		if (inside > 0 && (counted == NULL || counted->key != c->key))
		{
			counted = c;
			values++;
		}
	}
	if ((uint64) window.n != n || (uint128) window.total != total || window.days != days ||
		(days > 0 && window.last != last) ||
		(window.estimated ? window.distinct < values : window.distinct != values))
		fail("a window is not what its cells are");
}

static void
check_windows(const Activity *activity)
{
	ActivityView *view = chs_activity_view(activity);

	/* without the series of an open one that pruning has emptied */
	ActivityData *data = chs_activity_decode(chs_activity_encode(chs_activity_decode(activity)));

	for (int i = 0; i < data->nseries; i++)
	{
		const Series *s = &data->series[i];
		int32		first = s->cells[0].day;
		int32		last = s->cells[s->ncells - 1].day;

		check_window(&view->series[i], s, first, first);
		check_window(&view->series[i], s, first - 10, first + 19);
		check_window(&view->series[i], s, first + 2, first + 31);
		check_window(&view->series[i], s, last - 6, last + 3000);
		check_window(&view->series[i], s, last + 1, last + 30);
	}
}

static void
check_taken_activity(Activity *activity, const uint8_t *data, size_t size)
{
	ActivityData *decoded;
	char	   *text = DatumGetCString(call(chs_activity_out, PointerGetDatum(activity), 0));
	bytea	   *sent = DatumGetByteaP(call(chs_activity_send, PointerGetDatum(activity), 0));

	if (VARSIZE(sent) - VARHDRSZ != size || memcmp(VARDATA(sent), data, size) != 0)
		fail("the bytes sent are not those received");
	if (!same(activity, DatumGetPointer(call(chs_activity_in, CStringGetDatum(text), 0))))
		fail("the text gives another activity");
	check_windows(activity);
	decoded = chs_activity_decode(activity);
	check_taken(chs_activity_merge_two(decoded, chs_activity_empty(DAY_NEVER)));
	for (int i = 0; i < decoded->nseries; i++)
	{
		ActivityData *pruned = chs_activity_decode(activity);

		chs_activity_prune_to(pruned, pruned->series[i].cells[pruned->series[i].ncells - 1].day + i);
		check_taken(pruned);
	}
	check_taken(chs_activity_merge_two(chs_activity_decode(activity), chs_activity_decode(activity)));
}

static void
check_merge(const uint8_t *data, size_t size)
{
	size_t		first = size < 2 ? 0 : Min(data[0] + 256 * (size_t) data[1], size - 2);
	Activity   *a;
	Activity   *b;
	Activity   *merged;

	if (size < 2)
		return;
	a = receive((uint8_t *) mend_checksum(data + 2, first) + VARHDRSZ, first);
	b = receive((uint8_t *) mend_checksum(data + 2 + first, size - 2 - first) + VARHDRSZ, size - 2 - first);
	merged = chs_activity_encode(chs_activity_merge_two(chs_activity_decode(a), chs_activity_decode(b)));
	if (!same(merged, chs_activity_encode(chs_activity_merge_two(chs_activity_decode(b), chs_activity_decode(a)))))
		fail("merging depends on the order");
	check_taken(chs_activity_decode(merged));
}

static void
check_curve(const uint8_t *data, size_t size)
{
	text	   *curve = palloc(VARHDRSZ + size);
	static const double at[] = {-1e308, -1, 0, 1e-300, 0.5, 1, 3, 1e308};

	SET_VARSIZE(curve, VARHDRSZ + size);
	memcpy(VARDATA(curve), data, size);
	(void) call(chs_curve_is_valid, PointerGetDatum(curve), 0);
	for (size_t i = 0; i < lengthof(at); i++)
	{
		double		y = DatumGetFloat8(call(chs_curve, PointerGetDatum(curve), Float8GetDatum(at[i])));

		if (!(y >= 0 && y <= 100))
			fail("a curve gives a score outside 0 to 100");
	}
}

static void
run(const uint8_t *data, size_t size)
{
	int			target = data[0] % FUZZ_TARGETS;
	Activity   *activity;

	data++, size--;
	switch (target)
	{
		case FUZZ_RECV:
			data = (uint8_t *) mend_checksum(data, size) + VARHDRSZ;
			activity = receive(data, size);
			check_taken_activity(activity, data, size);
			break;
		case FUZZ_IN:
			activity = (Activity *) DatumGetPointer(call(chs_activity_in, CStringGetDatum(pnstrdup((const char *) data, size)), 0));
			check_taken(chs_activity_decode(activity));
			break;
		case FUZZ_DECODE:
			activity = mend_checksum(data, size);
			(void) chs_activity_encode(chs_activity_decode(activity));
			check_windows(activity);
			break;
		case FUZZ_MERGE:
			check_merge(data, size);
			break;
		case FUZZ_CURVE:
			check_curve(data, size);
			break;
	}
}

/* fuzz_target returns whether an input was taken; it ends the program on a failure. */
int
fuzz_target(const uint8_t *data, size_t size)
{
	volatile int taken = 0;

	if (size == 0)
		return 0;
	if (sigsetjmp(fuzz_error, 0) == 0)
	{
		run(data, size);
		taken = 1;
	}
	/* that a table is damaged may be said of a damaged table only */
	else if (strncmp(fuzz_sqlstate, "XX", 2) == 0 &&
			 (data[0] % FUZZ_TARGETS != FUZZ_DECODE || strcmp(fuzz_sqlstate, "XX001") != 0))
		fail(fuzz_sqlstate);
	fuzz_free_all();
	return taken;
}

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	(void) fuzz_target(data, size);
	return 0;
}

/* ------------------------------------------------------------ valid inputs */

static uint64_t
next_random(uint64_t *state)
{
	uint64_t	z = (*state += UINT64CONST(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64CONST(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64CONST(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static Increment *
random_increments(uint64_t *state, int n, int32 today)
{
	Increment  *increments = palloc0(Max(n, 1) * sizeof(Increment));
	bool		crowded = n > 300;	/* more distinct values on a day than are kept */
	bool		apart = n == 2;	/* by two hundred years, and nothing else */

	for (int i = 0; i < n; i++)
	{
		Increment  *in = &increments[i];
		int			series = crowded ? 2 : apart ? 3 : next_random(state) % 6;
		int32		day = today - (int32) (next_random(state) % (crowded ? 2 : 40)) - (apart ? i * 73000 : 0);

		in->series_id = (uint64) (series + 1) * UINT64CONST(0x123456789abcdef);
		in->kind = SERIES_COUNT + series % 3;
		in->keep = 37;
		in->cell.day = day;
		in->cell.n = 1 + next_random(state) % 3;
		if (in->kind == SERIES_SUM)
			in->cell.total = (int128) (int64) next_random(state) >> next_random(state) % 64;
		else if (in->kind == SERIES_DISTINCT)
			in->cell = chs_activity_distinct_cell(next_random(state) % (crowded ? 4000 : 400) * UINT64CONST(0x1000003000000000), day);
	}
	return increments;
}

static Activity *
random_activity(uint64_t *state)
{
	int			n = next_random(state) % (next_random(state) % 16 == 0 ? 800 : 20);
	int32		today = (int32) (next_random(state) % 20000);
	Increment  *increments = random_increments(state, n, today);

	return chs_activity_encode(chs_activity_from_increments(increments, n, next_random(state) % 2 ? today : DAY_NEVER));
}

static size_t
put(uint8_t *data, size_t size, size_t at, const void *bytes, size_t n)
{
	n = Min(n, size - at);
	memcpy(data + at, bytes, n);
	return at + n;
}

/* fuzz_seed makes a valid input, the same for the same seed, and returns its length. */
size_t
fuzz_seed(uint64_t seed, uint8_t *data, size_t size)
{
	uint64_t	state = seed;
	Activity   *a;
	Activity   *b;
	char	   *text;
	uint8_t		lengths[2];
	volatile size_t n = 1;

	if (sigsetjmp(fuzz_error, 0) != 0)
		fail("no valid input can be made");
	data[0] = (uint8_t) (next_random(&state) % FUZZ_TARGETS);
	a = random_activity(&state);
	b = random_activity(&state);
	switch (data[0])
	{
		case FUZZ_IN:
			text = DatumGetCString(call(chs_activity_out, PointerGetDatum(a), 0));
			n = put(data, size, n, text, strlen(text));
			break;
		case FUZZ_DECODE:
			/* the state of the aggregate has another form, with a tail of increments */
			if (next_random(&state) % 2)
				a = chs_activity_add(a, random_increments(&state, 4, 9000), 4);
			/* FALLTHROUGH */
		case FUZZ_RECV:
			n = put(data, size, n, (char *) a + VARHDRSZ, VARSIZE(a) - VARHDRSZ);
			break;
		case FUZZ_MERGE:
			lengths[0] = (uint8_t) ((VARSIZE(a) - VARHDRSZ) & 255);
			lengths[1] = (uint8_t) ((VARSIZE(a) - VARHDRSZ) >> 8);
			n = put(data, size, n, lengths, 2);
			n = put(data, size, n, (char *) a + VARHDRSZ, VARSIZE(a) - VARHDRSZ);
			n = put(data, size, n, (char *) b + VARHDRSZ, VARSIZE(b) - VARHDRSZ);
			break;
		case FUZZ_CURVE:
			for (int i = 0; i <= (int) (state % 5); i++)
			{
				text = psprintf("%s%g:%g", i > 0 ? " " : "", i * 1.5 + (double) (next_random(&state) % 100) / 100,
								(double) (next_random(&state) % 10001) / 100);
				n = put(data, size, n, text, strlen(text));
			}
			break;
	}
	fuzz_free_all();
	return n;
}

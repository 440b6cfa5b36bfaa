/*
 * activity.c
 *	  The type chs_activity: its input and output, and the state of its aggregate.
 */
#include "activity/activity.h"

#include "libpq/pqformat.h"
#include "utils/builtins.h"

#include "activity/activity_bytes.h"
#include "activity/activity_merge.h"
#include "activity/activity_read.h"
#include "activity/activity_write.h"
#include "base/message.h"

/* chs_activity_kind_name returns the kind of a series as text. */
const char *
chs_activity_kind_name(SeriesKind kind)
{
	return kind == SERIES_COUNT ? "count" : kind == SERIES_SUM ? "sum" : "distinct";
}

/* ---------------------------------------------------- the aggregate's state */

static Activity *
open_state(const char *body, uint32 size, int nseries, int32 day, uint32 room)
{
	/* room in proportion to the body keeps merges rare */
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
 * chs_activity_add adds the contributions of an event to a state, in place if
 * there is room, otherwise in a new one in the current memory context.
 */
Activity *
chs_activity_add(Activity *state, const Increment *increments, int n)
{
	OpenHeader	open = {0};

	Assert(n >= 0);
	if (state->flags == FLAG_OPEN)
		memcpy(&open, (char *) state + HEADER_SIZE, sizeof(open));
	if (state->flags != FLAG_OPEN || open.captail - open.ntail < (uint32) n)
	{
		Activity   *flat = chs_activity_encode(chs_activity_decode(state));

		state = open_state(BODY(flat), BODY_SIZE(flat), flat->nseries, flat->day, n);
		memcpy(&open, (char *) state + HEADER_SIZE, sizeof(open));
	}
	memcpy(OPEN_BODY(state) + open.body + (Size) open.ntail * sizeof(Increment),
		   increments, n * sizeof(Increment));
	open.ntail += n;
	Assert(open.ntail <= open.captail);
	memcpy((char *) state + HEADER_SIZE, &open, sizeof(open));
	return state;
}

/* ------------------------------------------------------ input and output */

/*
 * Returns the activity that bytes from outside are.  Only canonical ones pass, so
 * that equal activities have equal bytes; else NULL, and damage says what is wrong.
 */
static Activity *
activity_from_bytes(const char *bytes, Size size, const char **damage)
{
	Activity   *activity;
	Activity   *canonical;
	ActivityView *view;
	ActivityData *data;
	bool		is_canonical = true;

	*damage = ENDS_TOO_EARLY;
	if (size < HEADER_SIZE - VARHDRSZ)
		return NULL;
	activity = palloc(size + VARHDRSZ);
	SET_VARSIZE(activity, size + VARHDRSZ);
	memcpy((char *) activity + VARHDRSZ, bytes, size);
	swap_header(activity);
	*damage = "It is the state of an aggregate.";
	if (activity->format == ACTIVITY_FORMAT && activity->flags == FLAG_OPEN)
		return NULL;
	view = chs_activity_try_view(activity, damage);
	if (view == NULL)
		return NULL;
	data = chs_activity_cells_of(view);
	/* anything that it could not have kept makes a difference below */
	for (int i = 0; i < data->nseries; i++)
	{
		chs_activity_prune_series(&data->series[i], data->day);
		is_canonical &= chs_activity_cap_distinct(&data->series[i]);
	}
	canonical = chs_activity_encode(data);
	if (is_canonical && VARSIZE(canonical) == VARSIZE(activity) &&
		memcmp(canonical, activity, VARSIZE(activity)) == 0)
		return canonical;
	*damage = "It is not in the form that chs writes.";
	return NULL;
}

/* The external form: all but the length word, in canonical form. */
static bytea *
activity_to_bytes(const Activity *activity)
{
	Activity   *flat;

	flat = chs_activity_encode(chs_activity_decode(activity));
	swap_header(flat);
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
	const char *damage;
	Activity   *activity;

	if (length % 2 != 0 || strspn(text, "0123456789abcdef") != length)
		chs_input_error(fcinfo,
						(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
						 errmsg("invalid input syntax for type %s: \"%s\"", "chs_activity",
								chs_message_value(text, length)),
						 errdetail("An activity is written as an even number of"
								   " hexadecimal digits in lower case.")));
	bytes = palloc(length / 2 + 1);
	(void) hex_decode(text, length, bytes);
	activity = activity_from_bytes(bytes, length / 2, &damage);
	if (activity == NULL)
		chs_input_error(fcinfo,
						(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
						 errmsg("invalid value of type %s", "chs_activity"),
						 errdetail_internal("%s", _(damage))));
	PG_RETURN_POINTER(activity);
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
	const char *damage;
	Activity   *activity = activity_from_bytes(pq_getmsgbytes(buf, size), size, &damage);

	if (activity == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid value of type %s", "chs_activity"),
				 errdetail_internal("%s", _(damage))));
	PG_RETURN_POINTER(activity);
}

/* chs_activity_send writes the binary form. */
PG_FUNCTION_INFO_V1(chs_activity_send);
Datum
chs_activity_send(PG_FUNCTION_ARGS)
{
	PG_RETURN_BYTEA_P(activity_to_bytes(PG_GETARG_ACTIVITY(0)));
}

/*
 * count.c
 *	  What an event adds to the series of its type.
 *
 * Capture and the aggregate both count with these functions, so that the same
 * events give the same activity either way.
 */
#include "score/count.h"

#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "activity/activity.h"
#include "score/filter.h"
#include "score/scorecard.h"

/* Digits before the decimal point of a number that is summed, at most. */
#define MAX_SUM_DIGITS 24

/*
 * chs_count_day returns the UTC day of a time, in days since 2000-01-01.
 * Infinite times have none: an error.
 */
int32
chs_count_day(TimestampTz t)
{
	int64		day = t / USECS_PER_DAY;

	if (TIMESTAMP_NOT_FINITE(t))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("time must be finite")));
	return (int32) (t < 0 && t % USECS_PER_DAY != 0 ? day - 1 : day);
}

/*
 * Reads a number as millionths, rounded half away from zero.  Returns false
 * for one that is too large to be summed.
 */
static bool
numeric_to_millionths(Numeric number, int128 *millionths)
{
	char	   *c = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number)));
	bool		negative = *c == '-';
	int128		v = 0;
	int			digits = 0;
	int			decimals = 0;

	for (c += negative; *c >= '0' && *c <= '9'; c++)
	{
		if (++digits > MAX_SUM_DIGITS)
			return false;
		v = v * 10 + (*c - '0');
	}
	if (*c == '.')
	{
		for (c++; *c != '\0' && decimals < 6; c++, decimals++)
			v = v * 10 + (*c - '0');
	}
	for (; decimals < 6; decimals++)
		v *= 10;
	if (*c >= '5')
		v++;
	*millionths = negative ? -v : v;
	return true;
}

static bool
is_negative(Numeric number)
{
	static Numeric zero = NULL;

	if (zero == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

		zero = int64_to_numeric(0);
		MemoryContextSwitchTo(caller);
	}
	return DatumGetBool(DirectFunctionCall2(numeric_lt, NumericGetDatum(number),
											NumericGetDatum(zero)));
}

static uint64
hash_scalar(const JsonbValue *value)
{
	uint64		hash = 0;

	JsonbHashScalarValueExtended(value, &hash, 0);
	/* numbers are hashed without their sign */
	if (value->type == jbvNumeric && is_negative(value->val.numeric))
		hash = ~hash;
	/* true, 1 and "1" are different values */
	return hash ^ (uint64) value->type * UINT64CONST(0x9e3779b97f4a7c15);
}

/*
 * Hashes a value so that values which differ as jsonb get different hashes. jsonb's
 * own hash function ignores how arrays and objects are nested.
 */
static uint64
hash_value(const JsonbValue *value)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	v;
	uint64		hash = 0;

	if (value->type != jbvBinary)
		return hash_scalar(value);
	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &v, false)) != WJB_DONE)
	{
		hash = hash_combine64(hash, token);
		if (token == WJB_KEY || token == WJB_VALUE || token == WJB_ELEM)
			hash = hash_combine64(hash, hash_scalar(&v));
	}
	return hash;
}

/* Fills the cell for an event that passed the filter; false: there is nothing to count. */
static bool
count_field(const SeriesDefinition *s, Jsonb *event_data, Cell *cell)
{
	JsonbValue	v;

	if (s->kind == SERIES_COUNT)
		return true;
	if (!JB_ROOT_IS_OBJECT(event_data) ||
		getKeyJsonValueFromContainer(&event_data->root, s->field, s->field_length, &v) == NULL)
		return false;
	if (s->kind == SERIES_SUM)
		return v.type == jbvNumeric && numeric_to_millionths(v.val.numeric, &cell->total);
	if (v.type == jbvNull)
		return false;
	*cell = chs_activity_distinct_cell(hash_value(&v), cell->day);
	return true;
}

/*
 * chs_count_event writes what an event of a UTC day adds to each series, and
 * returns how many increments that is: at most published->max_increments.
 * Allocates in the current memory context.
 */
int
chs_count_event(const Published *published, const char *event_type, int event_type_length,
				Jsonb *event_data, int32 day, Increment *increments)
{
	const EventCounting *t = NULL;
	int			n = 0;
	uint64		known = 0;
	uint64		holds = 0;

	for (int i = 0; i < published->ntypes && t == NULL; i++)
		if (published->types[i].event_type_length == event_type_length &&
			memcmp(published->types[i].event_type, event_type, event_type_length) == 0)
			t = &published->types[i];
	if (t == NULL)
		return 0;

	for (int i = 0; i < t->nseries; i++)
	{
		const SeriesDefinition *s = &published->series[t->series[i]];
		Increment  *in = &increments[n];

		if (s->filter_index >= 0)
		{
			/* each filter is evaluated once, as far as there are bits to remember the result */
			uint64		bit = s->filter_index < 64 ? UINT64CONST(1) << s->filter_index : 0;

			if ((known & bit) == 0)
			{
				bool		result = chs_filter_holds(&t->filters[s->filter_index], event_data);

				known |= bit;
				if (result)
					holds |= bit;
				if (!result)
					continue;
			}
			else if ((holds & bit) == 0)
				continue;
		}
		in->cell = (Cell) {.n = 1,.day = day};
		if (!count_field(s, event_data, &in->cell))
			continue;
		in->series_id = s->id;
		in->series = t->series[i];
		in->kind = s->kind;
		in->keep = s->keep;
		n++;
	}
	return n;
}

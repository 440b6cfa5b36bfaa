/*
 * aggregate.c
 *	  The SQL functions that make, merge and show activities, and what those hold.
 */
#include "base/compat.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "activity/activity.h"
#include "activity/activity_merge.h"
#include "activity/activity_read.h"
#include "activity/activity_write.h"
#include "score/count.h"
#include "score/scorecard.h"

/* Only an aggregate's state may be changed in place. */
static void
check_aggregate(FunctionCallInfo fcinfo, const char *name)
{
	if (!AggCheckCallContext(fcinfo, NULL))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("function \"%s\" can only be called by an aggregate", name)));
}

/*
 * chs_activity_transition adds one event to the state.  Events with a NULL in them
 * are ignored, as is usual for aggregates.
 */
PG_FUNCTION_INFO_V1(chs_activity_transition);
Datum
chs_activity_transition(PG_FUNCTION_ARGS)
{
	const Published *published;
	Activity   *state;
	Increment  *increments;
	text	   *event_type;
	int			n;

	check_aggregate(fcinfo, "chs.activity_transition");
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(3) || PG_ARGISNULL(4))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	published = chs_scorecard_compiled(PG_GETARG_DATUM(1));
	event_type = PG_GETARG_TEXT_PP(2);
	state = PG_ARGISNULL(0) ? chs_activity_open_state() : PG_GETARG_ACTIVITY(0);
	increments = palloc(Max(published->max_increments, 1) * sizeof(Increment));
	n = chs_count_event(published, VARDATA_ANY(event_type), VARSIZE_ANY_EXHDR(event_type),
						PG_GETARG_JSONB_P(3), chs_count_day(PG_GETARG_TIMESTAMPTZ(4)), increments);
	PG_RETURN_POINTER(chs_activity_add(state, increments, n));
}

/* Merges the first two arguments. */
static Activity *
merge_arguments(FunctionCallInfo fcinfo)
{
	ActivityData *a = chs_activity_decode(PG_GETARG_ACTIVITY(0));
	ActivityData *b = chs_activity_decode(PG_GETARG_ACTIVITY(1));

	return chs_activity_encode(chs_activity_merge_two(a, b));
}

/* chs_activity_combine merges two states, either of which may be absent. */
PG_FUNCTION_INFO_V1(chs_activity_combine);
Datum
chs_activity_combine(PG_FUNCTION_ARGS)
{
	check_aggregate(fcinfo, "chs.activity_combine");
	if (PG_ARGISNULL(0) && PG_ARGISNULL(1))
		PG_RETURN_NULL();
	if (PG_ARGISNULL(1))
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	if (PG_ARGISNULL(0))
		PG_RETURN_POINTER(chs_activity_encode(chs_activity_decode(PG_GETARG_ACTIVITY(1))));
	PG_RETURN_POINTER(merge_arguments(fcinfo));
}

/* chs_activity_final returns the canonical form of a state. */
PG_FUNCTION_INFO_V1(chs_activity_final);
Datum
chs_activity_final(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_POINTER(chs_activity_encode(chs_activity_decode(PG_GETARG_ACTIVITY(0))));
}

/* chs_activity_merge merges two activities. */
PG_FUNCTION_INFO_V1(chs_activity_merge);
Datum
chs_activity_merge(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(merge_arguments(fcinfo));
}

/* chs_activity_prune drops what no window of a scorecard reaches any more. */
PG_FUNCTION_INFO_V1(chs_activity_prune);
Datum
chs_activity_prune(PG_FUNCTION_ARGS)
{
	ActivityData *data = chs_activity_decode(PG_GETARG_ACTIVITY(0));

	chs_scorecard_project(data, chs_scorecard_compiled(PG_GETARG_DATUM(1)));
	chs_activity_prune_to(data, chs_count_day(PG_GETARG_TIMESTAMPTZ(2)));
	PG_RETURN_POINTER(chs_activity_encode(data));
}

/* A total, which is in millionths, as a number. */
static Datum
total_numeric(int128 total)
{
	bool		negative = total < 0;
	uint128		v = negative ? -(uint128) total : (uint128) total;
	char		digits[64];
	char	   *c = digits + sizeof(digits);
	int			n = 0;
	Datum		numeric;

	*--c = '\0';
	do
	{
		if (n++ == 6)
			*--c = '.';
		*--c = (char) ('0' + (int) (v % 10));
		v /= 10;
	} while (v > 0 || n < 7);
	if (negative)
		*--c = '-';
	numeric = DirectFunctionCall3(numeric_in, CStringGetDatum(c), ObjectIdGetDatum(InvalidOid),
								  Int32GetDatum(-1));
	return DirectFunctionCall1(numeric_trim_scale, numeric);
}

/* chs_activity_cells lists the cells of an activity. */
PG_FUNCTION_INFO_V1(chs_activity_cells);
Datum
chs_activity_cells(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ActivityData *data = chs_activity_decode(PG_GETARG_ACTIVITY(0));

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < data->nseries; i++)
	{
		const Series *s = &data->series[i];

		for (int j = 0; j < s->ncells; j++)
		{
			const Cell *c = &s->cells[j];
			uint128		days = c->total;
			Datum		values[6];
			bool		nulls[6] = {0};

			values[0] = Int64GetDatum((int64) s->id);
			values[1] = CStringGetTextDatum(chs_activity_kind_name(s->kind));
			values[2] = DateADTGetDatum(c->day);
			values[3] = Int64GetDatum((int64) c->key);
			nulls[3] = s->kind != SERIES_DISTINCT;
			values[4] = Int64GetDatum(s->kind == SERIES_DISTINCT ? 1 : c->n);
			values[5] = s->kind == SERIES_SUM ? total_numeric(c->total) : (Datum) 0;
			nulls[5] = s->kind != SERIES_SUM;
			if (s->kind != SERIES_DISTINCT)
				tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
			else
				for (; days != 0; days &= days - 1)
				{
					values[2] = DateADTGetDatum(c->day + chs_activity_lowest_bit(days));
					tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
				}
		}
	}
	return (Datum) 0;
}

/* chs_document_series lists the series of a document. */
PG_FUNCTION_INFO_V1(chs_document_series);
Datum
chs_document_series(PG_FUNCTION_ARGS)
{
	const Published *p = chs_scorecard_compiled(PG_GETARG_DATUM(0));
	Datum	   *ids = palloc(Max(p->nseries, 1) * sizeof(Datum));

	for (int i = 0; i < p->nseries; i++)
		ids[i] = Int64GetDatum((int64) p->series[i].id);
	PG_RETURN_ARRAYTYPE_P(construct_array(ids, p->nseries, INT8OID,
										  sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* chs_document_series_definitions tells what the series of a document are. */
PG_FUNCTION_INFO_V1(chs_document_series_definitions);
Datum
chs_document_series_definitions(PG_FUNCTION_ARGS)
{
	const Published *p = chs_scorecard_compiled(PG_GETARG_DATUM(0));
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < p->nseries; i++)
	{
		const SeriesDefinition *s = &p->series[i];
		Datum		values[6] = {0};
		bool		nulls[6] = {0};

		values[0] = Int64GetDatum((int64) s->id);
		values[1] = CStringGetTextDatum(s->event_type);
		values[2] = CStringGetTextDatum(chs_activity_kind_name(s->kind));
		nulls[3] = s->field == NULL;
		if (s->field != NULL)
			values[3] = CStringGetTextDatum(s->field);
		nulls[4] = s->filter == NULL;
		if (s->filter != NULL)
			values[4] = CStringGetTextDatum(s->filter);
		values[5] = Int32GetDatum(s->keep);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * verify.c
 *	  Compares what is stored with what the raw events give.
 */
#include "base/compat.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "activity/activity.h"
#include "activity/activity_merge.h"
#include "activity/activity_read.h"
#include "activity/activity_write.h"
#include "base/catalog.h"
#include "base/spi.h"
#include "engine/capture.h"
#include "score/score.h"
#include "score/scorecard.h"
#include "score/values.h"
#include "source/raw.h"
#include "source/rewritten.h"
#include "source/slice.h"
#include "source/source.h"
#include "sql/customer_score.h"
#include "store/customer.h"
#include "store/live.h"
#include "store/missing.h"
#include "store/queue.h"

/* The stored health, as returned by the query of all customers. */
typedef struct StoredHealth
{
	bool		found;
	bool		known;
	double		score;
	char	   *status;
	double		coverage;
	char	   *trend;			/* or NULL */
	char	   *factor_scores;
	ArrayType  *factor_array;	/* the same */
	int			version;
	int32		as_of;
} StoredHealth;

/* The raw events of some customers, read at once. */
typedef struct Reading
{
	bool		possible;		/* the events of all sources can be read */
	int32		first_day;
	EventSlice *events;			/* from that day on */
} Reading;

/* What the functions below share. */
typedef struct Verification
{
	ReturnSetInfo *result;
	Snapshot	snapshot;		/* one for all that is compared; the active one */
	const Live *live;
	int32		today;
	Reading		reading;
} Verification;

static void
report(Verification *v, const int64 *customer_id, const char *difference,
	   const char *stored, const char *expected)
{
	Datum		values[4];
	bool		nulls[4] = {0};

	nulls[0] = customer_id == NULL;
	values[0] = customer_id == NULL ? (Datum) 0 : Int64GetDatum(*customer_id);
	values[1] = CStringGetTextDatum(difference);
	nulls[2] = stored == NULL;
	values[2] = stored == NULL ? (Datum) 0 : CStringGetTextDatum(stored);
	nulls[3] = expected == NULL;
	values[3] = expected == NULL ? (Datum) 0 : CStringGetTextDatum(expected);
	tuplestore_putvalues(v->result->setResult, v->result->setDesc, values, nulls);
}

/* Reports a difference between two texts, each of which may be NULL. */
static void
compare(Verification *v, int64 customer_id, const char *what, const char *stored,
		const char *expected)
{
	if ((stored == NULL) != (expected == NULL) ||
		(stored != NULL && strcmp(stored, expected) != 0))
		report(v, &customer_id, what, stored, expected);
}

/* A number as text, from which it could be read exactly; NULL if there is none. */
static const char *
number_text(bool known, double number)
{
	return known ? psprintf("%.17g", number) : NULL;
}

static const char *
score_text(const Score *score)
{
	return number_text(score->status != STATUS_UNKNOWN, score->score);
}

static char *
activity_text(const ActivityData *data)
{
	Oid			output;
	bool		is_varlena;
	Oid			type = get_atttype(chs_catalog_relation(CHS_ACTIVITY), ACTIVITY_ACTIVITY);

	getTypeOutputInfo(type, &output, &is_varlena);
	return OidOutputFunctionCall(output, PointerGetDatum(chs_activity_encode(data)));
}

/* What the events of a customer give as of a day, limited to what an activity counts. */
static ActivityData *
events_as_of(Verification *v, const Live *counted, const Activity *events, int64 customer_id,
			 int32 day)
{
	ActivityData *data;

	if (day - counted->published->max_keep + 1 < v->reading.first_day)
		return chs_raw_customer_activity(customer_id, counted, day, DAY_NO_END);
	data = chs_activity_decode(events);
	chs_scorecard_project(data, counted->published);
	chs_activity_prune_to(data, day);
	return data;
}

/*
 * Reads the events of customers, in ascending order: those of chs.customer_events
 * with the aggregate, since rebuilt activities of single customers come from raw.c, so
 * that each checks the other.  Attached tables may have no index by customer, so the
 * events of many are read at once.
 */
static void
read_many(Verification *v, const SPITupleTable *rows)
{
	const Live *counting = v->live->counting;
	RawRequest	request = {
		.live = counting,.n = (int) rows->numvals,.last_day = DAY_NO_END,
		.first_day = v->today - 2 * counting->published->max_keep
	};
	int64	   *customer_ids = palloc(rows->numvals * sizeof(int64));
	bool		isnull;

	for (uint64 i = 0; i < rows->numvals; i++)
		customer_ids[i] = DatumGetInt64(SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &isnull));
	request.customer_ids = customer_ids;
	v->reading.first_day = request.first_day;
	v->reading.events = chs_slice_read(&request, counting->document);
	chs_rewritten_check(counting);
}

/*
 * Compares the activity, with what is queued merged into it, to that of the raw
 * events.  Where a rebuild is queued, or will be, the raw events count anyway.
 */
static void
verify_activity(Verification *v, const Customer *customer, const Activity *events,
				const StoredActivity *stored, QueuedDeltas *queued)
{
	const Live *counted = v->live;
	ActivityData *data = chs_activity_cells_of(stored->view);
	ActivityData *expected;

	if (queued->rebuild || !chs_customer_is_current(stored, v->live) ||
		chs_missing_has(v->live, customer->customer_id, v->snapshot))
		return;
	/* one that has been brought up to date also counts what the waiting version needs */
	if (chs_customer_is_current(stored, v->live->counting) &&
		queued->series_version >= v->live->counting->series_version)
		counted = v->live->counting;
	if (queued->ndeltas > 0)
		data = chs_activity_merge_two(data, chs_activity_merge_many(queued->deltas,
																	queued->ndeltas));
	/* events that no window reaches any more may have been deleted, see chs.event_retention */
	chs_activity_prune_to(data, Max(data->day, Min(v->today, customer->last_day)));
	chs_scorecard_project(data, counted->published);
	expected = events_as_of(v, counted, events, customer->customer_id, data->day);
	compare(v, customer->customer_id, "activity", activity_text(data), activity_text(expected));
}

/*
 * Compares the score that users get now, by the code that gives it to them, with the
 * one of the raw events.  Plug-ins are left out of both: their values may change
 * without an event.
 */
static void
verify_live(Verification *v, const Customer *customer, const Activity *events)
{
	const Live *live = v->live;
	const Scorecard *scorecard = chs_scorecard_of_segment(live->published, customer->segment);
	ScoreSubject subject = {
		.segment = customer->segment,.created_day = customer->created_day,
		.as_of_day = Min(v->today, customer->last_day)
	};
	const ActivityView *found = chs_customer_activity(customer, live, live, scorecard,
													  subject.as_of_day);
	ActivityData *expected = events_as_of(v, live, events, customer->customer_id,
										  subject.as_of_day);
	const Score *given = chs_score_of_day(chs_score_prepare(live->published, found),
										  scorecard, &subject);
	const Score *right = chs_score_of_day(chs_score_prepare(live->published,
															chs_activity_view_of(expected)),
										  scorecard, &subject);

	compare(v, customer->customer_id, "live score", score_text(given), score_text(right));
}

/*
 * The values of plug-ins are not stored, and may change without an event.  So the
 * scores of their factors are taken as stored, and the trend with them; everything
 * else must be right, including that the score follows from the factors.
 */
static void
take_plugin_factors(const Scorecard *scorecard, const StoredHealth *health, Score *score)
{
	Score		given = {.factors = score->factors};
	Datum	   *scores;
	bool	   *nulls;
	int			n;

	deconstruct_array(health->factor_array, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL,
					  TYPALIGN_DOUBLE, &scores, &nulls, &n);
	for (int i = 0; i < Min(n, scorecard->nfactors); i++)
	{
		if (!scorecard->factors[i].has_functions)
			continue;
		given.factors[i].has_score = !nulls[i];
		given.factors[i].score = nulls[i] ? 0 : DatumGetFloat8(scores[i]);
	}
	chs_score_combine(scorecard, &given);
	given.trend = TREND_UNKNOWN;
	for (Trend trend = TREND_DECLINING; trend <= TREND_IMPROVING && health->trend != NULL; trend++)
		if (strcmp(health->trend, chs_score_trend_name(trend)) == 0)
			given.trend = trend;
	*score = given;
}

/* Compares a stored score with the one that the stored activity gives. */
static void
verify_health(Verification *v, const Customer *customer, const StoredActivity *stored,
			  const StoredHealth *health)
{
	const Published *published = v->live->published;
	const Scorecard *scorecard = chs_scorecard_of_segment(published, customer->segment);
	int64		customer_id = customer->customer_id;
	ScoreSubject subject = {
		.segment = customer->segment,.created_day = customer->created_day,
		.as_of_day = health->as_of
	};
	Score	   *score;

	if (stored->view->day > health->as_of)
	{
		report(v, &customer_id, "as_of", chs_value_day(health->as_of),
			   chs_value_day(stored->view->day));
		return;
	}
	score = chs_score_calculate(chs_score_prepare(published, stored->view), scorecard, &subject);
	if (scorecard->has_functions)
		take_plugin_factors(scorecard, health, score);
	compare(v, customer_id, "score", number_text(health->known, health->score), score_text(score));
	compare(v, customer_id, "status", health->status, chs_score_status_name(score->status));
	compare(v, customer_id, "coverage", number_text(true, health->coverage),
			number_text(true, score->coverage));
	compare(v, customer_id, "trend", health->trend, chs_score_trend_name(score->trend));
	compare(v, customer_id, "factor_scores", health->factor_scores,
			OidOutputFunctionCall(F_ARRAY_OUT, chs_value_factor_scores(scorecard, score)));
}

static void
verify_customer(Verification *v, int64 customer_id, const StoredHealth *health)
{
	const Live *live = v->live;
	StoredActivity stored = chs_customer_stored(customer_id, v->snapshot);
	QueuedDeltas queued = chs_queue_of_customer(customer_id, InvalidFullTransactionId,
												live->series_version, v->snapshot);
	Customer	customer;

	if (!chs_customer_find(customer_id, v->snapshot, &customer))
	{
		report(v, &customer_id, "customer",
			   "events, activity or health of a customer that does not exist", NULL);
		return;
	}
	if (stored.damage != NULL)
		report(v, &customer_id, "activity", stored.damage, "one that can be read");
	if (queued.damage != NULL)
		report(v, &customer_id, "queue", queued.damage, "a delta that can be read");
	if (v->reading.possible)
	{
		ActivityData *data = chs_slice_activity(v->reading.events, customer_id);
		Activity   *events = chs_activity_encode(data);

		verify_activity(v, &customer, events, &stored, &queued);
		verify_live(v, &customer, events);
	}
	if (queued.any)
	{
		/* folding, and scores, look at those from there on only */
		QueuedDeltas found = chs_queue_of_customer(customer_id, stored.folded_to,
												   live->series_version, v->snapshot);

		if (found.nrows < queued.nrows)
			report(v, &customer_id, "queue",
				   psprintf("%d rows that nobody folds", queued.nrows - found.nrows), NULL);
		return;					/* the health is about to be calculated again */
	}
	if (!health->found)
		report(v, &customer_id, "health", NULL, "a row in chs.customer_health");
	else if (health->version == live->version && stored.row != NULL &&
			 stored.series_version >= live->series_version)
		verify_health(v, &customer, &stored, health);
}

static StoredHealth
read_health(HeapTuple tuple, TupleDesc desc)
{
	StoredHealth health = {0};
	bool		isnull;
	Datum		datum;

	datum = SPI_getbinval(tuple, desc, 2, &isnull);
	health.known = !isnull;
	health.score = isnull ? 0 : DatumGetFloat8(datum);
	health.status = SPI_getvalue(tuple, desc, 3);
	health.found = health.status != NULL;
	if (!health.found)
		return health;
	health.coverage = DatumGetFloat8(SPI_getbinval(tuple, desc, 4, &isnull));
	health.trend = SPI_getvalue(tuple, desc, 5);
	datum = SPI_getbinval(tuple, desc, 6, &isnull);
	health.factor_scores = OidOutputFunctionCall(F_ARRAY_OUT, datum);
	health.factor_array = DatumGetArrayTypeP(datum);
	health.version = DatumGetInt32(SPI_getbinval(tuple, desc, 7, &isnull));
	health.as_of = DatumGetDateADT(SPI_getbinval(tuple, desc, 8, &isnull));
	return health;
}

/* All customers, and all others about whom something is stored. */
#define EVERYONE \
	"SELECT i.customer_id, h.score, h.status, h.coverage, h.trend, h.factor_scores," \
	" h.version, h.as_of" \
	" FROM (SELECT customer_id FROM chs.customers UNION SELECT customer_id FROM chs.activity" \
	"       UNION SELECT customer_id FROM chs.customer_health" \
	"       UNION SELECT customer_id FROM chs.failures" \
	"       UNION SELECT s.customer_id FROM chs.health_scores s" \
	"       WHERE NOT EXISTS (SELECT FROM chs.customers c WHERE c.customer_id = s.customer_id)" \
	"       UNION SELECT customer_id FROM chs.customer_events) i" \
	" LEFT JOIN chs.customer_health h USING (customer_id) ORDER BY i.customer_id"

/* What plain SQL can compare. */
static void
verify_rest(Verification *v)
{
	chs_spi_select("SELECT customer_id, difference, stored, expected"
				   " FROM chs.stored_differences()", 0, NULL, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		int64		customer_id = DatumGetInt64(SPI_getbinval(row, desc, 1, &isnull));

		report(v, isnull ? NULL : &customer_id, SPI_getvalue(row, desc, 2),
			   SPI_getvalue(row, desc, 3), SPI_getvalue(row, desc, 4));
	}
}

/* Compares all that is stored by customer. */
static void
verify_customers(Verification *v)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext one = AllocSetContextCreate(caller, "chs verify", ALLOCSET_DEFAULT_SIZES);
	MemoryContext many = AllocSetContextCreate(caller, "chs verified events",
											   ALLOCSET_DEFAULT_SIZES);
	Portal		portal = SPI_cursor_open_with_args(NULL, EVERYONE, 0, NULL, NULL, NULL, true, 0);

	for (SPI_cursor_fetch(portal, true, 1000); SPI_processed > 0;
		 SPI_cursor_fetch(portal, true, 1000))
	{
		SPITupleTable *rows = SPI_tuptable;

		MemoryContextReset(many);
		MemoryContextSwitchTo(many);
		if (v->reading.possible)
			read_many(v, rows);
		MemoryContextSwitchTo(one);
		for (uint64 i = 0; i < rows->numvals; i++)
		{
			StoredHealth health = read_health(rows->vals[i], rows->tupdesc);
			bool		isnull;
			Datum		customer_id = SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &isnull);

			CHECK_FOR_INTERRUPTS();
			verify_customer(v, DatumGetInt64(customer_id), &health);
			MemoryContextReset(one);
		}
		MemoryContextSwitchTo(caller);
		SPI_freetuptable(rows);
		if (v->reading.possible)
			chs_slice_end(v->reading.events);
	}
	SPI_cursor_close(portal);
}

/* chs_verify compares everything, and returns a row for each difference. */
PG_FUNCTION_INFO_V1(chs_verify);
Datum
chs_verify(PG_FUNCTION_ARGS)
{
	OwnerRights saved;
	Verification v = {.result = (ReturnSetInfo *) fcinfo->resultinfo};

	InitMaterializedSRF(fcinfo, 0);
	chs_capture_flush_pending();
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	UpdateActiveSnapshotCommandId();
	v.snapshot = GetActiveSnapshot();
	v.live = chs_live_at(v.snapshot);
	v.today = chs_customer_today();
	chs_spi_begin(&saved);
	v.reading.possible = chs_source_all_readable(v.live);
	verify_customers(&v);
	verify_rest(&v);
	chs_spi_end(&saved);
	PopActiveSnapshot();
	return (Datum) 0;
}

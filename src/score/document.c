/*
 * document.c
 *	  What a scorecard document says.
 *
 * It is what chs.draft_document() makes of the draft tables: all scorecards with their
 * factors, metrics, curves and targets, and which segment uses which.
 */
#include "score/document.h"

#include <float.h>

#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/numeric.h"

#include "activity/activity.h"
#include "score/curve.h"
#include "score/scorecard.h"
#include "score/series.h"

/*
 * The smallest number above 0: products of smaller ones lose digits, and contributions no
 * longer sum to the score.
 */
#define SMALLEST_NUMBER 1e-300

pg_noreturn static void
invalid_document(const char *key, const char *where)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid scorecard document: \"%s\" of %s is missing or of the wrong type",
					key, where),
			 errhint("Use the document of a row of chs.scorecard_versions.")));
}

/* Returns false if the key is absent or null. */
static bool
get_key(JsonbContainer *object, const char *key, JsonbValue *value)
{
	return JsonContainerIsObject(object) &&
		getKeyJsonValueFromContainer(object, key, strlen(key), value) != NULL &&
		value->type != jbvNull;
}

static JsonbContainer *
get_container(JsonbContainer *object, const char *key, const char *where)
{
	JsonbValue	v;

	if (!get_key(object, key, &v) || v.type != jbvBinary)
		invalid_document(key, where);
	return v.val.binary.data;
}

/* Returns NULL if the key is optional and absent. */
static char *
get_string(JsonbContainer *object, const char *key, bool required, const char *where)
{
	JsonbValue	v;

	if (!get_key(object, key, &v))
	{
		if (required)
			invalid_document(key, where);
		return NULL;
	}
	if (v.type != jbvString)
		invalid_document(key, where);
	return pnstrdup(v.val.string.val, v.val.string.len);
}

static double
get_double(JsonbContainer *object, const char *key, double low, double high, const char *where)
{
	JsonbValue	v;
	double		d;

	if (!get_key(object, key, &v) || v.type != jbvNumeric)
		invalid_document(key, where);
	d = DatumGetFloat8(DirectFunctionCall1(numeric_float8, NumericGetDatum(v.val.numeric)));
	if (d != 0)
		low = Max(low, SMALLEST_NUMBER);
	if (!(d >= low && d <= high))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid scorecard document: \"%s\" of %s is %g, must be from %g to %g",
						key, where, d, low, high)));
	return d;
}

static const struct
{
	const char *name;
	MetricAggregate aggregate;
}			aggregates[] =
{
	{"count", METRIC_COUNT},
	{"sum", METRIC_SUM},
	{"avg", METRIC_AVG},
	{"ratio", METRIC_RATIO},
	{"distinct", METRIC_DISTINCT},
	{"active_days", METRIC_ACTIVE_DAYS},
	{"days_since_last", METRIC_DAYS_SINCE_LAST},
	{"growth", METRIC_GROWTH},
	{"of_usual", METRIC_OF_USUAL},
	{"function", METRIC_FUNCTION}
};

static MetricAggregate
read_aggregate(const char *name, const char *where)
{
	for (size_t i = 0; i < lengthof(aggregates); i++)
		if (strcmp(aggregates[i].name, name) == 0)
			return aggregates[i].aggregate;
	invalid_document("aggregate", where);
}

static SeriesKind
read_measure(const char *name, const char *where)
{
	if (name == NULL || strcmp(name, "count") == 0)
		return SERIES_COUNT;
	if (strcmp(name, "sum") == 0)
		return SERIES_SUM;
	if (strcmp(name, "distinct") == 0)
		return SERIES_DISTINCT;
	invalid_document("measure", where);
}

/* The kind of series that a metric reads. */
static SeriesKind
series_kind(const Metric *m)
{
	switch (m->aggregate)
	{
		case METRIC_SUM:
		case METRIC_AVG:
			return SERIES_SUM;
		case METRIC_DISTINCT:
			return SERIES_DISTINCT;
		case METRIC_RATIO:
		case METRIC_GROWTH:
		case METRIC_OF_USUAL:
			return m->measure;
		default:
			return SERIES_COUNT;
	}
}

/* Finds or adds a plug-in's function.  Returns its index. */
static int
need_function(Published *p, char *function)
{
	for (int i = 0; i < p->nfunctions; i++)
		if (strcmp(p->functions[i], function) == 0)
			return i;
	p->functions = p->functions == NULL ? palloc(sizeof(char *)) :
		repalloc(p->functions, (p->nfunctions + 1) * sizeof(char *));
	p->functions[p->nfunctions] = function;
	return p->nfunctions++;
}

/* Reads an optional object of numbers by segment. */
static SegmentNumbers
read_segment_numbers(JsonbContainer *object, const char *key, double low, double high,
					 const char *where)
{
	SegmentNumbers result = {0};
	JsonbValue	v;
	JsonbIterator *it;
	JsonbIteratorToken token;

	if (!get_key(object, key, &v))
		return result;
	if (v.type != jbvBinary || !JsonContainerIsObject(v.val.binary.data))
		invalid_document(key, where);
	object = v.val.binary.data;
	result.segments = palloc(Max(JsonContainerSize(object), 1) * sizeof(char *));
	result.numbers = palloc(Max(JsonContainerSize(object), 1) * sizeof(double));
	it = JsonbIteratorInit(object);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		result.segments[result.n] = pnstrdup(v.val.string.val, v.val.string.len);
		result.numbers[result.n] = get_double(object, result.segments[result.n], low, high, where);
		result.n++;
	}
	return result;
}

static void
read_targets(Metric *m, JsonbContainer *object, const char *where)
{
	JsonbValue	v;

	m->target = get_float8_nan();
	if (get_key(object, "target", &v))
	{
		m->target = get_double(object, "target", SMALLEST_NUMBER, DBL_MAX, where);
		m->has_targets = true;
	}
	m->targets = read_segment_numbers(object, "targets", SMALLEST_NUMBER, DBL_MAX, where);
	m->has_targets |= get_key(object, "targets", &v);
}

/* Reads what turns the value of a metric into a score. */
static void
read_scoring(Metric *m, JsonbContainer *object, const char *where)
{
	char	   *missing = get_string(object, "missing", true, where);

	m->weight = get_double(object, "weight", 0, 1e6, where);
	m->weights = read_segment_numbers(object, "weights", 0, 1e6, where);
	m->curve = chs_curve_read(get_string(object, "curve", true, where));
	if (strcmp(missing, "missing") == 0)
		m->missing = MISSING_MOVES;
	else if (strcmp(missing, "zero") == 0)
		m->missing = MISSING_IS_ZERO;
	else if (strcmp(missing, "score") == 0)
	{
		m->missing = MISSING_HAS_SCORE;
		m->missing_score = get_double(object, "missing_score", 0, 100, where);
	}
	else
		invalid_document("missing", where);
	read_targets(m, object, where);
}

/*
 * chs_document_metric_reach returns how many days a metric and its trend need, which
 * leaves out the day that is scored; some also need windows before.
 */
int
chs_document_metric_reach(const Metric *m, int trend_days)
{
	int			before = m->aggregate == METRIC_GROWTH ? 1 :
		m->aggregate == METRIC_OF_USUAL ? USUAL_WINDOWS : 0;

	return m->window * (1 + before) + 1 + trend_days;
}

/* Reads the series that a metric is made of. */
static void
read_events(Published *p, Metric *m, JsonbContainer *object, int trend_days, const char *where)
{
	char	   *field = get_string(object, "field", false, where);
	char	   *filter = get_string(object, "filter", false, where);
	int			keep;

	m->event_type = get_string(object, "event_type", true, where);
	m->measure = read_measure(get_string(object, "measure", false, where), where);
	m->window = (int) get_double(object, "window_days", 1,
								 m->aggregate == METRIC_OF_USUAL ? 365 : 730, where);
	keep = chs_document_metric_reach(m, trend_days);
	if (series_kind(m) != SERIES_COUNT && field == NULL)
		invalid_document("field", where);
	m->series = chs_series_need(p, m->event_type, series_kind(m), field, filter, keep);
	if (m->aggregate == METRIC_RATIO)
		m->base = chs_series_need(p, m->event_type, series_kind(m), field,
								  get_string(object, "base_filter", false, where), keep);
}

static void
read_metric(Published *p, Metric *m, JsonbContainer *object, int trend_days, const char *factor)
{
	char	   *where;
	JsonbValue	v;

	m->name = get_string(object, "metric", true, psprintf("a metric of factor \"%s\"", factor));
	where = psprintf("metric \"%s\" of factor \"%s\"", m->name, factor);
	m->aggregate = read_aggregate(get_string(object, "aggregate", true, where), where);
	m->series = m->base = m->function = -1;
	if (m->aggregate != METRIC_FUNCTION && get_key(object, "penalty", &v))
	{
		m->penalty = get_double(object, "penalty", SMALLEST_NUMBER, 100, where);
		m->target = get_float8_nan();
	}
	else
		read_scoring(m, object, where);
	if (m->aggregate == METRIC_FUNCTION)
	{
		m->window = 1;
		m->function = need_function(p, get_string(object, "function", true, where));
	}
	else
		read_events(p, m, object, trend_days, where);
}

static void
read_factor(Published *p, Factor *f, JsonbContainer *object, int trend_days,
			const char *scorecard)
{
	JsonbContainer *metrics;
	char	   *where;

	f->name = get_string(object, "factor", true,
						 psprintf("a factor of scorecard \"%s\"", scorecard));
	where = psprintf("factor \"%s\"", f->name);
	f->weight = get_double(object, "weight", 0, 1e6, where);
	f->weights = read_segment_numbers(object, "weights", 0, 1e6, where);
	metrics = get_container(object, "metrics", where);
	if (!JsonContainerIsArray(metrics))
		invalid_document("metrics", where);
	f->nmetrics = JsonContainerSize(metrics);
	f->metrics = palloc0(Max(f->nmetrics, 1) * sizeof(Metric));
	for (int i = 0; i < f->nmetrics; i++)
	{
		JsonbValue *v = getIthJsonbValueFromContainer(metrics, i);

		if (v->type != jbvBinary)
			invalid_document("metrics", where);
		read_metric(p, &f->metrics[i], v->val.binary.data, trend_days, f->name);
		f->has_functions |= f->metrics[i].function >= 0;
	}
}

static void
read_scorecard(Published *p, Scorecard *s, JsonbContainer *object)
{
	char	   *where = psprintf("scorecard \"%s\"", s->name);
	JsonbContainer *factors = get_container(object, "factors", where);
	JsonbValue	v;

	s->min_coverage = get_double(object, "min_coverage", 0, 1, where);
	s->healthy_from = get_double(object, "healthy_from", 0, 100, where);
	s->at_risk_from = get_double(object, "at_risk_from", 0, 100, where);
	s->trend_days = (int) get_double(object, "trend_days", 1, 365, where);
	s->trend_band = get_double(object, "trend_band", 0, 100, where);
	s->calm_points = get_key(object, "calm_points", &v) ?
		get_double(object, "calm_points", 0, 50, where) : 0;
	if (!get_key(object, "grace", &v) || v.type != jbvBool)
		invalid_document("grace", where);
	s->grace = v.val.boolean;
	if (!JsonContainerIsArray(factors))
		invalid_document("factors", where);
	s->nfactors = JsonContainerSize(factors);
	s->factors = palloc0(Max(s->nfactors, 1) * sizeof(Factor));
	for (int i = 0; i < s->nfactors; i++)
	{
		JsonbValue *f = getIthJsonbValueFromContainer(factors, i);

		if (f->type != jbvBinary)
			invalid_document("factors", where);
		read_factor(p, &s->factors[i], f->val.binary.data, s->trend_days, s->name);
		s->has_functions |= s->factors[i].has_functions;
	}
}

static const Scorecard *
find_scorecard(const Published *p, const char *name)
{
	for (int i = 0; i < p->nscorecards; i++)
		if (strcmp(p->scorecards[i].name, name) == 0)
			return &p->scorecards[i];
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid scorecard document: scorecard \"%s\" is used but not defined",
					name)));
}

/*
 * chs_document_read reads the scorecards of a document and the series that they need,
 * not yet identified; an error names the key that is missing or wrong.
 */
void
chs_document_read(Published *p, JsonbContainer *root)
{
	JsonbContainer *object = get_container(root, "scorecards", "the document");
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	v;
	char	   *name;

	if (!JsonContainerIsObject(object))
		invalid_document("scorecards", "the document");
	p->scorecards = palloc0(Max(JsonContainerSize(object), 1) * sizeof(Scorecard));
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		Scorecard  *s;

		if (token != WJB_KEY)
			continue;
		s = &p->scorecards[p->nscorecards++];
		s->name = pnstrdup(v.val.string.val, v.val.string.len);
		read_scorecard(p, s, get_container(object, s->name, "\"scorecards\""));
	}
	name = get_string(root, "default", false, "the document");
	p->by_default = name == NULL ? NULL : find_scorecard(p, name);
}

/*
 * chs_document_number returns the number of a segment, or the one for segments
 * without their own.
 */
double
chs_document_number(const SegmentNumbers *numbers, const char *segment, double otherwise)
{
	for (int i = 0; i < numbers->n && segment != NULL; i++)
		if (strcmp(numbers->segments[i], segment) == 0)
			return numbers->numbers[i];
	return otherwise;
}

/*
 * Returns a scorecard with the weights of a segment: itself, or a copy if the
 * weights differ.
 */
static const Scorecard *
with_weights_of_segment(const Scorecard *scorecard, const char *segment)
{
	Scorecard  *copy = palloc(sizeof(Scorecard));
	bool		differs = false;

	*copy = *scorecard;
	copy->factors = palloc(Max(copy->nfactors, 1) * sizeof(Factor));
	for (int i = 0; i < copy->nfactors; i++)
	{
		Factor	   *f = &copy->factors[i];

		*f = scorecard->factors[i];
		f->weight = chs_document_number(&f->weights, segment, f->weight);
		differs |= f->weight != scorecard->factors[i].weight;
		f->metrics = palloc(Max(f->nmetrics, 1) * sizeof(Metric));
		for (int j = 0; j < f->nmetrics; j++)
		{
			Metric	   *m = &f->metrics[j];

			*m = scorecard->factors[i].metrics[j];
			m->weight = chs_document_number(&m->weights, segment, m->weight);
			differs |= m->weight != scorecard->factors[i].metrics[j].weight;
		}
	}
	return differs ? copy : scorecard;
}

/* Reads which scorecard a segment uses; by default, the default one. */
static const Scorecard *
read_segment(const Published *p, JsonbContainer *object, const char *segment)
{
	char	   *where = psprintf("segment \"%s\"", segment);
	char	   *name = get_string(object, "scorecard", false, where);
	const Scorecard *scorecard = name == NULL ? p->by_default : find_scorecard(p, name);

	if (scorecard == NULL)
		invalid_document("scorecard", where);
	return with_weights_of_segment(scorecard, segment);
}

/*
 * chs_document_read_segments reads which segment uses which scorecard.  The scorecards
 * must be complete, since segments with weights of their own have copies of them.
 */
void
chs_document_read_segments(Published *p, JsonbContainer *root)
{
	JsonbContainer *object = get_container(root, "segments", "the document");
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	v;

	if (!JsonContainerIsObject(object))
		invalid_document("segments", "the document");
	p->segments = palloc0(Max(JsonContainerSize(object), 1) * sizeof(SegmentScorecard));
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		SegmentScorecard *s;

		if (token != WJB_KEY)
			continue;
		s = &p->segments[p->nsegments++];
		s->segment = pnstrdup(v.val.string.val, v.val.string.len);
		s->scorecard = read_segment(p, get_container(object, s->segment, "\"segments\""),
									s->segment);
	}
}

/* chs_document_next returns the document under the key "next", or NULL. */
JsonbContainer *
chs_document_next(JsonbContainer *root)
{
	JsonbValue	v;

	return get_key(root, "next", &v) ? get_container(root, "next", "the document") : NULL;
}

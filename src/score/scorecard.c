/*
 * scorecard.c
 *	  A published scorecard document, compiled for counting and scoring.
 *
 * Compiling determines the series that all metrics of the document need together.
 */
#include "score/scorecard.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "activity/activity.h"
#include "score/document.h"
#include "score/series.h"

/*
 * The document under the key "next", whose series must be counted as well, and those of
 * its own "next"; or NULL.
 */
static const Published *
read_next(JsonbContainer *root)
{
	JsonbContainer *document = chs_document_next(root);
	Published  *next;

	check_stack_depth();
	if (document == NULL)
		return NULL;
	next = palloc0(sizeof(Published));
	chs_document_read(next, document);
	chs_series_identify(next, read_next(document));
	return next;
}

/*
 * chs_scorecard_begin returns an empty compiled document, in the current memory
 * context, to which series are added; see series.c.
 */
Published *
chs_scorecard_begin(void)
{
	static uint64 ncompiled = 0;
	Published  *p = palloc0(sizeof(Published));

	p->context = CurrentMemoryContext;
	p->serial = ++ncompiled;
	return p;
}

/*
 * chs_scorecard_compile returns the compiled document in a memory context of its
 * own, a child of the current one.  Raises an error that names the key if the
 * document is not one that was published.  It may contain another document under the
 * key "next", and that another one, which do not affect scores, but make the series of
 * all of them be counted.
 */
const Published *
chs_scorecard_compile(Jsonb *document)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "chs scorecard",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	Published  *p = chs_scorecard_begin();

	chs_document_read(p, &document->root);
	chs_series_identify(p, read_next(&document->root));
	chs_document_read_segments(p, &document->root);
	chs_series_group(p);
	MemoryContextSwitchTo(caller);
	return p;
}

/*
 * chs_scorecard_compiled returns the compiled document from a cache that is keyed
 * by the document's bytes, as they are stored, so that a function that is passed a
 * document with every call decompresses and compiles it only once.  The result is
 * valid until the next call.
 */
const Published *
chs_scorecard_compiled(Datum document)
{
	static const Published *cached = NULL;
	static struct varlena *key = NULL;
	struct varlena *stored = (struct varlena *) DatumGetPointer(document);
	const Published *p;

	if (VARATT_IS_EXTERNAL(stored))
		stored = PG_DETOAST_DATUM(document);
	if (cached != NULL && VARSIZE_ANY(key) == VARSIZE_ANY(stored) &&
		memcmp(key, stored, VARSIZE_ANY(stored)) == 0)
		return cached;

	p = chs_scorecard_compile(DatumGetJsonbP(PointerGetDatum(stored)));
	if (cached != NULL)
	{
		MemoryContext old = cached->context;

		cached = NULL;
		MemoryContextDelete(old);
	}
	key = MemoryContextAlloc(p->context, VARSIZE_ANY(stored));
	memcpy(key, stored, VARSIZE_ANY(stored));
	MemoryContextSetParent(p->context, TopMemoryContext);
	cached = p;
	return p;
}

/*
 * chs_scorecard_of_segment returns the scorecard for customers of a segment,
 * NULL for those without one.
 */
const Scorecard *
chs_scorecard_of_segment(const Published *published, const char *segment)
{
	for (int i = 0; segment != NULL && i < published->nsegments; i++)
		if (strcmp(published->segments[i].segment, segment) == 0)
			return published->segments[i].scorecard;
	if (published->by_default == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no scorecard is the default"),
				 errhint("Set is_default of one row of chs.scorecards and publish with"
						 " chs_publish().")));
	return published->by_default;
}

/*
 * chs_scorecard_reach returns how many days of events a scorecard and its trend
 * need.
 */
int
chs_scorecard_reach(const Scorecard *scorecard)
{
	int			reach = 0;

	for (int i = 0; i < scorecard->nfactors; i++)
		for (int j = 0; j < scorecard->factors[i].nmetrics; j++)
			if (scorecard->factors[i].metrics[j].series >= 0)
				reach = Max(reach, chs_document_metric_reach(&scorecard->factors[i].metrics[j],
															 scorecard->trend_days));
	return reach;
}

/*
 * chs_scorecard_serves tells whether activities that count what one document needs
 * also hold everything that another one needs.
 */
bool
chs_scorecard_serves(const Published *counted, const Published *needed)
{
	int			i = 0;

	if (counted == needed)
		return true;
	for (int j = 0; j < needed->nseries; j++)
	{
		while (i < counted->nseries && counted->series[i].id < needed->series[j].id)
			i++;
		if (i == counted->nseries || counted->series[i].id != needed->series[j].id)
			return false;
	}
	return true;
}

/* chs_scorecard_project drops the series that the published document does not count. */
void
chs_scorecard_project(ActivityData *data, const Published *published)
{
	int			kept = 0;
	int			i = 0;

	for (int j = 0; j < data->nseries; j++)
	{
		while (i < published->nseries && published->series[i].id < data->series[j].id)
			i++;
		if (i < published->nseries && published->series[i].id == data->series[j].id)
			data->series[kept++] = data->series[j];
	}
	data->nseries = kept;
}

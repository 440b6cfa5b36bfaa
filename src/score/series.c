/*
 * series.c
 *	  The series that the metrics of a document need together.
 *
 * A series is identified by a hash of its definition, so that activities made in
 * different places or under different versions agree on what they hold.
 */
#include "score/series.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "activity/activity.h"
#include "score/filter.h"
#include "score/scorecard.h"

static bool
same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/*
 * chs_series_need finds or adds a series, not yet identified, and makes it keep at
 * least the given number of days.  Returns its index.
 */
int
chs_series_need(Published *p, const char *event_type, SeriesKind kind,
				const char *field, const char *filter, int keep)
{
	SeriesDefinition *s;

	CHECK_FOR_INTERRUPTS();
	for (int i = 0; i < p->nseries; i++)
	{
		s = &p->series[i];
		if (s->kind == kind && same_text(s->event_type, event_type) &&
			(kind == SERIES_COUNT || same_text(s->field, field)) && same_text(s->filter, filter))
		{
			s->keep = Max(s->keep, keep);
			return i;
		}
	}
	if (p->nseries == MAX_SERIES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("scorecards cannot need more than %d different series", MAX_SERIES)));
	p->series = p->series == NULL ? palloc(sizeof(*s)) :
		repalloc(p->series, (p->nseries + 1) * sizeof(*s));
	s = &p->series[p->nseries];
	s->kind = kind;
	s->keep = keep;
	s->event_type = pstrdup(event_type);
	s->field = kind == SERIES_COUNT ? NULL : pstrdup(field);
	s->field_length = s->field == NULL ? 0 : strlen(s->field);
	s->filter = filter == NULL ? NULL : pstrdup(filter);
	s->filter_index = -1;
	return p->nseries++;
}

/* FNV-1a, because the identifier must be the same everywhere and always. */
static uint64
hash_text(uint64 hash, const char *text)
{
	const char *c = text == NULL ? "" : text;

	do
	{
		hash = (hash ^ (uint8) *c) * UINT64CONST(0x100000001b3);
	} while (*c++ != '\0');
	/* an absent text differs from an empty one */
	return text == NULL ? hash ^ 0xff : hash;
}

static int
compare_definitions(const void *a, const void *b)
{
	uint64		x = ((const SeriesDefinition *) a)->id;
	uint64		y = ((const SeriesDefinition *) b)->id;

	return (x > y) - (x < y);
}

/* Of these bits of their hashes, API calls have the least of the types that ship. */
#define TYPE_SHIFT 19

/*
 * The identifier of a series, which is always the same for the same definition.  It
 * begins with sixteen bits for the event type, and series are in its order.  So an
 * event changes neighbours, the most frequent ones at the beginning of an activity,
 * and the rest need not be logged, see activity_bytes.h.
 */
static uint64
series_identifier(const SeriesDefinition *s)
{
	uint64		type = hash_text(UINT64CONST(0xcbf29ce484222325), s->event_type);
	uint64		id = hash_text(type, chs_activity_kind_name(s->kind));

	id = hash_text(id, s->field);
	id = hash_text(id, s->filter);
	/* a series that keeps more days is a different one, because it needs more events */
	id = hash_text(id, psprintf("%d", s->keep));
	return (~type >> TYPE_SHIFT & 0xffff) << 48 | id >> 16;
}

/* Adds those series of another document, identified already, that p lacks. */
static void
add_series(Published *p, const Published *other)
{
	int			nown = p->nseries;
	Size		size = (nown + other->nseries) * sizeof(SeriesDefinition);

	p->series = p->series == NULL ? palloc(Max(size, 1)) : repalloc(p->series, size);
	for (int i = 0; i < other->nseries; i++)
	{
		int			j = 0;

		while (j < nown && p->series[j].id != other->series[i].id)
			j++;
		if (j == nown)
			p->series[p->nseries++] = other->series[i];
	}
}

/*
 * chs_series_identify gives every series its identifier, adds those of another
 * document, if there is one, and sorts them by it.
 */
void
chs_series_identify(Published *p, const Published *other)
{
	uint64	   *ids = palloc(Max(p->nseries, 1) * sizeof(uint64));

	for (int i = 0; i < p->nseries; i++)
		ids[i] = p->series[i].id = series_identifier(&p->series[i]);
	if (other != NULL)
		add_series(p, other);
	for (int i = 0; i < p->nseries; i++)
		p->max_keep = Max(p->max_keep, p->series[i].keep);
	if (p->nseries > 0)
		qsort(p->series, p->nseries, sizeof(SeriesDefinition), compare_definitions);
	for (int i = 1; i < p->nseries; i++)
		if (p->series[i].id == p->series[i - 1].id)
			elog(ERROR, "two series have the same identifier");

	for (int i = 0; i < p->nscorecards; i++)
		for (int j = 0; j < p->scorecards[i].nfactors; j++)
			for (int k = 0; k < p->scorecards[i].factors[j].nmetrics; k++)
			{
				Metric	   *m = &p->scorecards[i].factors[j].metrics[k];
				int			series = m->series;
				int			base = m->base;

				CHECK_FOR_INTERRUPTS();
				for (int s = 0; s < p->nseries && series >= 0; s++)
				{
					if (p->series[s].id == ids[series])
						m->series = s;
					if (base >= 0 && p->series[s].id == ids[base])
						m->base = s;
				}
			}
}

/* chs_series_group groups the series by event type, and compiles each filter once. */
void
chs_series_group(Published *p)
{
	p->types = palloc0(Max(p->nseries, 1) * sizeof(EventCounting));
	for (int i = 0; i < p->nseries; i++)
	{
		SeriesDefinition *s = &p->series[i];
		EventCounting *t = NULL;

		for (int j = 0; j < p->ntypes && t == NULL; j++)
			if (strcmp(p->types[j].event_type, s->event_type) == 0)
				t = &p->types[j];
		if (t == NULL)
		{
			t = &p->types[p->ntypes++];
			t->event_type = s->event_type;
			t->event_type_length = strlen(s->event_type);
			t->series = palloc(p->nseries * sizeof(int));
			t->filters = palloc(p->nseries * sizeof(Filter));
		}
		for (int j = 0; j < t->nseries && s->filter != NULL && s->filter_index < 0; j++)
			if (same_text(p->series[t->series[j]].filter, s->filter))
				s->filter_index = p->series[t->series[j]].filter_index;
		if (s->filter != NULL && s->filter_index < 0)
		{
			s->filter_index = t->nfilters++;
			chs_filter_compile(&t->filters[s->filter_index], s->filter);
		}
		t->series[t->nseries++] = i;
		p->max_increments = Max(p->max_increments, t->nseries);
	}
}

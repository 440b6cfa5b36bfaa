/*
 * fit_rows.c
 *	  What a fit learns from: scores of customers' metrics on past days, and who left.
 *
 * A metric has one coefficient, for its score, or as many as its curve has ramps: between
 * two knots each of them rises from 0 to 1, and the score, by a curve whose points rise
 * evenly, says how far it got.
 */
#include "score/fit_rows.h"

#include <math.h>

#include "common/hashfn.h"
#include "utils/memutils.h"

/* chs_fit_rows_begin prepares for rows of the metrics that are set. */
void
chs_fit_rows_begin(FitRows *rows)
{
	rows->context = CurrentMemoryContext;
	rows->width = MAXALIGN(offsetof(FitRow, x) + rows->nmetrics * sizeof(float));
	rows->allocated = 1024;
	rows->data = palloc(rows->allocated * rows->width);
	for (int i = 0; i < rows->nmetrics; i++)
	{
		rows->nfactors = Max(rows->nfactors, rows->metrics[i].factor + 1);
		rows->ncoefficients += rows->metrics[i].ramps;
	}
}

/*
 * chs_fit_rows_add returns the place for one more row.  All of them together take 1 GB at
 * most, more is an error.
 */
FitRow *
chs_fit_rows_add(FitRows *rows)
{
	if (rows->n == rows->allocated)
	{
		int64		most = MaxAllocSize / rows->width;

		if (rows->n == most)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("a fit of %d metrics can have at most %lld rows", rows->nmetrics,
							(long long) most),
					 errhint("Use fewer days, or a sample of the customers.")));
		rows->allocated = Min(rows->allocated * 2, most);
		rows->data = repalloc_huge(rows->data, rows->allocated * rows->width);
	}
	return FIT_ROW(rows, rows->n++);
}

/* Of a customer, whatever is the same in every order: all bytes. */
static int
compare_rows(const void *a, const void *b, void *width)
{
	int64		left = ((const FitRow *) a)->customer_id;
	int64		right = ((const FitRow *) b)->customer_id;

	if (left != right)
		return left < right ? -1 : 1;
	return memcmp(a, b, *(const Size *) width);
}

/*
 * chs_fit_rows_sort puts the rows into an order that does not depend on how they came, and
 * parts the customers, by a hash.  With many more rows than are enough for choosing, most
 * customers are in none of the parts.
 */
void
chs_fit_rows_sort(FitRows *rows, int parts, int64 enough)
{
	uint32		every = 1 + rows->n / enough;

	qsort_arg(rows->data, rows->n, rows->width, compare_rows, &rows->width);
	for (int64 i = 0; i < rows->n; i++)
	{
		FitRow	   *row = FIT_ROW(rows, i);
		uint64		id = row->customer_id;
		uint32		hash = murmurhash32((uint32) id ^ (uint32) (id >> 32));

		row->part = hash / parts % every == 0 ? (int) (hash % parts) : -1;
	}
}

/* Writes the ramps of a metric that has a score. */
static void
expand_metric(const FitMetric *metric, double score, double *x)
{
	double		position = score * metric->ramps;

	if (metric->ramps == 1)
		x[0] = score;
	else
		for (int r = 0; r < metric->ramps; r++)
			x[r] = Min(Max(position - r, 0), 1);
}

/* What is known of a factor. */
typedef struct FactorSum
{
	double		weight;			/* of the metrics that have a score */
	double		points;
	double		all;			/* the weight of all metrics */
	double		penalty;
	double		score;			/* the mean less penalties, not below 0 */
	double		off;			/* what that takes off the mean */
} FactorSum;

/*
 * Gives what is missing the score of the rest, as scoring does, which moves weights: that of
 * a metric to its factor's other metrics, that of a factor to the others.  What penalties take
 * off a factor, all of its metrics lose.  A row without anything that counts is in the middle.
 */
static void
fill_gaps(const FitView *view, const FitRow *row, double *x)
{
	const FitRows *rows = view->rows;
	FactorSum  *sums = palloc0(Max(rows->nfactors, 1) * sizeof(FactorSum));
	double		weight = 0;
	double		points = 0;
	double		rest;
	int			c = 0;

	for (int i = 0; i < rows->nmetrics; i++)
	{
		const FitMetric *m = &rows->metrics[i];
		FactorSum  *sum = &sums[m->factor];

		if (m->ramps == 0 && !isnan(row->x[i]))
			sum->penalty += row->x[i];
		for (int r = 0; r < m->ramps; r++, c++)
		{
			sum->all += view->weights[c];
			if (isnan(row->x[i]))
				continue;
			sum->weight += view->weights[c];
			sum->points += view->weights[c] * x[c];
		}
	}
	for (int f = 0; f < rows->nfactors; f++)
	{
		double		mean;

		if (sums[f].weight <= 0)
			continue;
		mean = sums[f].points / sums[f].weight;
		sums[f].score = Max(mean - sums[f].penalty, 0);
		sums[f].off = mean - sums[f].score;
		weight += sums[f].all;
		points += sums[f].all * sums[f].score;
	}
	rest = weight > 0 ? points / weight : 0.5;
	c = 0;
	for (int i = 0; i < rows->nmetrics; i++)
	{
		const FitMetric *m = &rows->metrics[i];
		const FactorSum *sum = &sums[m->factor];

		for (int r = 0; r < m->ramps; r++, c++)
		{
			if (!isnan(row->x[i]))
				x[c] -= sum->off;
			else
				x[c] = sum->weight > 0 ? sum->score : rest;
		}
	}
	pfree(sums);
}

/* chs_fit_rows_expand writes the numbers of a row that the coefficients belong to. */
void
chs_fit_rows_expand(const FitView *view, const FitRow *row, double *x)
{
	const FitRows *rows = view->rows;
	int			c = 0;

	if (view->weights == NULL)
	{
		x[0] = row->today;
		return;
	}
	for (int i = 0; i < rows->nmetrics; i++)
	{
		expand_metric(&rows->metrics[i], row->x[i], x + c);
		c += rows->metrics[i].ramps;
	}
	if (row->has_gaps)
		fill_gaps(view, row, x);
}

/* chs_fit_rows_next is a FitNext over a FitView. */
bool
chs_fit_rows_next(void *arg, double *x, bool *left)
{
	FitView    *view = arg;

	while (view->at < view->rows->n)
	{
		const FitRow *row = FIT_ROW(view->rows, view->at++);

		if (!chs_fit_rows_has(view, row))
			continue;
		*left = row->left;
		chs_fit_rows_expand(view, row, x);
		return true;
	}
	view->at = 0;
	return false;
}

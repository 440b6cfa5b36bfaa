/*
 * fit_rows.h
 *	  What a fit learns from: scores of customers' metrics on past days, and who left.
 */
#ifndef CHS_FIT_ROWS_H
#define CHS_FIT_ROWS_H

#include "base/compat.h"

typedef struct FitMetric
{
	int			factor;			/* from 0 on */
	int			ramps;			/* coefficients, of which 0 for a penalty */
	double		penalty;		/* points off the factor per event, or 0 */
} FitMetric;

typedef struct FitRow
{
	int64		customer_id;
	float		today;			/* score by today's card, 0 to 1 */
	int			part;			/* of the customers that choose a ridge, from 0 on; -1: none */
	bool		left;
	bool		has_gaps;		/* missing scores or penalties */
	float		x[FLEXIBLE_ARRAY_MEMBER];	/* scores, 0 to 1, NaN: none; or penalties */
} FitRow;

typedef struct FitRows
{
	MemoryContext context;
	int			nmetrics;
	FitMetric  *metrics;
	int			nfactors;
	int			ncoefficients;
	bool		has_gaps;		/* any of them */
	int64		n;
	int64		allocated;
	Size		width;
	char	   *data;			/* ascending by customer, once they are sorted */
} FitRows;

/* Which of the rows, and how: for chs_fit_rows_next. */
typedef struct FitView
{
	const FitRows *rows;
	const double *weights;		/* of the coefficients: for what is missing; NULL: today only */
	int			part;			/* this part of the customers; -1: everybody */
	bool		others;			/* instead, all other parts */
	int64		at;
} FitView;

#define FIT_ROW(rows, i) ((FitRow *) ((rows)->data + (i) * (rows)->width))

/* Whether a view contains a row. */
static inline bool
chs_fit_rows_has(const FitView *view, const FitRow *row)
{
	return view->part < 0 || (row->part >= 0 && (row->part == view->part) != view->others);
}

extern void chs_fit_rows_begin(FitRows *rows);
extern FitRow *chs_fit_rows_add(FitRows *rows);
extern void chs_fit_rows_sort(FitRows *rows, int parts, int64 enough);
extern void chs_fit_rows_expand(const FitView *view, const FitRow *row, double *x);
extern bool chs_fit_rows_next(void *view, double *x, bool *left);

#endif							/* CHS_FIT_ROWS_H */

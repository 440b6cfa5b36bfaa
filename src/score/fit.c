/*
 * fit.c
 *	  Weights that predict who leaves: logistic regression with bounds.
 *
 * The model is P(left) = 1 / (1 + exp(-(b - sum g[j] x[j]))) with each g[j] at least 0: what
 * is good never counts against a customer.  Minimized is the mean log loss of the rows plus
 * ridge / 2 times the sum of (g[j] - towards[j])^2, a convex function.
 *
 * Newton's method: each pass over the rows sums up the gradient and the matrix of second
 * derivatives, coordinate descent finds the minimum of the quadratic function that these
 * describe within the bounds, and a step that does not get better is halved.  Sums run in
 * the order of the rows, so the same rows in the same order give the same bits.
 */
#include "score/fit.h"

#include <math.h>

#include "miscadmin.h"

/* Passes over the rows, which a problem of any kind needs about seven of. */
#define MAX_PASSES 100

/*
 * A step that promises to make the objective better by less is the last one: Newton's next
 * error is about the square of this one, and rounding would hide any further gain.
 */
#define SMALLEST_GAIN 1e-12

/* Sweeps of coordinate descent, and the change below which there are no more. */
#define MAX_SWEEPS 20000
#define SMALLEST_CHANGE 1e-12

/* Rows that are added to the matrix together, which saves reading and writing it. */
#define ROWS_AT_ONCE 4

/* What one pass over the rows finds: of n coefficients and, first, the intercept. */
typedef struct Pass
{
	int			n;				/* with the intercept */
	double		objective;
	double	   *gradient;
	double	   *second;			/* derivatives, n by n, the lower triangle */
	double	   *x;				/* ROWS_AT_ONCE rows, signs turned, 1 in front */
	double	   *weighted;		/* the same times p (1 - p) */
} Pass;

/* chs_fit_loss returns -log of the probability of what happened. */
double
chs_fit_loss(double log_odds, bool left)
{
	return log1p(exp(-fabs(log_odds))) + Max(log_odds, 0) - (left ? log_odds : 0);
}

/* chs_fit_log_odds returns those of leaving, of a solution: the intercept, then n coefficients. */
double
chs_fit_log_odds(const double *solution, const double *x, int n)
{
	double		log_odds = solution[0];

	for (int j = 0; j < n; j++)
		log_odds -= solution[1 + j] * x[j];
	return log_odds;
}

/* Adds the rows at hand to the matrix.  Vectorized by the compiler: no sum changes its order. */
static void
add_rows(Pass *pass)
{
	int			n = pass->n;
	const double *x = pass->x;

	StaticAssertStmt(ROWS_AT_ONCE == 4, "four rows are written out");
	for (int j = 0; j < n; j++)
	{
		double	   *row = pass->second + (Size) j * n;
		double		a = pass->weighted[j];
		double		b = pass->weighted[n + j];
		double		c = pass->weighted[2 * n + j];
		double		d = pass->weighted[3 * n + j];

		for (int k = 0; k <= j; k++)
			row[k] += (a * x[k] + b * x[n + k]) + (c * x[2 * n + k] + d * x[3 * n + k]);
	}
}

/* Sums up objective, gradient and second derivatives at a solution. */
static void
pass_over_rows(const FitProblem *problem, const double *solution, Pass *pass)
{
	int			n = pass->n;
	int64		nrows = 0;
	bool		left;

	pass->objective = 0;
	memset(pass->gradient, 0, n * sizeof(double));
	memset(pass->second, 0, (Size) n * n * sizeof(double));
	memset(pass->weighted, 0, (Size) ROWS_AT_ONCE * n * sizeof(double));
	for (;;)
	{
		int			at = nrows % ROWS_AT_ONCE;
		double	   *x = pass->x + at * n;
		double		log_odds;
		double		p;

		if (!problem->next(problem->rows, x + 1, &left))
			break;
		nrows++;
		log_odds = chs_fit_log_odds(solution, x + 1, problem->n);
		p = 1 / (1 + exp(-log_odds));
		pass->objective += chs_fit_loss(log_odds, left);
		x[0] = 1;
		for (int j = 1; j < n; j++)
			x[j] = -x[j];
		for (int j = 0; j < n; j++)
		{
			pass->gradient[j] += (p - left) * x[j];
			pass->weighted[at * n + j] = p * (1 - p) * x[j];
		}
		if (at == ROWS_AT_ONCE - 1)
		{
			add_rows(pass);
			memset(pass->weighted, 0, (Size) ROWS_AT_ONCE * n * sizeof(double));
		}
		if (nrows % 10000 == 0)
			CHECK_FOR_INTERRUPTS();
	}
	add_rows(pass);

	pass->objective /= nrows;
	for (int j = 0; j < n; j++)
	{
		pass->gradient[j] /= nrows;
		for (int k = 0; k <= j; k++)
			pass->second[(Size) j * n + k] /= nrows;
	}
	for (int j = 1; j < n; j++)
	{
		double		away = solution[j] - problem->towards[j - 1];

		pass->objective += problem->ridge / 2 * away * away;
		pass->gradient[j] += problem->ridge * away;
		pass->second[(Size) j * n + j] += problem->ridge;
	}
}

/*
 * Finds the step to the minimum of the quadratic function within the bounds, and returns
 * how fast the objective changes along it: not above 0.  The intercept, which has no
 * bounds, is eliminated first, because descent along it and the others is slow.
 */
static double
find_step(const Pass *pass, const double *solution, double *step)
{
	int			n = pass->n;
	double	   *matrix = palloc((Size) n * n * sizeof(double));
	double	   *rest = palloc(n * sizeof(double));	/* the gradient after the step */
	double		flat = Max(pass->second[0], 1e-300);
	double		slope = 0;

	for (int j = 0; j < n; j++)
	{
		double		share = pass->second[(Size) j * n] / flat;

		rest[j] = pass->gradient[j] - share * pass->gradient[0];
		step[j] = 0;
		for (int k = 0; k <= j; k++)
			matrix[(Size) j * n + k] = matrix[(Size) k * n + j] =
				pass->second[(Size) j * n + k] - share * pass->second[(Size) k * n];
	}
	for (int sweep = 0; sweep < MAX_SWEEPS; sweep++)
	{
		double		largest = 0;

		for (int j = 1; j < n; j++)
		{
			const double *row = matrix + (Size) j * n;
			double		change;

			/* a column without any variation tells nothing */
			if (row[j] <= 1e-14)
				continue;
			change = Max(-rest[j] / row[j], -(solution[j] + step[j]));
			if (change == 0)
				continue;
			step[j] += change;
			for (int k = 1; k < n; k++)
				rest[k] += change * row[k];
			largest = Max(largest, fabs(change));
		}
		if (largest < SMALLEST_CHANGE)
			break;
	}
	step[0] = -pass->gradient[0];
	for (int j = 1; j < n; j++)
		step[0] -= pass->second[(Size) j * n] * step[j];
	step[0] /= flat;
	for (int j = 0; j < n; j++)
		slope += pass->gradient[j] * step[j];
	pfree(matrix);
	pfree(rest);
	return slope;
}

/* Begins with what is known without any x: the base rate. */
static void
begin_at_base_rate(const FitProblem *problem, double *x, double *solution)
{
	int64		nrows = 0;
	int64		nleft = 0;
	bool		left;

	while (problem->next(problem->rows, x, &left))
	{
		nrows++;
		nleft += left;
	}
	memset(solution, 0, (1 + problem->n) * sizeof(double));
	solution[0] = log((nleft + 0.5) / (nrows - nleft + 0.5));
}

/*
 * chs_fit_solve finds the minimum: the intercept b and the n coefficients g in *solution.
 * Begins at a solution that is there already, or at the base rate if its intercept is NaN.
 * Returns the number of passes over the rows, of which there must be at least one.
 */
int
chs_fit_solve(const FitProblem *problem, double *solution)
{
	int			n = 1 + problem->n;
	Pass		pass = {
		.n = n,
		.gradient = palloc(n * sizeof(double)),
		.second = palloc((Size) n * n * sizeof(double)),
		.x = palloc0((Size) ROWS_AT_ONCE * n * sizeof(double)),
		.weighted = palloc((Size) ROWS_AT_ONCE * n * sizeof(double))
	};
	double	   *step = palloc(n * sizeof(double));
	double	   *next = palloc(n * sizeof(double));
	int			passes = 1;

	if (isnan(solution[0]))
		begin_at_base_rate(problem, pass.x, solution);
	pass_over_rows(problem, solution, &pass);
	while (passes < MAX_PASSES)
	{
		double		before = pass.objective;
		double		slope = find_step(&pass, solution, step);
		double		length = 1;

		for (;; length /= 2)
		{
			/* not below a bound by a rounding */
			next[0] = solution[0] + length * step[0];
			for (int j = 1; j < n; j++)
				next[j] = Max(solution[j] + length * step[j], 0);
			if (slope > -SMALLEST_GAIN || passes == MAX_PASSES)
				break;
			pass_over_rows(problem, next, &pass);
			passes++;
			if (pass.objective <= before + 1e-4 * length * slope)
				break;
		}
		memcpy(solution, next, n * sizeof(double));
		if (slope > -SMALLEST_GAIN)
			break;
	}
	return passes;
}

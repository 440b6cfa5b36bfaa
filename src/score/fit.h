/*
 * fit.h
 *	  Weights that predict who leaves: logistic regression with bounds.
 */
#ifndef CHS_FIT_H
#define CHS_FIT_H

#include "base/compat.h"

/*
 * Gives the next of the rows: its n numbers in x, and whether it left.  Returns false after
 * the last one, and then begins again with the first.
 */
typedef bool (*FitNext) (void *rows, double *x, bool *left);

typedef struct FitProblem
{
	int			n;				/* coefficients, without the intercept */
	double		ridge;			/* not negative */
	const double *towards;		/* n, not negative */
	FitNext		next;
	void	   *rows;
} FitProblem;

extern double chs_fit_loss(double log_odds, bool left);
extern double chs_fit_log_odds(const double *solution, const double *x, int n);
extern int	chs_fit_solve(const FitProblem *problem, double *solution);

#endif							/* CHS_FIT_H */

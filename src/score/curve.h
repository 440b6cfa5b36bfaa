/*
 * curve.h
 *	  Curves: from a value, or its share of a target, to a score of 0 to 100.
 */
#ifndef CHS_CURVE_H
#define CHS_CURVE_H

#include "base/compat.h"

typedef struct Curve
{
	int			npoints;
	struct
	{
		double		x;
		double		y;
	}		   *points;			/* ascending by x */
} Curve;

extern Curve chs_curve_read(const char *text);
extern double chs_curve_score(const Curve *curve, double x);

#endif							/* CHS_CURVE_H */

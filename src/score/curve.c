/*
 * curve.c
 *	  Curves: from a value, or its share of a target, to a score of 0 to 100.
 */
#include "score/curve.h"

#include <math.h>

#include "fmgr.h"
#include "utils/builtins.h"

#include "base/message.h"

static double
read_number(const char **next, const char *text)
{
	char	   *end;
	double		d;

	/* plain decimal numbers only, of the forms that strtod takes */
	size_t		length = strspn(*next, "+-.0123456789eE");

	errno = 0;
	d = strtod(*next, &end);	/* LC_NUMERIC is "C" in a server */
	if (length == 0 || end != *next + length || errno != 0 || !isfinite(d))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid curve: \"%s\"", text),
				 errdetail("A number was expected at \"%s\".",
						   chs_message_value(*next, strlen(*next))),
				 errhint("Write points as value:score, in ascending order of value,"
						" as in '0:0 1:100'.")));
	*next = end;
	return d;
}

/*
 * chs_curve_read reads points "x:y x:y ..." of ascending x and of y in 0..100, into
 * the current memory context, or raises an error that says what is wrong.
 */
Curve
chs_curve_read(const char *text)
{
	Curve		curve = {0};
	const char *next = text;

	/* a point is at least three characters and a space */
	curve.points = palloc((strlen(text) / 4 + 1) * sizeof(*curve.points));
	for (;;)
	{
		double		x;
		double		y;

		x = read_number(&next, text);
		if (*next++ != ':')
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("invalid curve: \"%s\"", text),
					 errdetail("A colon was expected after the value %g.", x),
					 errhint("Write points as value:score, in ascending order of value,"
							" as in '0:0 1:100'.")));
		y = read_number(&next, text);
		if (curve.npoints > 0 && x <= curve.points[curve.npoints - 1].x)
			ereport(ERROR,
					(errcode(ERRCODE_CHECK_VIOLATION),
					 errmsg("invalid curve: \"%s\"", text),
					 errdetail("The value %g does not come after the value %g.",
							   x, curve.points[curve.npoints - 1].x),
					 errhint("Write the points in ascending order of value, each value once.")));
		if (y < 0 || y > 100)
			ereport(ERROR,
					(errcode(ERRCODE_CHECK_VIOLATION),
					 errmsg("invalid curve: \"%s\"", text),
					 errdetail("The score %g is outside 0 to 100.", y),
					 errhint("Write points as value:score, with scores from 0 to 100.")));
		curve.points[curve.npoints].x = x;
		curve.points[curve.npoints].y = y;
		curve.npoints++;
		if (*next == '\0')
			return curve;
		if (*next++ != ' ')
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("invalid curve: \"%s\"", text),
					 errdetail("A space was expected after the point %g:%g.", x, y),
					 errhint("Write points as value:score, separated by one space,"
							" as in '0:0 1:100'.")));
	}
}

/* Where x lies between x0 and x1, from 0 to 1; also where x1 - x0 is beyond the largest number. */
static double
share_of_way(double x, double x0, double x1)
{
	if (isinf(x1 - x0))
		return (x / 2 - x0 / 2) / (x1 / 2 - x0 / 2);
	return (x - x0) / (x1 - x0);
}

/*
 * chs_curve_score returns the score that a curve gives to x: linear between
 * its points, level beyond its ends.
 */
double
chs_curve_score(const Curve *curve, double x)
{
	int			last = curve->npoints - 1;

	Assert(curve->npoints > 0 && !isnan(x));
	if (x <= curve->points[0].x)
		return curve->points[0].y;
	for (int i = 1; i <= last; i++)
	{
		if (x < curve->points[i].x)
		{
			double		y0 = curve->points[i - 1].y;

			return y0 + (curve->points[i].y - y0) *
				share_of_way(x, curve->points[i - 1].x, curve->points[i].x);
		}
	}
	return curve->points[last].y;
}

/* chs_curve_is_valid returns true, or raises an error that says what is wrong with the curve. */
PG_FUNCTION_INFO_V1(chs_curve_is_valid);
Datum
chs_curve_is_valid(PG_FUNCTION_ARGS)
{
	chs_curve_read(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_BOOL(true);
}

/* chs_curve evaluates a curve. */
PG_FUNCTION_INFO_V1(chs_curve);
Datum
chs_curve(PG_FUNCTION_ARGS)
{
	Curve		curve = chs_curve_read(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	double		x = PG_GETARG_FLOAT8(1);

	if (isnan(x))
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(chs_curve_score(&curve, x));
}

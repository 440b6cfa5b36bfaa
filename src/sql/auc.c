/*
 * auc.c
 *	  How well a number tells who leaves, with its standard error by customer.
 *
 * The area under the ROC curve is the share of pairs, of one row that leaves and one of
 * the same origin that does not, in which the former has the lower number; ties count
 * half.  A customer has a row at each origin, so customers and not rows are the sample:
 * DeLong's components are summed up by customer (Obuchowski, Biometrics 53:567, 1997),
 * over all origins, each with the weight of its pairs.  With a single origin and one
 * row a customer that is DeLong's own variance.
 *
 * Pairs are counted in integers, and floating-point numbers added in ascending order, so
 * the result has the same bits in any order of rows, and however customers are numbered.
 */
#include "base/compat.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"

#include "score/values.h"

/* The numbers that may be compared on the same rows. */
#define MEASURES 2

typedef struct Row
{
	int64		customer_id;
	int32		origin;
	bool		leaves;
	double		value[MEASURES];
	int64		wins[MEASURES]; /* twice the pairs with the one that leaves lower, and ties */
	int64		pairs;
} Row;

/* A customer's share of the error, from rows that leave and from those that do not. */
typedef struct Share
{
	double		leaving;
	double		staying;
} Share;

typedef struct Rows
{
	int64		n;
	int64		nleaves;
	int64		pairs;			/* of all origins */
	int64		wins[MEASURES];
	int64		ncustomers;
	int64		nleaving;		/* customers with a row that leaves */
	int64		nstaying;
	Row		   *rows;
} Rows;

/* What is sorted by: the origin, and the measure. */
static int
compare_values(const void *a, const void *b, void *arg)
{
	const Row  *x = a;
	const Row  *y = b;
	int			measure = *(int *) arg;

	if (x->origin != y->origin)
		return x->origin < y->origin ? -1 : 1;
	return (x->value[measure] > y->value[measure]) - (x->value[measure] < y->value[measure]);
}

static int
compare_customers(const void *a, const void *b)
{
	const Row  *x = a;
	const Row  *y = b;

	return (x->customer_id > y->customer_id) - (x->customer_id < y->customer_id);
}

static int
compare_doubles(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x > y) - (x < y);
}

/* Adds up in ascending order, which is that of no rows. */
static double
sum_sorted(double *values, int64 n)
{
	double		sum = 0;

	qsort(values, n, sizeof(double), compare_doubles);
	for (int64 i = 0; i < n; i++)
		sum += values[i];
	return sum;
}

/* Counts the pairs that each of the rows of one origin wins, sorted by the measure. */
static void
count_wins(Rows *r, int64 from, int64 to, int measure)
{
	int64		nleaves = 0;
	int64		below = 0;		/* rows that leave, so far */

	for (int64 i = from; i < to; i++)
		nleaves += r->rows[i].leaves;
	for (int64 i = from, next; i < to; i = next)
	{
		int64		equal = 0;	/* rows of the same value that leave */
		int64		above;

		for (next = i; next < to && r->rows[next].value[measure] == r->rows[i].value[measure];
			 next++)
			equal += r->rows[next].leaves;
		above = (to - next) - (nleaves - below - equal);
		for (int64 j = i; j < next; j++)
		{
			Row		   *row = &r->rows[j];

			row->pairs = row->leaves ? to - from - nleaves : nleaves;
			row->wins[measure] = row->leaves ? 2 * above + (next - i - equal) : 2 * below + equal;
			r->wins[measure] += row->leaves ? row->wins[measure] : 0;
		}
		below += equal;
	}
	if (measure == 0)
		r->pairs += nleaves * (to - from - nleaves);
}

/* Counts the pairs of all origins. */
static void
count_pairs(Rows *r, int nmeasures)
{
	for (int measure = 0; measure < nmeasures; measure++)
	{
		CHECK_FOR_INTERRUPTS();
		qsort_arg(r->rows, r->n, sizeof(Row), compare_values, &measure);
		for (int64 i = 0, next; i < r->n; i = next)
		{
			for (next = i; next < r->n && r->rows[next].origin == r->rows[i].origin; next++)
				;
			count_wins(r, i, next, measure);
		}
	}
}

/* Sorts the rows by customer, and counts the customers of rows that have pairs. */
static void
count_customers(Rows *r)
{
	qsort(r->rows, r->n, sizeof(Row), compare_customers);
	for (int64 i = 0, next; i < r->n; i = next)
	{
		bool		leaves = false;
		bool		stays = false;

		for (next = i; next < r->n && r->rows[next].customer_id == r->rows[i].customer_id; next++)
			if (r->rows[next].pairs > 0)
				*(r->rows[next].leaves ? &leaves : &stays) = true;
		r->nleaving += leaves;
		r->nstaying += stays;
		r->ncustomers += leaves || stays;
	}
}

/*
 * The shares of the customers in the error of a measure, or of the difference of the two
 * (of which each loses the other's pairs).  The rows are sorted by customer.
 */
static Share *
shares(const Rows *r, int from, int nmeasures)
{
	Share	   *result = palloc_extended(Max(r->ncustomers, 1) * sizeof(Share),
										 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	int64		n = 0;

	for (int64 i = 0, next; i < r->n; i = next)
	{
		int128		excess[2] = {0, 0};
		bool		counts = false;

		/* how many more pairs than on average, in units of 1 / (2 * all pairs) */
		for (next = i; next < r->n && r->rows[next].customer_id == r->rows[i].customer_id; next++)
			for (int m = from; m < from + nmeasures; m++)
			{
				const Row  *row = &r->rows[next];
				int128		more = (int128) row->wins[m] * r->pairs -
					(int128) r->wins[m] * row->pairs;

				excess[row->leaves] += m == from ? more : -more;
				counts |= row->pairs > 0;
			}
		if (!counts)
			continue;
		result[n].leaving = (double) excess[1] / 2 / (double) r->pairs / (double) r->pairs;
		result[n++].staying = (double) excess[0] / 2 / (double) r->pairs / (double) r->pairs;
	}
	Assert(n == r->ncustomers);
	return result;
}

static double
correction(int64 n)
{
	return (double) n / (double) (n - 1);
}

/* The standard error of a measure, or of the difference of the two. */
static Datum
standard_error(const Rows *r, int from, int nmeasures, bool *isnull)
{
	Share	   *share;
	double	   *terms;
	double		variance = 0;

	*isnull = r->nleaving < 2 || r->nstaying < 2;
	if (*isnull)
		return (Datum) 0;
	share = shares(r, from, nmeasures);
	terms = palloc_extended(r->ncustomers * sizeof(double), MCXT_ALLOC_HUGE);
	for (int64 i = 0; i < r->ncustomers; i++)
		terms[i] = share[i].leaving * share[i].leaving;
	variance += correction(r->nleaving) * sum_sorted(terms, r->ncustomers);
	for (int64 i = 0; i < r->ncustomers; i++)
		terms[i] = share[i].staying * share[i].staying;
	variance += correction(r->nstaying) * sum_sorted(terms, r->ncustomers);
	for (int64 i = 0; i < r->ncustomers; i++)
		terms[i] = share[i].leaving * share[i].staying;
	variance += 2 * correction(r->ncustomers) * sum_sorted(terms, r->ncustomers);
	pfree(terms);
	pfree(share);
	return Float8GetDatum(sqrt(Max(variance, 0)));
}

/* The elements of an array argument, of which there must be as many as of the others. */
static Datum *
elements(FunctionCallInfo fcinfo, int arg, Oid type, int size, char align, bool **nulls, int64 *n)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(arg);
	Datum	   *datums;
	int			count;

	deconstruct_array(array, type, size, type == BOOLOID || type == DATEOID || FLOAT8PASSBYVAL,
					  align, &datums, nulls, &count);
	if (*n >= 0 && *n != count)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("the arrays must have the same number of elements")));
	*n = count;
	return datums;
}

/* Reads the arguments; rows of which anything is NULL, or not a number, are left out. */
static void
read_rows(FunctionCallInfo fcinfo, int nmeasures, Rows *r)
{
	int64		n = -1;
	bool	   *nulls[3 + MEASURES];
	Datum	   *origins = elements(fcinfo, 0, DATEOID, 4, TYPALIGN_INT, &nulls[0], &n);
	Datum	   *customers = elements(fcinfo, 1, INT8OID, 8, TYPALIGN_DOUBLE, &nulls[1], &n);
	Datum	   *leaves = elements(fcinfo, 2, BOOLOID, 1, TYPALIGN_CHAR, &nulls[2], &n);
	Datum	   *values[MEASURES];

	for (int m = 0; m < nmeasures; m++)
		values[m] = elements(fcinfo, 3 + m, FLOAT8OID, 8, TYPALIGN_DOUBLE, &nulls[3 + m], &n);
	r->rows = palloc_extended(Max(n, 1) * sizeof(Row), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int64 i = 0; i < n; i++)
	{
		Row		   *row = &r->rows[r->n];
		bool		known = true;

		for (int j = 0; j < 3 + nmeasures; j++)
			known &= !nulls[j][i];
		for (int m = 0; m < nmeasures && known; m++)
		{
			row->value[m] = DatumGetFloat8(values[m][i]);
			known = !isnan(row->value[m]);
		}
		if (!known)
			continue;
		row->customer_id = DatumGetInt64(customers[i]);
		row->origin = DatumGetDateADT(origins[i]);
		row->leaves = DatumGetBool(leaves[i]);
		r->nleaves += row->leaves;
		r->n++;
	}
}

/*
 * chs_auc takes rows as arrays of origins, customers, whether they leave, and numbers, of
 * which lower ones should leave; and possibly others to compare with.  Returns the
 * numbers of rows, of those that leave, of customers and of pairs, and for each measure the
 * area and its standard error, and the error of the difference; NULL what is not
 * defined for so few.  Takes about 150 bytes of memory for each row.
 */
PG_FUNCTION_INFO_V1(chs_auc);
Datum
chs_auc(PG_FUNCTION_ARGS)
{
	int			nmeasures = PG_ARGISNULL(4) ? 1 : MEASURES;
	Rows		r = {0};
	Datum		values[9];
	bool		nulls[9] = {0};

	for (int i = 0; i < 4; i++)
		if (PG_ARGISNULL(i))
			PG_RETURN_NULL();
	read_rows(fcinfo, nmeasures, &r);
	count_pairs(&r, nmeasures);
	count_customers(&r);
	values[0] = Int64GetDatum(r.n);
	values[1] = Int64GetDatum(r.nleaves);
	values[2] = Int64GetDatum(r.ncustomers);
	values[3] = Int64GetDatum(r.pairs);
	for (int m = 0; m < MEASURES; m++)
	{
		nulls[4 + 2 * m] = nulls[5 + 2 * m] = m >= nmeasures || r.pairs == 0;
		values[4 + 2 * m] = nulls[4 + 2 * m] ? (Datum) 0 :
			Float8GetDatum((double) r.wins[m] / 2 / (double) r.pairs);
		if (!nulls[5 + 2 * m])
			values[5 + 2 * m] = standard_error(&r, m, 1, &nulls[5 + 2 * m]);
	}
	nulls[8] = nmeasures < MEASURES || r.pairs == 0;
	if (!nulls[8])
		values[8] = standard_error(&r, 0, MEASURES, &nulls[8]);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(chs_value_result_type(fcinfo), values,
													  nulls)));
}

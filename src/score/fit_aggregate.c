/*
 * fit_aggregate.c
 *	  The aggregate that fits a scorecard's weights, or curves, to who left.
 *
 * How much a fit may differ from today's card is chosen by customers that it has not seen:
 * a fifth of the customers at a time is predicted by the others.  Today's card is the fit
 * that may not differ at all, calibrated by one intercept and one slope.
 */
#include "base/compat.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/jsonb.h"

#include "score/fit.h"
#include "score/fit_rows.h"

/* Parts of the customers, each of which is predicted by the others. */
#define PARTS 5

/* Rows from which on only some of the customers choose the ridge; the fit itself uses all. */
#define CHOOSING_ROWS 50000

/* How often what is missing is filled in, each time by the weights found before. */
#define MAX_ROUNDS 6
#define SMALLEST_MOVE 1e-3

typedef struct FitState
{
	FitRows		rows;
	int			nridges;
	double	   *ridges;
	double	   *start;			/* what each coefficient's x adds to today's score, of 1 */
} FitState;

/* How customers that a fit has not seen were predicted, against today's card. */
typedef struct Choice
{
	double		ridge;
	int64		rows;
	int64		customers;
	double		loss;			/* sum */
	double		gain;			/* sum: loss by today's card less this */
	double		squares;		/* of the gains of customers */
	double		customer;		/* gain of the one at hand */
} Choice;

/* Reads an argument as numbers, NaN where NULL. */
static double *
get_numbers(FunctionCallInfo fcinfo, int argno, int *n)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(argno);
	Datum	   *datums;
	bool	   *nulls;
	double	   *numbers;

	deconstruct_array(array, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &datums, &nulls, n);
	numbers = palloc(Max(*n, 1) * sizeof(double));
	for (int i = 0; i < *n; i++)
		numbers[i] = nulls[i] ? get_float8_nan() : DatumGetFloat8(datums[i]);
	pfree(datums);
	pfree(nulls);
	return numbers;
}

pg_noreturn static void
invalid_argument(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid \"%s\" of a fit", name)));
}

/* Reads what is the same for all rows. */
static FitState *
begin_state(FunctionCallInfo fcinfo)
{
	FitState   *state = palloc0(sizeof(FitState));
	FitRows    *rows = &state->rows;
	int			nramps;
	int			npenalties;
	int			nstart;
	double	   *factors;
	double	   *ramps;
	double	   *penalties;
	double		sum = 0;

	for (int argno = 6; argno <= 10; argno++)
		if (PG_ARGISNULL(argno))
			invalid_argument("arguments");
	factors = get_numbers(fcinfo, 6, &rows->nmetrics);
	ramps = get_numbers(fcinfo, 7, &nramps);
	penalties = get_numbers(fcinfo, 8, &npenalties);
	state->start = get_numbers(fcinfo, 9, &nstart);
	state->ridges = get_numbers(fcinfo, 10, &state->nridges);
	if (nramps != rows->nmetrics || npenalties != rows->nmetrics)
		invalid_argument("metrics");
	rows->metrics = palloc(Max(rows->nmetrics, 1) * sizeof(FitMetric));
	for (int i = 0; i < rows->nmetrics; i++)
	{
		FitMetric  *m = &rows->metrics[i];

		if (!(factors[i] >= 1 && factors[i] <= rows->nmetrics) ||
			!(ramps[i] >= 0 && ramps[i] <= 100))
			invalid_argument("metrics");
		*m = (FitMetric) {
			.factor = (int) factors[i] - 1,.ramps = (int) ramps[i],.penalty = penalties[i]
		};
	}
	chs_fit_rows_begin(rows);
	if (nstart != rows->ncoefficients || nstart == 0)
		invalid_argument("start");
	for (int c = 0; c < nstart; c++)
	{
		if (!(state->start[c] >= 0))
			invalid_argument("start");
		sum += state->start[c];
	}
	for (int i = 0; i < state->nridges; i++)
		if (!(state->ridges[i] >= 0))
			invalid_argument("ridges");
	if (sum <= 0 || state->nridges == 0)
		invalid_argument("start");
	return state;
}

/*
 * chs_fit_transition adds a row: (customer_id, left, today, scores, counts), then factors,
 * ramps, penalties, start and ridges, which are read with the first row.  A row without
 * knowledge of whether the customer left, or without today's score, is ignored.
 */
PG_FUNCTION_INFO_V1(chs_fit_transition);
Datum
chs_fit_transition(PG_FUNCTION_ARGS)
{
	MemoryContext context;
	MemoryContext caller;
	FitState   *state = PG_ARGISNULL(0) ? NULL : (FitState *) PG_GETARG_POINTER(0);
	FitRow	   *row;
	double	   *scores;
	double	   *counts;
	int			nscores;
	int			ncounts;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "chs_fit_transition called in non-aggregate context");
	if (state == NULL)
	{
		caller = MemoryContextSwitchTo(context);
		state = begin_state(fcinfo);
		MemoryContextSwitchTo(caller);
	}
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(3) || PG_ARGISNULL(4) || PG_ARGISNULL(5))
		PG_RETURN_POINTER(state);
	scores = get_numbers(fcinfo, 4, &nscores);
	counts = get_numbers(fcinfo, 5, &ncounts);
	if (nscores != state->rows.nmetrics || ncounts != state->rows.nmetrics)
		invalid_argument("scores");
	row = chs_fit_rows_add(&state->rows);
	memset(row, 0, state->rows.width);
	row->customer_id = PG_GETARG_INT64(1);
	row->left = PG_GETARG_BOOL(2);
	row->today = PG_GETARG_FLOAT8(3) / 100;
	for (int i = 0; i < nscores; i++)
	{
		const FitMetric *m = &state->rows.metrics[i];

		row->x[i] = (m->ramps > 0 ? scores[i] : m->penalty * counts[i]) / 100;
		row->has_gaps |= m->ramps > 0 ? isnan(row->x[i]) : row->x[i] > 0;
	}
	state->rows.has_gaps |= row->has_gaps;
	PG_RETURN_POINTER(state);
}

/* Finds the slope and the intercept that turn today's score into a probability. */
static void
calibrate_today(FitView view, double *today)
{
	double		nowhere = 0;

	view.weights = NULL;
	today[0] = get_float8_nan();
	chs_fit_solve(&(FitProblem) {
		.n = 1,.towards = &nowhere,.next = chs_fit_rows_next,.rows = &view
	}, today);
}

/* How far the shares of one solution are from those that another one filled gaps with. */
static double
largest_move(const double *g, const double *weights, int n)
{
	double		all = 0;
	double		before = 0;
	double		largest = 0;

	for (int c = 0; c < n; c++)
	{
		all += g[c];
		before += weights[c];
	}
	if (all <= 0 || before <= 0)
		return 0;
	for (int c = 0; c < n; c++)
		largest = Max(largest, fabs(g[c] / all - weights[c] / before));
	return largest;
}

/*
 * Fits with a ridge, beginning at a solution, and returns how many rounds it took.  Leaves
 * in *weights what the gaps were filled with.
 */
static int
fit_with_ridge(const FitState *state, FitView view, double ridge, const double *towards,
			   double *solution, double *weights)
{
	int			n = state->rows.ncoefficients;
	int			round;

	view.weights = weights;
	for (round = 1;; round++)
	{
		chs_fit_solve(&(FitProblem) {
			.n = n,.ridge = ridge,.towards = towards,.next = chs_fit_rows_next,.rows = &view
		}, solution);
		if (!state->rows.has_gaps || round == MAX_ROUNDS ||
			largest_move(solution + 1, weights, n) < SMALLEST_MOVE)
			return round;
		memcpy(weights, solution + 1, n * sizeof(double));
	}
}

/* Begins at today's card: where the ridge draws to, and the weights of what is missing. */
static void
begin_at_today(const FitState *state, const double *today, double *towards, double *solution,
			   double *weights)
{
	int			n = state->rows.ncoefficients;

	solution[0] = today[0];
	for (int c = 0; c < n; c++)
	{
		towards[c] = solution[1 + c] = today[1] * state->start[c];
		weights[c] = state->start[c];
	}
}

static void
end_customer(Choice *choice)
{
	choice->customers++;
	choice->gain += choice->customer;
	choice->squares += choice->customer * choice->customer;
	choice->customer = 0;
}

/* Predicts the customers that a fit has not seen. */
static void
predict_others(const FitState *state, FitView view, const double *today, const double *solution,
			   const double *weights, Choice *choice)
{
	const FitRow *before = NULL;
	double	   *x = palloc(state->rows.ncoefficients * sizeof(double));

	view.others = false;
	view.weights = weights;
	for (int64 i = 0; i < state->rows.n; i++)
	{
		const FitRow *row = FIT_ROW(&state->rows, i);
		double		score = row->today;
		double		loss;

		if (!chs_fit_rows_has(&view, row))
			continue;
		if (before != NULL && before->customer_id != row->customer_id)
			end_customer(choice);
		before = row;
		chs_fit_rows_expand(&view, row, x);
		loss = chs_fit_loss(chs_fit_log_odds(solution, x, state->rows.ncoefficients), row->left);
		choice->rows++;
		choice->loss += loss;
		choice->customer += chs_fit_loss(chs_fit_log_odds(today, &score, 1), row->left) - loss;
	}
	if (before != NULL)
		end_customer(choice);
	pfree(x);
}

/* The standard error of the sum of gains, by customers, who are what was sampled. */
static double
error_of_gain(const Choice *choice)
{
	double		n = choice->customers;
	double		squares = choice->squares - choice->gain * choice->gain / n;

	return n > 1 ? sqrt(Max(squares, 0) * n / (n - 1)) : 0;
}

/* Tries every ridge on customers left out, and returns the best. */
static const Choice *
choose_ridge(const FitState *state, Choice *choices)
{
	int			n = state->rows.ncoefficients;
	double	   *solution = palloc((1 + n) * sizeof(double));
	double	   *towards = palloc(n * sizeof(double));
	double	   *weights = palloc(n * sizeof(double));
	const Choice *best = &choices[0];

	for (int i = 0; i < state->nridges; i++)
		choices[i].ridge = state->ridges[i];
	for (int part = 0; part < PARTS; part++)
	{
		FitView		view = {.rows = &state->rows,.part = part,.others = true};
		double		today[2];

		calibrate_today(view, today);
		begin_at_today(state, today, towards, solution, weights);
		for (int i = 0; i < state->nridges; i++)
		{
			fit_with_ridge(state, view, choices[i].ridge, towards, solution, weights);
			predict_others(state, view, today, solution, weights, &choices[i]);
		}
	}
	for (int i = 1; i < state->nridges; i++)
		if (choices[i].loss < best->loss)
			best = &choices[i];
	return best;
}

static void
append_number(StringInfo json, const char *key, double number)
{
	appendStringInfo(json, "\"%s\": %s, ", key,
					 isfinite(number) ? float8out_internal(number) : "null");
}

/* What was found, as the text of a jsonb object. */
static char *
describe(const FitState *state, const Choice *choices, const Choice *best, const double *today,
		 const double *solution, int rounds)
{
	StringInfoData json;
	double		loss_of_today = (best->loss + best->gain) / best->rows;
	int64		nleft = 0;
	int64		customers_left = 0;
	const FitRow *before = NULL;

	for (int64 i = 0; i < state->rows.n; i++)
	{
		const FitRow *row = FIT_ROW(&state->rows, i);

		nleft += row->left;
		/* a customer's rows stand together, but not in the order of days */
		if (row->left && (before == NULL || before->customer_id != row->customer_id))
		{
			customers_left++;
			before = row;
		}
	}
	initStringInfo(&json);
	appendStringInfo(&json, "{\"rows\": %lld, \"left\": %lld, \"customers_left\": %lld, ",
					 (long long) state->rows.n, (long long) nleft, (long long) customers_left);
	append_number(&json, "rounds", rounds);
	append_number(&json, "ridge", best->ridge);
	append_number(&json, "loss_of_today", loss_of_today);
	append_number(&json, "loss", best->loss / best->rows);
	append_number(&json, "gain", best->gain / best->rows);
	append_number(&json, "error", error_of_gain(best) / best->rows);
	append_number(&json, "slope_of_today", today[1]);
	append_number(&json, "intercept", solution[0]);
	appendStringInfo(&json, "\"proven\": %s, \"coefficients\": [",
					 best->gain > error_of_gain(best) ? "true" : "false");
	for (int c = 0; c < state->rows.ncoefficients; c++)
		appendStringInfo(&json, "%s%s", c == 0 ? "" : ", ", float8out_internal(solution[1 + c]));
	appendStringInfoString(&json, "], \"choices\": [");
	for (int i = 0; i < state->nridges; i++)
	{
		const Choice *choice = &choices[i];

		appendStringInfoString(&json, i == 0 ? "{" : ", {");
		append_number(&json, "ridge", choice->ridge);
		append_number(&json, "gain", choice->gain / choice->rows);
		appendStringInfo(&json, "\"error\": %s}",
						 float8out_internal(error_of_gain(choice) / choice->rows));
	}
	appendStringInfoString(&json, "]}");
	return json.data;
}

/*
 * chs_fit_final chooses a ridge and fits with it.  Returns a jsonb object, or NULL if nobody
 * left or nobody stayed.
 */
PG_FUNCTION_INFO_V1(chs_fit_final);
Datum
chs_fit_final(PG_FUNCTION_ARGS)
{
	FitState   *state = PG_ARGISNULL(0) ? NULL : (FitState *) PG_GETARG_POINTER(0);
	FitView		all;
	Choice	   *choices;
	const Choice *best;
	double	   *solution;
	double	   *towards;
	double	   *weights;
	double		today[2];
	int64		nleft = 0;
	int			rounds;
	int			n;

	if (!AggCheckCallContext(fcinfo, NULL))
		elog(ERROR, "chs_fit_final called in non-aggregate context");
	if (state == NULL)
		PG_RETURN_NULL();
	n = state->rows.ncoefficients;
	chs_fit_rows_sort(&state->rows, PARTS, CHOOSING_ROWS);
	for (int64 i = 0; i < state->rows.n; i++)
		nleft += FIT_ROW(&state->rows, i)->left;
	if (nleft == 0 || nleft == state->rows.n)
		PG_RETURN_NULL();
	choices = palloc0(state->nridges * sizeof(Choice));
	solution = palloc((1 + n) * sizeof(double));
	towards = palloc(n * sizeof(double));
	weights = palloc(n * sizeof(double));
	best = choose_ridge(state, choices);
	all = (FitView) {.rows = &state->rows,.part = -1};
	calibrate_today(all, today);
	begin_at_today(state, today, towards, solution, weights);
	rounds = fit_with_ridge(state, all, best->ridge, towards, solution, weights);
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(
		describe(state, choices, best, today, solution, rounds))));
}

/*
 * budget.c
 *	  Other people's code must not hold up everyone's scores.
 *
 * A worker that folds for everyone is in a hurry: the functions of plug-ins and the
 * expressions of attached tables may take so long for one customer, and so long for
 * all customers of a batch.  A customer for whom they take longer is cut off, and
 * is slow: it is left to another worker, which has the patience, see slow.c.  What is
 * refused since others have used up the time of the batch merely waits for the next
 * one; between the two, everybody else is served.
 */
#include "base/budget.h"

/* Of a customer, and of a batch before its last one, in milliseconds. */
#define CUSTOMER_MS 100
#define BATCH_MS 250

static bool is_on = false;
static int64 spent;				/* in this batch, in microseconds */
static int64 spent_before;		/* the present customer */
static bool was_cut;			/* the present customer */

/* chs_budget_begin gives a batch its time, or gives it anew, until chs_budget_end. */
void
chs_budget_begin(void)
{
	is_on = true;
	spent = spent_before = 0;
	was_cut = false;
}

/* chs_budget_end ends it: nothing is cut off any more but by the ordinary limits. */
void
chs_budget_end(void)
{
	is_on = was_cut = false;
}

/* chs_budget_suspend is for what only an ordinary limit may cut off; returns what chs_budget_resume wants. */
bool
chs_budget_suspend(void)
{
	bool		was_on = is_on;

	is_on = false;
	return was_on;
}

/* chs_budget_resume goes on as before chs_budget_suspend, which returned was_on. */
void
chs_budget_resume(bool was_on)
{
	is_on = was_on;
}

/* chs_budget_customer begins the next customer. */
void
chs_budget_customer(void)
{
	spent_before = spent;
	was_cut = false;
}

/*
 * chs_budget_is_spent tells whether other people's code must not be called for the
 * present customer, either in this batch any more or, as it is slow, at all.
 */
bool
chs_budget_is_spent(void)
{
	if (!is_on)
		return false;
	if (spent - spent_before >= CUSTOMER_MS * 1000)
		was_cut = true;
	return was_cut || spent_before >= BATCH_MS * 1000;
}

/* chs_budget_exceed notes that the present customer is slow. */
void
chs_budget_exceed(void)
{
	was_cut = true;
}

/* chs_budget_was_exceeded tells whether the present customer is slow. */
bool
chs_budget_was_exceeded(void)
{
	return is_on && was_cut;
}

/* chs_budget_is_on tells whether other people's code is limited by a batch. */
bool
chs_budget_is_on(void)
{
	return is_on;
}

/* chs_budget_left returns how many milliseconds are left for the present customer. */
int
chs_budget_left(void)
{
	return Max(CUSTOMER_MS - (int) ((spent - spent_before) / 1000), 1);
}

/* chs_budget_spend notes what other people's code took. */
void
chs_budget_spend(int64 microseconds)
{
	spent += microseconds;
}

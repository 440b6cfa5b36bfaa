/*
 * hurry.c
 *	  Other people's code must not hold up everyone's scores.
 *
 * A worker that folds for everyone is in a hurry: the functions of plug-ins and the
 * expressions of attached tables may take so long for one customer, and so long for
 * all customers of a batch.  A customer for whom they take longer is cut off, and
 * is slow: it is left to another worker, which has the patience, see slow.c.  What is
 * refused since others have used up the time of the batch merely waits for the next
 * one; between the two, everybody else is served.
 */
#include "hurry.h"

/* Of a customer, and of a batch before its last one, in milliseconds. */
#define PATIENCE_MS 100
#define BATCH_MS 250

static bool is_on = false;
static int64 spent;				/* in this batch, in microseconds */
static int64 spent_before;		/* the present customer */
static bool was_cut;			/* the present customer */

/* chs_hurry_begin gives a batch its time, or gives it anew, until chs_hurry_end. */
void
chs_hurry_begin(void)
{
	is_on = true;
	spent = spent_before = 0;
	was_cut = false;
}

/* chs_hurry_end ends it: nothing is cut off any more but by the ordinary limits. */
void
chs_hurry_end(void)
{
	is_on = was_cut = false;
}

/* chs_hurry_suspend is for what only an ordinary limit may cut off; returns what chs_hurry_resume wants. */
bool
chs_hurry_suspend(void)
{
	bool		was_on = is_on;

	is_on = false;
	return was_on;
}

/* chs_hurry_resume goes on as before chs_hurry_suspend, which returned was_on. */
void
chs_hurry_resume(bool was_on)
{
	is_on = was_on;
}

/* chs_hurry_customer begins the next customer. */
void
chs_hurry_customer(void)
{
	spent_before = spent;
	was_cut = false;
}

/*
 * chs_hurry_refuses tells whether other people's code must not be called for the
 * present customer, either in this batch any more or, as it is slow, at all.
 */
bool
chs_hurry_refuses(void)
{
	if (!is_on)
		return false;
	if (spent - spent_before >= PATIENCE_MS * 1000)
		was_cut = true;
	return was_cut || spent_before >= BATCH_MS * 1000;
}

/* chs_hurry_cut notes that the present customer is slow. */
void
chs_hurry_cut(void)
{
	was_cut = true;
}

/* chs_hurry_was_cut tells whether the present customer is slow. */
bool
chs_hurry_was_cut(void)
{
	return is_on && was_cut;
}

/* chs_hurry_is_on tells whether other people's code is limited by a batch. */
bool
chs_hurry_is_on(void)
{
	return is_on;
}

/* chs_hurry_patience returns how many milliseconds are left for the present customer. */
int
chs_hurry_patience(void)
{
	return Max(PATIENCE_MS - (int) ((spent - spent_before) / 1000), 1);
}

/* chs_hurry_spend notes what other people's code took. */
void
chs_hurry_spend(int64 microseconds)
{
	spent += microseconds;
}

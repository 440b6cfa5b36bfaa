/*
 * budget.c
 *	  How long other people's code may take: functions of plug-ins, expressions of
 *	  attached tables.
 *
 * Each call has a timeout, by which it is cancelled.  Besides, a worker that folds for
 * everyone has a budget, because other people's code must not hold up everyone's scores:
 * so long for one customer, and so long for all customers of a batch.  A customer for whom
 * that is not enough is cut off, and is slow: it is left to another worker, which has no
 * budget (see slow.c).  What is refused since others have spent that of the batch merely
 * waits for the next one; between the two, everybody else is served.
 *
 * For the budget, all steps of a call count together; of these only the slow ones are
 * noticed, those during which the timer fires, which it does often then.
 */
#include "base/budget.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

/* The budget of a customer, and of a batch before its last customer, in milliseconds. */
#define CUSTOMER_MS 100
#define BATCH_MS 250

/* How often the timer fires for the budget, in milliseconds. */
#define TICK_MS 10

static bool is_on = false;
static int64 spent;				/* in this batch, in microseconds */
static int64 spent_before;		/* the present customer */
static bool was_exceeded;		/* by the present customer */

uint64		chs_budget_steps = 0;

static bool timer_is_ready = false; /* in this process */
static TimeoutId timer;
static volatile sig_atomic_t out_of_time = false;
static volatile uint64 steps_seen;
static volatile sig_atomic_t ticks; /* of the timer, without progress */
static int	max_ticks;

/* ----------------------------------------------------------------- the budget */

/* chs_budget_begin gives a batch its budget, or gives it anew, until chs_budget_end. */
void
chs_budget_begin(void)
{
	is_on = true;
	spent = spent_before = 0;
	was_exceeded = false;
}

/* chs_budget_end ends it: nothing is cut off any more but by timeouts. */
void
chs_budget_end(void)
{
	is_on = was_exceeded = false;
}

/*
 * chs_budget_suspend is for what only a timeout may cut off; returns what
 * chs_budget_resume wants.
 */
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
	was_exceeded = false;
}

/* chs_budget_is_on tells whether there is a budget. */
bool
chs_budget_is_on(void)
{
	return is_on;
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
		was_exceeded = true;
	return was_exceeded || spent_before >= BATCH_MS * 1000;
}

/* chs_budget_exceed notes that the present customer is slow. */
void
chs_budget_exceed(void)
{
	was_exceeded = true;
}

/* chs_budget_was_exceeded tells whether the present customer is slow. */
bool
chs_budget_was_exceeded(void)
{
	return is_on && was_exceeded;
}

/* ----------------------------------------------------------------- the timeout */

/*
 * Called by the timer's signal: requests cancellation if no progress was made, for too
 * many ticks.
 */
static void
time_is_up(void)
{
	if (steps_seen != chs_budget_steps)
	{
		steps_seen = chs_budget_steps;
		return;
	}
	if (++ticks < max_ticks)
		return;
	out_of_time = true;
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
}

/*
 * A function could catch the cancellation and go on.  Each time it does, it is
 * cancelled again outside the block that caught it, until no block is left.
 */
static void
cancel_again(SubXactEvent event, SubTransactionId my_subid pg_attribute_unused(),
			 SubTransactionId parent_subid pg_attribute_unused(), void *arg pg_attribute_unused())
{
	if (event == SUBXACT_EVENT_ABORT_SUB && out_of_time)
	{
		InterruptPending = true;
		QueryCancelPending = true;
	}
}

/* Ends a call; returns whether it took too long. */
static bool
end_call(TimestampTz begun_at, uint64 steps_before, bool by_budget)
{
	bool		was_up;

	disable_timeout(timer, false);
	was_up = out_of_time;
	out_of_time = false;
	if (is_on)
		spent += steps_before == chs_budget_steps ? GetCurrentTimestamp() - begun_at :
			ticks * TICK_MS * INT64CONST(1000);
	if (was_up && by_budget)
		was_exceeded = true;
	/* our own cancellation must not hit anything else */
	if (was_up)
		QueryCancelPending = false;
	return was_up;
}

/*
 * chs_budget_call calls other people's code, for so many milliseconds, 0 for any time, and
 * no longer than the budget allows.  Returns false if it took too long; then the caller
 * must raise an error.  There is one timer, so calls must not be nested.
 */
bool
chs_budget_call(int timeout, void (*work) (void *arg), void *arg)
{
	MemoryContext caller = CurrentMemoryContext;
	TimestampTz begun_at = GetCurrentTimestamp();
	uint64		steps_before = chs_budget_steps;
	int			left = Max(CUSTOMER_MS - (int) ((spent - spent_before) / 1000), 1);
	bool		by_budget = is_on && (timeout == 0 || left < timeout);
	bool		was_up;

	if (!timer_is_ready)
	{
		timer = RegisterTimeout(USER_TIMEOUT, time_is_up);
		RegisterSubXactCallback(cancel_again, NULL);
		timer_is_ready = true;
	}
	out_of_time = false;
	ticks = 0;
	steps_seen = chs_budget_steps;
	max_ticks = by_budget ? (left + TICK_MS - 1) / TICK_MS : 1;
	if (by_budget)
		enable_timeout_every(timer, TimestampTzPlusMilliseconds(begun_at, TICK_MS), TICK_MS);
	else if (timeout > 0)
		enable_timeout_every(timer, TimestampTzPlusMilliseconds(begun_at, timeout), timeout);
	/* no abort ends the timer */
	PG_TRY();
	{
		work(arg);
		was_up = end_call(begun_at, steps_before, by_budget);
	}
	PG_CATCH();
	{
		was_up = end_call(begun_at, steps_before, by_budget);
		if (!was_up)
			PG_RE_THROW();
		MemoryContextSwitchTo(caller);
		FlushErrorState();
	}
	PG_END_TRY();
	return !was_up;
}

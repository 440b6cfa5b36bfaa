/*
 * time_limit.c
 *	  A limit on the time that other people's code may take.
 *
 * There is only one timer, so limits must not be nested.
 *
 * In a hurry (see budget.c) the limit is on the sum of all steps, of which only the
 * slow ones are noticed: those during which the timer fires, which it does often.
 */
#include "base/time_limit.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "base/budget.h"

uint64		chs_time_limit_steps = 0;

static bool timer_is_ready = false; /* in this process */
static TimeoutId timer;
static volatile sig_atomic_t out_of_time = false;
static volatile uint64 steps_seen;

/* How often the timer fires in a hurry, in milliseconds. */
#define TICK_MS 10

static volatile sig_atomic_t ticks; /* of the timer, without progress */
static int	max_ticks;
static bool in_hurry;			/* the limit is that of a hurry */
static uint64 steps_before;
static TimestampTz begun_at;

/* Called by the timer's signal: requests cancellation if no progress was made, for too many ticks. */
static void
time_is_up(void)
{
	if (steps_seen != chs_time_limit_steps)
	{
		steps_seen = chs_time_limit_steps;
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

/*
 * chs_time_limit_begin begins a limit, 0 for none.  Every use ends with
 * chs_time_limit_end, also after an error.
 */
void
chs_time_limit_begin(int milliseconds)
{
	if (!timer_is_ready)
	{
		timer = RegisterTimeout(USER_TIMEOUT, time_is_up);
		RegisterSubXactCallback(cancel_again, NULL);
		timer_is_ready = true;
	}
	out_of_time = false;
	ticks = 0;
	max_ticks = 1;
	steps_seen = steps_before = chs_time_limit_steps;
	begun_at = GetCurrentTimestamp();
	in_hurry = chs_budget_is_on() && (milliseconds == 0 || chs_budget_left() < milliseconds);
	if (in_hurry)
	{
		milliseconds = TICK_MS;
		max_ticks = (chs_budget_left() + TICK_MS - 1) / TICK_MS;
	}
	if (milliseconds > 0)
		enable_timeout_every(timer, TimestampTzPlusMilliseconds(begun_at, milliseconds), milliseconds);
}

/* chs_time_limit_end ends the limit, and returns whether the time was up. */
bool
chs_time_limit_end(void)
{
	bool		was_up;

	disable_timeout(timer, false);
	was_up = out_of_time;
	out_of_time = false;
	if (chs_budget_is_on())
		chs_budget_spend(steps_before == chs_time_limit_steps ? GetCurrentTimestamp() - begun_at : ticks * TICK_MS * INT64CONST(1000));
	if (was_up && in_hurry)
		chs_budget_exceed();
	in_hurry = false;
	/* our own cancellation must not hit anything else */
	if (was_up)
		QueryCancelPending = false;
	return was_up;
}

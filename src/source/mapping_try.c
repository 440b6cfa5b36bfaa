/*
 * mapping_try.c
 *	  Trying other people's code, which may fail or take too long.
 */
#include "source/mapping_try.h"

#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "base/budget.h"
#include "base/error.h"
#include "base/settings.h"
#include "base/time_limit.h"
#include "base/try.h"
#include "source/mapping.h"

/* A mapping that was too slow for this many rows in succession is suspended, ... */
#define MAX_SLOW_ROWS 3
/* ... for this many times the time limit of a row. */
#define REST_FACTOR 10

/* What is to be done in limited time. */
typedef struct TimedWork
{
	Mapping    *mapping;
	void		(*work) (void *arg);
	void	   *arg;
	bool		by_row;			/* so that the mapping is suspended if row after row takes too long */
} TimedWork;

/*
 * How long a row may take, which is not so long that it would exceed a limit on the
 * application's own statement.
 */
static int
time_for_row(void)
{
	return StatementTimeout > 0 && chs_plugin_timeout > 0 ? Min(chs_plugin_timeout, Max(StatementTimeout / 8, 1)) : chs_plugin_timeout;
}

/* chs_mapping_suspend suspends a mapping that was too slow for a while. */
void
chs_mapping_suspend(Mapping *m)
{
	m->rests_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), (int64) time_for_row() * REST_FACTOR);
}

pg_noreturn static void
fail_as_slow(TimedWork *timed)
{
	Mapping    *m = timed->mapping;

	if (timed->by_row && !chs_budget_was_exceeded() && ++m->nslow >= MAX_SLOW_ROWS)
		chs_mapping_suspend(m);
	ereport(ERROR,
			(errcode(ERRCODE_EXTERNAL_ROUTINE_TIMEOUT),
			 errmsg("expressions of table %s took too long",
					quote_qualified_identifier(get_namespace_name(get_rel_namespace(m->relation)), get_rel_name(m->relation))),
			 chs_budget_was_exceeded() ? errdetail("They will be evaluated apart from others.") :
			 errdetail("They took longer than \"%s\" for a row.", "chs.plugin_timeout")));
	pg_unreachable();
}

static void
work_in_time(void *arg)
{
	TimedWork  *timed = arg;
	bool		was_up = false;

	/* no abort ends the limit */
	PG_TRY();
	{
		chs_time_limit_begin(time_for_row());
		timed->work(timed->arg);
		was_up = chs_time_limit_end();
	}
	PG_CATCH();
	{
		if (!chs_time_limit_end())
			PG_RE_THROW();
		FlushErrorState();
		was_up = true;
	}
	PG_END_TRY();
	if (was_up)
		fail_as_slow(timed);
	if (timed->by_row)
		timed->mapping->nslow = 0;
}

/*
 * chs_mapping_try_timed is chs_try() for the expressions of a mapping.  If these may take
 * long, the time for each row, signalled by chs_time_limit_step, is limited: beyond it,
 * they fail with ERRCODE_EXTERNAL_ROUTINE_TIMEOUT, and the row itself may be valid.  After
 * several rows (by_row) that took too long, they are not tried for a while.
 */
ErrorData *
chs_mapping_try_timed(Mapping *mapping, void (*work) (void *arg), void *arg, bool by_row)
{
	TimedWork	timed = {mapping, work, arg, by_row};

	if (!mapping->may_be_slow)
		return chs_try(work, arg);
	if (by_row && mapping->rests_until > GetCurrentTimestamp())
		return chs_error_make(ERRCODE_EXTERNAL_ROUTINE_TIMEOUT,
							  psprintf("expressions are not evaluated before %s, since they took too long",
									   timestamptz_to_str(mapping->rests_until)), NULL, NULL);
	return chs_try(work_in_time, &timed);
}

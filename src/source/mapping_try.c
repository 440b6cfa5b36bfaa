/*
 * mapping_try.c
 *	  Trying the expressions of a mapping, which may fail or take too long.
 */
#include "source/mapping_try.h"

#include "catalog/pg_class.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "base/budget.h"
#include "base/error.h"
#include "base/rest.h"
#include "base/settings.h"
#include "base/try.h"
#include "source/mapping.h"

/* A query may take this many times the time limit of a row. */
#define QUERY_FACTOR 10

/* What is to be done in limited time. */
typedef struct TimedWork
{
	Mapping    *mapping;
	void		(*work) (void *arg);
	void	   *arg;
	int			timeout;		/* in milliseconds */
	bool		by_row;			/* the table rests if row after row takes too long */
} TimedWork;

/*
 * How long a row may take, which is not so long that it would exceed a limit on the
 * application's own statement.
 */
static int
time_for_row(void)
{
	return StatementTimeout > 0 && chs_plugin_timeout > 0 ?
		Min(chs_plugin_timeout, Max(StatementTimeout / 8, 1)) : chs_plugin_timeout;
}

static void
work_in_time(void *arg)
{
	static int64 nslow = 0;
	TimedWork  *timed = arg;
	Oid			relation = timed->mapping->relation;

	if (chs_budget_call(timed->timeout, timed->work, timed->arg))
	{
		if (timed->by_row)
			chs_rest_end(RelationRelationId, relation);
		return;
	}
	/* each row counts */
	if (timed->by_row && !chs_budget_was_exceeded())
		chs_rest_note_slow(RelationRelationId, relation, ++nslow, timed->timeout);
	ereport(ERROR,
			(errcode(ERRCODE_EXTERNAL_ROUTINE_TIMEOUT),
			 errmsg("expressions of table %s took too long",
					quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)),
											   get_rel_name(relation))),
			 chs_budget_was_exceeded() ? errdetail("They will be evaluated apart from others.") :
			 timed->timeout > chs_plugin_timeout ?
			 errdetail("A query with them took longer than %d times \"%s\".", QUERY_FACTOR,
					   "chs.plugin_timeout") :
			 errdetail("They took longer than \"%s\" for a row.", "chs.plugin_timeout")));
}

/*
 * chs_mapping_try_timed is chs_try() for the expressions of a mapping.  If these may take
 * long, the time for each row, signalled by chs_budget_step, is limited: beyond it, they
 * fail with ERRCODE_EXTERNAL_ROUTINE_TIMEOUT, and the row itself may be valid.  After
 * several rows (by_row) that took too long, they are not tried for a while.
 */
ErrorData *
chs_mapping_try_timed(Mapping *mapping, void (*work) (void *arg), void *arg, bool by_row)
{
	TimedWork	timed = {mapping, work, arg, time_for_row(), by_row};
	TimestampTz until;

	if (!mapping->may_be_slow)
		return chs_try(work, arg);
	until = by_row ? chs_rest_until(RelationRelationId, mapping->relation) : 0;
	if (until != 0)
		return chs_error_make(ERRCODE_EXTERNAL_ROUTINE_TIMEOUT,
							  psprintf("expressions are not evaluated before %s,"
									   " since they took too long", timestamptz_to_str(until)),
							  NULL, NULL);
	return chs_try(work_in_time, &timed);
}

/*
 * chs_mapping_try_query does the same for a query that evaluates the expressions for any
 * number of rows, which has more time, but all of them together.
 */
ErrorData *
chs_mapping_try_query(Mapping *mapping, void (*work) (void *arg), void *arg)
{
	TimedWork	timed = {mapping, work, arg, QUERY_FACTOR * chs_plugin_timeout, false};

	return mapping->may_be_slow ? chs_try(work_in_time, &timed) : chs_try(work, arg);
}

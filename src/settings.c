/*
 * settings.c
 *	  All settings.
 */
#include "settings.h"

#include <limits.h>

#include "utils/guc.h"

/* Whether the worker works; the rest of chs does not depend on it. */
bool		chs_enabled = true;

/*
 * How long the worker may sleep when nobody wakes it, in seconds.  It bounds the
 * delay of what cannot wake it, such as COMMIT PREPARED, and of a failed batch.
 */
int			chs_naptime = 60;

/* How many queue rows one transaction of the worker looks at. */
int			chs_batch_size = 1000;

/* From how many points on a change of the score is a row of the history. */
double		chs_history_threshold = 1.0;

/* chs_settings_define makes the settings known to the server. */
void
chs_settings_define(void)
{
	DefineCustomBoolVariable("chs.enabled",
							 "Lets the background worker fold the queue and keep scores fresh.",
							 "While it is off the queue fills; chs_process_queue() works all the same.",
							 &chs_enabled, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("chs.naptime",
							"How long the background worker sleeps at most before it looks at a database again.",
							"Commits wake it at once; this is the safety net, which COMMIT PREPARED needs.",
							&chs_naptime, 60, 1, 86400, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("chs.batch_size",
							"How many queued deltas are folded in one transaction.",
							"From 1 to 1000000.  The worker commits after each batch.",
							&chs_batch_size, 1000, 1, 1000000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomRealVariable("chs.history_threshold",
							 "From how many points on a change of a score is recorded in chs.health_scores.",
							 "From 0 to 100.  A change of status, and the first score of a UTC day, are recorded always.",
							 &chs_history_threshold, 1.0, 0, 100, PGC_SIGHUP, 0, NULL, NULL, NULL);
	MarkGUCPrefixReserved("chs");
}

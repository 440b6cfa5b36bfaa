/*
 * settings.c
 *	  All settings.
 */
#include "base/settings.h"

#include <limits.h>

#include "postmaster/interrupt.h"
#include "utils/guc.h"
#include "utils/varlena.h"

#include "base/worker_shared.h"

/* Whether the worker works; the rest of chs does not depend on it. */
bool		chs_enabled = true;

/*
 * How long the worker may sleep when nobody wakes it, in seconds.  This bounds the
 * delay of what cannot wake it, such as retrying a failed batch.
 */
int			chs_naptime = 60;

/* The databases that workers are started for; empty: all. */
static char *chs_databases = NULL;

/* On whose behalf the session acts, which chs.publish() reads. */
static char *chs_actor = NULL;

/* Whether changes of status are announced. */
bool		chs_announce_status = true;

/* How many workers may share the work of a database. */
int			chs_max_workers = 2;

/* How many queue rows one transaction of the worker looks at. */
int			chs_batch_size = 1000;

/* How long events, history and rejected rows are kept, in minutes; 0: forever. */
int			chs_event_retention = 0;
int			chs_rejected_retention = 0;
int			chs_history_retention = 0;

/* By how many points a score must change to get a row of history. */
double		chs_history_threshold = 1.0;

/* How long the function of a plug-in may take for one customer and day, in milliseconds. */
int			chs_plugin_timeout = 5000;

static bool
check_databases(char **value, void **extra pg_attribute_unused(),
				GucSource source pg_attribute_unused())
{
	char	   *copy = pstrdup(*value);
	List	   *names;
	bool		valid = SplitIdentifierString(copy, ',', &names);

	if (!valid)
		GUC_check_errdetail("List syntax is invalid.");
	list_free(names);
	pfree(copy);
	return valid;
}

/* chs_settings_lists_database tells whether workers are wanted for a database. */
bool
chs_settings_lists_database(const char *name)
{
	char	   *copy = pstrdup(chs_databases);
	List	   *names;
	ListCell   *cell;
	bool		listed = false;

	if (!SplitIdentifierString(copy, ',', &names))
		elog(ERROR, "chs.databases has invalid syntax");	/* it was checked before */
	foreach(cell, names)
		listed |= strcmp(lfirst(cell), name) == 0;
	listed |= names == NIL;
	list_free(names);
	pfree(copy);
	return listed;
}

/*
 * chs_settings_reload reloads the settings if a background process was told that
 * they changed, and returns whether it did.
 */
bool
chs_settings_reload(void)
{
	if (!ConfigReloadPending)
		return false;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	return true;
}

/* chs_settings_define makes the settings known to the server. */
void
chs_settings_define(void)
{
	DefineCustomBoolVariable("chs.enabled",
							 "Lets background workers fold the queue and keep scores fresh.",
							 "While this is off, the queue grows; chs_process_queue() still works.",
							 &chs_enabled, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("chs.announce_status",
							 "Announces changes of status by NOTIFY on channel chs_status.",
							 "Listeners read chs_status_changes(); the announcement itself says"
							 " nothing of any customer.",
							 &chs_announce_status, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("chs.databases",
							   "Names the databases that background workers serve.",
							   "A comma-separated list; empty means all databases that have the"
							   " extension.",
							   &chs_databases, "", PGC_SIGHUP, GUC_LIST_INPUT, check_databases,
							   NULL, NULL);
	DefineCustomStringVariable("chs.actor",
							   "Names the person on whose behalf the session acts.",
							   "Versions of scorecards record it beside the role that published"
							   " them.",
							   &chs_actor, "", PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("chs.max_workers",
							"Sets how many background workers may share the work of one database.",
							"Further ones start only when there is a backlog; each takes a slot of"
							" max_worker_processes.",
							&chs_max_workers, 2, 1, MAX_WORKERS, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("chs.naptime",
							"Sets the longest time that a background worker sleeps before it looks"
							" at a database again.",
							"Commits wake it at once, so this is only a safety net.",
							&chs_naptime, 60, 1, 86400, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("chs.batch_size",
							"Sets how many queued deltas are folded in one transaction.",
							"The worker commits after each batch.",
							&chs_batch_size, 1000, 1, 1000000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomRealVariable("chs.history_threshold",
							 "Sets by how many points a score must change to be recorded in"
							 " chs.health_scores.",
							 "Changes of status, and the first score of a UTC day, are always"
							 " recorded.",
							 &chs_history_threshold, 1.0, 0, 100, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("chs.plugin_timeout",
							"Sets how long a plug-in factor may run for one customer and day, or"
							" the expressions of an attached table for one row.",
							"What takes longer is cancelled: the customer's score fails, or the"
							" row is rejected.  0 means no limit.",
							&chs_plugin_timeout, 5000, 0, 600000, PGC_SUSET, GUC_UNIT_MS, NULL,
							NULL, NULL);
	DefineCustomIntVariable("chs.event_retention",
							"Sets how long events are kept in chs.customer_events.",
							"Older ones are deleted, by whole UTC days, but never one that a score"
							" still needs.  0 means forever.",
							&chs_event_retention, 0, 0, INT_MAX, PGC_SUSET, GUC_UNIT_MIN, NULL,
							NULL, NULL);
	DefineCustomIntVariable("chs.history_retention",
							"Sets how long rows are kept in chs.health_scores.",
							"Those of older UTC days are deleted.  0 means forever.",
							&chs_history_retention, 0, 0, INT_MAX, PGC_SUSET, GUC_UNIT_MIN, NULL,
							NULL, NULL);
	DefineCustomIntVariable("chs.rejected_retention",
							"Sets how long rows are kept in chs.rejected_events.",
							"Those of older UTC days are deleted; the rows that they are copies of"
							" stay in their tables.  0 means forever.",
							&chs_rejected_retention, 0, 0, INT_MAX, PGC_SUSET, GUC_UNIT_MIN, NULL,
							NULL, NULL);
	MarkGUCPrefixReserved("chs");
}

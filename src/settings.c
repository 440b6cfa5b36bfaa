/*
 * settings.c
 *	  All settings.
 */
#include "settings.h"

#include <limits.h>

#include "postmaster/interrupt.h"
#include "utils/guc.h"
#include "utils/varlena.h"
#include "worker_shared.h"

/* Whether the worker works; the rest of chs does not depend on it. */
bool		chs_enabled = true;

/*
 * How long the worker may sleep when nobody wakes it, in seconds.  It bounds the
 * delay of what cannot wake it, such as a failed batch.
 */
int			chs_naptime = 60;

/* For which databases workers are started; empty: for all. */
static char *chs_databases = NULL;

/* Whether changes of status are announced. */
bool		chs_announce_status_changes = true;

/* So many workers may share the work of a database. */
int			chs_max_workers = 2;

/* How many queue rows one transaction of the worker looks at. */
int			chs_batch_size = 1000;

/* How long events, history and rows that were put aside are kept, in minutes; 0: for ever. */
int			chs_event_retention = 0;
int			chs_rejected_retention = 0;
int			chs_history_retention = 0;

/* From how many points on a change of the score is a row of the history. */
double		chs_history_threshold = 1.0;

/* How long the function of a plug-in may take for one customer and day, in milliseconds. */
int			chs_plugin_timeout = 5000;

static bool
check_databases(char **value, void **extra pg_attribute_unused(), GucSource source pg_attribute_unused())
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
		elog(ERROR, "chs.databases has invalid syntax");	/* it was checked */
	foreach(cell, names)
		listed |= strcmp(lfirst(cell), name) == 0;
	listed |= names == NIL;
	list_free(names);
	pfree(copy);
	return listed;
}

/*
 * chs_settings_reload reads the settings again if a background process was told
 * that they changed, and tells whether it did.
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
							 "Lets the background worker fold the queue and keep scores fresh.",
							 "While it is off the queue fills; chs_process_queue() works all the same.",
							 &chs_enabled, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("chs.announce_status",
							 "Announces changes of status by NOTIFY on channel chs_status.",
							 "LISTEN needs no right: every session of the database can hear whose status changed.",
							 &chs_announce_status_changes, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("chs.databases",
							   "Names the databases that the background worker works for.",
							   "A list separated by commas; empty: all databases that have the extension.",
							   &chs_databases, "", PGC_SIGHUP, GUC_LIST_INPUT, check_databases, NULL, NULL);
	DefineCustomIntVariable("chs.max_workers",
							"How many background workers may share the work of one database.",
							"From 1 to 8.  A second one comes only for a backlog; each takes a place of max_worker_processes.",
							&chs_max_workers, 2, 1, MAX_WORKERS, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("chs.naptime",
							"How long the background worker sleeps at most before it looks at a database again.",
							"Commits wake it at once; this is the safety net.",
							&chs_naptime, 60, 1, 86400, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("chs.batch_size",
							"How many queued deltas are folded in one transaction.",
							"From 1 to 1000000.  The worker commits after each batch.",
							&chs_batch_size, 1000, 1, 1000000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomRealVariable("chs.history_threshold",
							 "From how many points on a change of a score is recorded in chs.health_scores.",
							 "From 0 to 100.  A change of status, and the first score of a UTC day, are recorded always.",
							 &chs_history_threshold, 1.0, 0, 100, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("chs.plugin_timeout",
							"How long a plug-in factor may take for one customer and day, or the expressions of an attached table for a row.",
							"What takes longer is cancelled: the customer's score fails, or the row is put aside.  0 turns this off.",
							&chs_plugin_timeout, 5000, 0, 600000, PGC_SUSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("chs.event_retention",
							"How long events are kept in chs.customer_events.",
							"Older ones are deleted, by whole UTC days, but never one that a score still needs.  0 keeps all.",
							&chs_event_retention, 0, 0, INT_MAX, PGC_SUSET, GUC_UNIT_MIN, NULL, NULL, NULL);
	DefineCustomIntVariable("chs.history_retention",
							"How long rows are kept in chs.health_scores.",
							"Those of older UTC days are deleted.  0 keeps all.",
							&chs_history_retention, 0, 0, INT_MAX, PGC_SUSET, GUC_UNIT_MIN, NULL, NULL, NULL);
	DefineCustomIntVariable("chs.rejected_retention",
							"How long rows are kept in chs.rejected_events.",
							"Those of older UTC days are deleted; the rows that they are copies of stay in their tables.  0 keeps all.",
							&chs_rejected_retention, 0, 0, INT_MAX, PGC_SUSET, GUC_UNIT_MIN, NULL, NULL, NULL);
	MarkGUCPrefixReserved("chs");
}

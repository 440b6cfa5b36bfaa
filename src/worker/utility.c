/*
 * utility.c
 *	  Statements that concern the workers.
 *
 * CREATE DATABASE ... TEMPLATE, DROP DATABASE, and ALTER DATABASE ... RENAME or SET
 * TABLESPACE need a database that nobody is connected to, and wait five seconds for
 * that.  A worker leaves by itself when it has nothing to do, but a busy one would
 * be in the way; so it is terminated, and not started again before the statement
 * has ended.  Only the owner of the database can cause that.
 *
 * COMMIT PREPARED may commit events that the session executing it knows nothing
 * about. (On behalf of a subscription it is not a statement; see worker_shared.c.)
 */
#include "worker/utility.h"

#include <signal.h>

#include "access/xact.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/procarray.h"
#include "tcop/utility.h"
#include "utils/acl.h"

#include "base/wake.h"
#include "base/worker_shared.h"

/* How long to wait for a terminated worker, and how often to check, in milliseconds. */
#define MAX_WAIT_MS 5000
#define POLL_MS 5

static ProcessUtility_hook_type previous_hook = NULL;

static const char *
option_value(const List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, name) == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return NULL;
}

/* The name of the database that a statement needs without sessions, or NULL. */
static const char *
database_to_leave(const Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_CreatedbStmt:
			{
				const char *template =
					option_value(((const CreatedbStmt *) statement)->options, "template");

				return template != NULL ? template : "template1";
			}
		case T_DropdbStmt:
			return ((const DropdbStmt *) statement)->dbname;
		case T_AlterDatabaseStmt:
			if (option_value(((const AlterDatabaseStmt *) statement)->options,
							 "tablespace") != NULL)
				return ((const AlterDatabaseStmt *) statement)->dbname;
			return NULL;
		case T_RenameStmt:
			if (((const RenameStmt *) statement)->renameType == OBJECT_DATABASE)
				return ((const RenameStmt *) statement)->subname;
			return NULL;
		default:
			return NULL;
	}
}

static bool admit_at_end = false;

/* Whether a terminated worker is gone, so that it no longer counts as a session of its database. */
static bool
is_gone(const WorkerSlot *worker, int pid)
{
	bool		detached;

	LWLockAcquire(chs_worker_shared->lock, LW_SHARED);
	detached = worker->pid != pid;
	LWLockRelease(chs_worker_shared->lock);
	return detached && BackendPidGetProc(pid) == NULL;
}

/*
 * Waits for a terminated worker, at most as long as the server waits for sessions.
 * WITH (FORCE) does not wait but terminates sessions, which not every owner may do
 * to a worker's, since it is a superuser's.
 */
static void
wait_until_gone(const WorkerSlot *worker, int pid)
{
	static uint32 wait_event = 0;

	for (int waited = 0; waited < MAX_WAIT_MS && !is_gone(worker, pid); waited += POLL_MS)
	{
		CHECK_FOR_INTERRUPTS();
		(void) WaitLatch(NULL, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, POLL_MS,
						 chs_wait_event(wait_event, "ChsWorkerExit"));
	}
}

/*
 * Terminates the workers of a database and keeps them out until the transaction
 * ends, if the caller owns it.
 */
static void
keep_out(const char *name)
{
	Oid			database = get_database_oid(name, true);
	DatabaseSlot *slot;
	int			ended[WORKER_SLOTS] = {0};

	if (!OidIsValid(database) || !chs_is_database_owner(database, GetUserId()))
		return;
	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	slot = chs_worker_find_slot(database);
	if (slot != NULL)
	{
		slot->kept_out_by = MyProcPid;
		for (int i = 0; i < WORKER_SLOTS; i++)
		{
			if (slot->workers[i].pid == 0)
				continue;
			slot->workers[i].terminated = true;
			ended[i] = slot->workers[i].pid;
			kill(ended[i], SIGTERM);
		}
	}
	LWLockRelease(chs_worker_shared->lock);
	for (int i = 0; i < WORKER_SLOTS; i++)
		if (ended[i] != 0)
			wait_until_gone(&slot->workers[i], ended[i]);
}

/*
 * Lets workers return, after the launcher has looked for databases that were
 * created or dropped.
 */
static void
let_in(XactEvent event, void *arg pg_attribute_unused())
{
	if (!admit_at_end ||
		(event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE))
		return;
	admit_at_end = false;
	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	chs_worker_shared->list_databases = true;
	for (int i = 0; i < MAX_DATABASES; i++)
		if (chs_worker_shared->databases[i].kept_out_by == MyProcPid)
			chs_worker_shared->databases[i].kept_out_by = 0;
	if (chs_worker_shared->launcher_latch)
		SetLatch(chs_worker_shared->launcher_latch);
	LWLockRelease(chs_worker_shared->lock);
}

/* What was committed may also have been CREATE EXTENSION. */
static void
wake_after_commit_prepared(void)
{
	if (!chs_wake_if_installed() && OidIsValid(get_extension_oid("chs", true)))
		chs_wake_at_commit();
}

static void
process_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	const Node *statement = pstmt->utilityStmt;
	const char *name = database_to_leave(statement);
	bool		is_commit_prepared = IsA(statement, TransactionStmt) &&
		((const TransactionStmt *) statement)->kind == TRANS_STMT_COMMIT_PREPARED;

	/* including statements that make a database a template, or allow connections to it */
	if (name != NULL || IsA(statement, AlterDatabaseStmt))
		admit_at_end = true;
	if (name != NULL)
		keep_out(name);
	(previous_hook ? previous_hook : standard_ProcessUtility)
		(pstmt, query, read_only_tree, context, params, environment, dest, completion);
	if (is_commit_prepared)
		wake_after_commit_prepared();
}

/* chs_utility_init installs the hook when the library is preloaded. */
void
chs_utility_init(void)
{
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	previous_hook = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	RegisterXactCallback(let_in, NULL);
}

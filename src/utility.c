/*
 * utility.c
 *	  Statements that the workers have to know of.
 *
 * CREATE DATABASE ... TEMPLATE, DROP DATABASE, and ALTER DATABASE ... RENAME or SET
 * TABLESPACE want a database to be left by everybody, and wait five seconds for
 * that.  A worker leaves by itself when it has nothing to do, but one with much to
 * do would be in the way; so it is ended, and not started again before the
 * statement has ended.  Only whoever owns the database can have that done.
 *
 * COMMIT PREPARED may be the commit of events, which the session that executes it
 * knows nothing of.  (That of a subscription is no statement; see worker_shared.c.)
 */
#include "utility.h"

#include "compat.h"

#include <signal.h>

#include "access/xact.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "worker_shared.h"

static ProcessUtility_hook_type previous_hook = NULL;

static const char *
find_option(const List *options, const char *name)
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

/* The name of the database that a statement wants to be left by everybody, or NULL. */
static const char *
database_to_leave(const Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_CreatedbStmt:
			return find_option(((const CreatedbStmt *) statement)->options, "template");
		case T_DropdbStmt:
			return ((const DropdbStmt *) statement)->dbname;
		case T_AlterDatabaseStmt:
			if (find_option(((const AlterDatabaseStmt *) statement)->options, "tablespace") != NULL)
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

static bool let_in_at_end = false;

/*
 * Ends the workers of a database, and keeps them out until the transaction ends;
 * not if it is somebody else's.
 */
static void
keep_out(const char *name)
{
	Oid			database = get_database_oid(name, true);
	DatabaseSlot *slot;

	if (!OidIsValid(database) || !chs_is_database_owner(database, GetUserId()))
		return;
	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	slot = chs_worker_find_slot(database);
	if (slot != NULL)
	{
		slot->kept_out_by = MyProcPid;
		for (int i = 0; i < MAX_WORKERS; i++)
		{
			if (slot->workers[i].pid == 0)
				continue;
			slot->workers[i].sent_away = true;
			kill(slot->workers[i].pid, SIGTERM);
		}
	}
	LWLockRelease(chs_worker_shared->lock);
}

/*
 * Lets workers come again, but first the launcher looks for databases that have
 * come or gone.
 */
static void
let_in(XactEvent event, void *arg pg_attribute_unused())
{
	if (!let_in_at_end || (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT))
		return;
	let_in_at_end = false;
	LWLockAcquire(chs_worker_shared->lock, LW_EXCLUSIVE);
	chs_worker_shared->look_again = true;
	for (int i = 0; i < MAX_DATABASES; i++)
		if (chs_worker_shared->databases[i].kept_out_by == MyProcPid)
			chs_worker_shared->databases[i].kept_out_by = 0;
	if (chs_worker_shared->launcher_latch)
		SetLatch(chs_worker_shared->launcher_latch);
	LWLockRelease(chs_worker_shared->lock);
}

static void
process_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	const Node *statement = pstmt->utilityStmt;
	const char *name = database_to_leave(statement);
	bool		is_commit_prepared = IsA(statement, TransactionStmt) &&
		((const TransactionStmt *) statement)->kind == TRANS_STMT_COMMIT_PREPARED;

	if (name != NULL)
		keep_out(name);
	/* also what makes a database a template, or opens it to connections */
	if (name != NULL || IsA(statement, CreatedbStmt) || IsA(statement, AlterDatabaseStmt))
		let_in_at_end = true;
	(previous_hook ? previous_hook : standard_ProcessUtility)
		(pstmt, query, read_only_tree, context, params, environment, dest, completion);
	if (is_commit_prepared)
		chs_worker_wake_if_installed();
}

/* chs_utility_init registers for statements when the library is being preloaded. */
void
chs_utility_init(void)
{
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	previous_hook = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	RegisterXactCallback(let_in, NULL);
}

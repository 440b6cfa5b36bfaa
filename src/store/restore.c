/*
 * restore.c
 *	  Restoring from a dump.
 *
 * The tables of an extension have their constraints and triggers before their rows
 * arrive, and pg_restore with --jobs loads the tables in any order, each in its own
 * session.  So while a dump is restored
 *
 * - each table replaces its shipped rows by those of the dump, on its own;
 * - references are not checked: what they refer to may come later.  The dump
 *	 was of one snapshot, so they are right;
 * - events are not checked again, and not counted: by which version is not known
 *	 yet.  Their customers are queued to be rebuilt;
 * - the worker waits until the restoring sessions have ended, so that no score of
 *	 a customer whose events are still to come gets into the history.
 *
 * PostgreSQL does not tell that a session restores a dump.  It is recognized by what
 * every dump and pg_restore begin with: some ten settings, all of which the session
 * itself must have set, whatever they are by default; two must have the values that
 * nobody works with.  It is believed only of roles that may delete all rows of the
 * table anyway, and written to the server's log.
 */
#include "store/restore.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc_tables.h"

#include "base/catalog.h"
#include "base/spi.h"

/*
 * Advisory locks of users have 1 or 2 in the last field, claims have 0x6368.
 * Restoring sessions hold this lock in share mode, workers in the mode of writers:
 * there can be any number of either, but not both.
 */
#define RESTORE_LOCK_FIELD4 0x6369

static LOCKTAG
restore_lock(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, 0, RESTORE_LOCK_FIELD4);
	return tag;
}

static bool
has_right(Relation rel, AclMode right)
{
	return pg_class_aclcheck(RelationGetRelid(rel), GetUserId(), right) == ACLCHECK_OK;
}

/* What all versions of pg_dump and pg_restore set first, in every session. */
static const char *const dump_settings[] = {
	"check_function_bodies", "client_encoding", "client_min_messages",
	"idle_in_transaction_session_timeout", "lock_timeout", "row_security", "search_path",
	"standard_conforming_strings", "statement_timeout", "xmloption"
};

/* chs_restore_is_running tells whether this session has the settings of a restore. */
bool
chs_restore_is_running(void)
{
	static struct config_generic *settings[lengthof(dump_settings)];

	if (check_function_bodies || namespace_search_path[0] != '\0')
		return false;
	for (size_t i = 0; i < lengthof(dump_settings); i++)
	{
		if (settings[i] == NULL)
			settings[i] = chs_find_setting(dump_settings[i]);
		if (settings[i]->source != PGC_S_SESSION)
			return false;
	}
	return true;
}

/* chs_restore_is_on tells whether rows of a table that are being inserted come from a dump. */
bool
chs_restore_is_on(Relation rel)
{
	return chs_restore_is_running() && has_right(rel, ACL_DELETE) && has_right(rel, ACL_TRUNCATE);
}

/*
 * chs_restore_hold_worker makes the worker wait until this session ends, or releases
 * its advisory locks, as DISCARD ALL does; says so in the log, once.
 */
void
chs_restore_hold_worker(void)
{
	static bool logged = false;
	LOCKTAG		tag = restore_lock();

	(void) LockAcquire(&tag, ShareLock, true, false);
	if (!logged)
		ereport(LOG,
				(errmsg("this session restores a dump of chs"),
				 errdetail("Rows are not checked, and the chs workers wait until it ends.")));
	logged = true;
}

/*
 * chs_restore_lock_out keeps restores from beginning until the end of the
 * transaction; false if one is under way already.
 */
bool
chs_restore_lock_out(void)
{
	LOCKTAG		tag = restore_lock();

	return LockAcquire(&tag, RowExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/* ---------------------------------------------------------------- triggers */

/* The table that a trigger is fired for, which must be one of ours. */
static Relation
trigger_relation(FunctionCallInfo fcinfo, const char *name)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BY_INSERT(trigdata->tg_event) ||
		!TRIGGER_FIRED_FOR_STATEMENT(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be fired for INSERT, FOR EACH STATEMENT", name)));
	if (RelationGetNamespace(trigdata->tg_relation) != get_namespace_oid("chs", true))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("function \"%s\" can only be fired for tables of schema \"chs\"", name)));
	return trigdata->tg_relation;
}

static void
set_replication_role(const char *role)
{
	(void) set_config_option("session_replication_role", role, PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
}

/*
 * Deletes the rows that are still as CREATE EXTENSION wrote them: those of the
 * transactions that chs.shipped names.  Only before the first rows of a dump, all
 * of which may be restored in that transaction.  What refers to them stays, since
 * it will be replaced as well.
 */
static void
delete_shipped(Relation rel)
{
	OwnerRights saved;
	Oid			type = TEXTOID;
	Datum		arg = CStringGetTextDatum(RelationGetRelationName(rel));

	chs_spi_begin(&saved);
	if (SPI_execute_with_args(psprintf("WITH gone AS (DELETE FROM chs.shipped"
									   " WHERE table_name = $1 RETURNING written_by)"
									   " DELETE FROM chs.%s t USING gone"
									   " WHERE t.xmin = gone.written_by",
									   quote_identifier(RelationGetRelationName(rel))),
							  1, &type, &arg, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not delete the shipped rows of \"%s\"", RelationGetRelationName(rel));
	chs_spi_end(&saved);
}

/* Whether the caller may turn foreign keys off. */
static bool
may_set_replication_role(void)
{
	return superuser() ||
		pg_parameter_aclcheck("session_replication_role", GetUserId(), ACL_SET) == ACLCHECK_OK;
}

/* Whether restore_begin has set the role of a replica for the statement. */
static bool is_replica = false;

/*
 * chs_restore_begin is a trigger, before the rows of a dump are inserted: removes
 * the shipped ones, and turns foreign keys and other ordinary triggers off.  For a
 * role that may not do so, the tables must arrive in order, as with a single job.
 */
PG_FUNCTION_INFO_V1(chs_restore_begin);
Datum
chs_restore_begin(PG_FUNCTION_ARGS)
{
	Relation	rel = trigger_relation(fcinfo, "chs.restore_begin");

	is_replica = false;
	if (!chs_restore_is_on(rel))
		PG_RETURN_POINTER(NULL);
	chs_restore_hold_worker();
	delete_shipped(rel);
	if (SessionReplicationRole != SESSION_REPLICATION_ROLE_REPLICA && may_set_replication_role())
	{
		set_replication_role("replica");
		is_replica = true;
	}
	PG_RETURN_POINTER(NULL);
}

/* chs_restore_end is a trigger, after the rows: turns the triggers on again. */
PG_FUNCTION_INFO_V1(chs_restore_end);
Datum
chs_restore_end(PG_FUNCTION_ARGS)
{
	(void) trigger_relation(fcinfo, "chs.restore_end");
	if (is_replica)
		set_replication_role("origin");
	is_replica = false;
	PG_RETURN_POINTER(NULL);
}

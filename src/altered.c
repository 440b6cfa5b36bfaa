/*
 * altered.c
 *	  Attached tables whose rows change without a row trigger.
 *
 * That is so where a partition comes or goes with the rows that it has, where ALTER
 * TABLE gives rows other values, and after a trigger was off.  All activities are
 * made again then, from the raw events.
 */
#include "source.h"

#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "commands/event_trigger.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "restore.h"
#include "tcop/deparse_utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#define TRUNCATE_TRIGGER "00_chs_capture_truncate"

/* An attached table of events. */
typedef struct AttachedTable
{
	int			source_id;
	Oid			relation;
	bool		whole_row;		/* event_data is the whole row */
	bool		is_new;			/* attached in this transaction */
} AttachedTable;

/* Whether a subcommand of ALTER TABLE may change what the rows come to. */
static bool
subcommand_matters(const AlterTableCmd *command, const AttachedTable *table)
{
	if (chs_alters_values(command->subtype))
		return true;
	if (chs_adds_column(command->subtype))
		return table->whole_row && chs_source_reads_field(((ColumnDef *) command->def)->colname);
	if (chs_drops_column(command->subtype))
		return table->whole_row && chs_source_reads_field(command->name);
	switch (command->subtype)
	{
		case AT_AttachPartition:
		case AT_DetachPartition:
		case AT_DetachPartitionFinalize:
		case AT_EnableTrigAll:
		case AT_EnableTrigUser:
			return true;
		case AT_EnableTrig:
		case AT_EnableAlwaysTrig:
			return strcmp(command->name, "00_chs_capture") == 0 && !table->is_new;
		default:
			return false;
	}
}

/* Whether a command on an attached table, or a partition of it, may do so. */
static bool
command_matters(const CollectedCommand *command, const AttachedTable *table)
{
	ListCell   *lc;

	if (command->type == SCT_Simple && IsA(command->parsetree, RenameStmt))
	{
		const RenameStmt *rename = (const RenameStmt *) command->parsetree;

		return rename->renameType == OBJECT_COLUMN && table->whole_row &&
			(chs_source_reads_field(rename->subname) || chs_source_reads_field(rename->newname));
	}
	if (command->type != SCT_AlterTable)
		return false;
	foreach(lc, command->d.alterTable.subcmds)
	{
		const Node *parsetree = ((CollectedATSubcmd *) lfirst(lc))->parsetree;

		if (IsA(parsetree, AlterTableCmd) && subcommand_matters((const AlterTableCmd *) parsetree, table))
			return true;
	}
	return false;
}

/* Finds the attached table that a command is about, or a partition of which it is about; or NULL. */
static const AttachedTable *
table_of_command(const CollectedCommand *command, const AttachedTable *tables, uint64 ntables)
{
	Oid			relation = command->type == SCT_AlterTable ? command->d.alterTable.objectId :
		command->type == SCT_Simple && command->d.simple.address.classId == RelationRelationId ?
		command->d.simple.address.objectId : InvalidOid;
	List	   *ancestors = OidIsValid(relation) && get_rel_relispartition(relation) ? get_partition_ancestors(relation) : NIL;

	for (uint64 i = 0; i < ntables; i++)
		if (tables[i].relation == relation || list_member_oid(ancestors, tables[i].relation))
			return &tables[i];
	return NULL;
}

static void
run_query(const char *sql)
{
	if (SPI_execute(sql, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not execute: %s", sql);
}

static void
run_command(const char *sql)
{
	if (SPI_execute(sql, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not execute: %s", sql);
}

/*
 * chs_source_watch_partitions makes triggers for TRUNCATE of the partitions of an
 * attached table, which get no copies of the table's; or, for source 0, drops them.
 * Within SPI, with the rights of the owner.
 */
void
chs_source_watch_partitions(Oid relation, int source_id)
{
	ListCell   *lc;

	if (get_rel_relkind(relation) != RELKIND_PARTITIONED_TABLE)
		return;
	foreach(lc, find_all_inheritors(relation, AccessShareLock, NULL))
	{
		Oid			partition = lfirst_oid(lc);
		char	   *name;

		if (partition == relation || get_rel_relkind(partition) == RELKIND_FOREIGN_TABLE ||
			OidIsValid(get_trigger_oid(partition, TRUNCATE_TRIGGER, true)) == (source_id > 0))
			continue;
		name = quote_qualified_identifier(get_namespace_name(get_rel_namespace(partition)), get_rel_name(partition));
		if (source_id == 0)
		{
			run_command(psprintf("DROP TRIGGER \"%s\" ON %s", TRUNCATE_TRIGGER, name));
			continue;
		}
		run_command(psprintf("CREATE TRIGGER \"%s\" AFTER TRUNCATE ON %s FOR EACH STATEMENT"
							 " EXECUTE FUNCTION chs.capture_truncate('%d')", TRUNCATE_TRIGGER, name, source_id));
		run_command(psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER \"%s\"", name, TRUNCATE_TRIGGER));
	}
}

/* Whether a command makes a partition, or attaches one. */
static bool
brings_partition(const CollectedCommand *command)
{
	ListCell   *lc;

	if (command->type == SCT_Simple)
		return IsA(command->parsetree, CreateStmt);
	foreach(lc, command->d.alterTable.subcmds)
	{
		const Node *parsetree = ((CollectedATSubcmd *) lfirst(lc))->parsetree;

		if (IsA(parsetree, AlterTableCmd) && ((const AlterTableCmd *) parsetree)->subtype == AT_AttachPartition)
			return true;
	}
	return false;
}

/*
 * Whether the rows can be read after the command.  If not, the scores that are stored
 * stay, and attaching the table again has them made again.
 */
static bool
can_be_read(const AttachedTable *table)
{
	const Live *live = chs_catalog_live();
	const Source *source = chs_source_find(live, table->source_id);

	return source != NULL && chs_source_trouble(live, source) == NULL;
}

/*
 * Looks at the commands that an event trigger is fired for: makes triggers of new
 * partitions, and tells whether any matters.  Within SPI.
 */
static bool
any_command_matters(void)
{
	AttachedTable *tables;
	SPITupleTable *commands;
	uint64		ntables;
	bool		matters = false;
	bool		isnull;

	run_query("SELECT relation, event_data IS NULL, source_id, attached_at = now() FROM chs.sources WHERE source_id > 1 AND kind = 'events'");
	ntables = SPI_processed;
	tables = palloc(Max(ntables, 1) * sizeof(AttachedTable));
	for (uint64 i = 0; i < ntables; i++)
		tables[i] = (AttachedTable) {
			.relation = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull)),
			.whole_row = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull)),
			.source_id = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 3, &isnull)),
			.is_new = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 4, &isnull))
		};
	if (ntables == 0)
		return false;
	run_query("SELECT command FROM pg_event_trigger_ddl_commands()");
	commands = SPI_tuptable;
	for (uint64 i = 0; i < commands->numvals; i++)
	{
		const CollectedCommand *command = (const CollectedCommand *)
			DatumGetPointer(SPI_getbinval(commands->vals[i], commands->tupdesc, 1, &isnull));
		const AttachedTable *table = table_of_command(command, tables, ntables);

		if (table == NULL)
			continue;
		if (brings_partition(command))
			chs_source_watch_partitions(table->relation, table->source_id);
		matters |= command_matters(command, table) && can_be_read(table);
	}
	return matters;
}

/*
 * chs_source_altered is an event trigger for CREATE and ALTER TABLE: has all activities made
 * again if rows of an attached table have come, gone, or changed by it.
 */
PG_FUNCTION_INFO_V1(chs_source_altered);
Datum
chs_source_altered(PG_FUNCTION_ARGS)
{
	OwnerRights saved;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called as an event trigger", "chs.source_altered")));
	/* the extension itself is being made, or updated; or all comes from a dump */
	if (creating_extension || chs_restore_is_running())
		PG_RETURN_NULL();
	chs_catalog_become_owner(&saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (any_command_matters())
		chs_source_count_anew("an attached table was altered");
	SPI_finish();
	chs_catalog_become_caller(&saved);
	PG_RETURN_NULL();
}

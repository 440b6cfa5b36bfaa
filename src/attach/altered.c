/*
 * altered.c
 *	  Attached tables whose rows change without a row trigger.
 *
 * That happens when a partition is attached or detached with its rows, when ALTER
 * TABLE changes the values of rows, and while a trigger is off.  All activities are
 * then rebuilt from the raw events, and a table of customers is read again.  The same
 * goes for chs.customer_events and chs.customers.  Partitions that are empty, or whose
 * rows no window reaches, are left alone (see partition.c).
 */
#include "attach/altered.h"

#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "tcop/deparse_utility.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "attach/columns.h"
#include "attach/existing.h"
#include "attach/partition.h"
#include "attach/synced.h"
#include "base/catalog.h"
#include "base/spi.h"
#include "engine/publish.h"
#include "source/source.h"
#include "store/live.h"
#include "store/restore.h"
#include "store/sources.h"

/* An attached table. */
typedef struct AttachedTable
{
	int			source_id;
	Oid			relation;
	bool		of_customers;
	bool		whole_row;		/* event_data is the whole row */
	bool		is_new;			/* attached in this transaction, */
	CommandId	attached_by;	/* by this command of it */
	bool		is_own;			/* one of chs */
} AttachedTable;

/* Our own command is running, which is not to be followed. */
static bool enabling = false;

/* What a command on an attached table, or a partition of it, does besides changing columns. */
typedef struct Effect
{
	bool		created;		/* a partition was */
	bool		came;			/* one was attached */
	bool		went;			/* likewise */
	bool		missed_rows;	/* there may be rows that no trigger has seen */
	bool		enables_triggers;	/* all of them, as if they were ordinary ones */
} Effect;

static Effect
effect_of_command(const CollectedCommand *command, const AttachedTable *table)
{
	Effect		effect = {0};
	ListCell   *lc;

	if (command->type != SCT_AlterTable)
	{
		effect.created = IsA(command->parsetree, CreateStmt);
		return effect;
	}
	foreach(lc, command->d.alterTable.subcmds)
	{
		const AlterTableCmd *subcommand =
			(const AlterTableCmd *) ((CollectedATSubcmd *) lfirst(lc))->parsetree;

		if (!IsA(subcommand, AlterTableCmd))
			continue;
		switch (subcommand->subtype)
		{
			case AT_AttachPartition:
				effect.came = true;
				break;
			case AT_DetachPartition:
			case AT_DetachPartitionFinalize:
				effect.went = true;
				break;
			case AT_EnableTrigAll:
			case AT_EnableTrigUser:
				effect.missed_rows = effect.enables_triggers = true;
				break;
			case AT_EnableTrig:
			case AT_EnableAlwaysTrig:
				effect.missed_rows |= !table->is_new &&
					(strcmp(subcommand->name, "00_chs_capture") == 0 ||
					 strcmp(subcommand->name, "00_chs_customers") == 0);
				break;
			default:
				break;
		}
	}
	return effect;
}

/* The table that a command is about, or 0. */
static Oid
relation_of_command(const CollectedCommand *command)
{
	return command->type == SCT_AlterTable ? command->d.alterTable.objectId :
		command->type == SCT_Simple && command->d.simple.address.classId == RelationRelationId ?
		command->d.simple.address.objectId : InvalidOid;
}

/* Whether a command is about an attached table, or a partition of it. */
static bool
is_about(const CollectedCommand *command, const AttachedTable *table)
{
	Oid			relation = relation_of_command(command);

	return relation == table->relation ||
		(OidIsValid(relation) && get_rel_relispartition(relation) &&
		 list_member_oid(get_partition_ancestors(relation), table->relation));
}

/*
 * chs_altered_watch_partitions creates triggers for TRUNCATE on the partitions of an
 * attached table, which do not inherit the table's; or, for source 0, drops them.
 * Within SPI, with the rights of the owner.
 */
void
chs_altered_watch_partitions(Oid relation, int source_id)
{
	Oid			types[] = {REGCLASSOID, INT4OID};
	Datum		args[] = {ObjectIdGetDatum(relation), Int32GetDatum(source_id)};

	chs_spi_run_each("SELECT statement FROM chs.watching_partitions($1, $2)", lengthof(types),
					 types, args);
}

/* Tables that the transaction's present command has rewritten. */
static List *rewritten_tables = NIL;
static FullTransactionId rewritten_by;

/*
 * chs_follow_rewrite is called in an event trigger, before a table is rewritten with other
 * values; what that means is seen afterwards, by chs_follow_alter.  Elsewhere it raises an
 * error.
 */
PG_FUNCTION_INFO_V1(chs_follow_rewrite);
Datum
chs_follow_rewrite(PG_FUNCTION_ARGS)
{
	Oid			table = DatumGetObjectId(OidFunctionCall0(F_PG_EVENT_TRIGGER_TABLE_REWRITE_OID));
	MemoryContext caller = MemoryContextSwitchTo(TopTransactionContext);

	/* what an earlier transaction left went with it */
	if (!FullTransactionIdEquals(rewritten_by, GetTopFullTransactionId()))
		rewritten_tables = NIL;
	rewritten_by = GetTopFullTransactionId();
	rewritten_tables = lappend_oid(rewritten_tables, table);
	MemoryContextSwitchTo(caller);
	PG_RETURN_VOID();
}

static List *
take_rewritten(void)
{
	List	   *tables = FullTransactionIdEquals(rewritten_by, GetTopFullTransactionIdIfAny()) ?
		rewritten_tables : NIL;

	rewritten_tables = NIL;
	return tables;
}

/*
 * Whether the rows can be read after the command.  If not, stored scores stay, and
 * attaching the table again causes them to be recalculated.
 */
static bool
can_be_read(const AttachedTable *table)
{
	const Live *live = chs_live_version();
	const Source *source = chs_source_find(live, table->source_id);

	return source != NULL && chs_source_error(live, source) == NULL;
}

/* Whether a table that can be read reads any of the columns that were changed. */
static bool
reads_any(const AttachedTable *table, const ColumnChanges *changes)
{
	const Live *live = chs_live_version();
	const Source *source = chs_source_find(live, table->source_id);
	const Bitmapset *read = chs_source_compile(live, source, table->relation)->mapping->columns;
	ListCell   *lc;

	/* of the whole row only some columns are read, which may have had another name */
	if (table->whole_row)
		foreach(lc, changes->names)
			if (chs_source_needs_field(live, lfirst(lc)))
				return true;
	return bms_overlap(read, changes->columns) ||
		(!table->whole_row && bms_is_member(0, read));
}

/* Whether no window reaches the rows of a partition that came or went. */
static bool
is_past(const AttachedTable *table, Oid partition, Oid parent, PartitionEvent event)
{
	const Live *live = chs_live_version();

	return chs_partition_is_past(live, chs_source_find(live, table->source_id), partition, parent,
								 event);
}

/*
 * Enables the triggers that were enabled as ordinary ones ALWAYS again, as they were
 * before somebody disabled all triggers of the table and enabled them again.
 */
static void
enable_always(const AttachedTable *table)
{
	Oid			type = OIDOID;
	Datum		relation = ObjectIdGetDatum(table->relation);

	enabling = true;
	PG_TRY();
	{
		chs_spi_run_each("SELECT format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I',"
						 "  tgrelid::regclass, tgname)"
						 " FROM pg_trigger WHERE tgrelid = $1 AND tgenabled = 'O'"
						 " AND starts_with(tgname::text, '00_chs_') "
						 " AND tgname <> '00_chs_skip_replicated'",
						 1, &type, &relation);
	}
	PG_FINALLY();
	{
		enabling = false;
	}
	PG_END_TRY();
}

/*
 * Does what is necessary after a command on an attached table, or a partition of it, and
 * tells whether activities must be rebuilt.
 */
static bool
follow_command(const CollectedCommand *command, const AttachedTable *table)
{
	Oid			relation = relation_of_command(command);
	Effect		effect = effect_of_command(command, table);
	Oid			newest = effect.came ? chs_partition_changed(relation, false) : InvalidOid;
	bool		came = effect.came && !(OidIsValid(newest) && !chs_existing_any(newest));

	if (effect.enables_triggers)
		enable_always(table);
	if (table->is_own)
		return effect.missed_rows;
	if (table->of_customers)
	{
		if ((effect.missed_rows || came) && can_be_read(table))
			chs_synced_take_all(table->source_id);
		return false;
	}
	if (effect.created || effect.came)
		chs_altered_watch_partitions(table->relation, table->source_id);
	if (!can_be_read(table))
		return false;
	return effect.missed_rows ||
		(came && !is_past(table, newest, relation, PARTITION_ATTACHED)) ||
		(effect.went &&
		 !is_past(table, chs_partition_changed(relation, true), relation, PARTITION_DETACHED));
}

/* Whether a table, or a partition of it, is one of those that were rewritten. */
static bool
is_rewritten(Oid relation, List *rewritten)
{
	ListCell   *lc;

	foreach(lc, rewritten)
		if (lfirst_oid(lc) == relation ||
			list_member_oid(get_partition_ancestors(lfirst_oid(lc)), relation))
			return true;
	return false;
}

/*
 * Does what is necessary if rows of an attached table have other values than before, or
 * columns that it reads are others, and tells whether activities must be rebuilt.
 */
static bool
follow_values(const AttachedTable *table, List *rewritten)
{
	bool		is_other = is_rewritten(table->relation, rewritten);
	ColumnChanges changes;

	if (table->is_own)
		return is_other;
	changes = chs_columns_changed(table->relation, table->attached_by);
	if (!is_other && changes.columns == NULL)
		return false;
	if (!can_be_read(table) || !(is_other || reads_any(table, &changes)))
		return false;
	if (table->of_customers)
		chs_synced_take_all(table->source_id);
	return !table->of_customers;
}

/* The attached tables, and those of chs.  Within SPI. */
static List *
attached_tables(void)
{
	List	   *tables = NIL;

	chs_spi_select("SELECT relation, event_data IS NULL, source_id, attached_at = now(),"
				   " kind = 'customers', source_id = 1, cmin FROM chs.sources"
				   " UNION ALL SELECT 'chs.customers', false, 0, false, true, true, '0'",
				   0, NULL, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		AttachedTable *table = palloc(sizeof(AttachedTable));
		Datum		values[7];
		bool		isnull;

		for (int j = 0; j < 7; j++)
			values[j] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, j + 1, &isnull);
		*table = (AttachedTable) {
			.relation = DatumGetObjectId(values[0]),
			.whole_row = DatumGetBool(values[1]),
			.source_id = DatumGetInt32(values[2]),
			.is_new = DatumGetBool(values[3]),
			.of_customers = DatumGetBool(values[4]),
			.is_own = DatumGetBool(values[5]),
			.attached_by = DatumGetBool(values[3]) ? DatumGetCommandId(values[6]) : FirstCommandId
		};
		tables = lappend(tables, table);
	}
	return tables;
}

/*
 * Handles the commands that an event trigger is fired for, and tells whether
 * activities must be rebuilt.  Within SPI.
 */
static bool
follow_commands(void)
{
	List	   *tables = attached_tables();
	List	   *rewritten = take_rewritten();
	SPITupleTable *commands;
	bool		matters = false;
	ListCell   *lc;

	chs_spi_select("SELECT command FROM pg_event_trigger_ddl_commands()", 0, NULL, NULL);
	commands = SPI_tuptable;
	for (uint64 i = 0; i < commands->numvals; i++)
	{
		bool		isnull;
		const CollectedCommand *command = (const CollectedCommand *)
			DatumGetPointer(SPI_getbinval(commands->vals[i], commands->tupdesc, 1, &isnull));

		/* a table can be one of events and one of customers */
		foreach(lc, tables)
			if (is_about(command, lfirst(lc)))
				matters |= follow_command(command, lfirst(lc));
	}
	foreach(lc, tables)
		matters |= follow_values(lfirst(lc), rewritten);
	return matters;
}

/*
 * chs_follow_alter has all activities rebuilt if the command that an event trigger is
 * fired for added, removed or changed rows of an attached table, or of chs.
 */
PG_FUNCTION_INFO_V1(chs_follow_alter);
Datum
chs_follow_alter(PG_FUNCTION_ARGS)
{
	OwnerRights saved;

	/* the extension itself is being created or updated; or a dump is being restored */
	if (creating_extension || enabling || chs_restore_is_running())
		PG_RETURN_VOID();
	chs_spi_begin(&saved);
	/* the transaction's snapshot may be from before the table was attached */
	PushActiveSnapshot(GetLatestSnapshot());
	if (follow_commands())
		chs_publish_again("a table of customers or events was altered");
	PopActiveSnapshot();
	chs_spi_end(&saved);
	PG_RETURN_VOID();
}

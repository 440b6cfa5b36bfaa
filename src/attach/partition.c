/*
 * partition.c
 *	  Partitions of attached tables whose rows no window reaches.
 *
 * Tools such as pg_partman attach empty partitions and drop old ones every day.  If
 * the bounds of a partition tell that its rows are older than what any activity
 * counts, nobody has to be rebuilt when they come or go, but customers who churned
 * long ago, because their windows end on their last day.
 */
#include "attach/partition.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_partitioned_table.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "executor/spi.h"
#include "nodes/nodes.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "activity/activity.h"
#include "activity/activity_window.h"
#include "base/catalog.h"
#include "base/spi.h"
#include "engine/capture.h"
#include "engine/pending.h"
#include "score/count.h"
#include "source/source.h"
#include "store/customer.h"
#include "store/live.h"
#include "store/sources.h"

/* The UTC days, the last one included, that rows can be of. */
typedef struct Days
{
	int32		first;
	int32		last;
} Days;

#define ANY_DAY (Days) {PG_INT32_MIN, PG_INT32_MAX}

/* ------------------------------------------------------------------ bounds */

/* The UTC day of a bound; false if it is none. */
static bool
day_of_bound(const PartitionRangeDatum *bound, Oid type, int32 *day)
{
	Const	   *value = (Const *) bound->value;

	if (bound->kind != PARTITION_RANGE_DATUM_VALUE || !IsA(value, Const) || value->constisnull ||
		value->consttype != type)
		return false;
	if (type == DATEOID)
	{
		*day = DatumGetDateADT(value->constvalue);
		return !DATE_NOT_FINITE(*day);
	}
	/* without a time zone it is UTC */
	*day = chs_count_day(DatumGetTimestampTz(value->constvalue));
	return !TIMESTAMP_NOT_FINITE(DatumGetTimestampTz(value->constvalue));
}

/*
 * The type of the first column of the key by which a table is partitioned, if that
 * is a plain time in its usual order, and what the source takes as the time of an
 * event; else 0.
 */
static Oid
type_of_time_key(const Source *source, Oid parent)
{
	HeapTuple	tuple = SearchSysCache1(PARTRELID, ObjectIdGetDatum(parent));
	Form_pg_partitioned_table key;
	Datum		classes;
	bool		isnull;
	AttrNumber	column;
	Oid			type = InvalidOid;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	key = (Form_pg_partitioned_table) GETSTRUCT(tuple);
	column = key->partattrs.values[0];
	classes = SysCacheGetAttr(PARTRELID, tuple, Anum_pg_partitioned_table_partclass, &isnull);
	if (key->partstrat == PARTITION_STRATEGY_RANGE && column > 0 && !isnull &&
		strcmp(quote_identifier(get_attname(parent, column, false)), source->occurred_at) == 0)
		type = get_atttype(parent, column);
	if ((type != DATEOID && type != TIMESTAMPOID && type != TIMESTAMPTZOID) ||
		((oidvector *) DatumGetPointer(classes))->values[0] !=
		GetDefaultOpClass(type, BTREE_AM_OID))
		type = InvalidOid;
	ReleaseSysCache(tuple);
	return type;
}

/* Narrows the days of the rows of a partition by its bounds. */
static void
narrow(Days *days, const Source *source, Oid parent, const PartitionBoundSpec *bounds)
{
	Oid			type = type_of_time_key(source, parent);
	int32		day;

	if (!OidIsValid(type) || bounds->strategy != PARTITION_STRATEGY_RANGE || bounds->is_default)
		return;
	if (day_of_bound(linitial(bounds->lowerdatums), type, &day))
		days->first = Max(days->first, day);
	/* the bound itself may belong to it, if there are more columns */
	if (day_of_bound(linitial(bounds->upperdatums), type, &day))
		days->last = Min(days->last, day);
}

/* Whether this transaction deleted or replaced a version of a row. */
static bool
is_gone_by_us(HeapTupleHeader header)
{
	return !(header->t_infomask & HEAP_XMAX_INVALID) &&
		!HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask) &&
		TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetUpdateXid(header));
}

/*
 * Returns the latest version of a row of a catalog that this transaction deleted or
 * replaced, or else that it wrote, while the command that did is being followed; of
 * pg_class, as long as the table was a partition.
 */
static HeapTuple
latest_change(Oid catalog, Oid index, AttrNumber column, Oid value, bool gone)
{
	Relation	rel = table_open(catalog, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	HeapTuple	last = NULL;
	CommandId	latest = FirstCommandId;

	ScanKeyInit(&key, column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(value));
	scan = systable_beginscan(rel, index, true, SnapshotAny, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		HeapTupleHeader header = tuple->t_data;
		CommandId	cid;

		if (!(gone ? is_gone_by_us(header) :
			  TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(header))) ||
			(catalog == RelationRelationId && !((Form_pg_class) GETSTRUCT(tuple))->relispartition))
			continue;
		cid = gone ? HeapTupleHeaderGetCmax(header) : HeapTupleHeaderGetCmin(header);
		if (last == NULL || cid > latest)
		{
			last = heap_copytuple(tuple);
			latest = cid;
		}
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return last;
}

/* The bounds of a partition: before the command, or as they are; or NULL. */
static PartitionBoundSpec *
read_bounds(Oid partition, bool before)
{
	HeapTuple	tuple = before ? latest_change(RelationRelationId, ClassOidIndexId,
											   Anum_pg_class_oid, partition, true) :
		SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(partition));
	Relation	rel;
	Datum		bounds;
	bool		isnull;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	rel = table_open(RelationRelationId, AccessShareLock);
	bounds = heap_getattr(tuple, Anum_pg_class_relpartbound, RelationGetDescr(rel), &isnull);
	table_close(rel, AccessShareLock);
	return isnull ? NULL : castNode(PartitionBoundSpec, stringToNode(TextDatumGetCString(bounds)));
}

/* The table that a dropped one was a partition of, or 0. */
static Oid
parent_of_dropped(Oid partition)
{
	HeapTuple	tuple = latest_change(InheritsRelationId, InheritsRelidSeqnoIndexId,
									  Anum_pg_inherits_inhrelid, partition, true);

	return HeapTupleIsValid(tuple) ? ((Form_pg_inherits) GETSTRUCT(tuple))->inhparent : InvalidOid;
}

/*
 * The days that the rows of a partition can be of, by its bounds and those of the
 * partitions that it is in.
 */
static Days
days_of_partition(const Source *source, Oid partition, Oid parent, PartitionEvent event)
{
	Days		days = ANY_DAY;
	bool		before = event == PARTITION_DETACHED || event == PARTITION_DROPPED;
	PartitionBoundSpec *bounds = read_bounds(partition, before);

	while (bounds != NULL)
	{
		narrow(&days, source, parent, bounds);
		if (parent == source->relation || !get_rel_relispartition(parent))
			break;
		bounds = read_bounds(parent, false);
		parent = get_partition_parent(parent, true);
	}
	return days;
}

/* ------------------------------------------------------------------- churned */

/* Whether an activity counts anything of these days; earlier ones than it keeps are not in it. */
static bool
counts_any_of(const ActivityView *view, const Days *days)
{
	for (int i = 0; i < view->nseries; i++)
	{
		const SeriesView *s = &view->series[i];
		int64		kept_from = (int64) view->day - s->keep + 1;

		if (view->day == DAY_NEVER ||
			(kept_from <= days->last && chs_activity_window(s, Max(kept_from, days->first),
															days->last).n > 0))
			return true;
	}
	return false;
}

/*
 * Queues a rebuild of customers who churned so long ago that their windows may reach
 * these days.  Of what went, those whose activity counts some of it suffice.
 */
static void
rebuild_churned(const Days *days, int max_keep, bool went)
{
	Oid			type = TIMESTAMPTZOID;
	Datum		before = TimestampTzGetDatum(((int64) days->last + max_keep) * USECS_PER_DAY);
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "chs churned customers",
												  ALLOCSET_DEFAULT_SIZES);
	OwnerRights saved;
	Portal		portal;

	chs_capture_flush_pending();
	chs_spi_begin(&saved);
	/* activities and the queue at one time, after whoever wrote to the partition */
	PushActiveSnapshot(GetLatestSnapshot());
	portal = SPI_cursor_open_with_args(NULL, "SELECT c.customer_id, EXISTS (SELECT FROM chs.queue q"
									   " WHERE q.customer_id = c.customer_id)"
									   " FROM chs.customers c WHERE c.churned_at < $1", 1, &type,
									   &before, NULL, true, 0);
	for (;;)
	{
		SPI_cursor_fetch(portal, true, 1000);
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			bool		isnull;
			int64		customer_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i],
																  SPI_tuptable->tupdesc, 1,
																  &isnull));
			bool		is_queued = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[i],
															   SPI_tuptable->tupdesc, 2, &isnull));
			MemoryContext caller = MemoryContextSwitchTo(scratch);

			if (!went || is_queued ||
				counts_any_of(chs_customer_stored(customer_id, GetActiveSnapshot()).view, days))
				chs_pending_rebuild(chs_live_version(), customer_id, false);
			MemoryContextSwitchTo(caller);
			MemoryContextReset(scratch);
		}
		SPI_freetuptable(SPI_tuptable);
		chs_capture_flush_pending();
	}
	SPI_cursor_close(portal);
	PopActiveSnapshot();
	chs_spi_end(&saved);
	MemoryContextDelete(scratch);
}

/* ------------------------------------------------------------------ decisions */

/*
 * chs_partition_changed returns the partition of a table that the command being followed
 * detached, or else attached; 0 if there is none.
 */
Oid
chs_partition_changed(Oid parent, bool detached)
{
	HeapTuple	tuple = latest_change(InheritsRelationId, InheritsParentIndexId,
									  Anum_pg_inherits_inhparent, parent, detached);

	return HeapTupleIsValid(tuple) ? ((Form_pg_inherits) GETSTRUCT(tuple))->inhrelid : InvalidOid;
}

/*
 * chs_partition_is_past tells whether what happens to the rows of a partition
 * changes no activity, because no window reaches them; and has those churned
 * customers rebuilt of whom this is not true.
 */
bool
chs_partition_is_past(const Live *live, const Source *source, Oid partition, Oid parent,
					  PartitionEvent event)
{
	int			max_keep = Max(live->published->max_keep, live->counting->published->max_keep);
	Days		days = days_of_partition(source, partition, parent, event);

	if (days.last > (int64) chs_customer_today() - max_keep)
		return false;
	rebuild_churned(&days, max_keep, event != PARTITION_ATTACHED);
	return true;
}

/* chs_partition_dropped_are_past does the same for all partitions that a command dropped. */
bool
chs_partition_dropped_are_past(const Live *live, List *dropped)
{
	ListCell   *lc;

	foreach(lc, dropped)
	{
		Oid			parent = parent_of_dropped(lfirst_oid(lc));

		if (list_member_oid(dropped, parent))
			continue;
		if (!OidIsValid(parent))
			return false;
		for (int i = 0; i < live->nsources; i++)
			if (chs_source_has_table(&live->sources[i], parent) &&
				!chs_partition_is_past(live, &live->sources[i], lfirst_oid(lc), parent,
									   PARTITION_DROPPED))
				return false;
	}
	return true;
}

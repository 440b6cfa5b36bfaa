/*
 * columns.c
 *	  Columns of a table that the current transaction has changed.
 *
 * ALTER TABLE has many ways to do that, some of them by way of a parent or a type; each
 * leaves the versions of the rows of pg_attribute from before it.
 */
#include "attach/columns.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_attribute.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/*
 * Whether the current transaction made a version of a row, by a command that is not before
 * since.
 */
static bool
is_made_by_us(HeapTupleHeader header, CommandId since)
{
	return TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(header)) &&
		HeapTupleHeaderGetCmin(header) >= since;
}

/* Likewise, whether it replaced or deleted one. */
static bool
is_replaced_by_us(HeapTupleHeader header, CommandId since)
{
	return !(header->t_infomask & HEAP_XMAX_INVALID) &&
		!HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask) &&
		TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetUpdateXid(header)) &&
		HeapTupleHeaderGetCmax(header) >= since;
}

/* Whether a version is not that of an aborted transaction. */
static bool
is_from_before(HeapTupleHeader header)
{
	TransactionId xmin = HeapTupleHeaderGetXmin(header);

	return TransactionIdIsCurrentTransactionId(xmin) || TransactionIdDidCommit(xmin);
}

/* Whether a column is what it was. */
static bool
is_same(Form_pg_attribute a, Form_pg_attribute b)
{
	return a->attisdropped == b->attisdropped &&
		strcmp(NameStr(a->attname), NameStr(b->attname)) == 0 && a->atttypid == b->atttypid &&
		a->atttypmod == b->atttypmod && a->attcollation == b->attcollation;
}

/* Adds a column that was the given one before, if it was anything, unless it still is. */
static void
add_change(Oid relation, AttrNumber column, Form_pg_attribute before, ColumnChanges *changes)
{
	HeapTuple	tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relation),
										Int16GetDatum(column));
	Form_pg_attribute now;

	if (!HeapTupleIsValid(tuple))
		return;
	now = (Form_pg_attribute) GETSTRUCT(tuple);
	if (before == NULL || !is_same(before, now))
	{
		changes->columns = bms_add_member(changes->columns, column);
		if (!now->attisdropped)
			changes->names = lappend(changes->names, pstrdup(NameStr(now->attname)));
		if (before != NULL)
			changes->names = lappend(changes->names, pstrdup(NameStr(before->attname)));
	}
	ReleaseSysCache(tuple);
}

/*
 * chs_columns_changed returns which columns of a table the current transaction has changed
 * by its command number since, or later ones.  Allocates in the current memory context.
 */
ColumnChanges
chs_columns_changed(Oid relation, CommandId since)
{
	Relation	catalog = table_open(AttributeRelationId, AccessShareLock);
	Bitmapset  *made = NULL;
	Bitmapset  *existing = NULL;
	ColumnChanges changes = {0};
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	int			added = -1;

	ScanKeyInit(&key, Anum_pg_attribute_attrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relation));
	scan = systable_beginscan(catalog, AttributeRelidNumIndexId, true, SnapshotAny, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_attribute column = (Form_pg_attribute) GETSTRUCT(tuple);

		if (column->attnum <= 0)
			continue;
		if (is_made_by_us(tuple->t_data, since))
			made = bms_add_member(made, column->attnum);
		else if (is_from_before(tuple->t_data))
			existing = bms_add_member(existing, column->attnum);
		if (is_replaced_by_us(tuple->t_data, since))
			add_change(relation, column->attnum, column, &changes);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	made = bms_del_members(made, existing);
	while ((added = bms_next_member(made, added)) >= 0)
		add_change(relation, added, NULL, &changes);
	return changes;
}

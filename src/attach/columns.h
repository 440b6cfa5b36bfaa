/*
 * columns.h
 *	  Columns of a table that the current transaction has changed.
 */
#ifndef CHS_COLUMNS_H
#define CHS_COLUMNS_H

#include "base/compat.h"

#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"

/* Columns that were added, dropped or renamed, or whose type or collation is another one. */
typedef struct ColumnChanges
{
	Bitmapset  *columns;		/* their numbers */
	List	   *names;			/* and names, the old and the new ones */
} ColumnChanges;

extern ColumnChanges chs_columns_changed(Oid relation, CommandId since);

#endif							/* CHS_COLUMNS_H */

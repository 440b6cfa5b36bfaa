/*
 * tables.h
 *	  Writing to the extension's own tables.
 */
#ifndef CHS_TABLES_H
#define CHS_TABLES_H

#include "base/compat.h"

#include "executor/executor.h"
#include "utils/rel.h"

#include "base/catalog.h"

/* A table open for writing. */
typedef struct OwnTable
{
	Relation	rel;
	bool		by_customer;	/* the first column is the customer's, and the primary key */
	EState	   *estate;
	ResultRelInfo *info;
	Relation	primary_key;	/* where by_customer */
	IndexInfo  *primary_key_info;
	ResultRelInfo *others;		/* info without it */
	TupleTableSlot *slot;
} OwnTable;

extern void chs_table_lock(ChsRelation table);
extern void chs_table_open(OwnTable *table, Oid relid, bool by_customer);
extern void chs_table_close(OwnTable *table);
extern void chs_table_fill(OwnTable *table, TupleTableSlot *slot, HeapTuple old,
						   const Datum *values, const bool *nulls, int n);
extern HeapTuple chs_table_find(Relation rel, ChsRelation index, int64 customer_id,
								Snapshot snapshot);
extern bool chs_table_store(OwnTable *table, HeapTuple old, const Datum *values, const bool *nulls,
							int n);
extern bool chs_table_delete(Relation rel, ItemPointer place);
extern void chs_table_insert_many(OwnTable *table, TupleTableSlot **slots, int n);

#endif							/* CHS_TABLES_H */

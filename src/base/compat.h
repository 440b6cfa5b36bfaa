/*
 * compat.h
 *	  All differences between PostgreSQL's major versions.
 */
#ifndef CHS_COMPAT_H
#define CHS_COMPAT_H

#include "postgres.h"

#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "nodes/parsenodes.h"
#include "nodes/tidbitmap.h"
#include "utils/guc_tables.h"
#include "utils/wait_event.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#if PG_VERSION_NUM < 150000
#error "chs needs PostgreSQL 15 or newer"
#endif

#ifndef HAVE_INT128
#error "chs needs a platform with 128-bit integers"
#endif

/* Columns that are generated whenever they are read; from 18 on. */
#ifndef ATTRIBUTE_GENERATED_VIRTUAL
#define ATTRIBUTE_GENERATED_VIRTUAL 'v'
#endif

/* Input functions can report errors softly from PostgreSQL 16 on. */
#if PG_VERSION_NUM >= 160000
#define chs_input_error(fcinfo, rest) \
	ereturn((fcinfo)->context, (Datum) 0, rest)
#else
#define chs_input_error(fcinfo, rest) \
	ereport(ERROR, rest)
#endif

/* A setting of PostgreSQL's own. */
static inline struct config_generic *
chs_find_setting(const char *name)
{
#if PG_VERSION_NUM >= 160000
	return find_option(name, false, false, ERROR);
#else
	for (int i = 0; i < GetNumConfigOptions(); i++)
		if (strcmp(get_guc_variables()[i]->name, name) == 0)
			return get_guc_variables()[i];
	elog(ERROR, "unrecognized configuration parameter \"%s\"", name);
#endif
}

/* Which indexes an update needs new entries in; from 16 on, possibly only summarizing ones. */
#if PG_VERSION_NUM >= 160000
#define ChsUpdateIndexes TU_UpdateIndexes
#define CHS_ALL_INDEXES TU_All
#define CHS_NO_INDEXES TU_None
#define chs_insert_index_tuples(info, slot, estate, which) \
	ExecInsertIndexTuples(info, slot, estate, false, false, NULL, NIL, (which) == TU_Summarizing)
#else
#define ChsUpdateIndexes bool
#define CHS_ALL_INDEXES true
#define CHS_NO_INDEXES false
#define chs_insert_index_tuples(info, slot, estate, which) \
	((void) (which), ExecInsertIndexTuples(info, slot, estate, false, false, NULL, NIL))
#endif

/*
 * From 17 on an index may hold on to something between rows, such as a pinned
 * buffer, until it is told that there are no more.
 */
#if PG_VERSION_NUM >= 170000
#define chs_index_keeps_state(index) ((index)->rd_indam->aminsertcleanup != NULL)
#define chs_index_end_insert(index, info) index_insert_cleanup(index, info)
#else
#define chs_index_keeps_state(index) false
#define chs_index_end_insert(index, info) ((void) (index), (void) (info))
#endif

/* The setting that limits the duration of transactions came with 17. */
#if PG_VERSION_NUM >= 170000
#define CHS_TRANSACTION_TIMEOUT "transaction_timeout"
#else
#define CHS_TRANSACTION_TIMEOUT "statement_timeout"
#endif

/* From 17 on this takes a relation. */
#if PG_VERSION_NUM >= 170000
#define chs_identity_sequence(rel, column) getIdentitySequence(rel, column, false)
#else
#define chs_identity_sequence(rel, column) getIdentitySequence(RelationGetRelid(rel), column, false)
#endif

/* From 16 on, one function looks up the rights on objects of all kinds. */
#if PG_VERSION_NUM >= 160000
#define chs_function_aclcheck(oid, role, mode) object_aclcheck(ProcedureRelationId, oid, role, mode)
#define chs_schema_aclcheck(oid, role, mode) object_aclcheck(NamespaceRelationId, oid, role, mode)
#else
#define chs_function_aclcheck(oid, role, mode) pg_proc_aclcheck(oid, role, mode)
#define chs_schema_aclcheck(oid, role, mode) pg_namespace_aclcheck(oid, role, mode)
#endif

/* From 18 on this precedes the declaration. */
#ifndef pg_noreturn
#define pg_noreturn _Noreturn
#endif

/* Allows CREATE DATABASE ... TEMPLATE and the like to terminate a worker (from 19 on). */
#ifndef BGWORKER_INTERRUPTIBLE
#define BGWORKER_INTERRUPTIBLE 0
#endif

/* Rights on objects of all kinds have the same functions from 16 on. */
#if PG_VERSION_NUM >= 160000
#define chs_is_database_owner(database, role) object_ownercheck(DatabaseRelationId, database, role)
#else
#define chs_is_database_owner(database, role) pg_database_ownercheck(database, role)
#endif

/* Extensions can name their wait events, as shown by pg_stat_activity, from 17 on. */
#if PG_VERSION_NUM >= 170000
#define chs_wait_event(variable, name) \
	((variable) != 0 ? (variable) : ((variable) = WaitEventExtensionNew(name)))
#else
#define chs_wait_event(variable, name) ((void) (variable), PG_WAIT_EXTENSION)
#endif

/* From 18 on, index scans take an argument for instrumentation. */
#if PG_VERSION_NUM >= 180000
#define chs_index_beginscan(rel, index, snapshot, nkeys) \
	index_beginscan(rel, index, snapshot, NULL, nkeys, 0)
#define chs_index_beginscan_bitmap(index, snapshot, nkeys) \
	index_beginscan_bitmap(index, snapshot, NULL, nkeys)
#else
#define chs_index_beginscan(rel, index, snapshot, nkeys) \
	index_beginscan(rel, index, snapshot, nkeys, 0)
#define chs_index_beginscan_bitmap(index, snapshot, nkeys) \
	index_beginscan_bitmap(index, snapshot, nkeys)
#endif

/* Iterating over the pages of a bitmap. */
#if PG_VERSION_NUM >= 180000
typedef TBMPrivateIterator *ChsPages;
#define chs_pages_begin(bitmap) tbm_begin_private_iterate(bitmap)
#define chs_pages_end(pages) tbm_end_private_iterate(*(pages))
static inline bool
chs_pages_next(ChsPages *pages, BlockNumber *page)
{
	TBMIterateResult result;

	if (!tbm_private_iterate(*pages, &result))
		return false;
	*page = result.blockno;
	return true;
}
#else
typedef TBMIterator *ChsPages;
#define chs_pages_begin(bitmap) tbm_begin_iterate(bitmap)
#define chs_pages_end(pages) tbm_end_iterate(*(pages))
static inline bool
chs_pages_next(ChsPages *pages, BlockNumber *page)
{
	TBMIterateResult *result = tbm_iterate(*pages);

	if (result == NULL)
		return false;
	*page = result->blockno;
	return true;
}
#endif

/* One function for all kinds of objects from 16 on. */
#if PG_VERSION_NUM >= 160000
#define chs_is_relation_owner(relid, role) object_ownercheck(RelationRelationId, relid, role)
#else
#define chs_is_relation_owner(relid, role) pg_class_ownercheck(relid, role)
#endif

#endif							/* CHS_COMPAT_H */

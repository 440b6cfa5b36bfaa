/*
 * rejected.h
 *	  The table chs.rejected_events: rows of attached tables that could not be used.
 */
#ifndef CHS_REJECTED_H
#define CHS_REJECTED_H

#include "base/compat.h"

#include "store/sources.h"

/* A row that could not be used. */
typedef struct RejectedRow
{
	const Source *source;
	Oid			relation;		/* that has the row */
	ItemPointerData place;		/* where it was found; or invalid */
	Jsonb	   *row;			/* NULL: it could not be shown */
	char	   *customer_key;	/* or NULL */
	bool		no_customer;	/* that has this key */
	ErrorData  *error;
} RejectedRow;

extern void chs_rejected_add(const RejectedRow *rows, int n);
extern void chs_rejected_remove(const Source *source, Oid relation, HeapTuple tuple, Jsonb *row);
extern void chs_rejected_remove_all(int source_id, Oid relation);
extern void chs_rejected_leave(const char *action, const int *source_ids, char **customer_keys, int n);
extern bool chs_rejected_is_to_check(int64 customer_id, Snapshot snapshot);
extern bool chs_rejected_any(int source_id);
extern bool chs_rejected_any_of(int source_id, const char *customer_key);

/* rejected_check.c */

#endif							/* CHS_REJECTED_H */

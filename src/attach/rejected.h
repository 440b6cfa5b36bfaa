/*
 * rejected.h
 *	  The table chs.rejected_events: a log of rows of attached tables that could not be
 *	  used.
 */
#ifndef CHS_REJECTED_H
#define CHS_REJECTED_H

#include "base/compat.h"

#include "utils/jsonb.h"

/* A row that could not be used. */
typedef struct RejectedRow
{
	int			source_id;
	Oid			relation;		/* that has the row */
	Jsonb	   *row;			/* NULL: it could not be shown */
	char	   *customer_key;	/* or NULL */
	const ErrorData *error;
} RejectedRow;

extern void chs_rejected_add(const RejectedRow *rows, int n);
extern void chs_rejected_forget(int source_id);

#endif							/* CHS_REJECTED_H */

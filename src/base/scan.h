/*
 * scan.h
 *	  Reading the rows of many customers, in their order.
 */
#ifndef CHS_SCAN_H
#define CHS_SCAN_H

#include "base/compat.h"

#include "access/genam.h"
#include "executor/tuptable.h"

/* A scan of a table whose primary key is the customer, by ascending customer. */
typedef struct CustomerScan
{
	Relation	rel;
	IndexScanDesc scan;
	TupleTableSlot *slot;		/* the row that was read last */
	int64		asked_for;		/* the customer that was looked up last */
	bool		more;			/* an entry has been read ahead: */
	int64		customer_id;	/* its customer */
	ItemPointerData tid;		/* the row it leads to */
	int			ncandidates;	/* entries of the customer that is being looked up */
	int			capacity;
	ItemPointerData *candidates;
} CustomerScan;

extern void chs_scan_begin(CustomerScan *scan, Relation rel, Relation primary_key, int64 from,
						   Snapshot snapshot);
extern TupleTableSlot *chs_scan_next(CustomerScan *scan, int64 *customer_id);
extern TupleTableSlot *chs_scan_to(CustomerScan *scan, int64 customer_id);
extern void chs_scan_end(CustomerScan *scan);

#endif							/* CHS_SCAN_H */

/*
 * scan.c
 *	  Reading the rows of many customers, in their order.
 *
 * Stepping along an index costs a tenth of descending it for each customer.  The
 * entries contain the customer, so rows that nobody asks for, and dead versions
 * that an old snapshot keeps from being removed, need not be fetched.
 */
#include "base/scan.h"

#include "access/relscan.h"
#include "access/tableam.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

/* Reads the next entry ahead. */
static void
read_entry(CustomerScan *scan)
{
	ItemPointer tid = index_getnext_tid(scan->scan, ForwardScanDirection);
	bool		isnull;

	scan->more = tid != NULL;
	if (!scan->more)
		return;
	scan->tid = *tid;
	scan->customer_id = DatumGetInt64(index_getattr(scan->scan->xs_itup, 1, scan->scan->xs_itupdesc,
													&isnull));
}

/*
 * chs_scan_begin begins a scan of the rows of a table that a snapshot sees,
 * starting with a customer.  Allocates in the current memory context, which must
 * outlive the scan.
 */
void
chs_scan_begin(CustomerScan *scan, Relation rel, Relation primary_key, int64 from,
			   Snapshot snapshot)
{
	ScanKeyData key;

	scan->rel = rel;
	scan->asked_for = from;
	scan->slot = table_slot_create(rel, NULL);
	scan->capacity = 8;
	scan->candidates = palloc(scan->capacity * sizeof(ItemPointerData));
	scan->scan = chs_index_beginscan(rel, primary_key, snapshot, 1);
	scan->scan->xs_want_itup = true;
	ScanKeyInit(&key, 1, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(from));
	index_rescan(scan->scan, &key, 1, NULL, 0);
	read_entry(scan);
}

/*
 * Collects the entries of the customer of the entry that was read ahead, and reads on
 * to another customer's.
 */
static void
read_candidates(CustomerScan *scan)
{
	int64		customer_id = scan->customer_id;

	scan->ncandidates = 0;
	do
	{
		if (scan->ncandidates == scan->capacity)
		{
			scan->capacity *= 2;
			scan->candidates = repalloc(scan->candidates, scan->capacity * sizeof(ItemPointerData));
		}
		scan->candidates[scan->ncandidates++] = scan->tid;
		read_entry(scan);
	} while (scan->more && scan->customer_id == customer_id);
}

/* Returns the one of the candidates that the snapshot sees, or NULL. */
static TupleTableSlot *
fetch_candidate(CustomerScan *scan)
{
	/* tables grow at their end, so the latest version is usually the last one */
	for (int i = scan->ncandidates - 1; i >= 0; i--)
	{
		bool		again = false;

		if (table_index_fetch_tuple(scan->scan->xs_heapfetch, &scan->candidates[i],
									scan->scan->xs_snapshot, scan->slot, &again, NULL))
			return scan->slot;
	}
	return NULL;
}

/* chs_scan_next returns the next row, valid until the one after it is read, or NULL at the end. */
TupleTableSlot *
chs_scan_next(CustomerScan *scan, int64 *customer_id)
{
	TupleTableSlot *row = NULL;

	while (row == NULL && scan->more)
	{
		*customer_id = scan->customer_id;
		read_candidates(scan);
		row = fetch_candidate(scan);
	}
	return row;
}

/*
 * chs_scan_to returns the row of a customer, valid until another one is read, or
 * NULL if there is none.  Customers must be asked for in ascending order.
 */
TupleTableSlot *
chs_scan_to(CustomerScan *scan, int64 customer_id)
{
	Assert(customer_id >= scan->asked_for);
	scan->asked_for = customer_id;
	while (scan->more && scan->customer_id < customer_id)
		read_entry(scan);
	if (!scan->more || scan->customer_id != customer_id)
		return NULL;
	read_candidates(scan);
	return fetch_candidate(scan);
}

/* chs_scan_end ends a scan. */
void
chs_scan_end(CustomerScan *scan)
{
	index_endscan(scan->scan);
	ExecDropSingleTupleTableSlot(scan->slot);
	pfree(scan->candidates);
}

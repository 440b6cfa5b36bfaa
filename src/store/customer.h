/*
 * customer.h
 *	  Customers, and what is stored about their events.
 */
#ifndef CHS_CUSTOMER_H
#define CHS_CUSTOMER_H

#include "base/compat.h"

#include "access/genam.h"
#include "access/transam.h"
#include "executor/tuptable.h"

#include "activity/activity.h"
#include "store/live.h"

/* Columns of chs.customers. */
#define CUSTOMERS_CUSTOMER_ID 1
#define CUSTOMERS_EXTERNAL_ID 2
#define CUSTOMERS_SEGMENT 5
#define CUSTOMERS_CREATED_AT 7
#define CUSTOMERS_CHURNED_AT 8

/* Columns of chs.activity. */
#define ACTIVITY_CUSTOMER_ID 1
#define ACTIVITY_FOLDED_TO 2
#define ACTIVITY_SERIES_VERSION 3
#define ACTIVITY_ACTIVITY 4
#define ACTIVITY_COLUMNS 4

typedef struct Customer
{
	int64		customer_id;
	char	   *segment;		/* or NULL */
	int32		created_day;
	int32		last_day;		/* the last that is scored: the day of churned_at, or DAY_NO_END */
} Customer;

#define DAY_NO_END PG_INT32_MAX

/* The row of chs.activity. */
typedef struct StoredActivity
{
	HeapTuple	row;			/* NULL where there is none */
	const ActivityView *view;	/* of it, or of no events */
	const char *damage;			/* what is wrong with it, so that it is not current; or NULL */
	int			series_version;
	FullTransactionId folded_to;
} StoredActivity;

extern int32 chs_customer_today(void);
extern void chs_customer_set(Customer *customer, int64 customer_id, NullableDatum segment,
							 NullableDatum created_at, NullableDatum churned_at);
extern void chs_customer_set_from(Customer *customer, int64 customer_id, TupleTableSlot *row);
extern bool chs_customer_find(int64 customer_id, Snapshot snapshot, Customer *customer);
extern bool chs_customer_row_is_seen(TransactionId xmin, Snapshot snapshot);

/* chs.customers, opened to lock some of them. */
typedef struct CustomerTable
{
	Relation	rel;
	Relation	index;
	IndexScanDesc scan;
	MemoryContext context;		/* of the scan */
	TupleTableSlot *found;
	TupleTableSlot *locked;
} CustomerTable;

/* The result of locking a customer. */
typedef enum CustomerLock
{
	CUSTOMER_LOCKED,			/* or need not be, see fold.c */
	CUSTOMER_GONE,
	CUSTOMER_BUSY,				/* changed by somebody else, or about to be */
	CUSTOMER_TAKEN,				/* folded by somebody else at the same time, see claim.c, or not to
								 * be read under this snapshot, see rewritten.c */
	CUSTOMER_PUT_OFF			/* no time now for other people's code, see budget.c */
} CustomerLock;

extern bool chs_customer_is_current(const StoredActivity *stored, const Live *live);
extern bool chs_customer_exists(int64 customer_id);
extern bool chs_customer_is_own(int64 customer_id);
extern bool chs_customer_find_external(const char *external_id, int64 *customer_id);
extern CustomerLock chs_customer_lock_external(const char *external_id, int64 *customer_id);
extern char *chs_customer_external_id(int64 customer_id, Snapshot snapshot);
extern void chs_customer_open(CustomerTable *table);
extern void chs_customer_close(CustomerTable *table);
extern CustomerLock chs_customer_lock(CustomerTable *table, int64 customer_id, bool wait,
									  Snapshot snapshot, Customer *customer);
extern CustomerLock chs_customer_lock_one(int64 customer_id, bool wait, Snapshot snapshot,
										  Customer *customer);
extern StoredActivity chs_customer_read_activity(HeapTuple row, TupleDesc desc);
extern StoredActivity chs_customer_stored(int64 customer_id, Snapshot snapshot);
pg_noreturn extern void chs_customer_not_found(int64 customer_id);

#endif							/* CHS_CUSTOMER_H */

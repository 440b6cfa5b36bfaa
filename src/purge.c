/*
 * purge.c
 *	  Forgetting a customer.
 *
 * Everything that is kept by customer is deleted: the tables are found in the
 * catalogs, so that none is forgotten.
 */
#include "catalog.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "customer.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* Runs a statement with the customer as $1, and returns the number of rows it affected. */
static uint64
execute(const char *sql, int64 customer_id, int expected)
{
	Oid			types[] = {INT8OID};
	Datum		args[] = {Int64GetDatum(customer_id)};

	if (SPI_execute_with_args(sql, 1, types, args, NULL, false, 0) != expected)
		elog(ERROR, "could not purge a customer");
	return SPI_processed;
}

/* Deletes from every table of the extension that has a customer_id. */
static void
delete_everywhere(int64 customer_id)
{
	uint64		n = execute("SELECT pg_catalog.format('DELETE FROM %s WHERE customer_id = $1', c.oid::pg_catalog.regclass)"
							" FROM pg_catalog.pg_depend d"
							" JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'chs'"
							" JOIN pg_catalog.pg_class c ON c.oid = d.objid AND c.relkind IN ('r', 'p')"
							" JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = 'customer_id' AND NOT a.attisdropped"
							" WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass"
							" AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'"
							" AND $1 IS NOT NULL", customer_id, SPI_OK_SELECT);
	SPITupleTable *statements = SPI_tuptable;

	for (uint64 i = 0; i < n; i++)
		(void) execute(SPI_getvalue(statements->vals[i], statements->tupdesc, 1), customer_id, SPI_OK_DELETE);
}

/*
 * chs_purge_customer removes everything that is kept about a customer, with the
 * owner's rights, if the caller can see it.  Waits for whoever is inserting events
 * of it.  Returns the number of its events.
 */
PG_FUNCTION_INFO_V1(chs_purge_customer);
Datum
chs_purge_customer(PG_FUNCTION_ARGS)
{
	int64		customer_id = PG_GETARG_INT64(0);
	OwnerRights saved;
	uint64		events;

	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("customers cannot be purged in a transaction of isolation level %s",
						IsolationIsSerializable() ? "SERIALIZABLE" : "REPEATABLE READ"),
				 errdetail("Rows that were added after the transaction began would remain."),
				 errhint("Use a transaction of isolation level READ COMMITTED.")));
	PreventCommandIfReadOnly("chs_purge_customer()");
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (execute("SELECT FROM chs.customers WHERE customer_id OPERATOR(pg_catalog.=) $1",
				customer_id, SPI_OK_SELECT) == 0)
		chs_customer_not_found(customer_id);
	chs_catalog_become_owner(&saved);
	if (execute("SELECT FROM chs.customers WHERE customer_id = $1 FOR UPDATE", customer_id, SPI_OK_SELECT) == 0)
		chs_customer_not_found(customer_id);
	/* copies of rejected rows */
	(void) execute("WITH keys AS (SELECT s.source_id, CASE s.customer_key WHEN 'external_id' THEN c.external_id"
				   "  ELSE c.customer_id::pg_catalog.text END AS customer_key FROM chs.sources s, chs.customers c WHERE c.customer_id = $1),"
				   " rejected AS (DELETE FROM chs.rejected_events r USING keys k"
				   "  WHERE r.source_id = k.source_id AND r.customer_key = k.customer_key RETURNING r.source_id, r.event_row)"
				   " DELETE FROM chs.rejected_changes x WHERE (x.source_id, x.customer_key) IN (SELECT k.source_id, k.customer_key FROM keys k)"
				   " OR (x.source_id, x.event_row) IN (SELECT r.source_id, r.event_row FROM rejected r)",
				   customer_id, SPI_OK_DELETE);
	(void) execute("UPDATE chs.customers SET parent_id = NULL WHERE parent_id = $1", customer_id, SPI_OK_UPDATE);
	events = execute("DELETE FROM chs.customer_events WHERE customer_id = $1", customer_id, SPI_OK_DELETE);
	(void) execute("DELETE FROM chs.customers WHERE customer_id = $1", customer_id, SPI_OK_DELETE);
	/* tables without a reference to the customer, and what its deletion queued */
	delete_everywhere(customer_id);
	chs_catalog_become_caller(&saved);
	SPI_finish();
	PG_RETURN_INT64((int64) events);
}

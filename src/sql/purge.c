/*
 * purge.c
 *	  Forgetting a customer.
 *
 * What is removed is decided in SQL (sql/ext/purge.sql).  Here is what SQL cannot do:
 * looking with the rights of the caller, of the extension's owner and of those whose
 * tables refer to the customer.
 */
#include "base/compat.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/rls.h"

#include "base/catalog.h"
#include "base/spi.h"
#include "base/tables.h"
#include "store/customer.h"

/* Executes a statement with the customer as $1, and returns the number of rows. */
static uint64
execute_for(int64 customer_id, const char *sql)
{
	Oid			type = INT8OID;
	Datum		arg = Int64GetDatum(customer_id);

	return chs_spi_execute(sql, 1, &type, &arg, NULL);
}

/*
 * Refuses to purge a customer that other people's tables refer to by foreign keys: these
 * do nothing for the owner, and his rights must not be used to change such tables.
 * Each is asked as its foreign key would ask, with the rights of its own owner.
 */
static void
check_references(int64 customer_id)
{
	uint64		n = execute_for(customer_id, "SELECT foreign_key, relation, owner, query"
								" FROM chs.references_to($1)");
	SPITupleTable *queries = SPI_tuptable;

	for (uint64 i = 0; i < n; i++)
	{
		HeapTuple	row = queries->vals[i];
		bool		isnull;
		OwnerRights saved;

		chs_catalog_become_role(DatumGetObjectId(SPI_getbinval(row, queries->tupdesc, 3, &isnull)),
								&saved);
		chs_spi_execute_now(NULL, SPI_getvalue(row, queries->tupdesc, 4), 0, NULL, NULL, NULL);
		chs_catalog_become_caller(&saved);
		if (SPI_processed > 0)
			ereport(ERROR,
					(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
					 errmsg("customer %lld cannot be purged because rows of table %s refer to it",
							(long long) customer_id, SPI_getvalue(row, queries->tupdesc, 2)),
					 errdetail("Foreign key \"%s\" is of a table that does not belong to chs.",
							   SPI_getvalue(row, queries->tupdesc, 1)),
					 errhint("Delete these rows before, or set their references to NULL.")));
	}
}

/*
 * chs_purge_customer removes everything that is kept about a customer, with the
 * owner's rights, if the caller can see it; also what is left of one who is gone, if
 * the caller sees all.  Waits for whoever is inserting events of it.  Returns the
 * number of its events.
 */
PG_FUNCTION_INFO_V1(chs_purge_customer);
Datum
chs_purge_customer(PG_FUNCTION_ARGS)
{
	int64		customer_id = PG_GETARG_INT64(0);
	OwnerRights saved;
	Datum		events;
	bool		nothing_there;

	PreventCommandIfReadOnly("chs_purge_customer()");
	chs_table_lock(CHS_CUSTOMERS);
	SPI_connect();
	if (execute_for(customer_id, "SELECT FROM chs.customers"
					" WHERE customer_id OPERATOR(pg_catalog.=) $1") == 0 &&
		check_enable_rls(chs_catalog_relation(CHS_CUSTOMERS), InvalidOid, true) == RLS_ENABLED)
		chs_customer_not_found(customer_id);
	chs_catalog_become_owner(&saved);
	check_references(customer_id);
	execute_for(customer_id, "SELECT chs.purge($1)");
	events = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &nothing_there);
	if (nothing_there)
		chs_customer_not_found(customer_id);
	chs_catalog_become_caller(&saved);
	SPI_finish();
	PG_RETURN_DATUM(events);
}

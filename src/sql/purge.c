/*
 * purge.c
 *	  Forgetting a customer.
 *
 * Everything that is kept by customer is deleted: the tables are found in the
 * catalogs, so that none is forgotten.
 */
#include "base/compat.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"

#include "base/catalog.h"
#include "base/spi.h"
#include "base/tables.h"
#include "store/customer.h"

/*
 * The foreign keys of other people's tables, by name, table and the table's owner; how
 * to find what they refer to of customer $1; and a row of them that refers to it.
 */
#define FOREIGN_KEYS \
	"SELECT k.conname, k.conrelid::pg_catalog.regclass, t.relowner," \
	" pg_catalog.format('SELECT %s FROM %s r WHERE r.customer_id = $1'," \
	"  pg_catalog.string_agg(pg_catalog.format('r.%I::pg_catalog.text', p.attname), ', '" \
	"   ORDER BY u.i), k.confrelid::pg_catalog.regclass)," \
	" pg_catalog.format('SELECT FROM %s%s f WHERE %s LIMIT 1'," \
	"  CASE t.relkind WHEN 'p' THEN '' ELSE 'ONLY ' END, k.conrelid::pg_catalog.regclass," \
	"  pg_catalog.string_agg(pg_catalog.format('f.%I = $%s::%s', f.attname, u.i," \
	"   pg_catalog.format_type(p.atttypid, NULL)), ' AND ' ORDER BY u.i))" \
	" FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class t ON t.oid = k.conrelid" \
	" CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(k.conkey), pg_catalog.unnest(k.confkey))" \
	"  WITH ORDINALITY u(f, p, i)" \
	" JOIN pg_catalog.pg_attribute f ON f.attrelid = k.conrelid AND f.attnum = u.f" \
	" JOIN pg_catalog.pg_attribute p ON p.attrelid = k.confrelid AND p.attnum = u.p" \
	" WHERE k.contype = 'f' AND k.conparentid = 0" \
	" AND k.confrelid IN ('chs.customers'::pg_catalog.regclass," \
	"  'chs.customer_events'::pg_catalog.regclass)" \
	" AND t.relnamespace <> 'chs'::pg_catalog.regnamespace AND $1 IS NOT NULL" \
	" GROUP BY k.oid, k.conname, k.conrelid, k.confrelid, t.relowner, t.relkind" \
	" ORDER BY k.conrelid, k.conname"

enum
{
	KEY_NAME = 1,
	KEY_TABLE,
	KEY_OWNER,
	KEY_REFERRED,
	KEY_FIND
};

/* A statement for each table of the extension that has a customer_id. */
#define DELETES \
	"SELECT pg_catalog.format('DELETE FROM %s WHERE customer_id = $1'," \
	"  c.oid::pg_catalog.regclass)" \
	" FROM pg_catalog.pg_depend d" \
	" JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'chs'" \
	" JOIN pg_catalog.pg_class c ON c.oid = d.objid AND c.relkind IN ('r', 'p')" \
	" JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = 'customer_id'" \
	"  AND NOT a.attisdropped" \
	" WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass" \
	" AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'" \
	" AND $1 IS NOT NULL"

/* Copies of rejected rows. */
#define DELETE_REJECTED \
	"DELETE FROM chs.rejected_events r USING chs.sources s, chs.customers c" \
	" WHERE c.customer_id = $1 AND r.source_id = s.source_id AND r.customer_key =" \
	"  CASE s.customer_key WHEN 'external_id' THEN c.external_id" \
	"   ELSE c.customer_id::pg_catalog.text END"

#define DELETE_MISSING \
	"DELETE FROM chs.missing_customers m USING chs.customers c" \
	" WHERE c.customer_id = $1 AND m.external_id = c.external_id"

/* Executes a statement with the customer as $1, and returns the number of rows. */
static uint64
execute_for(int64 customer_id, const char *sql)
{
	Oid			type = INT8OID;
	Datum		arg = Int64GetDatum(customer_id);

	return chs_spi_execute(sql, 1, &type, &arg, NULL);
}

/* Raises an error if a row of a table refers to one of the customer. */
static void
check_reference(HeapTuple key, TupleDesc desc, int64 customer_id)
{
	bool		isnull;
	Oid			owner = DatumGetObjectId(SPI_getbinval(key, desc, KEY_OWNER, &isnull));
	const char *find = SPI_getvalue(key, desc, KEY_FIND);
	uint64		n = execute_for(customer_id, SPI_getvalue(key, desc, KEY_REFERRED));
	SPITupleTable *rows = SPI_tuptable;
	int			natts = rows->tupdesc->natts;
	Oid			types[INDEX_MAX_KEYS];
	Datum		args[INDEX_MAX_KEYS];
	char		nulls[INDEX_MAX_KEYS + 1] = {0};

	for (uint64 i = 0; i < n; i++)
	{
		OwnerRights saved;

		for (int j = 0; j < natts; j++)
		{
			types[j] = TEXTOID;
			args[j] = SPI_getbinval(rows->vals[i], rows->tupdesc, j + 1, &isnull);
			nulls[j] = isnull ? 'n' : ' ';
		}
		chs_catalog_become_role(owner, &saved);
		chs_spi_execute_now(NULL, find, natts, types, args, nulls);
		chs_catalog_become_caller(&saved);
		if (SPI_processed > 0)
			ereport(ERROR,
					(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
					 errmsg("customer %lld cannot be purged because rows of table %s refer to it",
							(long long) customer_id, SPI_getvalue(key, desc, KEY_TABLE)),
					 errdetail("Foreign key \"%s\" is of a table that does not belong to chs.",
							   SPI_getvalue(key, desc, KEY_NAME)),
					 errhint("Delete these rows before, or set their references to NULL.")));
	}
}

/*
 * Refuses to purge a customer that other people's tables refer to by foreign keys: these
 * do nothing for the owner, and his rights must not be used to change such tables.
 * Each is asked as its foreign key would ask, with the rights of its own owner.
 */
static void
check_references(int64 customer_id)
{
	uint64		n = execute_for(customer_id, FOREIGN_KEYS);
	SPITupleTable *keys = SPI_tuptable;

	for (uint64 i = 0; i < n; i++)
		check_reference(keys->vals[i], keys->tupdesc, customer_id);
}

/* Deletes from every table that has a customer_id, and returns the number of rows. */
static uint64
delete_everywhere(int64 customer_id)
{
	uint64		deleted = 0;
	uint64		n = execute_for(customer_id, DELETES);
	SPITupleTable *statements = SPI_tuptable;

	for (uint64 i = 0; i < n; i++)
		deleted += execute_for(customer_id,
							   SPI_getvalue(statements->vals[i], statements->tupdesc, 1));
	return deleted;
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
	uint64		events;
	uint64		left;
	bool		exists;

	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("customers cannot be purged in a transaction of isolation level %s",
						IsolationIsSerializable() ? "SERIALIZABLE" : "REPEATABLE READ"),
				 errdetail("Rows that were added after the transaction began would remain."),
				 errhint("Use a transaction of isolation level READ COMMITTED.")));
	PreventCommandIfReadOnly("chs_purge_customer()");
	chs_table_lock(CHS_CUSTOMERS);
	SPI_connect();
	if (execute_for(customer_id, "SELECT FROM chs.customers"
					" WHERE customer_id OPERATOR(pg_catalog.=) $1") == 0 &&
		check_enable_rls(chs_catalog_relation(CHS_CUSTOMERS), InvalidOid, true) == RLS_ENABLED)
		chs_customer_not_found(customer_id);
	chs_catalog_become_owner(&saved);
	exists = execute_for(customer_id, "SELECT FROM chs.customers"
						 " WHERE customer_id = $1 FOR UPDATE") > 0;
	check_references(customer_id);
	execute_for(customer_id, DELETE_REJECTED);
	execute_for(customer_id, DELETE_MISSING);
	execute_for(customer_id, "UPDATE chs.customers SET parent_id = NULL WHERE parent_id = $1");
	events = execute_for(customer_id, "DELETE FROM chs.customer_events WHERE customer_id = $1");
	execute_for(customer_id, "DELETE FROM chs.customers WHERE customer_id = $1");
	/* what foreign keys do not do for the owner, and what the deletion queued */
	left = delete_everywhere(customer_id);
	if (!exists && events + left == 0)
		chs_customer_not_found(customer_id);
	chs_catalog_become_caller(&saved);
	SPI_finish();
	PG_RETURN_INT64((int64) events);
}

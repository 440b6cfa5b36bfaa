/*
 * spi.c
 *	  Running SQL.
 */
#include "base/spi.h"

#include "utils/snapmgr.h"

#include "base/catalog.h"

/* chs_spi_begin switches to the rights of the owner, and connects to SPI. */
void
chs_spi_begin(OwnerRights *saved)
{
	chs_catalog_become_owner(saved);
	SPI_connect();
}

/* chs_spi_end disconnects from SPI, and switches back. */
void
chs_spi_end(const OwnerRights *saved)
{
	SPI_finish();
	chs_catalog_become_caller(saved);
}

/* What SPI reports instead of raising an error are mistakes of the code. */
static uint64
check_result(int result, const char *sql)
{
	if (result < 0)
		elog(ERROR, "could not execute: %s: %s", SPI_result_code_string(result), sql);
	return SPI_processed;
}

static uint64
execute(const char *sql, int nargs, Oid *types, Datum *args, const char *nulls, bool read_only)
{
	return check_result(SPI_execute_with_args(sql, nargs, types, args, nulls, read_only, 0), sql);
}

/*
 * chs_spi_select executes a query, within SPI and with the present rights, as the active
 * snapshot sees the tables.  Returns the number of rows, which are in SPI_tuptable.
 */
uint64
chs_spi_select(const char *sql, int nargs, Oid *types, Datum *args)
{
	return execute(sql, nargs, types, args, NULL, true);
}

/*
 * chs_spi_execute executes a statement that may write, within SPI and with the present
 * rights.  Nulls, if given, has an 'n' for each argument that is NULL, and a ' ' for the
 * others.  Returns the number of rows.
 */
uint64
chs_spi_execute(const char *sql, int nargs, Oid *types, Datum *args, const char *nulls)
{
	return execute(sql, nargs, types, args, nulls, false);
}

/* chs_spi_run executes one without arguments. */
uint64
chs_spi_run(const char *sql)
{
	return execute(sql, 0, NULL, NULL, NULL, false);
}

/* chs_spi_execute_as_owner does so with the rights of the owner. */
uint64
chs_spi_execute_as_owner(const char *sql, int nargs, Oid *types, Datum *args, const char *nulls)
{
	OwnerRights saved;
	uint64		n;

	chs_catalog_become_owner(&saved);
	n = execute(sql, nargs, types, args, nulls, false);
	chs_catalog_become_caller(&saved);
	return n;
}

/*
 * chs_spi_execute_now does so with the present rights, under the latest snapshot: at any
 * isolation level, it finds what others have committed.  If kept is given, the plan is
 * saved there.
 */
uint64
chs_spi_execute_now(SPIPlanPtr *kept, const char *sql, int nargs, Oid *types, Datum *args,
					const char *nulls)
{
	SPIPlanPtr	plan = kept ? *kept : NULL;
	Snapshot	snapshot;
	uint64		n;

	if (plan == NULL)
	{
		plan = SPI_prepare(sql, nargs, types);
		if (plan == NULL || (kept && SPI_keepplan(plan) != 0))
			elog(ERROR, "could not prepare: %s", sql);
		if (kept)
			*kept = plan;
	}
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	n = check_result(SPI_execute_snapshot(plan, args, nulls, snapshot, InvalidSnapshot, false,
										  true, 0), sql);
	UnregisterSnapshot(snapshot);
	if (!kept)
		(void) SPI_freeplan(plan);
	return n;
}

/*
 * chs_spi_run_each executes, with the present rights, the statements that a query under the
 * latest snapshot returns, one a row.
 */
void
chs_spi_run_each(const char *sql, int nargs, Oid *types, Datum *args)
{
	uint64		n = chs_spi_execute_now(NULL, sql, nargs, types, args, NULL);
	SPITupleTable *statements = SPI_tuptable;

	for (uint64 i = 0; i < n; i++)
		chs_spi_run(SPI_getvalue(statements->vals[i], statements->tupdesc, 1));
}

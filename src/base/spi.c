/*
 * spi.c
 *	  Running SQL.
 */
#include "base/spi.h"

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
execute(const char *sql, int nargs, Oid *types, Datum *args, const char *nulls, bool read_only)
{
	int			result = SPI_execute_with_args(sql, nargs, types, args, nulls, read_only, 0);

	if (result < 0)
		elog(ERROR, "could not execute: %s: %s", SPI_result_code_string(result), sql);
	return SPI_processed;
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

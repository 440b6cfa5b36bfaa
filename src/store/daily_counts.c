/*
 * daily_counts.c
 *	  The table chs.daily_counts: how many customers had which status on which day.
 *
 * What is counted, and when, is decided in SQL (sql/ext/daily_counts.sql).
 */
#include "store/daily_counts.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/date.h"
#include "utils/snapmgr.h"

#include "base/catalog.h"
#include "base/spi.h"

/*
 * chs_daily_counts_mark has a UTC day that is over, and all after it, be counted again,
 * once this transaction has committed: its history has changed.
 */
void
chs_daily_counts_mark(int32 from_day)
{
	Oid			types[] = {DATEOID};
	Datum		args[] = {DateADTGetDatum(from_day)};
	OwnerRights saved;

	chs_spi_begin(&saved);
	chs_spi_execute("INSERT INTO chs.recounts (from_day) VALUES ($1)", lengthof(types), types,
					args, NULL);
	chs_spi_end(&saved);
}

/* The number of rows of history that are looked up in a slice of a job, and of a worker. */
#define JOB_SLICE 100000
#define WORKER_SLICE 20000

/*
 * chs_daily_counts_slice does the next piece of counting days, within the current
 * transaction, and returns whether there may be more.  At once: also what a worker would
 * leave for later, or to whoever is counting.
 */
bool
chs_daily_counts_slice(bool at_once)
{
	Oid			types[] = {INT4OID, BOOLOID};
	Datum		args[] = {
		Int32GetDatum(at_once ? JOB_SLICE : WORKER_SLICE), BoolGetDatum(at_once)
	};
	OwnerRights saved;
	bool		isnull;
	bool		more;

	PushActiveSnapshot(GetTransactionSnapshot());
	chs_spi_begin(&saved);
	chs_spi_execute("SELECT chs.count_days_slice($1, $2)", lengthof(types), types, args, NULL);
	more = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	chs_spi_end(&saved);
	PopActiveSnapshot();
	return more;
}

/* chs_daily_counts_step is a step of housekeeping. */
bool
chs_daily_counts_step(void)
{
	return chs_daily_counts_slice(false);
}

/* chs_count_days counts all days that are to be counted, with the rights of the owner. */
PG_FUNCTION_INFO_V1(chs_count_days);
Datum
chs_count_days(PG_FUNCTION_ARGS)
{
	Oid			types[] = {DATEOID};
	Datum		args[] = {PG_ARGISNULL(0) ? (Datum) 0 : PG_GETARG_DATUM(0)};
	bool		isnull;
	int64		days;

	SPI_connect();
	chs_spi_execute_as_owner("SELECT chs.count_days($1)", lengthof(types), types, args,
							 PG_ARGISNULL(0) ? "n" : NULL);
	days = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	PG_RETURN_INT64(days);
}

/*
 * backfill_history.c
 *	  The job that computes the past of everybody.
 *
 * What is computed and stored for the next customers is decided in SQL
 * (sql/ext/past.sql).  Here is the job that goes through all of them.
 */
#include "base/compat.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/snapmgr.h"

#include "base/spi.h"
#include "engine/retention.h"
#include "score/days.h"
#include "score/values.h"
#include "store/customer.h"
#include "store/daily_counts.h"
#include "store/live.h"
#include "store/progress.h"

/* Says if the scores of some of the days need events that have been deleted. */
static void
note_deleted_events(int32 from_day)
{
	int32		kept_from = chs_retention_kept_from(GetActiveSnapshot());

	if (from_day - chs_live_version()->published->max_keep + 1 < kept_from)
		ereport(NOTICE,
				(errmsg("days whose scores need events from before %s get none",
						chs_value_day(kept_from)),
				 errdetail("These events have been deleted, see chs.event_retention.")));
}

/*
 * chs_backfill_history is a procedure: it stores the scores of past days, from one on,
 * that were not recorded at the time.
 */
PG_FUNCTION_INFO_V1(chs_backfill_history);
Datum
chs_backfill_history(PG_FUNCTION_ARGS)
{
	Oid			types[] = {DATEOID, INT8OID};
	Datum		args[lengthof(types)];
	Job			job;
	int32		from_day;

	from_day = PG_ARGISNULL(0) ? chs_customer_today() : PG_GETARG_DATEADT(0);
	if (from_day >= chs_customer_today() || (int64) from_day + MAX_DAYS < chs_customer_today())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" must be one of the %d days before today", "from_day", MAX_DAYS)));
	args[0] = DateADTGetDatum(from_day);
	chs_progress_begin(&job, JOB_HISTORY, fcinfo,
					   psprintf("version %d, from %s", chs_live_version()->version,
								chs_value_day(from_day)));
	PushActiveSnapshot(GetTransactionSnapshot());
	note_deleted_events(from_day);
	PopActiveSnapshot();
	chs_spi_execute_as_owner("INSERT INTO chs.recounts (from_day, extends)"
							 " SELECT greatest($1, p.before), true"
							 " FROM chs.retention_plan('history'::text) p",
							 1, types, args, NULL);
	for (;;)
	{
		HeapTuple	row;
		bool		isnull;
		int64		n;

		args[1] = Int64GetDatum(job.last_customer_id);
		chs_spi_execute_as_owner("SELECT customers, last_customer_id"
								 " FROM chs.backfill_history($1, $2)",
								 lengthof(types), types, args, NULL);
		row = SPI_tuptable->vals[0];
		n = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &isnull));
		if (n == 0)
			break;
		job.done += n;
		job.last_customer_id = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &isnull));
		chs_progress_store(&job, "computing the past");
	}
	/* the workers do that, too, but not while this is running */
	while (chs_daily_counts_slice(true))
		chs_progress_store(&job, "counting days");
	chs_progress_end(&job);
	PG_RETURN_VOID();
}

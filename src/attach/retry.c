/*
 * retry.c
 *	  Listing anew the rows of attached tables that cannot be used.
 *
 * The log has what could not be used when it was written.  One look at all rows of a
 * table replaces that by what cannot be used now, and has those taken that can be used
 * by now.  Which ones may be among them is known from the log: those that name a
 * customer who is listed or, since the customer of others is not known, look like a
 * copy.
 */
#include "base/compat.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "postgres.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "attach/attached.h"
#include "attach/existing.h"
#include "attach/rejected.h"
#include "attach/synced.h"
#include "base/catalog.h"
#include "base/rest.h"
#include "engine/capture.h"
#include "engine/pending.h"
#include "source/mapping.h"
#include "source/mapping_rows.h"
#include "source/source.h"
#include "store/live.h"
#include "store/sources.h"

/* What was listed of a table, and what is. */
typedef struct Retry
{
	Source		source;
	int			nlisted;
	int64	   *listed;			/* hashes of customer keys and of other rows, ascending */
	bool		any_without_key;
	int64		nrejected;
} Retry;

/* Removes what a snapshot sees in the log of a source, and notes what it was.  Within SPI. */
static void
take_from_log(Retry *retry, Snapshot snapshot)
{
	Oid			type = INT4OID;
	Datum		arg = Int32GetDatum(retry->source.source_id);
	OwnerRights saved;
	SPIPlanPtr	plan;
	HeapTuple	result;
	bool		isnull;
	Datum		array;

	chs_catalog_become_owner(&saved);
	plan = SPI_prepare("WITH gone AS (DELETE FROM chs.rejected_events WHERE source_id = $1"
					   "  RETURNING customer_key, event_row)"
					   " SELECT array_agg(DISTINCT h ORDER BY h),"
					   "  COALESCE(bool_or(customer_key IS NULL), false) FROM gone,"
					   "  COALESCE(hashtextextended(customer_key, 0),"
					   "   jsonb_hash_extended(event_row, 0), 0) h", 1, &type);
	if (plan == NULL || SPI_execute_snapshot(plan, &arg, NULL, snapshot, InvalidSnapshot,
											 false, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read chs.rejected_events");
	chs_catalog_become_caller(&saved);
	result = SPI_tuptable->vals[0];
	retry->any_without_key = DatumGetBool(SPI_getbinval(result, SPI_tuptable->tupdesc, 2, &isnull));
	array = SPI_getbinval(result, SPI_tuptable->tupdesc, 1, &isnull);
	if (!isnull)
	{
		ArrayType  *hashes = DatumGetArrayTypePCopy(array);

		retry->nlisted = ArrayGetNItems(ARR_NDIM(hashes), ARR_DIMS(hashes));
		retry->listed = (int64 *) ARR_DATA_PTR(hashes);
	}
}

static int
compare_hashes(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return (x > y) - (x < y);
}

static bool
is_listed(const Retry *retry, Datum hash)
{
	int64		key = DatumGetInt64(hash);

	return retry->nlisted > 0 &&
		bsearch(&key, retry->listed, retry->nlisted, sizeof(int64), compare_hashes) != NULL;
}

static bool
is_key_listed(const Retry *retry, Datum key)
{
	return is_listed(retry, DirectFunctionCall2Coll(hashtextextended, DEFAULT_COLLATION_OID,
													key, Int64GetDatum(0)));
}

/* Appends rows, of which these are to be rejected, to the log. */
static void
reject_rows(Retry *retry, Mapping *mapping, RejectedRow *rejected, HeapTuple *tuples, int n)
{
	Jsonb	  **documents = palloc0(Max(n, 1) * sizeof(Jsonb *));

	chs_mapping_rows_as_jsonb(mapping, tuples, n, documents);
	for (int i = 0; i < n; i++)
		rejected[i].row = documents[i];
	chs_rejected_add(rejected, n);
	retry->nrejected += n;
}

/* Has customers rebuilt whose rows may not have been counted. */
static void
take_events(const ExistingRows *rows, void *arg)
{
	Retry	   *retry = arg;
	const Live *live = chs_live_version();
	RejectedRow *rejected = palloc(rows->n * sizeof(RejectedRow));
	HeapTuple  *tuples = palloc(rows->n * sizeof(HeapTuple));
	int			n = 0;

	for (int i = 0; i < rows->n; i++)
	{
		int64		customer_id;

		chs_attached_check(live, &retry->source, &rows->mapped[i], &rejected[n], &customer_id);
		if (rejected[n].error != NULL)
		{
			rejected[n].relation = rows->relations[i];
			tuples[n++] = rows->tuples[i];
		}
		else if (rejected[n].customer_key != NULL &&
				 (retry->any_without_key ||
				  is_key_listed(retry, CStringGetTextDatum(rejected[n].customer_key))))
			chs_pending_rebuild(live, customer_id, false);
	}
	reject_rows(retry, rows->mapping, rejected, tuples, n);
}

/* Whether a row of a customer looks like one that was listed without its key. */
static bool
is_copy_listed(const Retry *retry, Mapping *mapping, HeapTuple tuple)
{
	Jsonb	   *document = retry->any_without_key ? chs_mapping_row_as_jsonb(mapping, tuple) : NULL;

	return document != NULL &&
		is_listed(retry, DirectFunctionCall2(jsonb_hash_extended, JsonbPGetDatum(document),
											 Int64GetDatum(0)));
}

/* Takes the customers that were listed; others may have been deleted, or purged, since. */
static void
take_customers(const ExistingRows *rows, void *arg)
{
	Retry	   *retry = arg;
	RejectedRow *rejected = palloc(rows->n * sizeof(RejectedRow));
	HeapTuple  *tuples = palloc(rows->n * sizeof(HeapTuple));
	int			n = 0;

	for (int i = 0; i < rows->n; i++)
	{
		const MappedRow *mapped = &rows->mapped[i];
		bool		has_key = mapped->error == NULL && !mapped->nulls[0];
		ErrorData  *error;

		if (has_key && !is_key_listed(retry, mapped->values[0]) &&
			!is_copy_listed(retry, rows->mapping, rows->tuples[i]))
			continue;
		error = chs_synced_take(&retry->source, NULL, mapped);
		if (error == NULL)
			continue;
		rejected[n] = (RejectedRow) {
			.source_id = retry->source.source_id,.relation = rows->relations[i],
			.customer_key = has_key ? TextDatumGetCString(mapped->values[0]) : NULL,
			.error = error
		};
		tuples[n++] = rows->tuples[i];
	}
	reject_rows(retry, rows->mapping, rejected, tuples, n);
}

/*
 * chs_retry_source lists the rows of a source that cannot be used now, and returns how many
 * there are; those that can be used by now are taken.
 */
PG_FUNCTION_INFO_V1(chs_retry_source);
Datum
chs_retry_source(PG_FUNCTION_ARGS)
{
	const Live *live;
	const Source *source;
	Retry		retry = {0};
	Mapping    *mapping;

	PreventCommandIfReadOnly("chs_retry_rejected()");
	chs_capture_flush_pending();
	CommandCounterIncrement();
	live = chs_live_version();
	source = chs_source_find(live, PG_GETARG_INT32(0));
	if (source == NULL || chs_source_is_builtin(source))
		PG_RETURN_INT64(0);
	/* two who do this at a time would list rows twice */
	LockRelationOid(source->relation, ShareUpdateExclusiveLock);
	retry.source = *source;
	mapping = chs_source_compile(live, source, source->relation)->mapping;
	/* chs.source_status has the reason, which is that of every row */
	if (mapping->broken != NULL)
		PG_RETURN_INT64(0);
	/* the caller may have solved the problem */
	chs_rest_end(RelationRelationId, mapping->relation);
	SPI_connect();
	/* rows that it does not see list themselves */
	PushActiveSnapshot(GetLatestSnapshot());
	take_from_log(&retry, GetActiveSnapshot());
	chs_existing_rows(&retry.source, retry.source.of_customers ? take_customers : take_events,
					  &retry);
	PopActiveSnapshot();
	SPI_finish();
	chs_capture_flush_pending();
	PG_RETURN_INT64(retry.nrejected);
}

/*
 * retry.c
 *	  Accepting rejected rows whose problem has been solved.
 *
 * Copies are locked only where something is to be done about them: whoever changes a row
 * of which the cause is still there finds its copy free.  A row whose copy somebody else
 * has locked is left to the next time.
 */
#include "attach/retry.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "attach/attached.h"
#include "attach/backlog.h"
#include "attach/rejected.h"
#include "attach/rejected_check.h"
#include "attach/synced.h"
#include "base/catalog.h"
#include "base/try.h"
#include "engine/capture.h"
#include "source/mapping.h"
#include "source/mapping_rows.h"
#include "source/source.h"
#include "store/customer.h"
#include "store/live.h"
#include "store/sources.h"

/* The number of rows that are tried at once. */
#define ROWS_AT_ONCE 256

/* Rows of one source. */
typedef struct Retry
{
	bool		customer_came;	/* whose activity has been made from the raw events; otherwise the customers of the rows are rebuilt */
	const Live *live;
	const Source *source;
	Mapping    *mapping;
	MemoryContext context;
	uint64		nlocked;		/* by others, of those of which the cause is gone */
	int			n;
	struct
	{
		int64		id;
		Datum		document;
		char	   *sqlstate;	/* why it was put aside */
		char	   *reason;
		bool		no_customer;
	}			rows[ROWS_AT_ONCE];
	HeapTuple	tuples[ROWS_AT_ONCE];
} Retry;

/* What came of trying a row. */
typedef struct Tried
{
	const ErrorData *error;		/* why it still cannot be used, or NULL */
	bool		no_customer;
} Tried;

/* Turns copies back into rows of the table, with the rights of its owner, whose types may be involved. */
static void
make_rows(void *arg)
{
	Retry	   *r = arg;
	Oid			type = JSONBARRAYOID;
	Datum		documents[ROWS_AT_ONCE];
	Datum		array;
	OwnerRights saved;

	for (int i = 0; i < r->n; i++)
		documents[i] = r->rows[i].document;
	array = PointerGetDatum(construct_array(documents, r->n, JSONBOID, -1, false, TYPALIGN_INT));
	chs_catalog_become_role(r->mapping->owner, &saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(psprintf("SELECT p.* FROM pg_catalog.unnest($1) j, pg_catalog.jsonb_populate_record(NULL::%s, j) p",
									   chs_source_name(r->source)), 1, &type, &array, NULL, true, 0) != SPI_OK_SELECT ||
		SPI_processed != (uint64) r->n)
		elog(ERROR, "could not make rows of the copies");
	for (int i = 0; i < r->n; i++)
	{
		MemoryContext caller = MemoryContextSwitchTo(r->context);

		r->tuples[i] = chs_mapping_row_of_result(r->mapping, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
		MemoryContextSwitchTo(caller);
	}
	SPI_finish();
	chs_catalog_become_caller(&saved);
}

static void
execute(const char *sql, int nargs, Oid *types, Datum *args)
{
	if (SPI_execute_with_args(sql, nargs, types, args, NULL, false, 0) < 0)
		elog(ERROR, "could not write chs.rejected_events");
}

/* Records that a row was accepted, or why not, since the reason may be a different one now. */
static void
note_result(int64 id, const Tried *tried)
{
	Oid			types[] = {INT8OID, TEXTOID, TEXTOID, BOOLOID};
	Datum		args[4] = {Int64GetDatum(id)};

	if (tried->error == NULL)
		execute("DELETE FROM chs.rejected_events WHERE rejected_id = $1", 1, types, args);
	else
	{
		args[1] = CStringGetTextDatum(unpack_sql_state(tried->error->sqlerrcode));
		args[2] = CStringGetTextDatum(tried->error->message);
		args[3] = BoolGetDatum(tried->no_customer);
		/* a customer who comes meanwhile finds it locked */
		execute("UPDATE chs.rejected_events SET sqlstate = $2, reason = $3, no_customer = $4, to_check = $4 WHERE rejected_id = $1",
				4, types, args);
	}
}

/* Whether something is to be written about a row. */
static bool
is_news(const Retry *r, int i, const Tried *tried)
{
	return tried->error == NULL || tried->no_customer != r->rows[i].no_customer ||
		strcmp(tried->error->message, r->rows[i].reason) != 0 ||
		strcmp(unpack_sql_state(tried->error->sqlerrcode), r->rows[i].sqlstate) != 0;
}

/* Locks the copy of a row; false if somebody else has, or it is gone. */
static bool
lock_copy(int64 id)
{
	Oid			type = INT8OID;
	Datum		arg = Int64GetDatum(id);

	execute("SELECT FROM chs.rejected_events WHERE rejected_id = $1 FOR UPDATE SKIP LOCKED", 1, &type, &arg);
	return SPI_processed > 0;
}

/* Tries rows; returns how many were accepted. */
static int64
try_rows(Retry *r)
{
	MappedRow  *mapped = palloc(Max(r->n, 1) * sizeof(MappedRow));
	ErrorData  *error = r->mapping->broken ? r->mapping->broken : chs_try(make_rows, r);
	int64		taken = 0;

	if (error != NULL && r->n > 1 && r->mapping->broken == NULL)
	{
		/* each by itself */
		for (int i = 0; i < r->n; i++)
		{
			Retry	   *one = palloc(sizeof(Retry));

			*one = (Retry) {
				.customer_came = r->customer_came,.live = r->live,.source = r->source,.mapping = r->mapping,.context = r->context,.n = 1
			};
			one->rows[0] = r->rows[i];
			taken += try_rows(one);
			r->nlocked += one->nlocked;
			pfree(one);
		}
		return taken;
	}
	if (error == NULL)
		chs_mapping_evaluate(r->mapping, r->tuples, r->n, mapped);
	for (int i = 0; i < r->n; i++)
	{
		Tried		tried = {.error = error};
		RejectedRow rejected = {0};

		/* taking a customer in is the try, so its copy is locked already */
		if (error == NULL && r->source->of_customers)
			tried.error = chs_synced_take(r->source, NULL, &mapped[i]);
		else if (error == NULL && chs_attached_is_unusable(r->live, r->source, &mapped[i], &rejected))
			tried = (Tried) {rejected.error, rejected.no_customer};
		if (!is_news(r, i, &tried))
			continue;
		if (!r->source->of_customers && !lock_copy(r->rows[i].id))
		{
			r->nlocked++;
			continue;
		}
		if (tried.error == NULL && !r->source->of_customers && !r->customer_came)
			(void) chs_attached_retry(r->live, r->source, &mapped[i]);
		note_result(r->rows[i].id, &tried);
		taken += tried.error == NULL;
	}
	return taken;
}

/*
 * Tries the next rows of a source after a given one, or those for a new customer;
 * within SPI, with the owner's rights.  Returns how many there were.
 */
static uint64
retry_slice(const Live *live, int source_id, const char *customer_key, int64 *last, int64 *taken, uint64 *nlocked)
{
	Oid			types[] = {INT4OID, INT8OID, TEXTOID};
	Datum		args[] = {Int32GetDatum(source_id), Int64GetDatum(*last), customer_key ? CStringGetTextDatum(customer_key) : (Datum) 0};
	const Source *found = chs_source_find(live, source_id);
	Source		source;
	Retry	   *r = palloc0(sizeof(Retry));

	if (found == NULL)
		return 0;
	source = *found;
	if (SPI_execute_with_args(psprintf("SELECT rejected_id, event_row, sqlstate, reason, no_customer FROM chs.rejected_events"
									   " WHERE source_id = $1 AND rejected_id > $2 AND event_row IS NOT NULL%s"
									   " ORDER BY rejected_id LIMIT " CppAsString2(ROWS_AT_ONCE) "%s",
									   customer_key ? " AND customer_key = $3 AND no_customer" : "",
									   source.of_customers ? " FOR UPDATE SKIP LOCKED" : ""),
							  customer_key ? 3 : 2, types, args, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read chs.rejected_events");
	r->customer_came = customer_key != NULL;
	r->live = live;
	r->source = &source;
	r->mapping = chs_source_compile(live, &source, source.relation)->mapping;
	/* the caller may have solved the problem */
	if (customer_key == NULL && args[1] == Int64GetDatum(0))
		r->mapping->rests_until = 0;
	r->context = CurrentMemoryContext;
	r->n = (int) SPI_processed;
	for (int i = 0; i < r->n; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;

		r->rows[i].id = *last = DatumGetInt64(SPI_getbinval(row, desc, 1, &isnull));
		r->rows[i].document = JsonbPGetDatum(DatumGetJsonbPCopy(SPI_getbinval(row, desc, 2, &isnull)));
		r->rows[i].sqlstate = SPI_getvalue(row, desc, 3);
		r->rows[i].reason = SPI_getvalue(row, desc, 4);
		r->rows[i].no_customer = DatumGetBool(SPI_getbinval(row, desc, 5, &isnull));
	}
	if (r->n > 0)
		*taken += try_rows(r);
	*nlocked += r->nlocked;
	return r->n;
}

/*
 * Tries all rows of a source, or those for a new customer, in the same way.  The
 * live version may be reread meanwhile, unless one is given.
 */
static int64
retry_source(const Live *live, int source_id, const char *customer_key, uint64 *nlocked)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "chs retried rows", ALLOCSET_DEFAULT_SIZES);
	int64		taken = 0;
	int64		last = 0;
	uint64		n;

	do
	{
		MemoryContext caller = MemoryContextSwitchTo(scratch);

		n = retry_slice(live ? live : chs_live_version(), source_id, customer_key, &last, &taken, nlocked);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(scratch);
	} while (n == ROWS_AT_ONCE);
	MemoryContextDelete(scratch);
	return taken;
}

/*
 * chs_retry_rows_of reconsiders the rows that were rejected for lack of a customer
 * that now exists and has been made from the raw events: usable ones are removed
 * from the list, others are listed for what else is wrong with them.  False if
 * somebody has some of them locked.  Within SPI, with the owner's rights.
 */
bool
chs_retry_rows_of(const Live *live, int source_id, const char *customer_key)
{
	uint64		nlocked = 0;

	(void) retry_source(live, source_id, customer_key, &nlocked);
	return nlocked == 0;
}

/* chs_retry_customer_came does so in all sources; or, where some are locked, it is done later. */
void
chs_retry_customer_came(const Live *live, int64 customer_id)
{
	OwnerRights saved;

	for (int i = 0; i < live->nsources; i++)
	{
		const Source *source = &live->sources[i];
		char	   *key;
		bool		done;

		if (chs_source_is_builtin(source))
			continue;
		key = source->by_external_id ? chs_customer_external_id(customer_id, GetActiveSnapshot()) :
			psprintf("%lld", (long long) customer_id);
		if (key == NULL || !chs_rejected_any_of(source->source_id, key))
			continue;
		chs_catalog_become_owner(&saved);
		if (SPI_connect() != SPI_OK_CONNECT)
			elog(ERROR, "SPI_connect failed");
		done = chs_retry_rows_of(live, source->source_id, key);
		SPI_finish();
		chs_catalog_become_caller(&saved);
		if (!done)
			chs_rejected_leave("look at rows", &source->source_id, &key, 1);
	}
}

/* chs_retry_rejected accepts the rows that can be used now, of one table or of all. */
PG_FUNCTION_INFO_V1(chs_retry_rejected);
Datum
chs_retry_rejected(PG_FUNCTION_ARGS)
{
	OwnerRights saved;
	int64		taken = 0;
	int		   *source_ids;
	uint64		n;
	bool		may_begin = chs_backlog_may_begin();
	uint64		nlocked = 0;

	/* list what is not listed yet, in case no worker does */
	while (chs_backlog_step(may_begin))
		CommandCounterIncrement();
	/* likewise what has been left */
	if (!IsolationUsesXactSnapshot())
		(void) chs_rejected_check(chs_live_version());
	CommandCounterIncrement();
	chs_catalog_become_owner(&saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute(PG_ARGISNULL(0) ? "SELECT source_id FROM chs.sources WHERE source_id > 1 ORDER BY kind, source_id" :
					psprintf("SELECT source_id FROM chs.sources WHERE source_id > 1 AND relation = %u ORDER BY kind, source_id",
							 PG_GETARG_OID(0)), true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read chs.sources");
	n = SPI_processed;
	if (n == 0 && !PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("%s is not attached", get_rel_name(PG_GETARG_OID(0)) ? get_rel_name(PG_GETARG_OID(0)) : "the table"),
				 errhint("chs.sources lists the tables that are.")));
	source_ids = palloc(Max(n, 1) * sizeof(int));
	for (uint64 i = 0; i < n; i++)
	{
		bool		isnull;

		source_ids[i] = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
	}
	for (uint64 i = 0; i < n; i++)
		taken += retry_source(NULL, source_ids[i], NULL, &nlocked);
	SPI_finish();
	chs_catalog_become_caller(&saved);
	chs_capture_flush_pending();
	PG_RETURN_INT64(taken);
}

/*
 * raw.c
 *	  Activities made from the raw events of all sources.
 *
 * The rows of an attached table are read, and its expressions evaluated, with the
 * rights of its owner.  A customer's rows are searched by the customer expression,
 * for which the table may have an index.
 */
#include "source/raw.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "activity/activity.h"
#include "activity/activity_merge.h"
#include "activity/activity_read.h"
#include "activity/activity_write.h"
#include "base/budget.h"
#include "base/catalog.h"
#include "base/error.h"
#include "base/id.h"
#include "base/spi.h"
#include "base/try.h"
#include "score/count.h"
#include "source/mapping.h"
#include "source/mapping_rows.h"
#include "source/mapping_try.h"
#include "source/raw_query.h"
#include "source/source.h"
#include "store/customer.h"
#include "store/event.h"
#include "store/live.h"
#include "store/sources.h"

/* The number of rows that are evaluated at once if the whole table is read. */
#define ROWS_AT_ONCE 1000

typedef struct RawCustomer
{
	int64		customer_id;	/* the key */
	Activity   *state;
	char		status;
} RawCustomer;

#define SH_PREFIX raw
#define SH_ELEMENT_TYPE RawCustomer
#define SH_KEY_TYPE int64
#define SH_KEY customer_id
#define SH_HASH_KEY(tb, k) chs_id_hash(k)
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct RawActivities
{
	MemoryContext context;
	raw_hash   *customers;
};

/* An external_id and its customer, in a list sorted by external_id. */
typedef struct ExternalId
{
	char	   *external_id;
	int64		customer_id;
} ExternalId;

/* Reading one source. */
typedef struct RawReader
{
	DestReceiver receiver;		/* must come first */
	const RawRequest *request;
	const Source *source;
	CompiledSource *compiled;
	RawActivities *activities;
	int			nexternal;
	ExternalId *external;
	Increment  *increments;
	MemoryContext row_context;
	HeapTuple  *rows;			/* to be evaluated, if the whole table is read */
	int			nrows;
	const ErrorData *too_slow;	/* why no more of them are evaluated; or NULL */
} RawReader;

/* ------------------------------------------------------------- counting */

static void
count_event(RawReader *reader, int64 customer_id, const Event *event)
{
	const RawRequest *request = reader->request;
	RawCustomer *customer = raw_lookup(reader->activities->customers, customer_id);
	int32		day;
	int			n;
	MemoryContext caller;

	if (customer == NULL)
		return;
	if (!chs_source_is_builtin(reader->source) && chs_source_check(request->live, event) != NULL)
		return;
	day = chs_count_day(event->occurred_at);
	if (day < request->first_day || day > request->last_day)
		return;
	n = chs_count_event(request->live->published, event->event_type, event->event_type_length,
						event->event_data, day, reader->increments);
	caller = MemoryContextSwitchTo(reader->activities->context);
	if (customer->state == NULL)
		customer->state = chs_activity_open_state();
	if (n > 0)
		customer->state = chs_activity_add(customer->state, reader->increments, n);
	MemoryContextSwitchTo(caller);
}

/* Takes a row (customer_id, event_type, occurred_at, event_data). */
static bool
receive_event(TupleTableSlot *slot, DestReceiver *self)
{
	RawReader  *reader = (RawReader *) self;
	MemoryContext caller = MemoryContextSwitchTo(reader->row_context);
	Event		event;

	slot_getallattrs(slot);
	if (chs_source_event(slot->tts_values, slot->tts_isnull, &event))
	{
		event.customer_id = DatumGetInt64(slot->tts_values[EVENT_CUSTOMER]);
		count_event(reader, event.customer_id, &event);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextReset(reader->row_context);
	return true;
}

static int
compare_external(const void *a, const void *b)
{
	return strcmp(((const ExternalId *) a)->external_id, ((const ExternalId *) b)->external_id);
}

pg_noreturn static void
fail_to_read(const Source *source, const ErrorData *error)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("events of table %s cannot be read: %s", chs_source_name(source),
					error->message),
			 error->sqlerrcode == ERRCODE_EXTERNAL_ROUTINE_TIMEOUT ? 0 :
			 errhint("Attach it again with chs_attach(), or detach it with chs_detach().")));
}

/* Evaluates the collected rows, one by one if necessary, unless one takes too long. */
static void
evaluate_rows(RawReader *reader)
{
	MemoryContext caller = MemoryContextSwitchTo(reader->row_context);
	MappedRow  *mapped = palloc(Max(reader->nrows, 1) * sizeof(MappedRow));

	chs_mapping_evaluate_read(reader->compiled->mapping, reader->rows, reader->nrows, mapped);
	for (int i = 0; i < reader->nrows; i++)
	{
		Event		event;
		ExternalId	key;
		ExternalId *found;

		if (mapped[i].error != NULL &&
			mapped[i].error->sqlerrcode == ERRCODE_EXTERNAL_ROUTINE_TIMEOUT)
		{
			MemoryContextSwitchTo(caller);
			reader->too_slow = chs_error_copy(mapped[i].error);
			return;
		}
		if (mapped[i].error != NULL || mapped[i].nulls[EVENT_CUSTOMER] ||
			!chs_source_event(mapped[i].values, mapped[i].nulls, &event))
			continue;
		if (!reader->source->by_external_id)
		{
			event.customer_id = DatumGetInt64(mapped[i].values[EVENT_CUSTOMER]);
			count_event(reader, event.customer_id, &event);
			continue;
		}
		key.external_id = TextDatumGetCString(mapped[i].values[EVENT_CUSTOMER]);
		found = bsearch(&key, reader->external, reader->nexternal, sizeof(ExternalId),
						compare_external);
		if (found != NULL)
		{
			event.customer_id = found->customer_id;
			count_event(reader, event.customer_id, &event);
		}
	}
	reader->nrows = 0;
	MemoryContextSwitchTo(caller);
	MemoryContextReset(reader->row_context);
}

/* Takes a row of the table. */
static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	RawReader  *reader = (RawReader *) self;
	MemoryContext caller = MemoryContextSwitchTo(reader->row_context);

	slot_getallattrs(slot);
	reader->rows[reader->nrows++] = chs_mapping_form_row(reader->compiled->mapping,
														 slot->tts_values, slot->tts_isnull);
	MemoryContextSwitchTo(caller);
	if (reader->nrows == ROWS_AT_ONCE)
		evaluate_rows(reader);
	return reader->too_slow == NULL;
}

static void
start_receiving(DestReceiver *self pg_attribute_unused(), int operation pg_attribute_unused(),
				TupleDesc desc pg_attribute_unused())
{
}

static void
end_receiving(DestReceiver *self pg_attribute_unused())
{
}

/* -------------------------------------------------------------- queries */

static Datum
array_of(Oid type, Datum *elements, int n)
{
	int16		length;
	bool		by_value;
	char		align;

	get_typlenbyvalalign(type, &length, &by_value, &align);
	return PointerGetDatum(construct_array(elements, n, type, length, by_value, align));
}

/* The arguments of the queries; returns how many customers they are for. */
static int
query_arguments(RawReader *reader, const Mapping *m, bool many, Datum *args)
{
	const RawRequest *request = reader->request;
	int			max = reader->source->by_external_id ? reader->nexternal : request->n;
	Datum	   *keys = palloc(Max(max, 1) * sizeof(Datum));
	Datum	   *numbers = palloc(Max(max, 1) * sizeof(Datum));
	int64		end = (int64) request->last_day + 1;
	int			n = 0;

	for (int i = 0; i < max; i++)
	{
		if (!reader->source->by_external_id)
		{
			numbers[n] = keys[n] = Int64GetDatum(request->customer_ids[i]);
			n++;
		}
		else if (chs_raw_query_key(m, reader->external[i].external_id, &keys[n]))
			numbers[n++] = Int64GetDatum(reader->external[i].customer_id);
	}
	if (n == 0)
		return 0;
	args[0] = many ? array_of(chs_raw_query_key_type(m), keys, n) : keys[0];
	args[1] = TimestampTzGetDatum(Max((int64) request->first_day * USECS_PER_DAY, MIN_TIMESTAMP));
	args[2] = TimestampTzGetDatum(request->last_day == DAY_NO_END ||
								  end * USECS_PER_DAY > END_TIMESTAMP - 1 ?
								  DT_NOEND : end * USECS_PER_DAY);
	args[3] = many ? array_of(INT8OID, numbers, n) : numbers[0];
	return n;
}

static SPIPlanPtr
query_plan(RawReader *reader, bool many)
{
	CompiledSource *compiled = reader->compiled;
	SPIPlanPtr *plan = many ? &compiled->plan_of_many : &compiled->plan_of_one;
	Oid		   *types = compiled->parameters[many];
	Oid			key = chs_raw_query_key_type(compiled->mapping);

	if (*plan == NULL)
	{
		SPIPlanPtr	fresh;

		types[0] = many ? get_array_type(key) : key;
		types[1] = types[2] = TIMESTAMPTZOID;
		types[3] = many ? INT8ARRAYOID : INT8OID;
		fresh = SPI_prepare(many ? chs_raw_query_of_many(reader->source, compiled->mapping) :
							chs_raw_query_of_one(reader->source, compiled->mapping), 4, types);
		if (fresh == NULL || SPI_keepplan(fresh) != 0)
			elog(ERROR, "could not prepare the query of raw events");
		*plan = fresh;
	}
	return *plan;
}

/* Options of a query without or with arguments, whose rows the reader takes by receive. */
static SPIExecuteOptions
query_options(RawReader *reader, bool (*receive) (TupleTableSlot *slot, DestReceiver *self),
			  const Oid *types, const Datum *args, int nargs)
{
	SPIExecuteOptions options = {.read_only = true,.dest = &reader->receiver};

	reader->receiver.receiveSlot = receive;
	if (nargs > 0)
		options.params = makeParamList(nargs);
	for (int i = 0; i < nargs; i++)
		options.params->params[i] = (ParamExternData) {
		.value = args[i],.pflags = PARAM_FLAG_CONST,.ptype = types[i]
	};
	return options;
}

/* Reads the requested events by a query that evaluates the expressions. */
static void
read_events(void *arg)
{
	RawReader  *reader = arg;
	CompiledSource *compiled = reader->compiled;
	bool		many = reader->request->n > 1;
	Datum		args[4];
	OwnerRights saved;

	chs_catalog_become_role(compiled->mapping->owner, &saved);
	SPI_connect();
	if (query_arguments(reader, compiled->mapping, many, args) > 0)
	{
		SPIPlanPtr	plan = query_plan(reader, many);
		SPIExecuteOptions options = query_options(reader, receive_event, compiled->parameters[many],
												  args, lengthof(args));

		if (SPI_execute_plan_extended(plan, &options) != SPI_OK_SELECT)
			elog(ERROR, "could not read raw events");
	}
	SPI_finish();
	chs_catalog_become_caller(&saved);
}

/*
 * Reads rows by a query, which are evaluated afterwards, many at a time: those with events
 * of the customers or, without a condition, all.
 */
static void
read_rows(RawReader *reader, bool all)
{
	const Mapping *m = reader->compiled->mapping;
	Oid			types[] = {get_array_type(chs_raw_query_key_type(m)), TIMESTAMPTZOID,
						   TIMESTAMPTZOID};
	Datum		args[4];
	OwnerRights saved;

	reader->rows = palloc(ROWS_AT_ONCE * sizeof(HeapTuple));
	reader->nrows = 0;
	reader->too_slow = NULL;
	chs_catalog_become_role(m->owner, &saved);
	SPI_connect();
	if (query_arguments(reader, m, true, args) > 0)
	{
		char	   *sql = all ? chs_raw_query_of_table(reader->source) :
			chs_raw_query_of_rows(reader->source, m);
		SPIExecuteOptions options = query_options(reader, receive_row, types, args,
												  all ? 0 : lengthof(types));

		if (SPI_execute_extended(sql, &options) != SPI_OK_SELECT)
			elog(ERROR, "could not read raw events");
		if (reader->too_slow == NULL)
			evaluate_rows(reader);
	}
	SPI_finish();
	chs_catalog_become_caller(&saved);
}

static void
read_customers_rows(void *arg)
{
	read_rows(arg, false);
}

/*
 * Looking for rows of the customers in a table of which only the customer expression can be
 * evaluated.
 */
typedef struct Probe
{
	RawReader  *reader;
	const Mapping *key;
	bool		found;
} Probe;

static void
probe_table(void *arg)
{
	Probe	   *p = arg;
	Datum		args[4];
	Oid			type = get_array_type(chs_raw_query_key_type(p->key));
	OwnerRights saved;

	chs_catalog_become_role(p->key->owner, &saved);
	SPI_connect();
	p->found = false;
	if (query_arguments(p->reader, p->key, true, args) > 0)
	{
		char	   *sql = chs_raw_query_of_any(p->reader->source, p->key);

		p->found = chs_spi_select(sql, 1, &type, args) > 0;
	}
	SPI_finish();
	chs_catalog_become_caller(&saved);
}

/*
 * Whether customers may have rows in a table whose events cannot be read; false only
 * if that is certain.
 */
static bool
may_have_rows(RawReader *reader)
{
	Mapping    *key = chs_source_compile_key(reader->source);
	Probe		probe = {reader, key, true};

	if (!key->broken && chs_mapping_try_query(key, probe_table, &probe) != NULL)
		probe.found = true;
	chs_mapping_free(key);
	return probe.found;
}

/* Resets the counts. */
static RawActivities *
no_activities(MemoryContext context, const RawRequest *request)
{
	RawActivities *activities = MemoryContextAlloc(context, sizeof(RawActivities));
	bool		found;

	activities->context = context;
	activities->customers = raw_create(context, request->n, NULL);
	for (int i = 0; i < request->n; i++)
		raw_insert(activities->customers, request->customer_ids[i], &found)->state = NULL;
	return activities;
}

/* Adds activities to others of the same customers. */
static void
add_activities(RawActivities *total, RawActivities *activities)
{
	MemoryContext caller = MemoryContextSwitchTo(total->context);
	RawCustomer *customer;
	raw_iterator it;

	raw_start_iterate(activities->customers, &it);
	while ((customer = raw_iterate(activities->customers, &it)) != NULL)
	{
		RawCustomer *sum = raw_lookup(total->customers, customer->customer_id);

		if (sum->state == NULL)
			sum->state = customer->state;
		else if (customer->state != NULL)
		{
			ActivityData *counted = chs_activity_decode(customer->state);

			counted = chs_activity_merge_two(chs_activity_decode(sum->state), counted);
			sum->state = chs_activity_encode(counted);
		}
	}
	MemoryContextSwitchTo(caller);
}

/*
 * Reads events whose expressions may fail or take long.  Nothing is left of a way of
 * reading that failed halfway.
 *
 * A query that evaluates them fails if they fail for any row; then each row is evaluated by
 * itself, of the customers or, if the condition fails, of the table: rows that fail are
 * those that capture rejected.  Functions of the owner's are not called by a query if it can
 * find the rows without them, so that each row has its time, however many there are.
 */
static void
read_carefully(RawReader *reader)
{
	const Mapping *m = reader->compiled->mapping;
	RawActivities *total = reader->activities;
	ErrorData  *error = NULL;
	bool		by_rows = m->may_be_slow && !m->search_may_be_slow && !m->by_query;

	reader->activities = no_activities(total->context, reader->request);
	if (!by_rows)
	{
		error = chs_mapping_try_query(reader->compiled->mapping, read_events, reader);
		if (error != NULL && error->sqlerrcode == ERRCODE_EXTERNAL_ROUTINE_TIMEOUT)
			fail_to_read(reader->source, error);
	}
	if (by_rows || (error != NULL && !m->search_may_be_slow))
	{
		reader->activities = no_activities(total->context, reader->request);
		error = chs_try(read_customers_rows, reader);
	}
	if (error != NULL)
	{
		reader->activities = no_activities(total->context, reader->request);
		read_rows(reader, true);
	}
	if (reader->too_slow != NULL)
		fail_to_read(reader->source, reader->too_slow);
	add_activities(total, reader->activities);
	reader->activities = total;
}

/* Adds what the events of a source give. */
static void
read_source(RawReader *reader)
{
	const Mapping *m = reader->compiled->mapping;

	/* a table that was dropped has no rows */
	if (get_rel_name(reader->source->relation) == NULL)
		return;
	reader->too_slow = NULL;
	if (m->broken)
	{
		if (may_have_rows(reader))
			fail_to_read(reader->source, m->broken);
	}
	else if (m->direct)
		read_events(reader);
	else
		read_carefully(reader);
}

/* Looks up the external_ids of the customers, as the active snapshot sees them. */
static void
find_external_ids(RawReader *reader)
{
	const RawRequest *request = reader->request;

	reader->external = palloc(Max(request->n, 1) * sizeof(ExternalId));
	for (int i = 0; i < request->n; i++)
	{
		char	   *external_id = chs_customer_external_id(request->customer_ids[i],
														   GetActiveSnapshot());

		if (external_id != NULL)
			reader->external[reader->nexternal++] = (ExternalId) {
			external_id, request->customer_ids[i]
		};
	}
	qsort(reader->external, reader->nexternal, sizeof(ExternalId), compare_external);
}

/*
 * Locks the table of a source, so that it remains as it was when its expressions were
 * compiled.  Whoever has a budget does not wait for others, who may keep it locked.
 */
static void
lock_source(const Source *source)
{
	if (!chs_budget_is_on())
		LockRelationOid(source->relation, AccessShareLock);
	else if (!ConditionalLockRelationOid(source->relation, AccessShareLock))
	{
		chs_budget_exceed();
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("events of table %s cannot be read: somebody has locked the table",
						chs_source_name(source))));
	}
}

/*
 * chs_raw_read makes the activities of customers from the raw events that the
 * active snapshot sees.  Allocates in the current memory context.
 */
RawActivities *
chs_raw_read(const RawRequest *request)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(context, "chs raw events",
												  ALLOCSET_DEFAULT_SIZES);
	RawActivities *activities = no_activities(context, request);
	RawReader	reader = {
		.receiver = {NULL, start_receiving, end_receiving, end_receiving, DestTuplestore},
		.request = request,.activities = activities
	};
	bool		external_ids_known = false;

	MemoryContextSwitchTo(scratch);
	reader.row_context = AllocSetContextCreate(scratch, "chs raw event", ALLOCSET_DEFAULT_SIZES);
	reader.increments =
		palloc(Max(request->live->published->max_increments, 1) * sizeof(Increment));
	for (int i = 0; i < request->live->nsources; i++)
	{
		reader.source = &request->live->sources[i];
		if (request->attached_only && chs_source_is_builtin(reader.source))
			continue;
		if (reader.source->by_external_id && !external_ids_known)
		{
			find_external_ids(&reader);
			external_ids_known = true;
		}
		lock_source(reader.source);
		reader.compiled = chs_source_compile(request->live, reader.source, reader.source->relation);
		read_source(&reader);
	}
	MemoryContextSwitchTo(context);
	MemoryContextDelete(scratch);
	return activities;
}

/* Reading that may fail. */
typedef struct RawAttempt
{
	const RawRequest *request;
	RawActivities *result;
} RawAttempt;

static void
attempt_read(void *arg)
{
	RawAttempt *attempt = arg;

	attempt->result = chs_raw_read(attempt->request);
}

/* chs_raw_try does the same, but returns NULL if a source cannot be read. */
RawActivities *
chs_raw_try(const RawRequest *request)
{
	RawAttempt	attempt = {request, NULL};

	return chs_try(attempt_read, &attempt) == NULL ? attempt.result : NULL;
}

/* chs_raw_has tells whether a customer was requested. */
bool
chs_raw_has(const RawActivities *activities, int64 customer_id)
{
	return activities != NULL && raw_lookup(activities->customers, customer_id) != NULL;
}

/* chs_raw_activity returns the activity of one of the requested customers. */
ActivityData *
chs_raw_activity(RawActivities *activities, int64 customer_id)
{
	RawCustomer *customer = raw_lookup(activities->customers, customer_id);

	if (customer == NULL || customer->state == NULL)
		return chs_activity_empty(DAY_NEVER);
	return chs_activity_decode(customer->state);
}

/*
 * chs_raw_customer_activity makes the activity of a customer from the raw events
 * that the active snapshot sees, of all days up to last_day that a score as of
 * as_of_day needs, pruned as of as_of_day.
 */
ActivityData *
chs_raw_customer_activity(int64 customer_id, const Live *live, int32 as_of_day, int32 last_day)
{
	RawRequest	request = {
		.live = live,.n = 1,.customer_ids = &customer_id,
		.first_day = as_of_day - live->published->max_keep + 1,
		.last_day = last_day
	};
	ActivityData *data = chs_raw_activity(chs_raw_read(&request), customer_id);

	chs_activity_prune_to(data, as_of_day);
	return data;
}

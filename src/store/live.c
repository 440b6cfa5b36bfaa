/*
 * live.c
 *	  The live version, as each snapshot sees it, and other published versions.
 */
#include "store/live.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/catalog.h"
#include "base/spi.h"
#include "base/wake.h"
#include "score/scorecard.h"
#include "store/sources.h"

static Live *live = NULL;
static Live *named = NULL;		/* the version that was requested last */
static bool live_is_stale = true;
static const Live *last_answer = NULL;	/* of chs_live_at, for the snapshot ... */
static SnapshotData last_snapshot;	/* of which only the extent is looked at */
static Oid	live_relations[3];	/* tables whose changes make it stale */

/* Only marks: a callback may be called at any time, and must not look anything up. */
static void
invalidate_live(Datum arg pg_attribute_unused(), Oid relid)
{
	if (relid == InvalidOid || relid == live_relations[0] || relid == live_relations[1] ||
		relid == live_relations[2])
		live_is_stale = true;
}

/* chs_live_init registers a callback for changes. */
void
chs_live_init(void)
{
	CacheRegisterRelcacheCallback(invalidate_live, (Datum) 0);
}

/* chs_invalidate is a trigger that makes all sessions reread its table. */
PG_FUNCTION_INFO_V1(chs_invalidate);
Datum
chs_invalidate(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigdata->tg_event) ||
		!TRIGGER_FIRED_FOR_STATEMENT(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be fired AFTER, FOR EACH STATEMENT",
						"chs.invalidate")));
	CacheInvalidateRelcache(trigdata->tg_relation);
	chs_wake_at_commit();
	PG_RETURN_POINTER(NULL);
}

/*
 * chs_event_types_lock is a trigger that waits for the events that are being
 * inserted, and blocks further ones, so that none is left with a type that is being
 * deleted.
 */
PG_FUNCTION_INFO_V1(chs_event_types_lock);
Datum
chs_event_types_lock(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called as a trigger", "chs.event_types_lock")));
	/* on other tables this would be a way to block everybody's events */
	if (RelationGetRelid(trigdata->tg_relation) != chs_catalog_relation(CHS_EVENT_TYPES))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("function \"%s\" can only be fired for table \"chs.%s\"",
						"chs.event_types_lock", "event_types")));
	LockRelationOid(chs_catalog_relation(CHS_CUSTOMER_EVENTS), ShareLock);
	PG_RETURN_POINTER(NULL);
}

static char **
read_text_array(Datum array, int *n)
{
	Datum	   *elements;
	char	  **texts;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, NULL, n);
	texts = palloc(Max(*n, 1) * sizeof(char *));
	for (int i = 0; i < *n; i++)
		texts[i] = TextDatumGetCString(elements[i]);
	return texts;
}

static void
read_rules(Live *l)
{
	chs_spi_select("SELECT event_type, required, positive FROM chs.event_types", 0, NULL, NULL);
	l->nrules = SPI_processed;
	l->rules = MemoryContextAllocZero(l->context, Max(l->nrules, 1) * sizeof(EventRule));
	for (int i = 0; i < l->nrules; i++)
	{
		EventRule  *rule = &l->rules[i];
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		MemoryContext caller = MemoryContextSwitchTo(l->context);

		rule->event_type = TextDatumGetCString(SPI_getbinval(tuple, desc, 1, &isnull));
		rule->event_type_length = strlen(rule->event_type);
		rule->required = read_text_array(SPI_getbinval(tuple, desc, 2, &isnull), &rule->nrequired);
		rule->positive = read_text_array(SPI_getbinval(tuple, desc, 3, &isnull), &rule->npositive);
		MemoryContextSwitchTo(caller);
	}
}

/* Raises the error for a version that a snapshot does not see. */
pg_noreturn static void
no_such_version(int version)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("scorecard version %d does not exist", version),
			 errhint("chs.scorecard_versions has the published ones.")));
}

/*
 * Reads which versions the active snapshot sees, and which of them is live: the
 * highest one that ever went live.
 */
static void
read_version_times(Live *l)
{
	chs_spi_select("SELECT version, live_at, xmin FROM chs.scorecard_versions ORDER BY version", 0,
				   NULL, NULL);
	l->nversions = SPI_processed;
	l->versions = MemoryContextAlloc(l->context, Max(l->nversions, 1) * sizeof(VersionTime));
	for (int i = 0; i < l->nversions; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		VersionTime *v = &l->versions[i];
		bool		isnull;
		Datum		live_at;

		v->version = l->newest = DatumGetInt32(SPI_getbinval(tuple, desc, 1, &isnull));
		live_at = SPI_getbinval(tuple, desc, 2, &isnull);
		v->live_at = isnull ? DT_NOEND : DatumGetTimestampTz(live_at);
		if (!isnull)
			l->version = v->version;
		l->newest_xmin = DatumGetTransactionId(SPI_getbinval(tuple, desc, 3, &isnull));
	}
	if (l->version == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no scorecard version is published"),
				 errhint("Publish one with chs_publish().")));
}

/*
 * Reads a version that the active snapshot sees; if another one waits, together
 * with what that one needs in addition.
 */
static void
read_version(Live *l, int version, int waiting)
{
	bool		isnull;
	MemoryContext caller;
	Oid			types[] = {INT4OID, INT4OID};
	Datum		args[] = {Int32GetDatum(version), Int32GetDatum(waiting)};

	if (SPI_execute_with_args("SELECT w.series_version,"
							  " CASE WHEN v.version = w.version THEN v.document"
							  " ELSE v.document || jsonb_build_object('next', w.document) END"
							  " FROM chs.scorecard_versions v, chs.scorecard_versions w"
							  " WHERE v.version = $1 AND w.version = $2",
							  lengthof(types), types, args, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read chs.scorecard_versions");
	if (SPI_processed == 0)
		no_such_version(version);
	l->version = version;
	l->series_version = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
													&isnull));
	caller = MemoryContextSwitchTo(l->context);
	l->document = DatumGetJsonbPCopy(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2,
												   &isnull));
	l->published = chs_scorecard_compile(l->document);
	MemoryContextSwitchTo(caller);
}

/*
 * Reads the version that is live for a snapshot, or the one that is named, and the
 * rules and sources of events.
 */
static Live *
read_live(Snapshot snapshot, int version)
{
	static uint64 nread = 0;
	OwnerRights saved;
	Live	   *l;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "chs live version",
												  ALLOCSET_SMALL_SIZES);

	l = MemoryContextAllocZero(context, sizeof(Live));
	l->context = context;
	l->serial = ++nread;
	l->counting = l;
	l->events = chs_catalog_relation(CHS_CUSTOMER_EVENTS);
	live_relations[0] = chs_catalog_relation(CHS_SCORECARD_VERSIONS);
	live_relations[1] = chs_catalog_relation(CHS_EVENT_TYPES);
	live_relations[2] = chs_catalog_relation(CHS_SOURCES);
	chs_catalog_become_reader(&saved);
	SPI_connect();
	PushActiveSnapshot(snapshot);
	if (version == 0)
	{
		read_version_times(l);
		version = l->version;
	}
	read_version(l, version, version);
	read_rules(l);
	l->sources = chs_source_list(l->context, false, &l->nsources);
	l->customer_sources = chs_source_list(l->context, true, &l->ncustomer_sources);
	if (l->newest > l->version)
	{
		Live	   *counting = MemoryContextAlloc(l->context, sizeof(Live));

		*counting = *l;
		read_version(counting, l->version, l->newest);
		l->counting = counting->counting = counting;
	}
	PopActiveSnapshot();
	SPI_finish();
	chs_catalog_become_caller(&saved);
	return l;
}

/*
 * chs_live_variant returns a copy, in the current memory context, of the live
 * version with a different published document.
 */
const Live *
chs_live_variant(const Live *live, int version, const Published *published)
{
	Live	   *variant = palloc(sizeof(Live));

	*variant = *live;
	variant->version = version;
	variant->document = NULL;
	variant->published = published;
	variant->counting = variant;
	return variant;
}

/*
 * chs_live_version returns the live version and the rules for events, from a
 * cache that follows their tables: the latest, even if the transaction's snapshot
 * is older.  Valid until the next call.
 */
const Live *
chs_live_version(void)
{
	Live	   *fresh;

	chs_catalog_check_not_called_back();
	if (live != NULL && !live_is_stale)
		return live;

	/* unmark first, so that a change during reading is not lost */
	live_is_stale = false;
	last_answer = NULL;
	PG_TRY();
	{
		/* a catalog snapshot is always up to date, and allowed in a parallel query */
		fresh = read_live(GetCatalogSnapshot(chs_catalog_relation(CHS_SCORECARD_VERSIONS)), 0);
	}
	PG_CATCH();
	{
		live_is_stale = true;
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (live != NULL)
		MemoryContextDelete(live->context);
	if (named != NULL)
		MemoryContextDelete(named->context);
	named = NULL;
	MemoryContextSetParent(fresh->context, TopMemoryContext);
	live = fresh;
	return live;
}

/* The row of the version that was published last. */
typedef struct NewestRow
{
	int			version;		/* 0: there is none */
	bool		is_live;		/* or was */
	TransactionId xmin;			/* another one whenever it is published, or goes live */
} NewestRow;

/* Reads it as a snapshot sees it; NULL: the latest one. */
static NewestRow
read_newest_row(Snapshot snapshot)
{
	Relation	rel = table_open(chs_catalog_relation(CHS_SCORECARD_VERSIONS), AccessShareLock);
	Relation	index = index_open(chs_catalog_relation(CHS_SCORECARD_VERSIONS_PKEY),
								   AccessShareLock);
	SysScanDesc scan = systable_beginscan_ordered(rel, index, snapshot, 0, NULL);
	HeapTuple	tuple = systable_getnext_ordered(scan, BackwardScanDirection);
	NewestRow	row = {0};

	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;

		row.version = DatumGetInt32(heap_getattr(tuple, VERSIONS_VERSION, RelationGetDescr(rel),
												 &isnull));
		row.is_live = !heap_attisnull(tuple, VERSIONS_LIVE_AT, RelationGetDescr(rel));
		row.xmin = HeapTupleHeaderGetRawXmin(tuple->t_data);
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return row;
}

/* Whether what was read is older than the row. */
static bool
is_outdated(const Live *l, const NewestRow *row)
{
	return row->version > l->newest ||
		(row->version == l->newest && row->is_live && l->version < l->newest);
}

/* Whether it was read when there was just this row. */
static bool
is_of(const Live *l, const NewestRow *row)
{
	return l->newest == row->version && l->newest_xmin == row->xmin;
}

/*
 * chs_live_recheck rereads the live version if another one is live, or
 * waits to be.  For those who are woken by the commit that caused it, because that
 * happens before the message that invalidates the cache is sent.
 */
void
chs_live_recheck(void)
{
	NewestRow	row;

	if (live == NULL)
		return;
	row = read_newest_row(NULL);
	if (is_outdated(live, &row))
		live_is_stale = true;
}

/*
 * Whether two snapshots see the same: within a range of transactions, the running ones
 * can only become fewer, so if their number is the same, they are the same ones.
 */
static bool
sees_the_same(const SnapshotData *a, Snapshot b)
{
	return a->xmin == b->xmin && a->xmax == b->xmax && a->xcnt == b->xcnt &&
		a->subxcnt == b->subxcnt &&
		a->curcid == b->curcid && !b->suboverflowed;
}

/*
 * chs_live_at returns the version that is live for a snapshot, so that a
 * statement, or a transaction with an old snapshot, does not mix versions.  Valid
 * until the next call.
 *
 * A row of the table is read once for each snapshot: that sees a commit at once, but
 * the message that invalidates the cache comes a bit later.
 */
const Live *
chs_live_at(Snapshot snapshot)
{
	static Live *earlier = NULL;
	const Live *latest = chs_live_version();
	NewestRow	row;
	Live	   *fresh;

	if (last_answer != NULL && sees_the_same(&last_snapshot, snapshot))
		return last_answer;
	row = read_newest_row(snapshot);
	if (is_outdated(latest, &row))
	{
		live_is_stale = true;
		latest = chs_live_version();
	}
	if (is_of(latest, &row))
		last_answer = latest;
	else
	{
		if (earlier == NULL || !is_of(earlier, &row))
		{
			fresh = read_live(snapshot, 0);
			if (earlier != NULL)
				MemoryContextDelete(earlier->context);
			MemoryContextSetParent(fresh->context, TopMemoryContext);
			earlier = fresh;
		}
		last_answer = earlier;
	}
	last_snapshot = *snapshot;
	return last_answer;
}

/*
 * chs_live_of_version returns a published version, live or not, by its number, or
 * raises an error.  Valid until the next call.
 */
const Live *
chs_live_of_version(const Live *latest, int version)
{
	Live	   *fresh;
	int			i = 0;

	if (version == latest->version)
		return latest;
	while (i < latest->nversions && latest->versions[i].version != version)
		i++;
	if (i == latest->nversions)
		no_such_version(version);
	if (named != NULL && named->version == version)
		return named;
	fresh = read_live(GetActiveSnapshot(), version);
	if (named != NULL)
		MemoryContextDelete(named->context);
	MemoryContextSetParent(fresh->context, TopMemoryContext);
	named = fresh;
	return named;
}

/*
 * chs_live_number_of_day returns the number of the version that was live when a day
 * ended.  For days before the first one was live, that is the current live one.
 */
int
chs_live_number_of_day(const Live *latest, TimestampTz end_of_day)
{
	for (int i = latest->nversions - 1; i >= 0; i--)
		if (latest->versions[i].live_at < end_of_day)
			return latest->versions[i].version;
	return latest->version;
}

/* chs_live_of_day returns that version.  Valid until another one is requested. */
const Live *
chs_live_of_day(const Live *latest, TimestampTz end_of_day)
{
	return chs_live_of_version(latest, chs_live_number_of_day(latest, end_of_day));
}

/*
 * live.c
 *	  The live version, as each snapshot sees it, and other published versions.
 */
#include "store/live.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/xid8.h"

#include "base/catalog.h"
#include "base/spi.h"
#include "base/wake.h"
#include "base/xid.h"
#include "score/scorecard.h"
#include "store/sources.h"

static Live *live = NULL;
static Live *named = NULL;		/* the version that was requested last */
static bool live_is_stale = true;
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
				 errmsg("function \"%s\" must be fired AFTER, FOR EACH STATEMENT", "chs.invalidate")));
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
				 errmsg("function \"%s\" can only be fired for table \"chs.%s\"", "chs.event_types_lock", "event_types")));
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

/* Reads which versions the active snapshot sees, and which of them is live: the highest one that ever went live. */
static void
read_version_times(Live *l)
{
	chs_spi_select("SELECT version, live_at, changed_by_xid FROM chs.scorecard_versions ORDER BY version", 0, NULL, NULL);
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
		l->changed_by = DatumGetFullTransactionId(SPI_getbinval(tuple, desc, 3, &isnull));
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

	if (SPI_execute_with_args("SELECT w.series_version, CASE WHEN v.version = w.version THEN v.document"
							  " ELSE v.document || jsonb_build_object('next', w.document) END"
							  " FROM chs.scorecard_versions v, chs.scorecard_versions w"
							  " WHERE v.version = $1 AND w.version = $2",
							  lengthof(types), types, args, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read chs.scorecard_versions");
	if (SPI_processed == 0)
		no_such_version(version);
	l->version = version;
	l->series_version = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	caller = MemoryContextSwitchTo(l->context);
	l->document = DatumGetJsonbPCopy(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
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

/* Whether a snapshot (NULL: the latest one) sees a newer version than the cache has, or sees that it went live. */
static bool
is_outdated(const Live *cached, Snapshot snapshot)
{
	Relation	rel = table_open(chs_catalog_relation(CHS_SCORECARD_VERSIONS), AccessShareLock);
	Relation	index = index_open(chs_catalog_relation(CHS_SCORECARD_VERSIONS_PKEY), AccessShareLock);
	SysScanDesc scan = systable_beginscan_ordered(rel, index, snapshot, 0, NULL);
	HeapTuple	tuple = systable_getnext_ordered(scan, BackwardScanDirection);
	bool		outdated = false;

	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		int			version = DatumGetInt32(heap_getattr(tuple, VERSIONS_VERSION, RelationGetDescr(rel), &isnull));

		(void) heap_getattr(tuple, VERSIONS_LIVE_AT, RelationGetDescr(rel), &isnull);
		outdated = version > cached->newest || (version == cached->newest && !isnull && cached->version < version);
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return outdated;
}

/*
 * chs_live_recheck rereads the live version if another one is live, or
 * waits to be.  For those who are woken by the commit that caused it, because that
 * happens before the message that invalidates the cache is sent.
 */
void
chs_live_recheck(void)
{
	if (live != NULL && is_outdated(live, NULL))
		live_is_stale = true;
}

/*
 * Whether nobody is about to publish or to make a version live: whoever does holds
 * a lock from before the commit until the message that invalidates the cache has
 * been sent, and trying to get that lock receives such messages.  A standby does
 * not know about that lock.
 */
static bool
nobody_publishes(void)
{
	Oid			relid = chs_catalog_relation(CHS_SCORECARD_VERSIONS);

	if (RecoveryInProgress() || !ConditionalLockRelationOid(relid, RowExclusiveLock))
		return false;
	UnlockRelationOid(relid, RowExclusiveLock);
	return true;
}

/*
 * Returns the version of the cache if it agrees with the snapshot: the message that
 * invalidates the cache comes shortly after the commit that published, and is
 * received when a lock is taken, but a snapshot sees the commit at once.
 */
static const Live *
live_not_before(Snapshot snapshot)
{
	static SnapshotData checked;	/* the extent of the snapshot that the cache was checked against */
	static uint64 checked_serial = 0;
	const Live *latest = chs_live_version();

	/*
	 * within a range of transactions, the running ones can only become fewer, so if
	 * their number is the same, they are the same ones
	 */
	if (checked_serial == latest->serial && checked.xmin == snapshot->xmin && checked.xmax == snapshot->xmax &&
		checked.xcnt == snapshot->xcnt && checked.subxcnt == snapshot->subxcnt && !snapshot->suboverflowed)
		return latest;
	/* reading the table takes a seventh of the time of a score */
	if (!nobody_publishes() && is_outdated(latest, snapshot))
		live_is_stale = true;
	latest = chs_live_version();
	checked = *snapshot;
	checked_serial = latest->serial;
	return latest;
}

/*
 * chs_live_at returns the version that is live for a snapshot, so that a
 * statement, or a transaction with an old snapshot, does not mix versions.  Valid
 * until the next call.
 */
const Live *
chs_live_at(Snapshot snapshot)
{
	static Live *earlier = NULL;
	static FullTransactionId earlier_than;
	static SnapshotData seen;	/* of the snapshot that it was read by: xmin, xmax and xcnt */
	const Live *latest = live_not_before(snapshot);
	Live	   *fresh;

	if (FullTransactionIdPrecedes(latest->changed_by, chs_xid_horizon(snapshot)) ||
		TransactionIdIsCurrentTransactionId(XidFromFullTransactionId(latest->changed_by)) ||
		!XidInMVCCSnapshot(XidFromFullTransactionId(latest->changed_by), snapshot) ||
		chs_xid_is_to_come(latest->changed_by))
		return latest;
	if (earlier != NULL && FullTransactionIdEquals(earlier_than, latest->changed_by) && seen.xmin == snapshot->xmin &&
		seen.xmax == snapshot->xmax && seen.xcnt == snapshot->xcnt)
		return earlier;
	fresh = read_live(snapshot, 0);
	if (earlier != NULL)
		MemoryContextDelete(earlier->context);
	MemoryContextSetParent(fresh->context, TopMemoryContext);
	earlier = fresh;
	earlier_than = latest->changed_by;
	seen = *snapshot;
	return earlier;
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

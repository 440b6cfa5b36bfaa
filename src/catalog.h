/*
 * catalog.h
 *	  The extension's own objects, the rights that code runs with, and published versions.
 */
#ifndef CHS_CATALOG_H
#define CHS_CATALOG_H

#include "scorecard.h"
#include "access/transam.h"
#include "executor/spi.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

/* Tables and indexes of schema chs that the engine uses. */
typedef enum ChsRelation
{
	CHS_ACTIVITY,
	CHS_ACTIVITY_PKEY,
	CHS_CUSTOMER_EVENTS,
	CHS_CUSTOMER_HEALTH,
	CHS_CUSTOMER_HEALTH_PKEY,
	CHS_CUSTOMERS,
	CHS_CUSTOMERS_EXTERNAL_ID_KEY,
	CHS_CUSTOMERS_PKEY,
	CHS_EVENT_TYPES,
	CHS_FAILURES,
	CHS_FAILURES_PKEY,
	CHS_HEALTH_COUNTS,
	CHS_HEALTH_SCORES,
	CHS_HEALTH_SCORES_PKEY,
	CHS_PLUGINS,
	CHS_PAUSE,
	CHS_QUEUE,
	CHS_QUEUE_CUSTOMER_ID_IDX,
	CHS_QUEUE_XID_IDX,
	CHS_REJECTED_CHANGES,
	CHS_REJECTED_CHANGES_PKEY,
	CHS_REJECTED_CHANGES_REBUILD_IDX,
	CHS_REJECTED_EVENTS,
	CHS_REJECTED_EVENTS_CHECK_IDX,
	CHS_REJECTED_EVENTS_KEY_IDX,
	CHS_RETENTION,
	CHS_SCORECARD_VERSIONS,
	CHS_SCORECARD_VERSIONS_PKEY,
	CHS_SOURCES
} ChsRelation;

/* Columns of chs.scorecard_versions. */
#define VERSIONS_VERSION 1
#define VERSIONS_LIVE_AT 3

/* What an event type requires of event_data. */
typedef struct EventRule
{
	char	   *event_type;
	int			event_type_length;
	int			nrequired;
	char	  **required;		/* keys that must be present */
	int			npositive;
	char	  **positive;		/* keys that must be numbers above 0 */
} EventRule;

/* When a version went live. */
typedef struct VersionTime
{
	int			version;
	TimestampTz live_at;		/* DT_NOEND: it waits, or never went live */
} VersionTime;

/* The live version, or another one that is used in its place. */
typedef struct Live
{
	MemoryContext context;
	uint64		serial;			/* different each time the version is read */
	int			version;
	int			newest;			/* the version that was published last: this one, or one that waits to become live */
	FullTransactionId changed_by;	/* the transaction that published that one, or made it live */
	int			series_version; /* activities of this series_version or a later one count everything that is needed */
	Jsonb	   *document;		/* NULL in a variant */
	const Published *published;
	const struct Live *counting;	/* the same with everything that activities should count, including what the waiting version needs */
	Oid			events;			/* chs.customer_events */
	int			nrules;
	EventRule  *rules;
	int			nsources;
	struct Source *sources;		/* of events; the first is chs.customer_events */
	int			ncustomer_sources;
	struct Source *customer_sources;
	int			nversions;		/* all of them, ascending */
	VersionTime *versions;
} Live;

/* Saved state of the caller while the rights of the owner, or another role, are used. */
typedef struct OwnerRights
{
	Oid			user;
	int			security_context;
	bool		read_only;
	int			nest_level;
	int			lent_at;
} OwnerRights;

extern Oid	chs_catalog_extension_schema(void);
extern Oid	chs_catalog_relation(ChsRelation relation);
extern void chs_catalog_become_owner(OwnerRights *saved);
extern void chs_catalog_become_reader(OwnerRights *saved);
extern void chs_catalog_become_writer(Oid role, OwnerRights *saved);
extern void chs_catalog_become_role(Oid role, OwnerRights *saved);
extern void chs_catalog_become_registrar(Oid role, OwnerRights *saved);
extern void chs_catalog_become_caller(const OwnerRights *saved);
extern void chs_catalog_execute(const char *statement, int nargs, Oid *types, Datum *args, const char *nulls);
extern void chs_catalog_execute_now(SPIPlanPtr *kept, const char *statement, int nargs, Oid *types, Datum *args, const char *nulls);
extern void chs_catalog_check_not_called_back(void);
extern void chs_catalog_check_path(Oid function);
extern void chs_catalog_init(void);

/* In live.c. */
extern const Live *chs_catalog_live(void);
extern void chs_catalog_recheck_live(void);
extern const Live *chs_catalog_variant(const Live *live, int version, const Published *published);
extern const Live *chs_catalog_live_at(Snapshot snapshot);
extern const Live *chs_catalog_version(const Live *live, int version);
extern const Live *chs_catalog_version_of_day(const Live *live, TimestampTz end_of_day);
extern FullTransactionId chs_catalog_full_xid(TransactionId xid);
extern FullTransactionId chs_catalog_snapshot_horizon(Snapshot snapshot);
extern bool chs_catalog_is_to_come(FullTransactionId xid);
extern void chs_live_init(void);

#endif							/* CHS_CATALOG_H */

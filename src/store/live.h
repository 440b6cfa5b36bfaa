/*
 * live.h
 *	  The live version, as each snapshot sees it, and other published versions.
 */
#ifndef CHS_LIVE_H
#define CHS_LIVE_H

#include "base/compat.h"

#include "datatype/timestamp.h"
#include "utils/snapshot.h"

#include "score/scorecard.h"

/* Columns of chs.scorecard_versions. */
#define VERSIONS_VERSION 1
#define VERSIONS_LIVE_AT 3

/* The version number of a document that is not published. */
#define UNPUBLISHED 0

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
	int			newest;			/* the version that was published last: this one, or one that waits
								 * to become live */
	TransactionId newest_xmin;	/* of the row of that one */
	int			series_version; /* activities of this series_version or a later one count everything
								 * that is needed */
	Jsonb	   *document;		/* NULL in a variant */
	const Published *published;
	const struct Live *counting;	/* the same with everything that activities should count,
									 * including what the waiting version needs */
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

extern const Live *chs_live_version(void);
extern void chs_live_recheck(void);
extern const Live *chs_live_variant(const Live *live, int version, const Published *published);
extern const Live *chs_live_at(Snapshot snapshot);
extern const Live *chs_live_of_version(const Live *live, int version);
extern int	chs_live_number_of_day(const Live *live, TimestampTz end_of_day);
extern const Live *chs_live_of_day(const Live *live, TimestampTz end_of_day);
extern void chs_live_init(void);

#endif							/* CHS_LIVE_H */

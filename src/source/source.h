/*
 * source.h
 *	  Sources: tables whose rows are events, and how their columns map.
 */
#ifndef CHS_SOURCE_H
#define CHS_SOURCE_H

#include "base/compat.h"

#include "commands/trigger.h"

#include "source/expression.h"
#include "source/mapping.h"
#include "store/event.h"
#include "store/live.h"
#include "store/sources.h"

/* A source as the rows of one table of it are read: its own, or a partition. */
typedef struct CompiledSource
{
	int			source_id;		/* the key: with the relation */
	Oid			relation;
	uint64		live_serial;	/* of what it was compiled for, */
	uint64		counted_serial; /* and of what that counts */
	bool		stale;
	bool		unrelated;		/* the table is neither */
	Oid			like;			/* a partition: the table whose mapping it shares; or 0 */
	Mapping    *mapping;		/* or NULL if it does */
	Oid			parameters[2][4];	/* types of these of the plans */
	struct _SPI_plan *plan_of_one;	/* reads the events of a customer */
	struct _SPI_plan *plan_of_many;
} CompiledSource;

extern MappedAs chs_source_attribute_type(int attribute);
extern const Source *chs_source_of_trigger(const Live *live, TriggerData *trigdata,
										   const char *name);
extern bool chs_source_has_table(const Source *source, Oid relation);
extern char *chs_source_rows(Oid relation);
extern CompiledSource *chs_source_compile(const Live *live, const Source *source, Oid relation);
extern Mapping *chs_source_compile_key(const Source *source);
extern bool chs_source_needs_field(const Live *live, const char *field);
extern void chs_source_try(Source *source);
extern ErrorData *chs_source_error(const Live *live, const Source *source);
extern bool chs_source_all_readable(const Live *live);
extern bool chs_source_event(const Datum *values, const bool *nulls, Event *event);
extern ErrorData *chs_source_check(const Live *live, const Event *event);
extern void chs_source_init(void);

#endif							/* CHS_SOURCE_H */

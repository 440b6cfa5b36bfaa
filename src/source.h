/*
 * source.h
 *	  Sources: tables whose rows are events, and how their columns map.
 */
#ifndef CHS_SOURCE_H
#define CHS_SOURCE_H

#include "catalog.h"
#include "commands/trigger.h"
#include "mapping.h"

/* chs.customer_events, the first source. */
#define BUILTIN_SOURCE_ID 1

/* What a table of customers may say about them besides the external_id. */
#define CUSTOMER_ATTRIBUTES 5
extern const char *const chs_customer_attributes[CUSTOMER_ATTRIBUTES];

/* A row of chs.sources. */
typedef struct Source
{
	int			source_id;
	Oid			relation;
	bool		by_external_id; /* else by customer_id */
	char	   *customer;		/* expressions over the row */
	char	   *event_type;
	char	   *occurred_at;
	char	   *event_data;		/* or NULL: the whole row */
	char	   *owner;			/* with whose rights they are evaluated */
	List	   *functions;		/* that they may call, by name */
	bool		any_function;
	bool		of_customers;	/* its rows are customers, with external_ids, instead of events */
	char	   *attributes[CUSTOMER_ATTRIBUTES];	/* of these; or NULL */
} Source;

/* A source as the rows of one table of it are read: its own, or a partition. */
typedef struct CompiledSource
{
	int			source_id;		/* the key: with the relation */
	Oid			relation;
	uint64		live_serial;	/* of what it was compiled for, */
	uint64		counted_serial; /* and of what that counts */
	bool		stale;
	bool		stranger;		/* the table is neither */
	Oid			like;			/* a partition: the table whose mapping it shares; or 0 */
	Mapping    *mapping;		/* or NULL if it does */
	Oid			parameters[2][4];	/* types of these of the plans */
	struct _SPI_plan *plan_of_one;	/* reads the events of a customer */
	struct _SPI_plan *plan_of_many;
} CompiledSource;

extern Source *chs_source_list(MemoryContext context, bool of_customers, int *n);
extern MappedAs chs_source_attribute_type(int attribute);
extern const Source *chs_source_find(const Live *live, int source_id);
extern const Source *chs_source_of_trigger(const Live *live, TriggerData *trigdata, const char *name);
extern bool chs_source_has_table(const Source *source, Oid relation);
extern CompiledSource *chs_source_compile(const Live *live, const Source *source, Oid relation);
extern Mapping *chs_source_compile_key(const Source *source);
extern void chs_source_check_readable(const Live *live);
extern bool chs_source_reads_field(const char *name);
extern void chs_source_watch_partitions(Oid relation, int source_id);
extern void chs_source_rebuild_all(const char *note);
extern Trouble *chs_source_try(Source *source);
extern char *chs_source_name(const Source *source);
extern char *chs_source_problem_text(const Live *live, const Source *source);
extern char *chs_customers_problem_text(void);
extern Trouble *chs_source_trouble(const Live *live, const Source *source);
extern bool chs_source_event(const Datum *values, const bool *nulls, Event *event);
extern Trouble *chs_source_check(const Live *live, const Event *event);
extern void chs_source_init(void);

static inline bool
chs_source_is_builtin(const Source *source)
{
	return source->source_id == BUILTIN_SOURCE_ID;
}

#endif							/* CHS_SOURCE_H */

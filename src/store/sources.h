/*
 * sources.h
 *	  The table chs.sources: tables whose rows are events, or customers.
 */
#ifndef CHS_SOURCES_H
#define CHS_SOURCES_H

#include "base/compat.h"

#include "nodes/pg_list.h"

#include "store/live.h"

/* chs.customer_events, the first source. */
#define BUILTIN_SOURCE_ID 1

/* What a table of customers may say about them besides the external_id. */
#define CUSTOMER_ATTRIBUTES 7
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

extern Source *chs_source_list(MemoryContext context, bool of_customers, int *n);
extern const Source *chs_source_find(const Live *live, int source_id);
extern char *chs_source_name(const Source *source);

static inline bool
chs_source_is_builtin(const Source *source)
{
	return source->source_id == BUILTIN_SOURCE_ID;
}

#endif							/* CHS_SOURCES_H */

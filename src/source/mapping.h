/*
 * mapping.h
 *	  Mappings: expressions over the rows of a table, compiled and evaluated.
 */
#ifndef CHS_MAPPING_H
#define CHS_MAPPING_H

#include "base/compat.h"

#include "access/htup.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "utils/jsonb.h"
#include "utils/rel.h"

#include "source/expression.h"

#define MAX_MAPPED_COLUMNS 8

/* Columns of the mapping of a source. */
enum
{
	EVENT_CUSTOMER,
	EVENT_TYPE,
	EVENT_OCCURRED_AT,
	EVENT_DATA,
	EVENT_COLUMNS
};

/* A field of a document that is made of columns alone. */
typedef struct RowField
{
	char	   *key;
	int			key_length;
	AttrNumber	column;
	Oid			type;
} RowField;

typedef struct Mapping
{
	MemoryContext context;
	ErrorData  *broken;			/* why it cannot be evaluated; or NULL */
	Oid			relation;
	Oid			owner;
	int			ncolumns;
	int			guard;			/* the column without which the others are not evaluated; or -1 */
	MappedAs	as[MAX_MAPPED_COLUMNS];
	char	   *sql[MAX_MAPPED_COLUMNS];	/* over a row that is called event_row */
	Oid			given_type[MAX_MAPPED_COLUMNS];	/* before it was converted */
	char	   *given_sql[MAX_MAPPED_COLUMNS];
	ExprState  *states[MAX_MAPPED_COLUMNS]; /* NULL where a query is needed */
	Bitmapset  *columns;		/* that are read, by number; 0: all */
	List	   *functions;		/* that are called, by name, but for PostgreSQL's own */
	List	  *const *allowed;	/* while it is compiled, those that may be; or NULL: any */
	int			nfields;
	RowField   *fields;			/* of the jsonb column, instead of its expression; or NULL */
	bool		direct;			/* cannot fail, and needs nobody's rights */
	bool		by_query;		/* has a subquery */
	bool		may_be_slow;	/* that, or functions that are not PostgreSQL's own */
	bool		search_may_be_slow; /* so are those by which events of customers are searched */
	ExprContext *econtext;
	TupleTableSlot *slot;
	struct _SPI_plan *plan;		/* of the query */
} Mapping;

/* What a row gave. */
typedef struct MappedRow
{
	ErrorData  *error;		/* or NULL */
	Datum		values[MAX_MAPPED_COLUMNS];
	bool		nulls[MAX_MAPPED_COLUMNS];
} MappedRow;

extern Mapping *chs_mapping_compile(Oid relation, Oid owner, const MappedColumn *columns,
									int ncolumns,
									 int guard, List *const *allowed, ErrorData *broken);
extern void chs_mapping_free(Mapping *mapping);
extern bool chs_mapping_is_to_be_tried_again(const Mapping *mapping);
extern void chs_mapping_evaluate(Mapping *mapping, HeapTuple *tuples, int n, MappedRow *rows);
extern void chs_mapping_evaluate_read(Mapping *mapping, HeapTuple *tuples, int n, MappedRow *rows);
extern Datum chs_mapping_copy_value(const Mapping *mapping, int column, Datum value, bool isnull);

#endif							/* CHS_MAPPING_H */

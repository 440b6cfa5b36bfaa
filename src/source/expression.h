/*
 * expression.h
 *	  Expressions over the rows of an attached table.
 */
#ifndef CHS_EXPRESSION_H
#define CHS_EXPRESSION_H

#include "base/compat.h"

#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"
#include "utils/rel.h"

/* The name of the row in a stored expression. */
#define ROW_ALIAS "event_row"

/* What an expression must return. */
typedef enum MappedAs
{
	MAPPED_CUSTOMER_ID,			/* bigint */
	MAPPED_EXTERNAL_ID,			/* text */
	MAPPED_TEXT,
	MAPPED_TIME,				/* timestamptz; without a time zone it is UTC */
	MAPPED_NUMBER,				/* numeric */
	MAPPED_JSONB
} MappedAs;

/* An argument of chs_attach. */
typedef struct MappedColumn
{
	const char *argument;		/* its name, for messages */
	MappedAs	as;
	const char *text;			/* the expression */
} MappedColumn;

extern char *chs_expression_canonical(Relation rel, const MappedColumn *column);
extern char *chs_expression_converted(MappedAs as, const char *sql, Oid type);
extern Node *chs_expression_analyze(Relation rel, const char *sql);
extern void chs_expression_check_functions(Node *node, List **called, List *const *allowed);
extern bool chs_expression_is_harmful(Node *node, Relation rel);
extern Bitmapset *chs_expression_columns(Node *node);
extern bool chs_expression_is_slow(Node *node);

#endif							/* CHS_EXPRESSION_H */

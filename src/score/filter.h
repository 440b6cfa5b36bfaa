/*
 * filter.h
 *	  Filters: SQL/JSON path predicates over event_data.
 */
#ifndef CHS_FILTER_H
#define CHS_FILTER_H

#include "base/compat.h"

#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#include "utils/jsonpath.h"

typedef struct Comparison Comparison;

typedef struct Filter
{
	JsonPath   *path;
	Comparison *simple;			/* the same as comparisons of fields, if it is that; or NULL */
} Filter;

extern void chs_filter_compile(Filter *filter, const char *text);
extern bool chs_filter_fields(const Filter *filter, List **fields);
extern bool chs_filter_holds(const Filter *filter, Jsonb *event_data);

#endif							/* CHS_FILTER_H */

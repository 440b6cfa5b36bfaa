/*
 * raw_query.h
 *	  The queries that read rows of attached tables.
 */
#ifndef CHS_RAW_QUERY_H
#define CHS_RAW_QUERY_H

#include "base/compat.h"

#include "source/mapping.h"
#include "store/sources.h"

extern Oid	chs_raw_query_key_type(const Mapping *m);
extern char *chs_raw_query_of_one(const Source *source, const Mapping *m);
extern char *chs_raw_query_of_many(const Source *source, const Mapping *m);
extern char *chs_raw_query_of_rows(const Source *source, const Mapping *m);
extern char *chs_raw_query_of_table(const Source *source);
extern char *chs_raw_query_of_any(const Source *source, const Mapping *m);
extern bool chs_raw_query_key(const Mapping *m, const char *external_id, Datum *key);

#endif							/* CHS_RAW_QUERY_H */

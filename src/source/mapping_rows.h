/*
 * mapping_rows.h
 *	  Rows of the table of a mapping: made of values, measured, and shown as documents.
 */
#ifndef CHS_MAPPING_ROWS_H
#define CHS_MAPPING_ROWS_H

#include "base/compat.h"

#include "source/mapping.h"

extern HeapTuple chs_mapping_form_row(const Mapping *mapping, const Datum *values,
									  const bool *nulls);
extern HeapTuple chs_mapping_row_of_result(const Mapping *mapping, HeapTuple result,
										   TupleDesc desc);
extern Size chs_mapping_large_values(TupleDesc desc, HeapTuple tuple);
extern void chs_mapping_rows_as_jsonb(Mapping *mapping, HeapTuple *tuples, int n,
									  Jsonb **documents);
extern Jsonb *chs_mapping_row_as_jsonb(Mapping *mapping, HeapTuple tuple);

#endif							/* CHS_MAPPING_ROWS_H */

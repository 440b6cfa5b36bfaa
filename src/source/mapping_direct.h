/*
 * mapping_direct.h
 *	  Mappings that cannot fail and require nobody's rights, evaluated at once.
 */
#ifndef CHS_MAPPING_DIRECT_H
#define CHS_MAPPING_DIRECT_H

#include "base/compat.h"

#include "source/mapping.h"

extern void chs_mapping_find_fields(Mapping *m, Node *node);
extern void chs_mapping_evaluate_directly(Mapping *mapping, TupleTableSlot *slot, Datum *values,
										  bool *nulls);

#endif							/* CHS_MAPPING_DIRECT_H */

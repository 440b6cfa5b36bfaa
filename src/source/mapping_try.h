/*
 * mapping_try.h
 *	  Trying the expressions of a mapping, which may fail or take too long.
 */
#ifndef CHS_MAPPING_TRY_H
#define CHS_MAPPING_TRY_H

#include "base/compat.h"

#include "source/mapping.h"

extern ErrorData *chs_mapping_try_timed(Mapping *mapping, void (*work) (void *arg), void *arg,
										bool by_row);
extern ErrorData *chs_mapping_try_query(Mapping *mapping, void (*work) (void *arg), void *arg);

#endif							/* CHS_MAPPING_TRY_H */

/*
 * mapping_try.h
 *	  Trying other people's code, which may fail or take too long.
 */
#ifndef CHS_MAPPING_TRY_H
#define CHS_MAPPING_TRY_H

#include "base/compat.h"

#include "source/mapping.h"

extern ErrorData *chs_mapping_try_timed(Mapping *mapping, void (*work) (void *arg), void *arg, bool by_row);
extern void chs_mapping_suspend(Mapping *mapping);

#endif							/* CHS_MAPPING_TRY_H */

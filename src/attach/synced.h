/*
 * synced.h
 *	  Tables of customers that chs.customers follows.
 */
#ifndef CHS_SYNCED_H
#define CHS_SYNCED_H

#include "base/compat.h"

#include "source/mapping.h"
#include "store/sources.h"

extern void chs_synced_take_all(int source_id);
extern ErrorData *chs_synced_take(const Source *source, const MappedRow *old, const MappedRow *new);

#endif							/* CHS_SYNCED_H */

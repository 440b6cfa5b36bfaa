/*
 * altered.h
 *	  Attached tables whose rows change without a row trigger.
 */
#ifndef CHS_ALTERED_H
#define CHS_ALTERED_H

#include "base/compat.h"

extern void chs_altered_watch_partitions(Oid relation, int source_id);

#endif							/* CHS_ALTERED_H */

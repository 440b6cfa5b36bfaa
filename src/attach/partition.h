/*
 * partition.h
 *	  Partitions of attached tables whose rows no window reaches.
 */
#ifndef CHS_PARTITION_H
#define CHS_PARTITION_H

#include "base/compat.h"

#include "store/live.h"
#include "store/sources.h"

/* What happens to a partition. */
typedef enum PartitionEvent
{
	PARTITION_ATTACHED,
	PARTITION_TRUNCATED,
	PARTITION_DETACHED,
	PARTITION_DROPPED
} PartitionEvent;

extern Oid	chs_partition_changed(Oid parent, bool detached);
extern bool chs_partition_is_past(const Live *live, const Source *source, Oid partition, Oid parent,
								  PartitionEvent event);
extern bool chs_partition_dropped_are_past(const Live *live, List *dropped);

#endif							/* CHS_PARTITION_H */

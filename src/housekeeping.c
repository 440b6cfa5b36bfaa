/*
 * housekeeping.c
 *	  What the worker does in small slices while nothing fresh is waiting.
 */
#include "housekeeping.h"

#include "retention.h"

const HousekeepingStep chs_housekeeping_steps[] = {
	chs_retention_delete_events,
	chs_retention_delete_history,
	NULL
};

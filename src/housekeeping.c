/*
 * housekeeping.c
 *	  What the worker does in small slices while nothing fresh is waiting.
 */
#include "housekeeping.h"

const HousekeepingStep chs_housekeeping_steps[] = {
	NULL
};

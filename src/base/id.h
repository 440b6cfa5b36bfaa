/*
 * id.h
 *	  Identifiers of customers, as keys of hash tables and for qsort.
 */
#ifndef CHS_ID_H
#define CHS_ID_H

#include "base/compat.h"

/* A hash that spreads consecutive numbers. */
static inline uint32
chs_id_hash(int64 id)
{
	return (uint32) (((uint64) id * UINT64CONST(0x9e3779b97f4a7c15)) >> 32);
}

static inline int
chs_id_compare(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return (x > y) - (x < y);
}

#endif							/* CHS_ID_H */

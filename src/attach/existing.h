/*
 * existing.h
 *	  The rows that an attached table has.
 */
#ifndef CHS_EXISTING_H
#define CHS_EXISTING_H

#include "base/compat.h"

#include "access/htup.h"

#include "source/mapping.h"
#include "store/sources.h"

/* Some of them. */
typedef struct ExistingRows
{
	Mapping    *mapping;
	int			n;
	HeapTuple  *tuples;			/* of the row type of the attached table */
	Oid		   *relations;		/* that have them: the table, or partitions */
	MappedRow  *mapped;
} ExistingRows;

extern bool chs_existing_any(Oid relation);
extern void chs_existing_rows(const Source *source,
							  void (*take) (const ExistingRows *rows, void *arg), void *arg);

#endif							/* CHS_EXISTING_H */

/*
 * rewritten.h
 *	  Tables of events that were written anew under a snapshot.
 */
#ifndef CHS_REWRITTEN_H
#define CHS_REWRITTEN_H

#include "base/compat.h"

#include "utils/snapshot.h"

#include "store/live.h"

extern bool chs_rewritten_since(const Live *live, Snapshot snapshot);
extern void chs_rewritten_check(const Live *live);

#endif							/* CHS_REWRITTEN_H */

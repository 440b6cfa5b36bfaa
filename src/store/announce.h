/*
 * announce.h
 *	  Announcing changes of status.
 */
#ifndef CHS_ANNOUNCE_H
#define CHS_ANNOUNCE_H

#include "base/compat.h"

extern void chs_announce(void);

#endif							/* CHS_ANNOUNCE_H */

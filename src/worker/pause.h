/*
 * pause.h
 *	  Pausing the workers of a database.
 */
#ifndef CHS_PAUSE_H
#define CHS_PAUSE_H

#include "base/compat.h"

extern bool chs_pause_is_on(void);

#endif							/* CHS_PAUSE_H */

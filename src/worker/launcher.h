/*
 * launcher.h
 *	  The launcher starts workers for the databases that need them.
 */
#ifndef CHS_LAUNCHER_H
#define CHS_LAUNCHER_H

#include "base/compat.h"

extern void chs_launcher_init(void);

#endif							/* CHS_LAUNCHER_H */

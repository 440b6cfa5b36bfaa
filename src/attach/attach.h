/*
 * attach.h
 *	  Attaching a table as a source of events, and detaching it.
 */
#ifndef CHS_ATTACH_H
#define CHS_ATTACH_H

#include "base/compat.h"

extern void chs_attach_rebuild_all(const char *note);

#endif							/* CHS_ATTACH_H */

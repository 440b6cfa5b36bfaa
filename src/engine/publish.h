/*
 * publish.h
 *	  Publishing, and versions that wait to become live.
 */
#ifndef CHS_PUBLISH_H
#define CHS_PUBLISH_H

#include "base/compat.h"

extern int	chs_publish_waiting(void);
extern void chs_publish_again(const char *note);
extern bool chs_publish_make_live(int version, bool wait);

#endif							/* CHS_PUBLISH_H */

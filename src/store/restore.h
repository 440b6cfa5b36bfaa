/*
 * restore.h
 *	  Restoring from a dump.
 */
#ifndef CHS_RESTORE_H
#define CHS_RESTORE_H

#include "base/compat.h"

#include "utils/rel.h"

extern bool chs_restore_is_running(void);
extern bool chs_restore_is_on(Relation rel);
extern void chs_restore_hold_worker(void);
extern bool chs_restore_lock_out(void);

#endif							/* CHS_RESTORE_H */

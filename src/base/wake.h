/*
 * wake.h
 *	  Waking the worker of a database, or the launcher, when there may be something to do.
 */
#ifndef CHS_WAKE_H
#define CHS_WAKE_H

#include "base/compat.h"

#include "base/worker_shared.h"

extern void chs_wake_init(void);
extern void chs_wake_worker_of(DatabaseSlot *slot);
extern void chs_wake_failed(DatabaseSlot *slot);
extern void chs_wake_launcher(void);
extern void chs_wake_to_list_databases(void);
extern bool chs_wake_if_installed(void);
extern void chs_wake_at_commit(void);
extern void chs_wake_to_retry(void);
extern void chs_wake_resumed_at_commit(void);

#endif							/* CHS_WAKE_H */

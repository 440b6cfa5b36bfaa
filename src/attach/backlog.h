/*
 * backlog.h
 *	  The table chs.source_backlog: tables whose rows from before are still to be
 *	  looked through for those that cannot be used.
 */
#ifndef CHS_BACKLOG_H
#define CHS_BACKLOG_H

#include "base/compat.h"

extern void chs_backlog_add(int source_id, Oid relation);
extern void chs_backlog_add_all(void);
extern void chs_backlog_forget_strangers(int source_id, Oid relation);
extern void chs_backlog_forget_dropped(void);
extern bool chs_backlog_step(bool may_begin);
extern bool chs_backlog_may_begin(void);
extern bool chs_backlog_keep_house(void);

#endif							/* CHS_BACKLOG_H */

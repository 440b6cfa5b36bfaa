/*
 * retention.h
 *	  Deleting what no longer has to be kept.
 */
#ifndef CHS_RETENTION_H
#define CHS_RETENTION_H

#include "base/compat.h"

#include "score/scorecard.h"

extern int32 chs_retention_kept_from(Snapshot snapshot);
extern void chs_retention_check_past(int version, const Scorecard *scorecard, int32 as_of_day);
extern bool chs_retention_delete_events(void);
extern bool chs_retention_delete_history(void);
extern bool chs_retention_delete_rejected(void);

#endif							/* CHS_RETENTION_H */

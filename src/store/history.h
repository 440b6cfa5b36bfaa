/*
 * history.h
 *	  Rows of chs.health_scores that were computed afterwards.
 */
#ifndef CHS_HISTORY_H
#define CHS_HISTORY_H

#include "base/compat.h"

/*
 * The query of those that chs_backfill_history() does not write: of a day that was not
 * over, of a version that was never published, or a second one of the same day.
 */
#define HISTORY_INVALID \
	"SELECT s.customer_id, s.as_of, s.health_score_id FROM chs.health_scores s" \
	" WHERE s.backfilled AND (s.as_of >= (s.calculated_at AT TIME ZONE 'UTC')::date" \
	"  OR NOT EXISTS (SELECT FROM chs.scorecard_versions v WHERE v.version = s.version)" \
	"  OR EXISTS (SELECT FROM chs.health_scores o" \
	"             WHERE o.customer_id = s.customer_id AND o.as_of = s.as_of" \
	"             AND o.backfilled AND o.health_score_id < s.health_score_id))"

extern void chs_history_remove_invalid(void);

#endif							/* CHS_HISTORY_H */

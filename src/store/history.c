/*
 * history.c
 *	  Rows of chs.health_scores that were computed afterwards.
 *
 * They can be computed again, so those that cannot be right are removed by chs_rebuild().
 * What was recorded at the time stays as it is.
 */
#include "store/history.h"

#include "base/catalog.h"
#include "base/spi.h"

/* chs_history_remove_invalid removes the rows that chs_backfill_history() does not write. */
void
chs_history_remove_invalid(void)
{
	OwnerRights saved;

	chs_spi_begin(&saved);
	(void) chs_spi_execute("WITH gone AS (DELETE FROM chs.health_scores d"
						   "  USING (" HISTORY_INVALID ") i"
						   "  WHERE d.customer_id = i.customer_id AND d.as_of = i.as_of"
						   "  AND d.health_score_id = i.health_score_id RETURNING d.as_of)"
						   " INSERT INTO chs.recounts (from_day)"
						   " SELECT min(as_of) FROM gone HAVING count(*) > 0", 0, NULL, NULL, NULL);
	chs_spi_end(&saved);
}

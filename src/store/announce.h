/*
 * announce.h
 *	  Announcing changes of status.
 */
#ifndef CHS_ANNOUNCE_H
#define CHS_ANNOUNCE_H

#include "base/compat.h"

#include "utils/timestamp.h"

#include "score/score.h"

/* Of the score, as it was or is. */
typedef struct KnownScore
{
	HealthStatus status;
	double		score;			/* meaningless if the status is unknown */
} KnownScore;

extern void chs_announce_status(int64 customer_id, KnownScore before, KnownScore after, TimestampTz calculated_at);

#endif							/* CHS_ANNOUNCE_H */

/*
 * change.h
 *	  Why a score moved: the difference of two scores, by factor and cause.
 */
#ifndef CHS_CHANGE_H
#define CHS_CHANGE_H

#include "base/compat.h"

#include "score/score.h"
#include "score/scorecard.h"

typedef enum ChangeCause
{
	CHANGE_BEHAVIOUR,			/* events between the two days, and the values of plug-ins */
	CHANGE_TIME,				/* the windows moved on, with no new events */
	CHANGE_DATA,				/* metrics lost or gained data */
	CHANGE_SCORECARD,			/* another version, or another scorecard */
	CHANGE_CAUSES
} ChangeCause;

/* The part that a factor has in the change. */
typedef struct FactorChange
{
	char	   *factor;
	bool		had_score;
	bool		has_score;
	double		score_before;
	double		score_after;
	double		contribution_before;	/* contributions to the score that was shown */
	double		contribution_after;
	double		by[CHANGE_CAUSES];	/* sum to the difference of the contributions */
	double		reached;		/* contribution after the causes separated so far */
} FactorChange;

typedef struct Change
{
	bool		known_before;	/* whether there was a score */
	bool		known_after;
	int			nfactors;		/* of either scorecard */
	FactorChange *factors;
} Change;

extern Change *chs_change_under(const Scorecard *scorecard, const Score *before,
								const Score *time_passed, const Score *after);
extern void chs_change_settle(Change *change);
extern void chs_change_to(Change *change, const Scorecard *scorecard, const Score *after);

#endif							/* CHS_CHANGE_H */

/*
 * change.h
 *	  Why a score moved: the difference of two scores, by factor and cause.
 */
#ifndef CHS_CHANGE_H
#define CHS_CHANGE_H

#include "score.h"

typedef enum ChangeCause
{
	CHANGE_BEHAVIOUR,			/* events of the days between, and what plug-ins say */
	CHANGE_TIME,				/* the windows moved on, with no new events */
	CHANGE_DATA,				/* metrics lost their data, or have data (again) */
	CHANGE_SCORECARD,			/* another version, or another scorecard */
	CHANGE_CAUSES
} ChangeCause;

/* What a factor has to do with the change. */
typedef struct FactorChange
{
	char	   *factor;
	bool		had_score;
	bool		has_score;
	double		score_before;
	double		score_after;
	double		contribution_before;	/* to the score that was shown */
	double		contribution_after;
	double		by[CHANGE_CAUSES];	/* sum to the difference of the contributions */
	double		reached;		/* contribution after what has been told apart so far */
} FactorChange;

typedef struct Change
{
	bool		known_before;	/* whether there was a score */
	bool		known_after;
	int			nfactors;		/* of either scorecard */
	FactorChange *factors;
} Change;

extern Change *chs_change_under(const Scorecard *scorecard, const Score *before, const Score *time_passed,
								const Score *after);
extern void chs_change_settle(Change *change);
extern void chs_change_to(Change *change, const Scorecard *scorecard, const Score *after);

#endif							/* CHS_CHANGE_H */

/*
 * days.h
 *	  Scores of many days from one activity.
 */
#ifndef CHS_DAYS_H
#define CHS_DAYS_H

#include "base/compat.h"

#include "utils/array.h"

#include "score/score.h"
#include "score/scorecard.h"

/* The most consecutive days that are scored at once: a century. */
#define MAX_DAYS 36525

extern int32 *chs_days_needed(const Scorecard *scorecard, const int32 *days, int ndays,
							  bool trends, int *nneeded);
extern Score **chs_days_score(const ScoreInput *input, const Scorecard *scorecard,
							  const ScoreSubject *subject, const int32 *days, int ndays,
							  bool trends);
extern void chs_days_check(int32 day);
extern int32 *chs_days_of_array(ArrayType *array, int *ndays);

#endif							/* CHS_DAYS_H */

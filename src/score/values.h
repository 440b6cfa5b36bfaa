/*
 * values.h
 *	  The parts of a score as values of SQL.
 */
#ifndef CHS_VALUES_H
#define CHS_VALUES_H

#include "base/compat.h"

#include "access/tupdesc.h"
#include "fmgr.h"

#include "score/score.h"
#include "score/scorecard.h"

/* The columns that chs_value_score fills. */
#define SCORE_COLUMNS 5

extern char *chs_value_day(int32 day);
extern Datum chs_value_trend(Trend trend, bool *isnull);
extern Datum chs_value_factor_scores(const Scorecard *scorecard, const Score *score);
extern void chs_value_metrics(const Scorecard *scorecard, const Score *score, Datum *values,
							  bool *nulls);
extern void chs_value_score(const Scorecard *scorecard, const Score *score, Datum *values,
							bool *nulls);
extern TupleDesc chs_value_result_type(FunctionCallInfo fcinfo);

#endif							/* CHS_VALUES_H */

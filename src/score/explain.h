/*
 * explain.h
 *	  How SQL shows a score.
 */
#ifndef CHS_EXPLAIN_H
#define CHS_EXPLAIN_H

#include "base/compat.h"

#include "access/tupdesc.h"
#include "fmgr.h"

#include "score/score.h"
#include "score/scorecard.h"

/* The columns that chs_explain_score fills. */
#define SCORE_COLUMNS 5

extern Datum chs_explain_trend(Trend trend, bool *isnull);
extern Datum chs_explain_factor_scores(const Scorecard *scorecard, const Score *score);
extern void chs_explain_score(const Scorecard *scorecard, const Score *score, Datum *values, bool *nulls);
extern char *chs_explain_day(int32 day);
extern const ScoreInput *chs_explain_arguments(FunctionCallInfo fcinfo, ScoreSubject *subject, int32 as_of_day);
extern TupleDesc chs_explain_result_type(FunctionCallInfo fcinfo);
extern void chs_explain_rows(FunctionCallInfo fcinfo, const ScoreInput *input,
							 const Scorecard *scorecard, const ScoreSubject *subject);

#endif							/* CHS_EXPLAIN_H */

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

extern Datum chs_explain_trend(Trend trend, bool *isnull);
extern Datum chs_explain_factor_scores(const Scorecard *scorecard, const Score *score);
extern char *chs_explain_day(int32 day);
extern TupleDesc chs_explain_result_type(FunctionCallInfo fcinfo);
extern void chs_explain_rows(FunctionCallInfo fcinfo, const ScoreInput *input,
							 const Scorecard *scorecard, const ScoreSubject *subject);

#endif							/* CHS_EXPLAIN_H */

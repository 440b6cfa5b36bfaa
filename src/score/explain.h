/*
 * explain.h
 *	  The explanation of a score.
 */
#ifndef CHS_EXPLAIN_H
#define CHS_EXPLAIN_H

#include "base/compat.h"

#include "fmgr.h"

#include "score/score.h"
#include "score/scorecard.h"

extern const ScoreInput *chs_explain_arguments(FunctionCallInfo fcinfo, ScoreSubject *subject,
												 int32 as_of_day);
extern void chs_explain_rows(FunctionCallInfo fcinfo, const ScoreInput *input,
							 const Scorecard *scorecard, const ScoreSubject *subject);

#endif							/* CHS_EXPLAIN_H */

/*
 * function_value.h
 *	  The results of plug-ins as jsonb, for the pure functions.
 */
#ifndef CHS_FUNCTION_VALUE_H
#define CHS_FUNCTION_VALUE_H

#include "base/compat.h"

#include "score/score.h"

extern void chs_function_values_read(Jsonb *jsonb, ScoreInput *input);

#endif							/* CHS_FUNCTION_VALUE_H */

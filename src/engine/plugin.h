/*
 * plugin.h
 *	  Plug-in factors: calling users' functions that supply values of metrics.
 */
#ifndef CHS_PLUGIN_H
#define CHS_PLUGIN_H

#include "base/compat.h"

#include "score/score.h"
#include "score/scorecard.h"

/* The functions that have been called, prepared for calls for more customers. */
typedef struct PluginCalls PluginCalls;

/* The days that functions are called for. */
typedef enum PluginDays
{
	PLUGIN_ONE_DAY,				/* the one that is scored */
	PLUGIN_TREND,				/* and the two that the trend compares */
	PLUGIN_EVERY_DAY			/* and all between */
} PluginDays;

extern char *chs_plugin_name(Oid function, const char *given, Oid role);
extern PluginCalls *chs_plugin_begin(MemoryContext parent);
extern bool chs_plugin_add_values(PluginCalls *calls, ScoreInput *input, const Scorecard *scorecard,
								  int64 customer_id, int32 as_of_day, PluginDays which);
extern bool chs_plugin_add_days(PluginCalls *calls, ScoreInput *input, const Scorecard *scorecard,
								int64 customer_id, const int32 *days, int ndays);
extern FunctionValue chs_plugin_value(PluginCalls *calls, const char *function,
									  int64 customer_id, int32 day);
extern void chs_plugin_end(PluginCalls *calls);

#endif							/* CHS_PLUGIN_H */

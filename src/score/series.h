/*
 * series.h
 *	  The series that the metrics of a document need together.
 */
#ifndef CHS_SERIES_H
#define CHS_SERIES_H

#include "base/compat.h"

#include "activity/activity.h"
#include "score/scorecard.h"

extern int	chs_series_need(Published *p, const char *event_type, SeriesKind kind,
							const char *field, const char *filter, int keep);
extern void chs_series_identify(Published *p, const Published *other);
extern void chs_series_group(Published *p);

#endif							/* CHS_SERIES_H */

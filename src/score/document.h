/*
 * document.h
 *	  What a scorecard document says.
 */
#ifndef CHS_DOCUMENT_H
#define CHS_DOCUMENT_H

#include "base/compat.h"

#include "utils/jsonb.h"

#include "score/scorecard.h"

extern void chs_document_read(Published *p, JsonbContainer *root);
extern void chs_document_read_segments(Published *p, JsonbContainer *root);
extern int	chs_document_metric_reach(const Metric *m, int trend_days);
extern double chs_document_number(const SegmentNumbers *numbers, const char *segment,
								  double otherwise);
extern JsonbContainer *chs_document_next(JsonbContainer *root);

#endif							/* CHS_DOCUMENT_H */

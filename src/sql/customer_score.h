/*
 * customer_score.h
 *	  The score of a customer as users ask for it.
 */
#ifndef CHS_CUSTOMER_SCORE_H
#define CHS_CUSTOMER_SCORE_H

#include "base/compat.h"

#include "activity/activity.h"
#include "score/scorecard.h"
#include "store/customer.h"
#include "store/live.h"

extern void chs_customer_find_as_caller(int64 customer_id, Customer *customer);
extern const ActivityView *chs_customer_activity(const Customer *customer, const Live *live,
												 const Live *version, const Scorecard *scorecard,
												 int32 as_of_day);

#endif							/* CHS_CUSTOMER_SCORE_H */

/*
 * rejected_check.h
 *	  What is done later about rejected rows of attached tables, usually by the worker.
 */
#ifndef CHS_REJECTED_CHECK_H
#define CHS_REJECTED_CHECK_H

#include "base/compat.h"

#include "store/live.h"

extern bool chs_rejected_check(const Live *live);

#endif							/* CHS_REJECTED_CHECK_H */

/*
 * gone.h
 *	  What is derived from the events of customers that are gone.
 */
#ifndef CHS_GONE_H
#define CHS_GONE_H

#include "base/compat.h"

extern void chs_gone_forget(int64 customer_id, const int64 *renumbered);

#endif							/* CHS_GONE_H */

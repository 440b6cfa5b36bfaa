/*
 * try.h
 *	  Trying what may fail.
 */
#ifndef CHS_TRY_H
#define CHS_TRY_H

#include "base/compat.h"

extern ErrorData *chs_try(void (*work) (void *arg), void *arg);
extern bool chs_try_was_interrupted(const ErrorData *error);
extern bool chs_try_is_general(int sqlerrcode);

#endif							/* CHS_TRY_H */

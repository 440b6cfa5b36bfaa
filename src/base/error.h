/*
 * error.h
 *	  Errors as values.
 */
#ifndef CHS_ERROR_H
#define CHS_ERROR_H

#include "base/compat.h"

/* Other people's code took too long; of the class of external routine exceptions. */
#define ERRCODE_EXTERNAL_ROUTINE_TIMEOUT MAKE_SQLSTATE('3','8','T','0','0')

extern ErrorData *chs_error_make(int sqlerrcode, char *message, char *detail, char *hint);
extern ErrorData *chs_error_copy(const ErrorData *error);
pg_noreturn extern void chs_error_throw(ErrorData *error);

#endif							/* CHS_ERROR_H */

/*
 * error.c
 *	  Errors as values: why something cannot be used, for somebody who may raise it.
 */
#include "base/error.h"

/* chs_error_make makes an error of its parts, of which detail and hint may be NULL. */
ErrorData *
chs_error_make(int sqlerrcode, char *message, char *detail, char *hint)
{
	ErrorData  *error = palloc0(sizeof(ErrorData));

	error->elevel = ERROR;
	error->sqlerrcode = sqlerrcode;
	error->message = message;
	error->detail = detail;
	error->hint = hint;
	return error;
}

/* chs_error_copy copies an error as chs_error_make makes it, without where it was raised. */
ErrorData *
chs_error_copy(const ErrorData *error)
{
	return chs_error_make(error->sqlerrcode, pstrdup(error->message),
						  error->detail ? pstrdup(error->detail) : NULL,
						  error->hint ? pstrdup(error->hint) : NULL);
}

/* chs_error_throw raises an error. */
void
chs_error_throw(ErrorData *error)
{
	ThrowErrorData(error);
	pg_unreachable();
}

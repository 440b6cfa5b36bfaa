/*
 * message.h
 *	  Values in messages.
 */
#ifndef CHS_MESSAGE_H
#define CHS_MESSAGE_H

#include "base/compat.h"

#include "mb/pg_wchar.h"

#define MAX_MESSAGE_VALUE 64

/* Returns a value for a message; a long one is cut after a whole character. */
static inline const char *
chs_message_value(const char *text, int length)
{
	int			n = pg_mbcliplen(text, length, MAX_MESSAGE_VALUE);

	return psprintf("%s%s", pnstrdup(text, n), n < length ? "..." : "");
}

#endif							/* CHS_MESSAGE_H */

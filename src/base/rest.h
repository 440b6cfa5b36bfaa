/*
 * rest.h
 *	  Other people's code that takes too long again and again rests for a while.
 */
#ifndef CHS_REST_H
#define CHS_REST_H

#include "base/compat.h"

#include "datatype/timestamp.h"

/* What takes too long for so many subjects in a row rests. */
#define CHS_REST_AFTER 3

extern TimestampTz chs_rest_until(Oid class_id, Oid object_id);
extern void chs_rest_begin(Oid class_id, Oid object_id, int timeout);
extern void chs_rest_note_slow(Oid class_id, Oid object_id, int64 subject, int timeout);
extern void chs_rest_end(Oid class_id, Oid object_id);

#endif							/* CHS_REST_H */

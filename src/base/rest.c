/*
 * rest.c
 *	  Other people's code that takes too long again and again rests for a while.
 *
 * So a function that is always slow does not make everybody wait, one after the other.
 * An object is a function or a table whose expressions are evaluated.  Each process finds
 * out for itself.
 */
#include "base/rest.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

/* For how many times its timeout an object rests. */
#define REST_FACTOR 10

typedef struct SlowObject
{
	Oid			class_id;
	Oid			object_id;
	int			nsubjects;		/* for which it took too long, without a faster call in between */
	int64		subjects[CHS_REST_AFTER];
	TimestampTz until;			/* 0: it never rested */
} SlowObject;

static List *slow_objects = NIL;

static SlowObject *
find(Oid class_id, Oid object_id)
{
	ListCell   *lc;

	foreach(lc, slow_objects)
	{
		SlowObject *object = lfirst(lc);

		if (object->class_id == class_id && object->object_id == object_id)
			return object;
	}
	return NULL;
}

static SlowObject *
find_or_add(Oid class_id, Oid object_id)
{
	SlowObject *object = find(class_id, object_id);
	MemoryContext caller;

	if (object != NULL)
		return object;
	caller = MemoryContextSwitchTo(TopMemoryContext);
	object = palloc0(sizeof(SlowObject));
	object->class_id = class_id;
	object->object_id = object_id;
	slow_objects = lappend(slow_objects, object);
	MemoryContextSwitchTo(caller);
	return object;
}

/* chs_rest_until tells until when an object rests; 0 if it does not. */
TimestampTz
chs_rest_until(Oid class_id, Oid object_id)
{
	SlowObject *object = find(class_id, object_id);

	return object != NULL && object->until > GetCurrentTimestamp() ? object->until : 0;
}

/* chs_rest_begin lets an object that has a timeout, in milliseconds, rest. */
void
chs_rest_begin(Oid class_id, Oid object_id, int timeout)
{
	find_or_add(class_id, object_id)->until =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), (int64) timeout * REST_FACTOR);
}

/*
 * chs_rest_note_slow notes that an object took longer than its timeout, in milliseconds,
 * for a subject, such as a customer.  The same one counts once, so that it alone cannot
 * keep the others from their scores.
 */
void
chs_rest_note_slow(Oid class_id, Oid object_id, int64 subject, int timeout)
{
	SlowObject *object = find_or_add(class_id, object_id);
	int			i = 0;

	while (i < object->nsubjects && object->subjects[i] != subject)
		i++;
	if (i == object->nsubjects && i < CHS_REST_AFTER)
		object->subjects[object->nsubjects++] = subject;
	if (object->nsubjects == CHS_REST_AFTER)
		chs_rest_begin(class_id, object_id, timeout);
}

/* chs_rest_end forgets an object: it was fast, or has been changed. */
void
chs_rest_end(Oid class_id, Oid object_id)
{
	SlowObject *object = find(class_id, object_id);

	if (object == NULL)
		return;
	slow_objects = list_delete_ptr(slow_objects, object);
	pfree(object);
}

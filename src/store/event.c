/*
 * event.c
 *	  Events, and the rules that they must obey.
 *
 * chs.customer_events refuses a row that breaks a rule, while a row of an attached
 * table is recorded as rejected.  Therefore a check returns what is wrong instead of
 * raising an error.
 */
#include "store/event.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "base/error.h"
#include "base/message.h"
#include "store/live.h"

/* How far events may be ahead of the clock, because clocks differ. */
#define MAX_AHEAD USECS_PER_DAY

static const char *
event_type_text(const Event *event)
{
	return chs_message_value(event->event_type, event->event_type_length);
}

static const char *
jsonb_text(Jsonb *jb)
{
	char	   *text = JsonbToCString(NULL, &jb->root, VARSIZE(jb));

	return chs_message_value(text, strlen(text));
}

static bool
find_field(const Event *event, const char *field, JsonbValue *value)
{
	return getKeyJsonValueFromContainer(&event->event_data->root, field, strlen(field),
										value) != NULL &&
		value->type != jbvNull;
}

static ErrorData *
no_field(const Event *event, const char *field, const char *as)
{
	return chs_error_make(ERRCODE_CHECK_VIOLATION,
						  psprintf("event of customer %lld has no \"%s\"",
								   (long long) event->customer_id, field),
						  psprintf("An event of type \"%s\" must have \"%s\"%s in event_data.",
								   event_type_text(event), field, as), NULL);
}

static bool
is_positive(Numeric n)
{
	Datum		zero = DirectFunctionCall1(int4_numeric, Int32GetDatum(0));

	return !numeric_is_nan(n) &&
		DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(n), zero)) > 0;
}

static ErrorData *
check_fields(const EventRule *rule, const Event *event)
{
	static const char *const as_number = " as a number above 0";
	JsonbValue	v;

	for (int i = 0; i < rule->nrequired; i++)
		if (!find_field(event, rule->required[i], &v))
			return no_field(event, rule->required[i], "");
	for (int i = 0; i < rule->npositive; i++)
	{
		if (!find_field(event, rule->positive[i], &v))
			return no_field(event, rule->positive[i], as_number);
		if (v.type != jbvNumeric || !is_positive(v.val.numeric))
			return chs_error_make(ERRCODE_CHECK_VIOLATION,
								  psprintf("event of customer %lld has an invalid \"%s\": %s",
										   (long long) event->customer_id, rule->positive[i],
										   jsonb_text(JsonbValueToJsonb(&v))),
								  psprintf("An event of type \"%s\" must have \"%s\"%s in"
										   " event_data.",
										   event_type_text(event), rule->positive[i], as_number),
								  NULL);
	}
	return NULL;
}

/*
 * chs_event_check returns NULL, or, naming the field and the value, which rule an
 * event breaks.
 */
ErrorData *
chs_event_check(const Live *live, const Event *event)
{
	const EventRule *rule = NULL;
	ErrorData  *error;

	for (int i = 0; i < live->nrules && rule == NULL; i++)
		if (live->rules[i].event_type_length == event->event_type_length &&
			memcmp(live->rules[i].event_type, event->event_type, event->event_type_length) == 0)
			rule = &live->rules[i];
	if (rule == NULL)
		return chs_error_make(ERRCODE_FOREIGN_KEY_VIOLATION,
							  psprintf("event of customer %lld has an unknown event_type: \"%s\"",
									   (long long) event->customer_id, event_type_text(event)),
							  NULL,
							  "Use a type that chs.event_types lists, or add a row for it there.");
	if (!JB_ROOT_IS_OBJECT(event->event_data))
		return chs_error_make(ERRCODE_CHECK_VIOLATION,
							  psprintf("event of customer %lld has an invalid event_data: %s",
									   (long long) event->customer_id,
									   jsonb_text(event->event_data)),
							  "It must be a JSON object.", NULL);
	error = check_fields(rule, event);
	if (error != NULL)
		return error;
	if (TIMESTAMP_NOT_FINITE(event->occurred_at))
		return chs_error_make(ERRCODE_CHECK_VIOLATION,
							  psprintf("event of customer %lld has an invalid occurred_at: %s",
									   (long long) event->customer_id,
									   timestamptz_to_str(event->occurred_at)),
							  "It must be finite.", NULL);
	return NULL;
}

/* chs_event_check_ahead does the same for an event that is dated too far ahead of the clock. */
ErrorData *
chs_event_check_ahead(const Event *event)
{
	if (event->occurred_at - GetCurrentTransactionStartTimestamp() <= MAX_AHEAD ||
		event->occurred_at - GetCurrentTimestamp() <= MAX_AHEAD)
		return NULL;
	return chs_error_make(ERRCODE_CHECK_VIOLATION,
						  psprintf("event of customer %lld has an occurred_at too far ahead: %s",
								   (long long) event->customer_id,
								   timestamptz_to_str(event->occurred_at)),
						  "It may be at most one day after the current time.", NULL);
}

/* chs_event_unknown_customer does the same for an event of an unknown customer. */
ErrorData *
chs_event_unknown_customer(int64 customer_id)
{
	return chs_error_make(ERRCODE_FOREIGN_KEY_VIOLATION,
						  psprintf("event has an unknown customer_id: %lld",
								   (long long) customer_id),
						  "There is no such row in chs.customers.", "Insert the customer first.");
}

/*
 * raw_query.c
 *	  The queries that read rows of attached tables.
 *
 * $1 is the key of a customer, or those of several, in the type of the expression, so that
 * its index can be used; $2 and $3 are the times from and before which events are read.
 */
#include "source/raw_query.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "source/mapping.h"
#include "source/source.h"
#include "store/sources.h"

/*
 * chs_raw_query_key_type returns the type by which customers are searched: that of the
 * expression, so that its index can be used.
 */
Oid
chs_raw_query_key_type(const Mapping *m)
{
	switch (m->given_type[EVENT_CUSTOMER])
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
			return INT8OID;
		case UUIDOID:
			return UUIDOID;
		default:
			return TEXTOID;
	}
}

static char *
key_sql(const Mapping *m)
{
	return psprintf(chs_raw_query_key_type(m) == TEXTOID ? "(%s)::pg_catalog.text" : "(%s)",
					m->given_sql[EVENT_CUSTOMER]);
}

/*
 * A condition on the time, of $2 and $3; in the column's own type, so that its
 * index can be used, unless it could fail for rows that are not events.
 */
static char *
time_sql(const Mapping *m)
{
	const char *time = m->direct ? psprintf("(%s)", m->given_sql[EVENT_OCCURRED_AT]) :
		m->sql[EVENT_OCCURRED_AT];
	Oid			type = m->given_type[EVENT_OCCURRED_AT];
	const char *as = m->direct && (type == TIMESTAMPOID || type == DATEOID) ?
		"pg_catalog.timezone('UTC', %s)" : "%s";

	return psprintf("%s >= %s AND %s < %s", time, psprintf(as, "$2"), time, psprintf(as, "$3"));
}

/*
 * chs_raw_query_of_one returns the query of the events of the customer whose key is $1, and
 * who has the number $4.
 */
char *
chs_raw_query_of_one(const Source *source, const Mapping *m)
{
	return psprintf("SELECT $4, %s, %s, %s FROM %s AS event_row"
					" WHERE %s OPERATOR(pg_catalog.=) $1 AND %s",
					m->sql[EVENT_TYPE], m->sql[EVENT_OCCURRED_AT], m->sql[EVENT_DATA],
					chs_source_rows(source->relation), key_sql(m), time_sql(m));
}

/* chs_raw_query_of_many returns that of the customers whose keys are $1 and numbers $4. */
char *
chs_raw_query_of_many(const Source *source, const Mapping *m)
{
	return psprintf("SELECT k.customer_id, e.event_type, e.occurred_at, e.event_data"
					" FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($4))"
					" k(key, customer_id)"
					" JOIN (SELECT %s AS key, %s AS event_type, %s AS occurred_at, %s AS event_data"
					"       FROM %s AS event_row WHERE %s) e ON e.key OPERATOR(pg_catalog.=) k.key",
					key_sql(m), m->sql[EVENT_TYPE], m->sql[EVENT_OCCURRED_AT],
					m->sql[EVENT_DATA], chs_source_rows(source->relation), time_sql(m));
}

/* chs_raw_query_of_rows returns the query of rows of the customers whose keys are $1. */
char *
chs_raw_query_of_rows(const Source *source, const Mapping *m)
{
	return psprintf("%s WHERE %s OPERATOR(pg_catalog.=) ANY ($1) AND %s",
					chs_raw_query_of_table(source), key_sql(m), time_sql(m));
}

/* chs_raw_query_of_table returns that of all rows. */
char *
chs_raw_query_of_table(const Source *source)
{
	return psprintf("SELECT * FROM %s AS event_row", chs_source_rows(source->relation));
}

/* chs_raw_query_of_any returns a query that finds a row of the customers, of any time. */
char *
chs_raw_query_of_any(const Source *source, const Mapping *m)
{
	return psprintf("SELECT FROM %s AS event_row WHERE %s OPERATOR(pg_catalog.=) ANY ($1) LIMIT 1",
					chs_source_rows(source->relation), key_sql(m));
}

/*
 * chs_raw_query_key reads an external_id as a key of the expression's type; false if that is
 * impossible.
 */
bool
chs_raw_query_key(const Mapping *m, const char *external_id, Datum *key)
{
	char	   *canonical;

	switch (chs_raw_query_key_type(m))
	{
		case INT8OID:
			{
				char	   *end;
				long long	number;

				errno = 0;
				number = strtoll(external_id, &end, 10);
				*key = Int64GetDatum(number);
				canonical = psprintf("%lld", number);
				return errno == 0 && strcmp(canonical, external_id) == 0;
			}
		case UUIDOID:
			if (strlen(external_id) != 36)
				return false;
			for (int i = 0; i < 36; i++)
				if ((i == 8 || i == 13 || i == 18 || i == 23) ? external_id[i] != '-' :
					strchr("0123456789abcdef", external_id[i]) == NULL)
					return false;
			*key = DirectFunctionCall1(uuid_in, CStringGetDatum(external_id));
			return true;
		default:
			*key = CStringGetTextDatum(external_id);
			return true;
	}
}

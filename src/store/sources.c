/*
 * sources.c
 *	  The table chs.sources: tables whose rows are events, or customers.
 */
#include "store/sources.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/spi.h"
#include "store/live.h"

const char *const chs_customer_attributes[] = {
	"name", "email", "segment", "created_at", "churned_at", "owner", "value"
};

/* Reads the names of functions. */
static List *
read_functions(Datum array)
{
	List	   *functions = NIL;
	Datum	   *names;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &names, NULL,
					  &n);
	for (int i = 0; i < n; i++)
		functions = lappend(functions, TextDatumGetCString(names[i]));
	return functions;
}

/*
 * chs_source_list reads from chs.sources, as the active snapshot sees it and within
 * SPI, the sources of events, or those of customers.
 */
Source *
chs_source_list(MemoryContext context, bool of_customers, int *n)
{
	Source	   *sources;
	MemoryContext caller;

	chs_spi_select(psprintf("SELECT source_id, relation, customer_key, customer, event_type,"
							" occurred_at, event_data, owner, attributes ->> 'name',"
							" attributes ->> 'email', attributes ->> 'segment',"
							" attributes ->> 'created_at', attributes ->> 'churned_at',"
							" attributes ->> 'owner', attributes ->> 'value', functions"
							" FROM chs.sources WHERE %s ORDER BY source_id",
							of_customers ? "kind = 'customers'" : "kind = 'events'"),
				   0, NULL, NULL);
	caller = MemoryContextSwitchTo(context);
	*n = (int) SPI_processed;
	sources = palloc(Max(*n, 1) * sizeof(Source));
	for (int i = 0; i < *n; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		char	   *texts[9 + CUSTOMER_ATTRIBUTES];
		Datum		functions;

		for (int j = 3; j <= 8 + CUSTOMER_ATTRIBUTES; j++)
		{
			Datum		value = SPI_getbinval(row, desc, j, &isnull);

			texts[j] = isnull ? NULL : TextDatumGetCString(value);
		}
		sources[i] = (Source) {
			.source_id = DatumGetInt32(SPI_getbinval(row, desc, 1, &isnull)),
			.relation = DatumGetObjectId(SPI_getbinval(row, desc, 2, &isnull)),
			.by_external_id = strcmp(texts[3], "external_id") == 0,
			.customer = texts[4],.event_type = texts[5],.occurred_at = texts[6],
			.event_data = texts[7],.owner = texts[8],.of_customers = of_customers
		};
		memcpy(sources[i].attributes, &texts[9], sizeof(sources[i].attributes));
		functions = SPI_getbinval(row, desc, 9 + CUSTOMER_ATTRIBUTES, &isnull);
		sources[i].any_function = isnull;
		if (!isnull)
			sources[i].functions = read_functions(functions);
	}
	MemoryContextSwitchTo(caller);
	return sources;
}

/* chs_source_find returns a source of the live version, or NULL. */
const Source *
chs_source_find(const Live *live, int source_id)
{
	for (int i = 0; i < live->nsources; i++)
		if (live->sources[i].source_id == source_id)
			return &live->sources[i];
	for (int i = 0; i < live->ncustomer_sources; i++)
		if (live->customer_sources[i].source_id == source_id)
			return &live->customer_sources[i];
	return NULL;
}

/* chs_source_name returns the qualified name of a source's table, for messages. */
char *
chs_source_name(const Source *source)
{
	char	   *name = get_rel_name(source->relation);

	if (name == NULL)
		return psprintf("%u", source->relation);
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(source->relation)),
									  name);
}

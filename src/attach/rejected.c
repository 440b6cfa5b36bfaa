/*
 * rejected.c
 *	  The table chs.rejected_events: a log of rows of attached tables that could not be
 *	  used.
 *
 * The row stays in its table, and this gets a copy with the reason.  Nothing depends on
 * it: activities are made from the rows of the table itself.  What becomes of the row
 * later is not followed; chs_retry_rejected() looks at the table again.
 */
#include "attach/rejected.h"

#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/catalog.h"
#include "base/spi.h"
#include "base/tables.h"

/* Longer keys do not fit into the index. */
#define MAX_CUSTOMER_KEY 512

/* Columns of chs.rejected_events. */
enum
{
	REJECTED_ID,
	REJECTED_SOURCE_ID,
	REJECTED_RELATION,
	REJECTED_CUSTOMER_KEY,
	REJECTED_SQLSTATE,
	REJECTED_REASON,
	REJECTED_EVENT_ROW,
	REJECTED_AT,
	REJECTED_COLUMNS
};

/*
 * chs_rejected_add appends rows.  They are written without a query, which would need the
 * owner's rights, and the change of rights makes the session plan all its queries again.
 */
void
chs_rejected_add(const RejectedRow *rows, int n)
{
	OwnTable	table;
	Oid			sequence;

	if (n == 0)
		return;
	chs_table_open(&table, chs_catalog_relation(CHS_REJECTED_EVENTS), false);
	sequence = chs_identity_sequence(table.rel, 1);
	for (int i = 0; i < n; i++)
	{
		const RejectedRow *row = &rows[i];
		bool		has_key = row->customer_key != NULL &&
			strlen(row->customer_key) <= MAX_CUSTOMER_KEY;
		Datum		values[REJECTED_COLUMNS] = {0};
		bool		nulls[REJECTED_COLUMNS] = {0};

		values[REJECTED_ID] = Int64GetDatum(nextval_internal(sequence, false));
		values[REJECTED_SOURCE_ID] = Int32GetDatum(row->source_id);
		values[REJECTED_RELATION] = ObjectIdGetDatum(row->relation);
		nulls[REJECTED_CUSTOMER_KEY] = !has_key;
		if (has_key)
			values[REJECTED_CUSTOMER_KEY] = CStringGetTextDatum(row->customer_key);
		values[REJECTED_SQLSTATE] = CStringGetTextDatum(unpack_sql_state(row->error->sqlerrcode));
		values[REJECTED_REASON] = CStringGetTextDatum(row->error->message);
		nulls[REJECTED_EVENT_ROW] = row->row == NULL;
		values[REJECTED_EVENT_ROW] = JsonbPGetDatum(row->row);
		values[REJECTED_AT] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
		(void) chs_table_store(&table, NULL, values, nulls, REJECTED_COLUMNS);
	}
	chs_table_close(&table);
	CommandCounterIncrement();
}

/*
 * chs_rejected_forget removes what is listed for a source whose rows are being read
 * anew, or mapped anew; rows that somebody has locked stay.
 */
void
chs_rejected_forget(int source_id)
{
	Oid			type = INT4OID;
	Datum		arg = Int32GetDatum(source_id);
	OwnerRights saved;

	chs_spi_begin(&saved);
	chs_spi_execute_now(NULL, "DELETE FROM chs.rejected_events WHERE rejected_id IN"
						" (SELECT rejected_id FROM chs.rejected_events WHERE source_id = $1"
						"  FOR UPDATE SKIP LOCKED)",
						1, &type, &arg, NULL);
	chs_spi_end(&saved);
}

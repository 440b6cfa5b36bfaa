# shellcheck shell=bash
# Point 9: bytes of write-ahead log per event, in the worst case: one event for each of many customers.

customers=$(size 5000 50000)
database log "$customers"
psql -Xq -v ON_ERROR_STOP=1 -f "$bench/ingest.sql" -f "$bench/log.sql"

# Images of pages depend on how often there is a checkpoint, not on who writes.
value "ALTER SYSTEM SET full_page_writes = off"
value "SELECT pg_reload_conf()" >/dev/null
until [ "$(value "SHOW full_page_writes")" = off ]; do sleep 0.01; done

# logged SQL: bytes of log per event that a statement writes.
logged() {
	psql -XAtq -v ON_ERROR_STOP=1 -f - <<-SQL
		SELECT pg_current_wal_insert_lsn() AS before \gset
		$1 \g /dev/null
		SELECT (pg_current_wal_insert_lsn() - :'before') / $customers;
	SQL
}

# insert TABLE ROUND
insert() {
	logged "INSERT INTO $1 (customer_id, event_type, event_data, occurred_at)
		SELECT i, t.event_type, t.event_data, now() - (i % 24) * interval '1 hour'
		FROM generate_series(1, $customers) i JOIN bench.template t ON t.n = hashint8extended($2 + i, 12) & 4095
		ORDER BY hashint8extended($2 + i, 13)"
}

group log bytes "write-ahead log per event, $(grouped "$customers") events of as many customers, without images of pages" 'one primary key'
for round in $(rounds 3); do
	sample log 'one primary key' "$(insert bench.one_key "$round")"
	sample log bare "$(insert bench.bare "$round")"
	sample log 'foreign keys' "$(insert bench.foreign_keys "$round")"
	sample log 'plpgsql row trigger, queue' "$(insert bench.row_trigger "$round")"
	sample log 'plpgsql statement trigger, queue' "$(insert bench.statement_trigger "$round")"
	sample log 'plpgsql roll-up counters' "$(insert bench.roll_up_trigger "$round")"
	committed=$(insert chs.customer_events "$round")
	folded=$(logged "SELECT chs_process_queue()")
	sample log 'chs, until the commit' "$committed"
	sample log 'chs, folding and scoring' "$folded"
	sample log chs "$(awk "BEGIN { print $committed + $folded }")"
done
target log chs '<=' 2.5 'one primary key'
note "one primary key: the same columns with a number as the key; bare: with the indexes of chs.customer_events, too."
note "The alternatives queue or count, and do not check or score."
value "ALTER SYSTEM RESET full_page_writes"
value "SELECT pg_reload_conf()" >/dev/null
leave

# shellcheck shell=bash
# Point 9: bytes of write-ahead log per event, in the worst case: one event for each of many customers
# who have few others.

customers=$(size 2000 5000)
database log "$customers"
psql -Xq -v ON_ERROR_STOP=1 -f "$bench/ingest.sql" -f "$bench/log.sql"

# Images of pages depend on how often there is a checkpoint, not on who writes.
value "ALTER SYSTEM SET full_page_writes = off"
value "SELECT pg_reload_conf()" >/dev/null
until [ "$(value "SHOW full_page_writes")" = off ]; do sleep 0.01; done

# logged COMMAND...: bytes of log per event that a command writes.
logged() {
	local before
	before=$(value "SELECT pg_current_wal_insert_lsn()")
	"$@" >/dev/null
	value "SELECT (pg_current_wal_insert_lsn() - '$before') / $customers"
}

# at_once, one_by_one TABLE ROUND: insert an event of each customer, in one statement, or each in a transaction of its own.
at_once() { value "$(value "SELECT bench.insert_events('$1', $2)")"; }
one_by_one() {
	psql -Xq -v ON_ERROR_STOP=1 -f - <<-SQL
		SET synchronous_commit = off;
		SELECT bench.insert_event_each('$1', $2) \gexec
	SQL
}

# the worker folds in batches
fold() {
	worker on
	value "CALL bench.wait_for_queue()"
	worker off
}

# measure GROUP INSERT ROUND
measure() {
	local committed folded
	sample "$1" bare "$(logged "$2" bench.usual "$3")"
	sample "$1" 'one key only' "$(logged "$2" bench.one_key "$3")"
	sample "$1" 'the key of chs.customer_events' "$(logged "$2" bench.bare "$3")"
	sample "$1" 'that and foreign keys' "$(logged "$2" bench.foreign_keys "$3")"
	sample "$1" 'plpgsql row trigger, queue' "$(logged "$2" bench.row_trigger "$3")"
	sample "$1" 'plpgsql statement trigger, queue' "$(logged "$2" bench.statement_trigger "$3")"
	sample "$1" 'plpgsql roll-up counters' "$(logged "$2" bench.roll_up_trigger "$3")"
	committed=$(logged "$2" chs.customer_events "$3")
	folded=$(logged fold)
	sample "$1" 'chs, until the commit' "$committed"
	sample "$1" 'chs, folding and scoring' "$folded"
	sample "$1" chs "$(awk "BEGIN { print $committed + $folded }")"
}

title="write-ahead log per event, without images of pages, $(grouped "$customers") customers"
group log bytes "$title, an event each in a transaction of its own" bare
for round in $(rounds 3); do measure log one_by_one "$round"; done
target log chs '<=' 2.5 bare
group log_at_once bytes "$title, an event each in one statement" bare
for round in $(seq 4 6); do measure log_at_once at_once "$round"; done
target log_at_once chs '<=' 2.5 bare
note "bare: the same columns with a number as the key, and an index by customer and time."
note "chs.customer_events has one key by customer, time and number.  The alternatives queue or count, and do not check or score."
value "ALTER SYSTEM RESET full_page_writes"
value "SELECT pg_reload_conf()" >/dev/null
leave

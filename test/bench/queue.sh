# shellcheck shell=bash
# Point 5: how fast a backlog is folded, by one process, the worker being off.

customers=$(size 10000 20000)

# fold GROUP VARIANT: folds all that is queued; customers, deltas and events a second.
fold() {
	local customers deltas result
	read -r customers deltas < <(value "SELECT count(DISTINCT customer_id), count(*) FROM chs.queue")
	result=$(timed "SELECT chs_process_queue()")
	sample "$1 customers" "$2" "$(rate "$customers" <<<"$result")"
	sample "$1 deltas" "$2" "$(rate "$deltas" <<<"$result")"
	sample "$1 events" "$2" "$(rate "$3" <<<"$result")"
	value "VACUUM chs.queue, chs.activity, chs.customer_health, chs.health_scores"
}
rates() {
	group "$1 customers" /s "$2: customers a second"
	group "$1 deltas" /s "$2: deltas a second"
	group "$1 events" /s "$2: events a second"
}

database queue "$customers"
psql -Xq -v ON_ERROR_STOP=1 -f "$bench/queue.sql"
database held "$customers"
psql -Xq -v ON_ERROR_STOP=1 -f "$bench/queue.sql"

statements=$(size 10 50)
deltas=$((statements * customers))
rates backlog "a backlog"
once='one delta of one event per customer'
many="$(grouped $deltas) deltas of one event, $statements per customer"
bulk="one delta of $((statements)) events per customer"
hot='deltas of one event, hot customers'
even='deltas of one event, all customers alike'
export PGDATABASE=queue
for _ in $(rounds "$(size 2 3)"); do
	settle
	value "CALL bench.fill_each(1, $customers)"
	fold backlog "$once" "$customers"
	value "CALL bench.fill_each($statements, $customers)"
	fold backlog "$many" $deltas
	value "INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
		SELECT * FROM bench.events($deltas, $customers, 10)"
	fold backlog "$bulk" $deltas
	value "CALL bench.fill_rows($(size 10000 100000), $customers, false)"
	fold backlog "$even" "$(size 10000 100000)"
	value "CALL bench.fill_rows($(size 10000 100000), $customers, true)"
	fold backlog "$hot" "$(size 10000 100000)"
done
for variant in "$once" "$many" "$bulk"; do target 'backlog customers' "$variant" '>=' 20000; done
for variant in "$many" "$bulk"; do target 'backlog events' "$variant" '>=' 500000; done

# In each round a part of the backlog; the snapshot is held from before the first to after the last.
group held /s "$(grouped $deltas) deltas a second, in $statements rounds of fill, fold and vacuum"
group last /s "the last quarter of these rounds"
coproc holder { PGDATABASE=held psql -XAtq; }
printf 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM chs.queue;\n' >&"${holder[1]}"
read -r _ <&"${holder[0]}"
for round in $(rounds "$statements"); do
	for PGDATABASE in queue held; do
		case $PGDATABASE in queue) variant='no old snapshot' ;; *) variant='an old snapshot is held' ;; esac
		value "CALL bench.fill_each(1, $customers)"
		result=$(timed "SELECT chs_process_queue()" | rate "$customers")
		sample held "$variant" "$result"
		((round * 4 <= statements * 3)) || sample last "$variant" "$result"
		value "VACUUM chs.queue, chs.activity, chs.customer_health, chs.health_scores"
	done
done
target held 'an old snapshot is held' '<=' 2 'no old snapshot'
target last 'an old snapshot is held' '<=' 2 'no old snapshot'
note "held: $(value "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relid = 'chs.queue'::regclass") dead rows in the queue at the end."
printf 'COMMIT;\n\\q\n' >&"${holder[1]}"
wait "$holder_PID" || true
note "hot customers: customer c has a share of events in proportion to 1/c; the first one has 7 %."

leave
PGDATABASE=queue
leave

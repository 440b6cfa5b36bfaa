# shellcheck shell=bash
# Point 5: how fast a backlog is folded: by one process, the worker being off, and by one and two workers.

customers=$(size 10000 20000)

# fold VARIANT EVENTS: folds all that is queued; customers, deltas and events a second.
fold() {
	local customers deltas result
	read -r customers deltas < <(value "SELECT count(DISTINCT customer_id), count(*) FROM chs.queue")
	result=$(timed "SELECT chs_process_queue()")
	sample customers "$1" "$(rate "$customers" <<<"$result")"
	sample deltas "$1" "$(rate "$deltas" <<<"$result")"
	sample events "$1" "$(rate "$2" <<<"$result")"
	clean
}
# clean: what autovacuum would do, but not in the middle of a measurement.
clean() { value "VACUUM chs.queue, chs.activity, chs.customer_health, chs.health_scores"; }

# fold_with WORKERS: lets so many workers fold a delta of one event of each customer.  The second figure is what the first
# of them has used of a processor, which tells of the gain even where other programs take their share.
fold_with() {
	local clock processor variant='one worker'
	[ "$1" -eq 1 ] || variant='two workers'
	value "ALTER SYSTEM SET chs.max_workers = $1"
	value "ALTER SYSTEM SET chs.enabled = on"
	value "CALL bench.fill_each(1, $backlog)"
	settle
	clock=$(timed "SELECT pg_reload_conf()" "CALL bench.wait_for_queue()" | cut -d ' ' -f 1)
	processor=$(value "SELECT split_part(pg_read_file('/proc/' || pid || '/schedstat'), ' ', 1)::float8 / 1e9
		FROM chs.worker_status WHERE worker = 1")
	worker off
	clean
	sample workers "$variant" "$(rate "$backlog" <<<"$clock $processor")"
}

for name in held queue; do
	database $name "$customers"
	psql -Xq -v ON_ERROR_STOP=1 -f "$bench/queue.sql"
done

statements=$(size 25 50)
deltas=$((statements * customers))
single=$(size 10000 100000)
once='one delta of one event per customer'
many="$(grouped $deltas) deltas of one event, $statements per customer"
bulk="one delta of $statements events per customer"
group customers /s "folding a backlog: customers a second"
group deltas /s "folding a backlog: deltas a second"
group events /s "folding a backlog: events a second"
for _ in $(rounds 2); do
	settle
	value "CALL bench.fill_each(1, $customers)"
	fold "$once" "$customers"
	value "CALL bench.fill_each($statements, $customers)"
	fold "$many" $deltas
	value "INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
		SELECT * FROM bench.events($deltas, $customers, 10)"
	fold "$bulk" $deltas
	value "CALL bench.fill_rows($single, $customers, false)"
	fold 'deltas of one event, all customers alike' "$single"
	value "CALL bench.fill_rows($single, $customers, true)"
	fold 'deltas of one event, hot customers' "$single"
done
for variant in "$once" "$bulk"; do target customers "$variant" '>=' 20000; done
for variant in "$many" "$bulk"; do target events "$variant" '>=' 500000; done

# In each round a part of the backlog; the snapshot is held from before the first to after the last.
last_round=$(size 10 30)
group held /s "deltas a second, in $last_round rounds of fill ($(grouped "$customers") deltas), fold and vacuum"
group last /s "the last quarter of these rounds"
coproc holder { PGDATABASE=held psql -XAtq; }
printf 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM chs.queue;\n' >&"${holder[1]}"
read -r _ <&"${holder[0]}"
for round in $(rounds "$last_round"); do
	for PGDATABASE in queue held; do
		case $PGDATABASE in queue) variant='no old snapshot' ;; *) variant='an old snapshot is held' ;; esac
		value "CALL bench.fill_each(1, $customers)"
		result=$(timed "SELECT chs_process_queue()" | rate "$customers")
		sample held "$variant" "$result"
		((round * 4 <= last_round * 3)) || sample last "$variant" "$result"
		clean
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

backlog=200000
database workers "$backlog"
psql -Xq -v ON_ERROR_STOP=1 -f "$bench/queue.sql"
group workers /s "customers a second, $(grouped "$backlog") deltas of one event, each of another customer" 'one worker'
for round in $(rounds "$(size 2 5)"); do
	for workers in $(in_turn "$round" 1 2); do fold_with "$workers"; done
done
target workers 'two workers' '>=' 1.6 'one worker'
value "ALTER SYSTEM RESET chs.max_workers"
leave

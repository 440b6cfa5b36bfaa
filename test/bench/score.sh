# shellcheck shell=bash
# Point 2: one customer's score, whatever the number of its events.

sizes=(100 1000 10000 100000 1000000)
database score ${#sizes[@]}
psql -Xq -v ON_ERROR_STOP=1 -f "$bench/score.sql"
for i in "${!sizes[@]}"; do
	value "INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
		SELECT $((i + 1)), event_type, event_data, occurred_at FROM bench.events(${sizes[i]}, 1, 29)"
done
value "SELECT chs_process_queue()" >/dev/null
value "SELECT bench.fill_roll_up()" >/dev/null
settle
value "ANALYZE"

# per_call TIMES EXPRESSION: microseconds of an expression inside the server, less those of an empty loop.
per_call() {
	local times=$1 expression=$2
	{
		timed "SELECT sum(i::double precision) FROM generate_series(1, $times) i"
		timed "SELECT sum($expression) FROM generate_series(1, $times) i"
	} | awk -v n="$times" 'NR == 1 { a = $1; b = $2 } END { print ($1 - a) * 1e6 / n, ($2 - b) * 1e6 / n }'
}

customers=$(seq ${#sizes[@]})
for customer in $customers; do group "$customer" us "$(grouped "${sizes[customer - 1]}") events in the window" chs_score; done
for _ in $(rounds "$(size 3 7)"); do
	for customer in $customers; do
		sample "$customer" chs_score "$(per_call 20000 "chs_score($customer)")"
		for view in plain_health roll_up_health; do
			sample "$customer" "$view" "$(value "CALL bench.time_query(
				'SELECT score FROM bench.$view WHERE customer_id = $customer', NULL, NULL)" | awk '{ print $1 * 1000, $2 * 1000 }')"
		done
	done
done
for customer in $customers; do target "$customer" chs_score '<=' 20; done
target 4 chs_score '>=' 1000 plain_health
target 5 chs_score '<=' 1.2 1:chs_score

note "plain_health and roll_up_health: the same score by hand (test/bench/health.sql), from raw events and from a roll-up per day,"
note "as prepared queries. They differ from chs_score in $(value "SELECT count(*) FROM bench.plain_health p JOIN bench.roll_up_health r USING (customer_id)
	WHERE abs(p.score - chs_score(customer_id)) > 0.011 OR abs(r.score - chs_score(customer_id)) > 0.011") of ${#sizes[@]} customers."

group queued us "1,000 events in the window, the last of them queued"
for queued in 1 10 100; do
	value "DO \$\$ BEGIN FOR i IN 1..$queued LOOP
		INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (2, 'api_call', '{\"endpoint\": \"a\"}');
		COMMIT; END LOOP; END \$\$"
	for _ in $(rounds "$(size 3 7)"); do sample queued "$queued queued" "$(per_call 2000 "chs_score(2)")"; done
	value "SELECT chs_process_queue()" >/dev/null
done
leave

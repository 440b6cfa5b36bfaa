# shellcheck shell=bash
# Point 10: the past.  On one processor.

customers=$(size 500 10000)
events=$((customers * 100))
database history "$customers"
export PGOPTIONS='-c max_parallel_workers_per_gather=0'
value "INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at) SELECT * FROM bench.events($events, $customers, 730)"
value "INSERT INTO chs.customers (customer_id, segment, created_at) VALUES ($((customers + 1)), 'smb', now() - interval '2 years')"
value "INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
	SELECT $((customers + 1)), event_type, event_data, occurred_at FROM bench.events(600, 1, 180)"
value "SELECT chs_process_queue()" >/dev/null
settle
value "ANALYZE"

# days EXPRESSION: an array of 24 days, so many days apart.
days() { echo "ARRAY(SELECT (now() AT TIME ZONE 'UTC')::date - ago * $1 FROM generate_series(0, 23) ago)"; }
few=$((customers < 1000 ? customers : 1000))

group one ms "one customer with 600 events"
group months s "$(grouped "$customers") customers with $(grouped "$events") events in two years: the score of 24 days, a month apart" 'chs_score, one by one'
group days s "the same: of the last 24 days" 'chs_score, one by one'
for _ in $(rounds "$(size 2 5)"); do
	for n in 1 90 365; do
		sample one "chs_history of $n days" "$(value "CALL bench.time_query('SELECT * FROM chs_history($((customers + 1)),
			current_date - $((n - 1)), current_date)', NULL, NULL)")"
	done
	sample one '90 times chs_score' "$(value "CALL bench.time_query('SELECT sum(chs_score($((customers + 1)), now() - ago * interval ''1 day''))
		FROM generate_series(0, 89) ago', NULL, NULL)")"
	for what in months days; do
		apart=$([ $what = months ] && echo 30 || echo 1)
		sample $what 'chs.score_history' "$(timed "SELECT sum(score) FROM chs.score_history($(days "$apart"))")"
		sample $what 'chs_score, one by one' "$(timed "SELECT sum(chs_score(c.customer_id, d.day::timestamp AT TIME ZONE 'UTC'))
			FROM (SELECT customer_id FROM chs.customers ORDER BY 1 LIMIT $few) c, unnest($(days "$apart")) d(day)" |
			awk -v n="$customers" -v few="$few" '{ print $1 * n / few, $2 * n / few }')"
	done
done
target one 'chs_history of 90 days' '<=' 5
target months chs.score_history '<=' 5
target days chs.score_history '<=' 0.1 'chs_score, one by one'

group backfill /s "rows of the history a second, $(grouped "$customers") customers and 120 days"
time=$(timed "CALL chs_backfill_history(current_date - 120)")
rows=$(value "SELECT count(*) FROM chs.health_scores WHERE backfilled")
sample backfill chs_backfill_history "$(rate "$rows" <<<"$time")"
note "chs_score, one by one: of $(grouped "$few") customers, times $(awk -v n="$customers" -v few="$few" 'BEGIN { print n / few }')."
leave

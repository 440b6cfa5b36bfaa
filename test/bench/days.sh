# shellcheck shell=bash
# Point 12: days that are over, and what else dashboards read about everybody.

customers=$(size '10000 100000' '10000 100000 1000000')
database days 1

group portfolio ms "daily_stats: 90 days of all segments"
group movements ms "status_movements: who moved from which status to which within 30 days"
group distribution ms score_distribution
group history ms "chs_status_movements between two other days, from the history"
group finish us "counting a day that is over, for each customer"
group recount us "counting 8 days again, for each customer and day"
# read_time GROUP QUERY
read_time() { sample "$1" "$(grouped "$n") customers" "$(value "CALL bench.time_query('$2', NULL, NULL)")"; }
# count_time GROUP DAYS
count_time() {
	sample "$1" "$(grouped "$n") customers" \
		"$(timed "SELECT chs_count_days(current_date - $2)" | awk -v n=$((n * $2)) '{ print $1 / n * 1e6, $2 / n * 1e6 }')"
}

filled=1
for n in $customers; do
	value "SELECT bench.fill_customers($((filled + 1)), $n)" >/dev/null
	value "SELECT chs_process_queue()" >/dev/null
	# A row of history for each of the days that are looked at, and for most of the last ten.
	for ago in 91 31 10 9 8 7 6 5 4 3 2 1; do
		value "INSERT INTO chs.health_scores (customer_id, segment, scorecard, version, as_of, status, trend, coverage, factor_scores, calculated_at, score)
			SELECT c.customer_id, c.segment, 'default', 1, current_date - $ago,
			       CASE WHEN s.score >= 75 THEN 'healthy' WHEN s.score >= 50 THEN 'at_risk' ELSE 'critical' END, 'stable', 1,
			       ARRAY[s.score, s.score, s.score, s.score, s.score], now(), s.score
			FROM chs.customers c CROSS JOIN LATERAL (
				SELECT round((100 * (0.8 * bench.u(c.customer_id, 1) + 0.2 * bench.u(c.customer_id, $ago)))::numeric, 2)::double precision AS score) s
			WHERE c.customer_id > $filled" >/dev/null
	done
	filled=$n
	settle
	value "VACUUM ANALYZE"
	count_time recount 8
	for _ in $(rounds "$(size 2 3)"); do count_time finish 1; done
	# The days before: a copy is read like what has been counted.
	value "DELETE FROM chs.daily_counts WHERE day < current_date - 1; DELETE FROM chs.counted_days WHERE day < current_date - 1;
		INSERT INTO chs.counted_days (day, seconds) SELECT current_date - ago, 1 FROM generate_series(2, 365) ago;
		INSERT INTO chs.daily_counts SELECT day - ago, span, segment, from_status, to_status, customers, score_hundredths, value, customers_hash
		FROM chs.daily_counts, generate_series(1, 364) ago WHERE span = 1" >/dev/null
	value "VACUUM ANALYZE chs.daily_counts"
	for _ in $(rounds "$(size 3 7)"); do
		read_time portfolio "SELECT * FROM chs.daily_stats WHERE day >= current_date - 90"
		read_time movements "SELECT * FROM chs.status_movements"
		read_time distribution "SELECT * FROM chs.score_distribution"
	done
	read_time history "SELECT * FROM chs_status_movements(current_date - 10, current_date - 3)"
	value "DELETE FROM chs.daily_counts WHERE day < current_date - 1; DELETE FROM chs.counted_days WHERE day < current_date - 1" >/dev/null
done
many="$(grouped "${customers##* }") customers"
target portfolio "$many" '<=' 20
target movements "$many" '<=' 50
target distribution "$many" '<=' 5
leave

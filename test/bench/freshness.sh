# shellcheck shell=bash
# Point 4: how long after its commit an event shows in the score of customer_health.

customers=20000
database freshness $customers
psql -Xq -v ON_ERROR_STOP=1 -f "$bench/freshness.sql"
value "SELECT bench.fill_customers($((customers + 1)), $((customers + 100)))" >/dev/null
worker on
drained >/dev/null

group freshness ms "from commit to the score in customer_health"
# probe VARIANT SAMPLES PAUSE: inserts events and waits for each one's score.
probe() {
	value "CALL bench.probe($2, $3, $customers)"
	read -r p50 p99 max < <(value "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY ms), percentile_disc(0.99) WITHIN GROUP (ORDER BY ms),
		max(ms) FROM bench.delays")
	sample freshness "$1, p50" "$p50"
	sample freshness "$1, p99" "$p99"
	sample freshness "$1, maximum" "$max"
}
for _ in $(rounds "$(size 1 2)"); do
	probe 'idle' "$(size 200 1000)" 0.01
	# A worker leaves after a second without work.
	probe 'idle, no worker there' "$(size 5 20)" 1.3
	PGOPTIONS='-c synchronous_commit=off' pgbench -n -M prepared -c 4 -j 2 -R 2000 -T "$(size 6 20)" --random-seed=1 \
		-f <(sed 's/TABLE/chs.customer_events/' "$bench/single.sql") -D customers=$customers >"$CHS_WORK/load" 2>&1 &
	load=$!
	sleep 1
	probe '2,000 events/s' "$(size 200 1000)" 0.01
	wait $load
	drained >/dev/null
	note "load: $(sed -n 's/^tps = \([0-9]*\).*/\1/p' "$CHS_WORK/load") events/s, synchronous_commit off; the probes commit with synchronous_commit on."
done
target freshness 'idle, p99' '<=' 50
target freshness 'idle, no worker there, p99' '<=' 50
target freshness '2,000 events/s, p99' '<=' 500
leave

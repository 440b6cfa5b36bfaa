# shellcheck shell=bash
# Point 3: the score of everyone.  On one processor, but for the query that may use all.

customers=$(size 1000 20000)
events=$(size 500000 10000000)
database everyone "$customers"
export PGOPTIONS='-c max_parallel_workers_per_gather=0'
psql -Xq -v ON_ERROR_STOP=1 -f "$bench/score.sql"

group load s "loading $(grouped "$events") events of $(grouped "$customers") customers in 90 days, and folding them"
sample load 'INSERT ... SELECT' "$(timed "INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
	SELECT * FROM bench.events($events, $customers, 90)")"
sample load 'chs_process_queue' "$(timed "SELECT chs_process_queue()")"
value "SELECT bench.fill_roll_up()" >/dev/null
value "CREATE MATERIALIZED VIEW bench.everyone AS SELECT * FROM bench.plain_health WITH NO DATA"
settle
value "ANALYZE"

# Everyone's health becomes a day old, as at midnight; changed by hand, it would be counted anew row by row.
yesterday() {
	PGOPTIONS='-c session_replication_role=replica' value "UPDATE chs.customer_health SET as_of = as_of - 1"
	value "UPDATE chs.health_scores SET as_of = as_of - 1"
	value "VACUUM chs.customer_health, chs.health_scores"
}
# per_second SQL...: customers a second.
per_second() { timed "$@" | rate "$customers"; }

document="(SELECT document FROM chs.scorecard_versions WHERE live_at IS NOT NULL ORDER BY version DESC LIMIT 1)"
group everyone /s "customers a second, $(grouped "$customers") customers with $(grouped "$events") events" 'one GROUP BY of raw events'
for _ in $(rounds 2); do
	settle
	sample everyone 'one GROUP BY of raw events' "$(per_second "SELECT sum(score) FROM bench.plain_health")"
	sample everyone 'the same, parallel' "$(PGOPTIONS='' per_second "SELECT sum(score) FROM bench.plain_health" | cut -d ' ' -f 1)"
	sample everyone 'REFRESH MATERIALIZED VIEW' "$(per_second "REFRESH MATERIALIZED VIEW bench.everyone")"
	sample everyone 'GROUP BY of a roll-up per day' "$(per_second "SELECT sum(score) FROM bench.roll_up_health")"
	sample everyone 'chs_activity_score' "$(per_second "SELECT sum(s.score) FROM chs.activity a JOIN chs.customers c USING (customer_id)
		CROSS JOIN LATERAL chs_activity_score(a.activity, $document, c.segment, c.created_at, now()) s")"
	sample everyone 'chs_score' "$(per_second "SELECT sum(chs_score(customer_id)) FROM chs.customers")"
	sample everyone 'chs_recalculate_all' "$(per_second "CALL chs_recalculate_all()")"
	yesterday
	sample everyone 'chs_recalculate_all, a new day' "$(per_second "CALL chs_recalculate_all()")"
	# The worker knows whom it has scored today; a new version is the same work.
	value "SELECT chs_publish('as it was')" >/dev/null
	sample everyone 'worker, a new version' "$(per_second "ALTER SYSTEM SET chs.enabled = on" "SELECT pg_reload_conf()" \
		"SELECT chs.wake_worker()" "CALL bench.wait_for_version()" | cut -d ' ' -f 1)"
	worker off
	sample everyone 'chs_rebuild' "$(per_second "CALL chs_rebuild()")"
done
for variant in 'chs_activity_score' 'chs_score' 'chs_recalculate_all' 'chs_recalculate_all, a new day' 'worker, a new version'; do
	target everyone "$variant" '>=' 100000
	target everyone "$variant" '>=' 50 'one GROUP BY of raw events'
done
note "the same score by hand: test/bench/score.sql. It differs from chs_score for $(value "SELECT count(*) FROM bench.plain_health p
	WHERE abs(score - chs_score(customer_id)) > 0.011") of $(grouped "$customers") customers."
note "a new day: customer_health.as_of set back by a day, so that everyone is scored and the history gets a row for each."
leave

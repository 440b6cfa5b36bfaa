# shellcheck shell=bash
# Point 7: bytes.

customers=$(size 500 2000)
database size "$customers"
value "INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
	SELECT * FROM bench.events($((customers * 500)), $customers, 90)"
value "VACUUM"
queue=$(value "SELECT pg_total_relation_size('chs.queue')::float8 / count(*) FROM chs.queue")
value "SELECT chs_process_queue()" >/dev/null
value "VACUUM FULL chs.health_scores, chs.activity"
psql -Xq -v ON_ERROR_STOP=1 -f "$bench/size.sql"

group activity bytes "activity of a customer with 500 events in 90 days"
sample activity median "$(value "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY pg_column_size(activity)) FROM chs.activity")"
sample activity largest "$(value "SELECT max(pg_column_size(activity)) FROM chs.activity")"
sample activity 'on disk, with index' "$(value "SELECT pg_total_relation_size('chs.activity')::float8 / count(*) FROM chs.activity")"
sample activity 'the events, on disk with indexes' "$(value "SELECT pg_total_relation_size('chs.customer_events')::float8 / $customers")"
target activity median '<=' 1024

group extreme bytes "activity of a customer with a new endpoint, user and feature in every event"
for n in 1000 10000 100000 $(size 200000 1000000); do
	sample extreme "$(grouped "$n") events" "$(value "SELECT bench.extreme_size($n)")"
done
target extreme "$(grouped "$n") events" '<=' 1.1 '100,000 events'

group growth bytes "activity of a customer with 2,000 events a year, after so many days of it"
for day in 30 90 180 270 365; do sample growth "day $day" "$(value "SELECT bench.size_at($day)")"; done
target growth 'day 365' '<=' 1.1 'day 90'

group queue bytes "queue, on disk with indexes"
sample queue 'a delta of 500 events' "$queue"
value "CALL bench.fill_each(5, $customers)"
value "VACUUM"
sample queue 'a delta of one event' "$(value "SELECT pg_total_relation_size('chs.queue')::float8 / count(*) FROM chs.queue")"

group history bytes "history, on disk with indexes"
row=$(value "SELECT pg_total_relation_size('chs.health_scores')::float8 / count(*) FROM chs.health_scores")
sample history 'a row' "$row"
sample history 'a customer and year, a row a day' "$(awk "BEGIN { print $row * 365 }")"
leave

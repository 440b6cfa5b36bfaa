# shellcheck shell=bash
# Point 6: what dashboards read.

customers=$(size '1000 10000 100000' '10000 100000 1000000')
database views 1

group dashboard ms dashboard_stats
group segments ms segment_stats
group page ms "customer_list, a page of 50 by customer_id, from the middle"
group worst ms "at_risk_customers, the 50 lowest scores"
# Nearly everybody is critical, so these look for what is rare.
group healthy ms "scored_customers, a page of status healthy, which is rare"
group declining ms "the same, of those that decline"
group risk ms "at_risk_customers of status at_risk, which is rare, the 50 lowest scores from at_risk_from on"
group segment ms "customer_list, a page of 50 of a segment, from the middle"
group nobody ms "customer_list, a page of a segment that nobody is in"
group names ms "customer_list, a page of 50 by name, from the middle"
# read_time GROUP QUERY
read_time() { sample "$1" "$(grouped "$n") customers" "$(value "CALL bench.time_query('$2', NULL, NULL)")"; }

segment_stats=$(value "SELECT to_regclass('chs.segment_stats')")
filled=1
for n in $customers; do
	value "SELECT bench.fill_customers($((filled + 1)), $n)" >/dev/null
	# Some events, so that they do not all have the same score and status.
	value "INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
		SELECT e.customer_id + $filled - 1, e.event_type, e.event_data, e.occurred_at FROM bench.events($(((n - filled) * 2)), $((n - filled)), 20) e
		WHERE e.customer_id > 1" >/dev/null
	value "SELECT chs_process_queue()" >/dev/null
	filled=$n
	settle
	value "ANALYZE"
	for _ in $(rounds "$(size 3 7)"); do
		read_time dashboard "SELECT * FROM chs.dashboard_stats"
		read_time page "SELECT * FROM chs.customer_list WHERE customer_id > $((n / 2)) ORDER BY customer_id LIMIT 50"
		read_time worst "SELECT * FROM chs.at_risk_customers ORDER BY score, customer_id LIMIT 50"
		read_time healthy "SELECT * FROM chs.scored_customers WHERE status = ''healthy'' ORDER BY customer_id LIMIT 50"
		read_time declining "SELECT * FROM chs.scored_customers WHERE status = ''healthy'' AND trend = ''declining'' ORDER BY customer_id LIMIT 50"
		read_time risk "SELECT * FROM chs.at_risk_customers WHERE status = ''at_risk'' AND score >= 50 ORDER BY score, customer_id LIMIT 50"
		read_time segment "SELECT * FROM chs.customer_list WHERE segment = ''smb'' AND customer_id > $((n / 2)) ORDER BY customer_id LIMIT 50"
		read_time nobody "SELECT * FROM chs.customer_list WHERE segment = ''none'' ORDER BY customer_id LIMIT 50"
		read_time names "SELECT * FROM chs.customer_list WHERE (name, customer_id) > (''customer 5'', 0) ORDER BY name, customer_id LIMIT 50"
		[ -z "$segment_stats" ] || read_time segments "SELECT * FROM chs.segment_stats"
	done
done
few="$(grouped "${customers%% *}") customers" many="$(grouped "${customers##* }") customers"
target dashboard "$many" '<=' 2
target dashboard "$many" '<=' 1.2 "$few"
for list in page worst healthy declining risk segment nobody names; do target $list "$many" '<=' 20; done
leave

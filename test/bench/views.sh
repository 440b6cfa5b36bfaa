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
group changes ms "status_changes, the 50 latest of a week"
group movers ms "movers, the 20 whose score fell most within 7 days"
group compared ms "the same from score_changes, which looks everybody's up"
group values ms value_stats
group own ms "customer_list, a page of 50, for who sees one of 1,000 customers, the policy being owner = current_user"
group own_worst ms "at_risk_customers, the 50 lowest scores, for the same"
group own_healthy ms "scored_customers of status healthy, for the same"
group quarter ms "customer_list, a page of 50 from the middle, for who sees a segment, that is a quarter"
group quarter_worst ms "at_risk_customers, the 50 lowest scores, for the same"
group quarter_healthy ms "scored_customers of status healthy, for the same"
# read_time GROUP QUERY [ROLE]
read_time() {
	if [ -n "${3:-}" ]; then local -x PGOPTIONS="-c role=$3"; fi
	sample "$1" "$(grouped "$n") customers" "$(value "CALL bench.time_query('$2', NULL, NULL)")"
}

segment_stats=$(value "SELECT to_regclass('chs.segment_stats')")
value "CREATE ROLE owner_7; CREATE ROLE smb; GRANT USAGE ON SCHEMA bench TO PUBLIC" >/dev/null
value "SELECT chs_grant(r, 'read') FROM unnest('{owner_7,smb}'::name[]) r" >/dev/null
value "ALTER TABLE chs.customers ENABLE ROW LEVEL SECURITY;
	CREATE POLICY own ON chs.customers TO owner_7 USING (owner = current_user);
	CREATE POLICY segment ON chs.customers TO smb USING (segment = 'smb')" >/dev/null
filled=1
for n in $customers; do
	value "SELECT bench.fill_customers($((filled + 1)), $n, 1000)" >/dev/null
	# Some events, so that they do not all have the same score and status.
	value "INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
		SELECT e.customer_id + $filled - 1, e.event_type, e.event_data, e.occurred_at FROM bench.events($(((n - filled) * 2)), $((n - filled)), 20) e
		WHERE e.customer_id > 1" >/dev/null
	value "SELECT chs_process_queue()" >/dev/null
	# A past for all of them: one in a hundred had another status and score nine days ago, others three or two days ago.
	value "INSERT INTO chs.health_scores (customer_id, segment, scorecard, version, as_of, status, trend, coverage, factor_scores, calculated_at, score, may_change)
		SELECT h.customer_id, h.segment, h.scorecard, h.version, h.as_of - d.ago, CASE WHEN o.differs THEN 'healthy' ELSE h.status END, h.trend, h.coverage,
		       h.factor_scores, h.calculated_at - d.ago * interval '1 day', CASE WHEN o.differs THEN 75 + h.customer_id % 25 ELSE h.score END, d.ago = 9 OR h.customer_id % 100 IN (1, 2, 3)
		FROM unnest('{9,3,2}'::integer[]) d(ago) CROSS JOIN chs.customer_health h
		CROSS JOIN LATERAL (SELECT h.customer_id % 100 = CASE d.ago WHEN 9 THEN 1 WHEN 3 THEN 2 ELSE 3 END AS differs) o
		WHERE h.customer_id > $filled ORDER BY d.ago DESC, h.customer_id" >/dev/null
	value "SELECT chs_count_days((now() AT TIME ZONE 'UTC')::date - 1)" >/dev/null
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
		read_time changes "SELECT * FROM chs.status_changes WHERE started_at > now() - interval ''7 days'' ORDER BY started_at DESC, customer_id DESC LIMIT 50"
		read_time movers "SELECT * FROM chs.movers WHERE days = 7 ORDER BY change, customer_id LIMIT 20"
		read_time values "SELECT * FROM chs.value_stats"
		read_time own "SELECT * FROM chs.customer_list ORDER BY customer_id LIMIT 50" owner_7
		read_time own_worst "SELECT * FROM chs.at_risk_customers ORDER BY score, customer_id LIMIT 50" owner_7
		read_time own_healthy "SELECT * FROM chs.scored_customers WHERE status = ''healthy'' ORDER BY customer_id LIMIT 50" owner_7
		read_time quarter "SELECT * FROM chs.customer_list WHERE customer_id > $((n / 2)) ORDER BY customer_id LIMIT 50" smb
		read_time quarter_worst "SELECT * FROM chs.at_risk_customers ORDER BY score, customer_id LIMIT 50" smb
		read_time quarter_healthy "SELECT * FROM chs.scored_customers WHERE status = ''healthy'' ORDER BY customer_id LIMIT 50" smb
		[ -z "$segment_stats" ] || read_time segments "SELECT * FROM chs.segment_stats"
	done
	read_time compared "SELECT * FROM chs.score_changes WHERE change IS NOT NULL ORDER BY change, customer_id LIMIT 20"
done
few="$(grouped "${customers%% *}") customers" many="$(grouped "${customers##* }") customers"
target dashboard "$many" '<=' 2
target dashboard "$many" '<=' 1.2 "$few"
for list in page worst healthy declining risk segment nobody names own own_worst own_healthy quarter quarter_worst quarter_healthy; do target $list "$many" '<=' 20; done
target changes "$many" '<=' 100
target movers "$many" '<=' 100
leave

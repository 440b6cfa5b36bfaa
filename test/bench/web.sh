# shellcheck shell=bash
# Point 12: what the API adds to the same SQL by pgbench; half its load; a hundred streams; memory.

customers=$(size 2000 20000)
seconds=$(size 2 6)
database web "$customers"
value "INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
	SELECT e.customer_id, e.event_type, e.event_data, e.occurred_at FROM bench.events($((customers * 100)), $customers, 90) e" >/dev/null
value "SELECT chs_process_queue()" >/dev/null
value "CALL chs_backfill_history(current_date - 56)"
psql -Xq -v ON_ERROR_STOP=1 -f web/sql/setup.sql >/dev/null
value "CREATE ROLE reader LOGIN PASSWORD 'reads'"
value "SELECT chs_grant('reader', 'read'), chs_web.admit('reader')" >/dev/null
settle
value ANALYZE
# the API demands that PostgreSQL checks passwords of people
printf '%s\n' 'local all reader scram-sha-256' | cat - "$CHS_WORK/server/data/pg_hba.conf" >"$CHS_WORK/hba" && mv "$CHS_WORK/hba" "$CHS_WORK/server/data/pg_hba.conf"
value "SELECT pg_reload_conf()" >/dev/null

. "$CHS_SRC/web/node.sh"
web_node >/dev/null && (cd web && npm ci >/dev/null)
port=$(node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close() })')
env -u PGUSER CHS_WEB_PORT="$port" CHS_WEB_RATE=100000000 CHS_WEB_STREAMS_PER_PERSON=1000 CHS_WEB_LOG_LEVEL=warn node web/server/src/main.ts >"$CHS_WORK/web.log" 2>&1 &
api=$!
trap 'kill $api 2>/dev/null' EXIT
until (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do kill -0 $api; sleep 0.1; done
url=http://127.0.0.1:$port/api/v1
token=$(node -e '
	fetch(process.argv[1] + "/session", { method: "POST", headers: { "content-type": "application/json", "sec-fetch-site": "same-origin" }, body: JSON.stringify({ user: "reader", password: "reads" }) })
		.then(reply => console.log(reply.headers.get("set-cookie").split(";")[0]))' "$url")

group requests /s "answered by the API, 8 connections, against pgbench with one"
group latency ms "of the API"
group memory MiB "of the API"
resident() { awk '/^VmRSS/ { print $2 / 1024 }' "/proc/$api/status"; }
# The SQL of the API, with its parameters.
node -e '
	const literal = { 1: "50", 4: "\x27{at_risk,critical}\x27", 13: "false", 14: "true", 15: "false" }
	import(process.argv[1]).then(({ statements }) =>
		console.log(statements.get("risk score").text.replace(/\$(\d+)/g, (_, n) => literal[n] ?? "NULL").replace(/\s+/g, " ")))' \
	"$CHS_SRC/web/server/src/routes/customers.ts" >"$CHS_WORK/list.sql"
echo "SELECT chs_web.customer(1 + :client_id % 100, NULL, NULL, '30d', 90, 20)::text" >"$CHS_WORK/detail.sql"
echo "SELECT json_build_object('stats', (SELECT row_to_json(s) FROM chs.dashboard_stats s))::text" >"$CHS_WORK/stats.sql"
path() { case $1 in list) echo 'customers?status=at_risk&status=critical&limit=50' ;; detail) echo 'customers/7' ;; stats) echo stats ;; esac; }
for query in list detail stats; do
	# as the API does it: one transaction, as the role of the person
	{
		echo 'BEGIN READ ONLY;'
		echo "SELECT set_config('role', 'reader', true), set_config('chs.actor', 'reader', true);"
		echo "$(cat "$CHS_WORK/$query.sql");"
		echo 'COMMIT;'
	} >"$CHS_WORK/$query.pgbench"
done
load() { wrk -t 1 -c "$1" -d "${seconds}s" --latency -H "Cookie: $token" "$url/$(path "$2")"; }
load 8 detail >/dev/null
sample memory 'at first' "$(resident)"
for _ in $(rounds "$(size 1 3)"); do
	for query in list detail stats; do
		sample requests "$query, pgbench" "$(PGOPTIONS='-c search_path=public' pgbench -U chs_web -n -M extended -c 1 -T "$seconds" -f "$CHS_WORK/$query.pgbench" 2>/dev/null | sed -n 's/^tps = \([0-9.]*\).*/\1/p')"
		load 8 $query >"$CHS_WORK/wrk"
		reached=$(awk '/^Requests\/sec/ { print $2 }' "$CHS_WORK/wrk")
		! grep -q 'Non-2xx' "$CHS_WORK/wrk" || private_die "$(cat "$CHS_WORK/wrk")"
		sample requests "$query, API" "$reached"
		hey -z "${seconds}s" -c 4 -q "$(awk -v r="$reached" 'BEGIN { print r / 8 }')" -H "Cookie: $token" "$url/$(path $query)" >"$CHS_WORK/hey"
		# of fewer than a hundred there is only the slowest
		sample latency "$query at half load, p99" "$(awk '/Slowest/ { s = $2 } /99%/ { s = $3 } END { print s * 1000 }' "$CHS_WORK/hey")"
	done
done
node "$bench/web_streams.mjs" "$url" "$token" 100 >"$CHS_WORK/streams" &
streams=$!
until grep -q open "$CHS_WORK/streams"; do kill -0 $streams; sleep 0.1; done
worker on
# each of these makes somebody's status another one
cat >"$CHS_WORK/busy.pgbench" <<-'SQL'
	\set customer random(1, :customers)
	INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
	SELECT :customer, 'login', jsonb_build_object('ip_address', '::1', 'user_id', 'u' || i, 'session_duration', 600), now() - i % 28 * interval '1 day'
	FROM generate_series(1, 200) i;
SQL
pgbench -n -c 1 -R 20 -T $((seconds + 2)) -f "$CHS_WORK/busy.pgbench" -D customers="$customers" >/dev/null 2>&1 &
writer=$!
load 8 detail >"$CHS_WORK/wrk"
sample requests 'detail, API, with 100 streams while events arrive' "$(awk '/^Requests\/sec/ { print $2 }' "$CHS_WORK/wrk")"
wait $writer
kill $streams
wait $streams || true
note "$(tail -n 1 "$CHS_WORK/streams")"
sample memory 'at last, with 100 streams' "$(resident)"
target requests 'detail, API' '>=' 0.6 'detail, pgbench'
for query in list detail stats; do target latency "$query at half load, p99" '<=' 50; done
target memory 'at last, with 100 streams' '<=' 1.5 'at first'
kill $api
wait $api || true
trap - EXIT
leave

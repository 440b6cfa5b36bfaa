# shellcheck shell=bash
# Point 8: what it costs to insert into an attached table, and how fast what is there is taken in.

customers=20000
database attach $customers
psql -Xq -v ON_ERROR_STOP=1 -f "$bench/attach.sql" >/dev/null

# The worker is off: this is about capture alone.
variants=('bare' 'columns' 'external_id' 'expressions' 'bare, again')
table_of() {
	case $1 in
		bare) echo bench.calls ;;
		'bare, again') echo bench.again ;;
		columns) echo bench.by_columns ;;
		external_id) echo bench.by_key ;;
		expressions) echo bench.by_expressions ;;
	esac
}
columns='account_id, account, endpoint, method, status_code, milliseconds, bytes, agent, at'
copy() { timed "COPY $1 ($columns) FROM '$CHS_WORK/calls'"; }
single() {
	sed "s/TABLE/$1/" "$bench/attach.single.sql" >"$CHS_WORK/single"
	PGOPTIONS="-c synchronous_commit=$commit" pgbench -n -M prepared -c 1 -j 1 -T "$seconds" -f "$CHS_WORK/single" \
		--random-seed=1 -D customers=$customers >"$CHS_WORK/pgbench" 2>&1
	awk '/^tps = / { print $3 }' "$CHS_WORK/pgbench"
}

rows=$(size 100000 1000000) seconds=$(size 1 3)
value "COPY (SELECT * FROM bench.calls($rows, $customers, 80)) TO '$CHS_WORK/calls'"
group copy s "COPY of $(grouped "$rows") rows of ten columns, three indexes" bare
group on /s "single rows, synchronous_commit on" bare
group off /s "single rows, synchronous_commit off" bare
for round in $(rounds "$(size 1 3)"); do
	settle
	while read -r variant; do
		sample copy "$variant" "$(copy "$(table_of "$variant")")"
	done < <(in_turn "$round" "${variants[@]}")
	value "SELECT chs_process_queue()" >/dev/null
	for commit in on off; do
		while read -r variant; do
			sample "$commit" "$variant" "$(single "$(table_of "$variant")")"
		done < <(in_turn "$round" "${variants[@]}")
	done
	value "SELECT chs_process_queue()" >/dev/null
done

# One table alone has all the events.
for table in by_columns by_key by_expressions; do value "SELECT chs_detach('bench.$table')" >/dev/null; done
value "CALL chs_recalculate_all()"
events=$(value "SELECT count(*) FROM bench.again")
group backfill /s "events of an attached table taken in, $(grouped "$events") rows"
for round in $(rounds 2); do
	value "SELECT chs_attach('bench.again', 'account_id', 'api_call', 'at')" >/dev/null 2>&1
	sample backfill 'CALL chs_rebuild()' "$(rate "$events" <<<"$(timed 'CALL chs_rebuild()')")"
	value "SELECT chs_detach('bench.again')" >/dev/null
	value "CALL chs_recalculate_all()"
done

target copy columns '<=' 1.20 bare
target on columns '<=' 1.15 bare
target off columns '<=' 1.15 bare
note "columns: customer_id, time and the whole row as data; external_id: the same by the company's key; expressions: a function in event_data."
leave

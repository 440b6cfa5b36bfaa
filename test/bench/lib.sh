# shellcheck shell=bash
# What all points of the benchmark share: timing, samples, databases, the worker.

# Durable as in production, and large enough that no checkpoint falls into a measurement.
# shellcheck disable=SC2034
bench_settings=(shared_preload_libraries=chs shared_buffers=2GB max_wal_size=16GB checkpoint_timeout=1h
	maintenance_work_mem=512MB work_mem=64MB max_connections=40 log_checkpoints=off)

# size QUICK FULL: prints the one that this run uses.
size() { if [ -n "$quick" ]; then echo "$1"; else echo "$2"; fi; }

# grouped NUMBER: with commas between thousands.
grouped() { LC_ALL=C sed -E ':a;s/^([0-9]+)([0-9]{3})/\1,\2/;ta' <<<"$1"; }

# value SQL: one value, or a row with blanks between its values.
value() { psql -XAtq -F ' ' -v ON_ERROR_STOP=1 -c "$1"; }

# timed SQL...: how long the statements take in one session, in seconds, by the clock and on the processor.
# On a busy machine the second figure is the one to trust; it leaves out parallel workers and waiting.
timed() {
	psql -XAtq -F ' ' -v ON_ERROR_STOP=1 -f - <<-SQL
		\o /dev/null
		SELECT bench.processor_seconds() AS processor, clock_timestamp() AS clock \gset
		$(printf '%s\n;\n' "$@")
		\o
		SELECT extract(epoch FROM clock_timestamp() - :'clock'), bench.processor_seconds() - :processor;
	SQL
}

# record WORD...: a line for the report, words separated by tabs.
record() { local IFS=$'\t'; echo "$*" >>"$samples"; }

# rate N: N per second, from what timed prints.
rate() { awk -v n="$1" '{ print n / $1, n / $2 }'; }

# group GROUP UNIT TITLE [VARIANT]: a part of a table; us, ms, s and bytes are better if less, /s if more.
# Ratios are against the variant, where no target says something else.
group() { record group "$@"; }

# sample GROUP VARIANT VALUE [VALUE]: by the clock, and if known on the processor; both may be one word, as of timed.
sample() {
	local values
	read -ra values <<<"${*:3}"
	[ ${#values[@]} -gt 0 ] || private_die "no value for $1, $2"
	record sample "$1" "$2" "${values[@]}"
}

# target GROUP VARIANT OPERATOR LIMIT [[GROUP:]VARIANT]: of the value, or of the ratio to another one:
# <= is how many times as slow (or large) it may be, >= how many times faster it has to be.
target() { record target "$@"; }

# note TEXT: a line below the table.
note() { record note "$1"; }

# rounds N: prints 1 to N.
rounds() { seq 1 "$1"; }

# in_turn ROUND VARIANT...: the variants one a line, every other round in reverse, so that none always comes first.
in_turn() {
	if ((${1} % 2)); then printf '%s\n' "${@:2}"; else printf '%s\n' "${@:2}" | tac; fi
}

# database NAME CUSTOMERS: makes a database with chs and customers, and goes there.  The worker is off.
database() {
	export PGDATABASE=postgres
	worker off
	value "CREATE DATABASE $1"
	export PGDATABASE=$1
	value "CREATE EXTENSION chs"
	psql -Xq -v ON_ERROR_STOP=1 -f "$bench/data.sql"
	value "SELECT bench.fill_customers(1, $2)" >/dev/null
	value "SELECT chs_process_queue()" >/dev/null
}

# leave: drops the current database.
leave() {
	worker off
	local name=$PGDATABASE
	export PGDATABASE=postgres
	value "DROP DATABASE $name WITH (FORCE)"
	value CHECKPOINT
}

# worker on|off: lets the background worker work, or waits until it does not.
worker() {
	value "ALTER SYSTEM SET chs.enabled = $1"
	value "SELECT pg_reload_conf()" >/dev/null
	until [ "$(value "SHOW chs.enabled")" = "$1" ]; do sleep 0.01; done
	[ "$1" = on ] || value "DO \$\$ BEGIN WHILE EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'chs worker')
		LOOP PERFORM pg_sleep(0.01); PERFORM pg_stat_clear_snapshot(); END LOOP; END \$\$"
}

# drained: seconds until the worker has emptied the queue.
drained() { timed "SELECT chs.wake_worker()" "CALL bench.wait_for_queue()" | cut -d ' ' -f 1; }

# settle: what earlier measurements left to do must not disturb the next one.
settle() { value "VACUUM"; value CHECKPOINT; }

# describe: where and how this was measured.
describe() {
	record fact run "$(size quick full)"
	record fact date "$(date -u +'%F %T UTC')"
	record fact commit "$(git -c safe.directory='*' -C "$CHS_ORIGIN" describe --always --dirty 2>/dev/null || echo unknown)"
	record fact processors "$(nproc)"
	record fact processor "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
	record fact memory "$(awk '/^MemTotal/ { printf "%.0f GB", $2 / 1048576 }' /proc/meminfo)"
	record fact PostgreSQL "$(value 'SHOW server_version')"
	local name
	for name in shared_buffers work_mem maintenance_work_mem max_wal_size checkpoint_timeout fsync \
		full_page_writes wal_level autovacuum jit max_parallel_workers_per_gather chs.batch_size; do
		record fact "$name" "$(value "SHOW $name")"
	done
	python3 "$bench/report.py" "$samples" facts
}

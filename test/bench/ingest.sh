# shellcheck shell=bash
# Point 1: what it costs to insert events.

customers=20000
database ingest $customers
psql -Xq -v ON_ERROR_STOP=1 -f "$bench/ingest.sql"

# "bare, again" shows the noise, and keeps bare as large as customer_events, which is used twice, too.
variants=('bare' 'chs' 'chs, worker off' 'bare, again')
others=('foreign keys' 'plpgsql row trigger, queue' 'plpgsql statement trigger, queue' 'plpgsql roll-up counters')

# table_of VARIANT
table_of() {
	case $1 in
		bare*) echo bench.bare ;;
		chs*) echo chs.customer_events ;;
		foreign*) echo bench.foreign_keys ;;
		*row*) echo bench.row_trigger ;;
		*statement*) echo bench.statement_trigger ;;
		*roll-up*) echo bench.roll_up_trigger ;;
	esac
}

# measure GROUP VARIANT COMMAND...: a sample of what the command prints for the variant's table,
# the worker as the variant says, and its work done in the end.
measure() {
	local group=$1 variant=$2 result
	shift 2
	case $variant in
		chs) worker on ;;
		*) worker off ;;
	esac
	result=$("$@" "$(table_of "$variant")")
	sample "$group" "$variant" "$result"
	case $variant in chs*) worker on; drain=$(drained) ;; esac
}

copy() { timed "COPY $1 (customer_id, event_type, event_data, occurred_at) FROM '$CHS_WORK/events'"; }
statements() { PGOPTIONS='-c synchronous_commit=off' timed "\\set table $1" "\\i $CHS_WORK/inserts"; }
# ended_seconds: what all processes of the server that have ended spent on the processor.
ended_seconds() { awk '{ print ($16 + $17) / 100 }' "/proc/$(head -n 1 "$CHS_WORK/server/data/postmaster.pid")/stat"; }
# single CLIENTS COMMIT TABLE: transactions a second, by the clock and on the processor.
single() {
	local before after
	sed "s/TABLE/$3/" "$bench/single.sql" >"$CHS_WORK/single"
	before=$(ended_seconds)
	PGOPTIONS="-c synchronous_commit=$2" pgbench -n -M prepared -c "$1" -j "$1" -T "$seconds" -f "$CHS_WORK/single" \
		--random-seed="$1" -D customers=$customers >"$CHS_WORK/pgbench" 2>&1
	sleep 0.1
	after=$(ended_seconds)
	awk -v cpu="$before $after" '/^number of transactions actually/ { n = $NF } /^tps = / { rate = $3 }
		END { split(cpu, t, " "); print rate, n / (t[2] - t[1]) }' "$CHS_WORK/pgbench"
}

rows=$(size 100000 1000000)
value "COPY (SELECT * FROM bench.events($rows, $customers, 1)) TO '$CHS_WORK/events'"
inserts=$(size 20000 100000)
value "COPY (SELECT 'INSERT INTO :table (customer_id, event_type, event_data, occurred_at) VALUES '
	|| string_agg(format('(%s,%L,%L,%L)', customer_id, event_type, event_data, occurred_at), ',') || ';'
	FROM (SELECT *, row_number() OVER () / 100 AS n FROM bench.events($inserts, $customers, 1, 5000000)) e GROUP BY n)
	TO '$CHS_WORK/inserts' (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02')"

group copy s "COPY of $(grouped "$rows") events" bare
group fold s "until the worker has folded them"
group multi s "$(grouped "$inserts") events by INSERT of 100 rows each, synchronous_commit off" bare
for round in $(rounds "$(size 1 3)"); do
	settle
	# The alternatives are measured once: there it is not a few percent that matter.
	chosen=("${variants[@]}")
	((round > 1)) || chosen+=("${others[@]}")
	while read -r variant; do
		measure copy "$variant" copy
		[ "$variant" != chs ] || sample fold chs "$drain"
	done < <(in_turn "$round" "${chosen[@]}")
	while read -r variant; do
		measure multi "$variant" statements
	done < <(in_turn "$round" "${chosen[@]}")
done

seconds=$(size 1 2)
settings=('1 on' '8 on' '1 off' '8 off')
if [ -n "$quick" ]; then variants=("${variants[@]:0:3}"); else settings+=('2 on' '2 off'); fi
for setting in "${settings[@]}"; do
	group "$setting" /s "single rows, ${setting% *} client(s), synchronous_commit ${setting#* }" bare
done
for round in $(rounds "$(size 1 3)"); do
	settle
	for setting in "${settings[@]}"; do
		# Of the alternatives the two extremes of the full run are enough.
		chosen=("${variants[@]}")
		[ -n "$quick" ] || ((round > 1)) || [[ $setting = 2* ]] || chosen+=("${others[@]}")
		while read -r variant; do
			# shellcheck disable=SC2086
			measure "$setting" "$variant" single $setting
		done < <(in_turn "$round" "${chosen[@]}")
	done
done

target copy chs '<=' 1.15 bare
target multi chs '<=' 1.15 bare
for setting in "${settings[@]}"; do
	case $setting in
		*on) target "$setting" chs '<=' 1.10 bare ;;
		*) target "$setting" chs '<=' 1.25 bare ;;
	esac
done
note "chs: the worker folds and scores meanwhile, on the same processors; worker off: capture alone."
note "bare has no foreign keys and no triggers at all; the alternatives queue or count, and do not check or score."
leave

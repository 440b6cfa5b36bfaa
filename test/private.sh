# shellcheck shell=bash
# A private PostgreSQL for tests, demo and benchmarks: to be sourced by a bash script.
#
# Everything happens in one work directory: a copy of the sources, a private copy
# of the installed PostgreSQL into which the extension is built, and private
# clusters that listen on Unix sockets only.  Neither the installation of the
# machine nor the source tree is touched.  Servers refuse to run as root, so root
# becomes the user "postgres" for all but the installing of packages.
#
#   . "$(dirname "${BASH_SOURCE[0]}")/private.sh"
#   private_packages server test              # installs what is missing
#   private_begin "$0" "$@"                   # goes on in a copy, as an ordinary user
#   private_build || exit 1                   # builds and installs into $CHS_PG
#   private_start NAME [SETTING=VALUE ...]    # PGHOST, PGPORT ... point to it
#   private_stop NAME                         # else it is stopped when the script ends
#
# After private_begin:
#   CHS_WORK    the work directory; removed at the end unless it is to be kept
#   CHS_SRC     the copy of the sources, also the current directory
#   CHS_ORIGIN  the source tree that was copied
#   CHS_PG      the private PostgreSQL; its programs come first in PATH
#   RAVENSTACK, ONLINERETAIL  data sets, if they are there
#
# Settings from the environment: PGMAJOR (default 15), CHS_KEEP=1 keeps the work
# directory, TMPDIR says where it is made (if the path is short enough for sockets).

PGMAJOR=${PGMAJOR:-15}

if [ -t 1 ]; then
	private_bold=$'\e[1m' private_red=$'\e[31m' private_green=$'\e[32m' private_off=$'\e[0m'
else
	private_bold='' private_red='' private_green='' private_off=''
fi

# private_step TEXT: says what is being done now; private_ok or private_fail ends the line.
private_step() { printf '%-58s ' "$1 ..."; private_since=$EPOCHREALTIME; }
private_seconds() { LC_ALL=C awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f s", b - a }'; }
private_ok() { printf '%sok%s  %s\n' "$private_green" "$private_off" "${1:-$(private_seconds "$private_since")}"; }
private_fail() { printf '%sFAILED%s  %s\n' "$private_red" "$private_off" "${1:-$(private_seconds "$private_since")}"; }
private_die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# private_quiet LOG COMMAND...: shows the output of the command only if it fails.
private_quiet() {
	local log=$1
	shift
	if "$@" >"$log" 2>&1; then return 0; fi
	private_fail
	echo "---- $*" >&2
	# without the compiler's command lines, which nobody reads
	grep -vE '^(gcc|cc|clang|cat) ' "$log" | tail -n 60 >&2
	return 1
}

# private_packages GROUP...: installs the Debian packages of the groups that are
# missing.  server: what builds and runs the extension; test: what tests need;
# clients: what reads the views as BI tools do.
private_packages() {
	local group package log sudo='' wanted=() missing=()
	for group in "$@"; do
		case $group in
			server) wanted+=("postgresql-$PGMAJOR" "postgresql-server-dev-$PGMAJOR" gcc make) ;;
			test) wanted+=("postgresql-$PGMAJOR-pgtap" libipc-run-perl perl python3) ;;
			clients) wanted+=(python3-psycopg2 python3-psycopg python3-sqlalchemy python3-pyodbc odbc-postgresql unixodbc libpostgresql-jdbc-java) ;;
			*) wanted+=("$group") ;;
		esac
	done
	if ! command -v dpkg-query >/dev/null; then
		[ -n "$(private_pg_config)" ] && return
		private_die "this is no Debian system: install PostgreSQL $PGMAJOR with its server headers, gcc and make, and set PG_CONFIG"
	fi
	for package in "${wanted[@]}"; do
		# A PostgreSQL of one's own, named by PG_CONFIG, replaces its packages.
		[ -n "${PG_CONFIG:-}" ] && [[ $package == postgresql-* ]] && continue
		[[ $(dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null) == ii* ]] || missing+=("$package")
	done
	[ ${#missing[@]} -eq 0 ] && return
	if [ "$(id -u)" -ne 0 ]; then
		command -v sudo >/dev/null ||
			private_die "these packages are missing, and without root or sudo they cannot be installed: ${missing[*]}"
		sudo=sudo
	fi
	private_step "installing ${missing[*]}"
	log=$(mktemp)
	# A failed update matters only if the installation fails.
	$sudo apt-get update >"$log" 2>&1
	if ! $sudo env DEBIAN_FRONTEND=noninteractive \
		apt-get install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1 </dev/null; then
		private_fail
		tail -n 30 "$log" >&2
		rm -f "$log"
		private_die "cannot install ${missing[*]}"
	fi
	rm -f "$log"
	private_ok
}

# private_pg_config: prints the path of the pg_config of the machine's PostgreSQL.
private_pg_config() {
	if [ -n "${PG_CONFIG:-}" ]; then
		command -v "$PG_CONFIG"
	elif [ -x "/usr/lib/postgresql/$PGMAJOR/bin/pg_config" ]; then
		echo "/usr/lib/postgresql/$PGMAJOR/bin/pg_config"
	else
		command -v pg_config
	fi
}

# private_data SET: where a data set is, if it is there.
private_data() { local name=${1^^}; printf '%s' "${!name:-}"; }

# private_begin [-k] [-d DIRECTORY] SCRIPT [ARGUMENT...]
#
# Copies the source tree into a new work directory and runs the script again from
# there, as an ordinary user; ends with its exit status.  In that second run it
# only sets the variables and returns.  -k keeps the work directory, -d says
# which one to use (one from an earlier run is replaced).
private_begin() {
	local keep=${CHS_KEEP:-} work='' base origin script user data option OPTIND=1
	while getopts kd: option; do
		case $option in
			k) keep=1 ;;
			d) work=$OPTARG ;;
			*) private_die "private_begin: unknown option" ;;
		esac
	done
	shift $((OPTIND - 1))
	script=$1
	shift

	if [ -n "${CHS_WORK:-}" ]; then
		CHS_SRC=$CHS_WORK/src
		cd "$CHS_SRC" || exit 1
		trap private_end EXIT
		trap 'exit 130' INT
		trap 'exit 143' TERM HUP
		return 0
	fi

	origin=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
	script=$(cd "$(dirname "$script")" && pwd)/$(basename "$script")
	if [ -z "$work" ]; then
		# The name of a Unix socket has about a hundred bytes.
		base=${TMPDIR:-/tmp}
		[ ${#base} -le 50 ] && [ -w "$base" ] || base=/tmp
		work=$(mktemp -d "$base/chs.XXXXXX") || exit 1
	else
		if [ -e "$work" ] && [ ! -e "$work/.chs-work" ]; then
			private_die "$work is there already and was not made by chs"
		fi
		private_stop_in "$work"
		rm -rf "$work"
		mkdir -p "$work" || exit 1
		work=$(cd "$work" && pwd)
	fi
	chmod 755 "$work"
	touch "$work/.chs-work"
	mkdir "$work/src"
	tar -C "$origin" -cf - --exclude=./.git --exclude='*.o' --exclude='*.bc' --exclude='*.so' --exclude='./sql/chs*--*.sql' \
		--exclude=./results --exclude=./test/output --exclude=./demo/company --exclude=./tmp_check \
		--exclude=./web/company --exclude=node_modules --exclude=./web/ui/dist . |
		tar -C "$work/src" --no-same-owner -xf - || exit 1

	export CHS_WORK=$work CHS_ORIGIN=$origin PGMAJOR
	# Real data sets, where they are: RAVENSTACK and ONLINERETAIL say where.
	local set sets=(ravenstack onlineretail)
	for set in "${sets[@]}"; do
		if [ -z "$(private_data "$set")" ] && [ -d "$origin/../shared/data/$set" ]; then
			export "${set^^}=$origin/../shared/data/$set"
		fi
	done
	# Nothing of the caller's own connection settings may leak in.
	unset PGHOST PGHOSTADDR PGPORT PGUSER PGDATABASE PGDATA PGOPTIONS PGSERVICE PGSERVICEFILE PGPASSFILE PGTZ PGDATESTYLE \
		PGSSLMODE PGAPPNAME PSQLRC MAKEFLAGS MAKELEVEL PG_COLOR LD_PRELOAD
	local command=("$work/src/${script#"$origin"/}" "$@")
	if [ "$(id -u)" -eq 0 ]; then
		user=postgres
		id "$user" >/dev/null 2>&1 || user=nobody
		chmod -R a+rX "$work"
		for set in "${sets[@]}"; do
			data=$(private_data "$set")
			if [ -n "$data" ] && ! runuser -u "$user" -- test -r "$data/." -a -x "$data/."; then
				cp -r "$data" "$work/$set"
				export "${set^^}=$work/$set"
			fi
		done
		chown -R "$user": "$work"
		command=(runuser -u "$user" -- env HOME="$work" "${command[@]}")
	fi
	local status child
	if [ -t 0 ]; then
		# Signals of the terminal reach the second run, too; wait for its end.
		trap : INT TERM HUP
		"${command[@]}"
		status=$?
	else
		# Whoever ends this run, such as a CI system, means all that it started.
		setsid "${command[@]}" <&0 &
		child=$!
		trap 'kill -TERM -- "-$child" 2>/dev/null' INT TERM HUP
		while :; do
			wait "$child"
			status=$?
			kill -0 "$child" 2>/dev/null || break
		done
	fi
	if [ -n "$keep" ]; then
		[ -z "${CHS_KEEP:-}" ] || echo "kept: $work"
	else
		rm -rf "$work"
	fi
	exit $status
}

# private_tree: makes the private copy of the installed PostgreSQL, $CHS_PG.  PostgreSQL finds its
# files relative to its programs, so these are real copies; the rest are links.
private_tree() {
	local config bin pkglib share include
	export CHS_PG=$CHS_WORK/pg
	config=$(private_pg_config)
	[ -n "$config" ] || private_die "there is no pg_config of PostgreSQL $PGMAJOR"
	bin=$("$config" --bindir) pkglib=$("$config" --pkglibdir) share=$("$config" --sharedir) include=$("$config" --includedir-server)
	export CHS_PG_CONFIG=$CHS_PG$bin/pg_config
	if [ ! -x "$CHS_PG_CONFIG" ]; then
		mkdir -p "$CHS_PG$bin" "$CHS_PG$pkglib" "$CHS_PG$share" "$CHS_PG$(dirname "$include")" &&
			cp -a "$bin/." "$CHS_PG$bin/" &&
			cp -as "$(realpath "$pkglib")/." "$CHS_PG$pkglib/" &&
			cp -as "$(realpath "$share")/." "$CHS_PG$share/" || private_die "cannot copy $bin"
		case $include in
			/usr/include/*) rm -r "$CHS_PG/usr/include" && ln -s /usr/include "$CHS_PG/usr/include" ;;
			*) ln -s "$include" "$CHS_PG$include" ;;
		esac
		rm -f "$CHS_PG$pkglib/chs.so" "$CHS_PG$share"/extension/chs[.-]*
	fi
	export PATH=$CHS_PG$bin:$PATH
}

# private_build [MAKE ARGUMENT...]: builds the extension and installs it into the private PostgreSQL.
private_build() {
	private_tree
	private_step "building for PostgreSQL $("$CHS_PG_CONFIG" --version | sed 's/^PostgreSQL \([0-9.]*\).*/\1/')"
	private_quiet "$CHS_WORK/build.log" make -j "$(nproc 2>/dev/null || echo 2)" PG_CONFIG="$CHS_PG_CONFIG" with_llvm=no "$@" &&
		private_quiet "$CHS_WORK/install.log" make install PG_CONFIG="$CHS_PG_CONFIG" with_llvm=no "$@" || return 1
	private_ok
}

# private_start NAME [SETTING=VALUE...]: makes (the first time) and starts a cluster, and points psql to it.
private_start() {
	local name=$1 directory=$CHS_WORK/$1 setting value
	shift
	if [ ! -d "$directory/data" ]; then
		mkdir -p "$directory"
		chmod 700 "$directory"
		initdb -D "$directory/data" -U postgres -A trust -E UTF8 --locale=C --no-sync >"$directory/initdb.log" 2>&1 ||
			{ cat "$directory/initdb.log" >&2; return 1; }
		cat >>"$directory/data/postgresql.conf" <<-CONF
			listen_addresses = ''
			port = 5432
			unix_socket_directories = '$directory'
			timezone = 'UTC'
			log_timezone = 'UTC'
		CONF
		for setting in "$@"; do
			value=${setting#*=}
			printf "%s = '%s'\n" "${setting%%=*}" "${value//\'/\'\'}" >>"$directory/data/postgresql.conf"
		done
	fi
	pg_ctl start -w -t 60 -s -D "$directory/data" -l "$directory/log" ||
		{ tail -n 20 "$directory/log" >&2; return 1; }
	export PGHOST=$directory PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
}

# private_stop NAME [MODE]: stops a cluster.
private_stop() {
	pg_ctl stop -w -t 60 -s -m "${2:-fast}" -D "$CHS_WORK/$1/data"
}

# private_stop_in DIRECTORY: stops every cluster in a work directory.
private_stop_in() {
	local pid control as=()
	for pid in $(find "$1" -maxdepth 6 -name postmaster.pid 2>/dev/null); do
		# Servers run as their owner, who is not root.
		[ "$(id -u)" -ne 0 ] || as=(runuser -u "$(stat -c %U "$pid")" --)
		for control in "$1"/pg/*/bin/pg_ctl "$1"/pg/*/*/*/*/bin/pg_ctl; do
			[ ! -x "$control" ] || "${as[@]}" "$control" stop -w -s -m immediate -D "$(dirname "$pid")" 2>/dev/null
		done
	done
}

# private_end: runs when the script ends; a script that leaves a server behind clears the trap on EXIT.
private_end() {
	local status=$?
	trap - EXIT
	private_stop_in "$CHS_WORK"
	exit $status
}

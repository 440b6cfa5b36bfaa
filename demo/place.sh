# shellcheck shell=bash
# Where a demo keeps its files, and how its server is stopped: to be sourced, after test/private.sh.

# demo_place CHOICE DIRECTORY NAME: prints the directory to use: the choice if there is one; else DIRECTORY/company,
# unless that cannot be, for root because other users cannot get there; else one of that name elsewhere.
demo_place() {
	local choice=$1 here=$2/company name=$3 user
	if [ -n "$choice" ]; then
		# Made absolute without making it.
		case $choice in
			/*) echo "$choice" ;;
			*) echo "$PWD/$choice" ;;
		esac
		return
	fi
	if [ "$(id -u)" -eq 0 ]; then
		user=postgres
		id "$user" >/dev/null 2>&1 || user=nobody
		runuser -u "$user" -- test -x "$2" || here=/var/lib/$name
	elif [ ! -w "$2" ]; then
		here=${XDG_STATE_HOME:-$HOME/.local/state}/$name
	fi
	# The path of a Unix socket is limited to about a hundred bytes.
	if [ ${#here} -gt 80 ]; then
		if [ "$(id -u)" -eq 0 ]; then here=/var/lib/$name; else here=${HOME}/.$name; fi
	fi
	echo "$here"
}

# demo_check PLACE DIRECTORY: dies unless a demo of DIRECTORY can be kept there.
demo_check() {
	case $(realpath -m "$1")/ in
		"$(realpath "$2")/company/") ;;
		"$(realpath "$2/..")"/*) private_die "the directory $1 must not be inside the source tree" ;;
	esac
	[ ${#1} -le 80 ] || private_die "the path $1 is too long for a socket; choose a shorter one"
}

# demo_stop PLACE: stops the database server in it, as the user who runs it.
demo_stop() {
	local data=$1/server/data as=() control
	[ -e "$data/postmaster.pid" ] || { echo "there is no server running in $1"; return 0; }
	[ "$(id -u)" -ne 0 ] || as=(runuser -u "$(stat -c %U "$data")" --)
	for control in "$1"/pg/bin/pg_ctl "$1"/pg/*/bin/pg_ctl "$1"/pg/*/*/*/*/bin/pg_ctl; do
		[ -x "$control" ] || continue
		(cd / && "${as[@]}" "$control" stop -w -s -m fast -D "$data") && echo "stopped the server in $1"
		return
	done
	echo "there is no pg_ctl in $1" >&2
	return 1
}

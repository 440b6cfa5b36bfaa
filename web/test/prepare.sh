# shellcheck shell=bash
# What the tests of web/ have in common: to be sourced by a bash script, with PG* pointing to a cluster of their own whose
# worker runs.
#
#   web_people            the roles mia, leo, ada and otto, who log in with the password "demo"
#   web_company NAME      a database of that name with the company of demo/, its past, and these people

set -e
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. ./node.sh
web_node >&2
[ -d node_modules ] || npm ci --no-audit --no-fund --loglevel=error >&2

# web_people: once for the cluster, whose pg_hba.conf otherwise trusts everybody.
web_people() {
	local hba
	hba=$(psql -XAtqc 'SHOW hba_file' postgres)
	grep -q '^local all mia,' "$hba" && return
	printf '%s\n' 'local all mia,leo,ada,otto scram-sha-256' | cat - "$hba" >"$hba.new"
	mv "$hba.new" "$hba"
	psql -XAtq -c 'SELECT pg_reload_conf()' postgres >/dev/null
}

# web_company NAME: made anew.
web_company() {
	psql -Xq -v ON_ERROR_STOP=1 -d postgres -c "DROP DATABASE IF EXISTS $1 WITH (FORCE)" -c "CREATE DATABASE $1" >&2
	psql -Xq -v ON_ERROR_STOP=1 -d "$1" -c 'CREATE EXTENSION chs' >&2
	psql -Xq -d "$1" -f ../demo/company.sql >&2
	psql -Xq -v ON_ERROR_STOP=1 -d "$1" -c 'CALL chs_backfill_history(current_date - 119)' -f sql/setup.sql -f sql/demo.sql >&2
}

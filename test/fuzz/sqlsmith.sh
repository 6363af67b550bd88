#!/bin/bash
# sqlsmith.sh: random SQL over the extension, on a private server (make sqlsmith).
#
#   SQLSMITH_STATEMENTS=20000   how many, half of them for each role
#   SQLSMITH_SEED=1             of its random numbers
#
# sqlsmith runs once as a role that may read the shop, as an application does,
# and once as the owner of shop and catalog; neither is a superuser, and
# sqlsmith.sql hides every function from them that could leave the database.
# Each statement is rolled back.
#
# Fails where the server crashed, where an error says it is internal (class XX)
# and comes from the extension, and where a statement outlived its timeout by
# far. Prints how many statements ran, how many of them call the extension, and
# how often its functions were called. The log stays in build/sqlsmith.
set -euo pipefail
cd "$(dirname "$0")/../.."

statements=${SQLSMITH_STATEMENTS:-20000}
seed=${SQLSMITH_SEED:-1}
out=${BUILD:-build}/sqlsmith
mkdir -p "$out"
rm -f "$out"/*

watcher=
trap '[ -z "$watcher" ] || kill "$watcher"; tools/cluster remove sqlsmith' EXIT
tools/cluster files sqlsmith
tools/cluster start sqlsmith fsync=off track_functions=all log_min_messages=warning \
	log_min_error_statement=error log_error_verbosity=verbose 'log_line_prefix=%e %u ' \
	max_stack_depth=1500 temp_file_limit=1GB
eval "$(tools/cluster env sqlsmith)"
psql -X -q -d postgres -c 'CREATE DATABASE smith'
psql -X -q -d smith -f test/fuzz/sqlsmith.sql >"$out/setup.log" 2>&1 || { cat "$out/setup.log" >&2; exit 1; }

calls() {
	psql -X -Atq -d smith -c "SELECT coalesce(sum(calls), 0) FROM pg_stat_user_functions WHERE schemaname = 'bundle_rec'"
}

# sqlsmith sets a statement_timeout of one second; what heeds no cancel outlives it.
watch() {
	while sleep 3; do
		psql -X -Atq -d smith -c "SELECT usename, now() - query_start, left(query, 3000) FROM pg_stat_activity
			WHERE usename LIKE 'smith%' AND state = 'active' AND now() - query_start > interval '10 s'" 2>/dev/null || true
	done
}

# After a crash sqlsmith waits for the server and goes on.
run_as() {
	local role=$1 before after
	before=$(calls)
	PGOPTIONS= sqlsmith --target="host=$PGHOST port=$PGPORT dbname=smith user=$role" --seed="$seed" \
		--max-queries=$((statements / 2)) --exclude-catalog --dump-all-queries >"$out/$role.sql" 2>"$out/$role.log" || true
	sleep 1 # until the counters of the closed connection are there
	after=$(calls)
	# a statement ends with a semicolon at the end of a line
	awk -v role="$role" -v calls=$((after - before)) -v wanted=$((statements / 2)) -v log_file="$out/$role.log" '
		{ if (/(bundle_rec|smith)\.[a-z_0-9]+\(/) ours = 1 }
		/;[[:space:]]*$/ { n++; n_ours += ours; ours = 0 }
		END {
			if (n * 10 < wanted * 9)
				printf "FAILED, sqlsmith ended early: %d of %d statements; see %s\n", n, wanted, log_file
			printf "%-14s %6d statements, %6d of them call the extension, %8d calls of its functions\n", role, n, n_ours, calls
			exit n * 10 < wanted * 9
		}
	' "$out/$role.sql"
}

status=0
watch >"$out/overdue" &
watcher=$!
run_as smith_visitor || status=1
run_as smith_owner || status=1
cp "$BR_HOME/log" "$out/server.log"
test/fuzz/sqlsmith_log "$out/server.log" src/pg || status=1
if [ -s "$out/overdue" ]; then
	echo "FAILED, longer than its timeout:"
	cat "$out/overdue"
	status=1
fi
exit $status

#!/bin/bash
# bandit_choose.sh: latency of choose among 1,000 arms, and 200 connections that choose and give
# feedback beside plain INSERTs of the same rows. A part of bandit.sh.
#
#   CALLS=2000 RUNS=3 CONNECTIONS=200 SECONDS_EACH=10    sizes
set -euo pipefail
calls=${CALLS:-2000} runs=${RUNS:-3} connections=${CONNECTIONS:-200} seconds=${SECONDS_EACH:-10}
run() { psql -Xq -d postgres -v ON_ERROR_STOP=1 "$@"; }
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

run -f test/bench/bandit_choose.sql >/dev/null
export PGOPTIONS="-c synchronous_commit=off -c client_min_messages=error -c search_path=bundle_rec,public"
write() { printf '%s\n' "${@:2}" >"$work/$1.sql"; }
write logged "SELECT * FROM choose('page');"
write asked "SELECT * FROM choose('page', log => false);"
for policy in banner page; do
	write "$policy" "SELECT decision_id AS d FROM choose('$policy') \\gset" "SELECT feedback(:d, 1);"
	# the same rows: as wide, with the same keys, in as many transactions
	write "plain_$policy" '\set n random(1, 1000000000000)' \
		"WITH made AS (INSERT INTO plain_choice SELECT :n, now(), NULL, 1, 1, 1, 1, false, 1, NULL, NULL, NULL, '{1}', features, '{0.5}', '{0.5}', NULL, NULL FROM slot WHERE policy = '$policy' RETURNING decision_id, decided_at) INSERT INTO plain_unfolded_decision SELECT 1, decision_id, decided_at FROM made;" \
		"WITH made AS (INSERT INTO plain_feedback VALUES (1, :n, '1:click', 1, 'click', 1, now(), false) RETURNING decision_id, event_id) INSERT INTO plain_unfolded_feedback SELECT 1, decision_id, event_id FROM made;"
done

# ---- latency ----

# Milliseconds at quantiles .5 and .99 of one run.
measure() {
	rm -f "$work"/latency*
	pgbench -n -c 1 -t "$calls" -f "$work/$1.sql" -l --log-prefix="$work/latency" postgres >"$work/pgbench.out" 2>&1
	sort -n -k3,3 "$work"/latency* | awk '{ t[NR] = $3 / 1000 } END { printf "%.3f %.3f\n", t[int((NR + 1) * .5)], t[int((NR + 1) * .99)] }'
}
measure logged >/dev/null
for round in $(seq "$runs"); do
	for name in logged asked; do measure "$name" >>"$work/$name.result"; done
done
for name in logged asked; do
	printf 'choose, 1,000 arms, 32 features, %-6s   p50 %7.3f ms   p99 %7.3f ms\n' "$name" \
		"$(cut -d' ' -f1 "$work/$name.result" | median)" "$(cut -d' ' -f2 "$work/$name.result" | median)"
done

# ---- many connections ----

throughput() {
	pgbench -n -c "$connections" -j 2 -T "$seconds" -f "$work/$1.sql" postgres 2>/dev/null | awk '/^tps/ { print $3 }'
}
# a scheduler that folds meanwhile
fold() { while true; do run -c 'SELECT fold_due()' >/dev/null; sleep .5; done; }
fold &
trap 'kill %1 2>/dev/null || true' EXIT
# lock waits over 50 ms so far, on rows and transactions or on whatever else
waits() { grep 'still waiting for' "$BR_HOME/log" | grep -c "$@" 'on \(tuple\|transaction\)' || true; }
for round in $(seq "$runs"); do
	for name in banner plain_banner page plain_page; do
		rows=$(waits) others=$(waits -v)
		throughput "$name" >>"$work/$name.tps"
		echo "$(($(waits) - rows)) $(($(waits -v) - others))" >>"$work/$name.waits"
	done
done
sum() { awk -v column="$2" '{ n += $column } END { print n }' "$work/$1.waits"; }
for name in banner page; do
	ours=$(median <"$work/$name.tps") plain=$(median <"$work/plain_$name.tps")
	awk -v name="$name" -v n="$connections" -v ours="$ours" -v plain="$plain" 'BEGIN {
		printf "%d connections, choose (%s) and feedback  %8.0f /s   plain INSERTs %8.0f /s   %.2f of them\n", n, name, ours, plain, ours / plain }'
	echo "   waits over 50 ms for rows: $(sum $name 1), plain $(sum plain_$name 1); for the extension of a table: $(sum $name 2), plain $(sum plain_$name 2)"
done

#!/bin/bash
# bandit_ope.sh: off-policy estimators beside avg(), over the same rows. A part of bandit.sh.
#
#   ROWS=10000000 RUNS=3 WORKERS=0    sizes; parallel workers of a query
set -euo pipefail
rows=${ROWS:-10000000} runs=${RUNS:-3} workers=${WORKERS:-0}
run() { psql -Xq -d postgres -v ON_ERROR_STOP=1 "$@"; }
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

run -v rows="$rows" -f test/bench/bandit_ope.sql
calls=(
	"avg(reward)"
	"ips(reward, target, logged)"
	"clipped_ips(reward, target, logged, 5)"
	"snips(reward, target, logged)"
	"dm(expected)"
	"dr(reward, target, logged, predicted, expected)"
	"sndr(reward, target, logged, predicted, expected)"
	"switch_dr(reward, target, logged, predicted, expected, 5)"
	"dr_os(reward, target, logged, predicted, expected, 5)"
	"replay(reward, matched)"
	"overlap_histogram(target, logged)"
)
for round in $(seq "$runs"); do
	for call in "${calls[@]}"; do
		run -c "SET search_path = public, bundle_rec; SET max_parallel_workers_per_gather = $workers; SET jit = off" \
			-c '\timing on' -c "SELECT $call FROM logged" | awk '/^Time/ { print $2 }' >>"$work/${call%%(*}"
	done
done
avg=$(median <"$work/avg")
for call in "${calls[@]}"; do
	awk -v call="${call%%(*}" -v ms="$(median <"$work/${call%%(*}")" -v avg="$avg" -v rows="$rows" -v workers="$workers" 'BEGIN {
		printf "%-18s %d rows, %d workers %9.0f ms   %5.2f x avg\n", call, rows, workers, ms, ms / avg }'
done

#!/bin/bash
# tune_queries.sh: what a training does to the queries of its catalog.
#
# Makes the shop of tune_quality.sql and times recommend_items and recommend over
# one connection, by pgbench, in turns: while nothing else runs, and while a
# worker trains a model on the shop's bundles. One line for each: p50 and p99 of
# both in milliseconds, and the ratio of the p99.
#
#   SECONDS_EACH=20     of each turn
#   TURNS=3             the medians of which count
#   THREADS=1           of the worker (bundle_rec.worker_threads)
#   DATA=dir, MODEL=dir as for tune_quality.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

trap 'tools/cluster remove tune_queries' EXIT
tools/cluster files tune_queries
tools/cluster start tune_queries shared_buffers=512MB fsync=off bundle_rec.worker_threads="${THREADS:-1}"
eval "$(tools/cluster env tune_queries)"
[ -n "${BR_DATA_DIR:-}" ] && [ -n "${BR_MODEL_DIR:-}" ] || { echo "tune_queries: the data or the model is missing" >&2; exit 1; }
work=$(mktemp -d)
trap 'tools/cluster remove tune_queries; rm -rf "$work"' EXIT

ask() { psql -XqAt -d postgres -v ON_ERROR_STOP=1 "$@"; }
ask -v data_dir="$BR_DATA_DIR" -v model_dir="$BR_MODEL_DIR" -f test/bench/tune_quality.sql
ask -c "CREATE TABLE tuned.numbered AS SELECT row_number() OVER (ORDER BY id) AS n, id FROM tuned.product" -c "CREATE UNIQUE INDEX ON tuned.numbered (n)" \
	-c "SELECT bundle_rec.create_policy('front', 'linear_thompson', 'shop')" -c "ANALYZE" >"$work/out"
for call in recommend_items recommend; do
	cat >"$work/$call.sql" <<-SQL
		\\set n random(1, 3499)
		SELECT count(*) FROM bundle_rec.$call('shop', basket => ARRAY(SELECT id FROM tuned.numbered WHERE n = :n));
	SQL
done

# milliseconds below which a share of the calls is
share() { sort -n "$work"/latency* | awk -v share="$1" '{ t[NR] = $1 } END { print t[int(NR * share) + 1] / 1000 }'; }
median() { sort -n | awk '{ t[NR] = $1 } END { print t[int((NR + 1) / 2)] }'; }

# measure NAME CALL: a turn
measure()
{
	rm -f "$work"/latency*
	PGOPTIONS='-c bundle_rec.threads=1 -c synchronous_commit=off' pgbench -n -c 1 -T "${SECONDS_EACH:-20}" -f "$work/$2.sql" -l --log-prefix="$work/latency" postgres >"$work/out" 2>&1 ||
		{ cat "$work/out" >&2; exit 1; }
	for file in "$work"/latency*; do awk '{ print $3 }' "$file" >"$file.us"; rm "$file"; done
	share .5 >>"$work/$1.$2.p50"
	share .99 >>"$work/$1.$2.p99"
}

for turn in $(seq "${TURNS:-3}"); do
	for call in recommend_items recommend; do measure idle "$call"; done
	job=$(ask -c "SELECT bundle_rec.train('shop', 'sets', model_name => 'turn $turn', parameters => '{\"epochs\": 1000, \"validation\": 0}',
		query => 'SELECT bundle AS set, title AS text FROM tuned.bundled JOIN tuned.product USING (id)')")
	until [ "$(ask -c "SELECT phase = 'training' AND done > 1 FROM bundle_rec.job WHERE job = $job")" = t ]; do sleep 1; done
	for call in recommend_items recommend; do measure training "$call"; done
	ask -c "SELECT bundle_rec.cancel_job($job)" >"$work/out"
	until [ "$(ask -c "SELECT state FROM bundle_rec.job WHERE job = $job")" = cancelled ]; do sleep 1; done
done
for call in recommend_items recommend; do
	for state in idle training; do
		p50=$(median <"$work/$state.$call.p50") p99=$(median <"$work/$state.$call.p99")
		[ "$state" = idle ] && idle=$p99
		awk -v name="$call, $state" -v p50="$p50" -v p99="$p99" -v idle="$idle" \
			'BEGIN { printf "%-28s p50 %7.2f ms  p99 %7.2f ms  %.2f x\n", name, p50, p99, p99 / idle }'
	done
done

#!/bin/bash
# quality.sh: what learners and rankers find on real data.
#
# Starts a private server, makes the catalogs of quality.sql, and evaluates each as
# README.md says, everything through SQL. One table at the end: how often a method
# finds what was hidden, and by how much it differs from the baseline, case by
# case, with the standard error of that difference, clustered.
#
#   SEEDS=10            splits of each evaluation
#   COLD_SEEDS=20       of that of bundles that nobody bought
#   TASKS="..."         of electronic, steam, cold, groceries, groceries_ease, sessions; all by default
#   DATA=dir            the data, instead of shared/data beside the checkout
#   MODEL=dir           all-MiniLM-L6-v2, instead of the downloaded one
set -euo pipefail
cd "$(dirname "$0")/../.."

trap 'tools/cluster remove bench' EXIT
tools/cluster files bench
tools/cluster start bench shared_buffers=1GB work_mem=64MB maintenance_work_mem=1GB max_wal_size=16GB fsync=off \
	autovacuum=off checkpoint_timeout=1h
eval "$(tools/cluster env bench)"
[ -n "${BR_DATA_DIR:-}" ] || { echo "quality: no real data beside the checkout; DATA=dir names it" >&2; exit 1; }
[ -n "${BR_MODEL_DIR:-}" ] || { echo "quality: the model is missing; make setup fetches it" >&2; exit 1; }
seeds=${SEEDS:-10}
cold_seeds=${COLD_SEEDS:-$([ "$seeds" -lt 10 ] && echo "$seeds" || echo 20)}

ask() { psql -Xq -d postgres -v ON_ERROR_STOP=1 "$@"; }

echo "== load" >&2
ask -v data_dir="$BR_DATA_DIR" -v model_dir="$BR_MODEL_DIR" -f test/bench/quality.sql
ask -c "CREATE TABLE quality.found (run int GENERATED ALWAYS AS IDENTITY, catalog text, task text, baseline text, method text, metric text,
	k int, value float8, error float8, cases bigint, difference float8, difference_error float8)"

# evaluate NAME CATALOG TASK SPLIT SEEDS K BASELINE [METRICS]: into the table, if it is among TASKS
evaluate()
{
	local start=$SECONDS
	[[ " ${TASKS-$1} " == *" $1 "* ]] || return 0
	echo "== $2, $3, $5 seeds" >&2
	ask <<-SQL || { echo "quality: left out: $1" >&2; return 0; }
		INSERT INTO quality.found (catalog, task, baseline, method, metric, k, value, error, cases, difference, difference_error)
		SELECT '$2', '$3', '$7', method, metric, k, value, standard_error, cases, difference, difference_error
		FROM bundle_rec.evaluate('$2', '$3', $4, seeds => $5, k => '{$6}', baseline => '$7') WHERE metric = ANY ('{${8:-hit_rate}}');
	SQL
	echo "   $((SECONDS - start)) s" >&2
}

evaluate electronic electronic completion "'user'" "$seeds" 10 tf_idf
evaluate steam steam bundle NULL "$seeds" 1,5,10 bundle_ease
evaluate cold steam cold_bundle NULL "$cold_seeds" 20 profile
evaluate groceries groceries completion "'basket'" "$seeds" 10 confidence
evaluate groceries_ease groceries completion "'basket'" "$seeds" 10 ease
evaluate sessions sessions detection "'session'" "$seeds" 10 whole exact,f1

ask -P footer=off <<-SQL
	SELECT catalog AS data, task, method, CASE metric WHEN 'hit_rate' THEN 'HR@' || k ELSE metric END AS metric, to_char(value, 'FM0.0000') AS value,
	       to_char(error, 'FM0.0000') AS "s.e.", cases, baseline, to_char(difference, 'SG0.0000') AS difference, to_char(difference_error, 'FM0.0000') AS "its s.e.",
	       CASE WHEN abs(difference) > 2 * difference_error THEN CASE WHEN difference > 0 THEN 'better' ELSE 'worse' END ELSE '' END AS "beyond 2 s.e."
	FROM quality.found ORDER BY run
SQL

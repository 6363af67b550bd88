#!/bin/bash
# tune_quality.sh: what fine-tuning on a shop's own bundles is worth, on real data.
#
# For each split of bundlerec_electronic by session (as evaluate makes them) the
# default model is trained on the bundles of the training sessions alone, by
# train(), and then serves a catalog. Two tables at the end: how often the
# encoder alone finds a member of a test bundle among all titles by its mean
# cosine with the other members, and how often it does so together with TF-IDF,
# by the sum of their standard scores (every member is hidden in its turn; ties
# take their expected place); and what evaluate says of all methods with it.
# Differences are paired case by case, and clustered by session.
#
#   SEEDS=10            splits
#   FIRST_SEED=0        the first of them
#   OBJECTIVE=sets      what is trained; contrastive: all pairs of a bundle
#   PARAMETERS='{...}'  of train
#   THREADS=2           of the worker
#   EVALUATE=1          0: the encoder alone
#   DATA=dir            the data, instead of shared/data beside the checkout
#   MODEL=dir           all-MiniLM-L6-v2, instead of the downloaded one
set -euo pipefail
cd "$(dirname "$0")/../.."

name=${NAME:-tune}
trap 'tools/cluster remove $name' EXIT
tools/cluster files "$name"
tools/cluster start "$name" shared_buffers=512MB work_mem=64MB fsync=off bundle_rec.worker_threads="${THREADS:-2}" bundle_rec.worker_nice=0
eval "$(tools/cluster env "$name")"
[ -n "${BR_DATA_DIR:-}" ] || { echo "tune_quality: no real data beside the checkout; DATA=dir names it" >&2; exit 1; }
[ -n "${BR_MODEL_DIR:-}" ] || { echo "tune_quality: the model is missing; make setup fetches it" >&2; exit 1; }
first=${FIRST_SEED:-0}
last=$((first + ${SEEDS:-10} - 1))
objective=${OBJECTIVE:-sets}

ask() { psql -XqAt -d postgres -v ON_ERROR_STOP=1 "$@"; }

ask -v data_dir="$BR_DATA_DIR" -v model_dir="$BR_MODEL_DIR" -f test/bench/tune_quality.sql
for seed in $(seq "$first" "$last"); do
	start=$SECONDS
	if [ "$objective" = sets ]; then
		query="SELECT bundle AS set, title AS text FROM tuned.bundled JOIN tuned.product USING (id) WHERE NOT tuned.is_tested(session, $seed) ORDER BY 1, id"
	else
		query="SELECT p.title AS anchor, q.title AS positive FROM tuned.bundled a JOIN tuned.bundled b USING (bundle) JOIN tuned.product p ON p.id = a.id
			JOIN tuned.product q ON q.id = b.id WHERE a.id < b.id AND NOT tuned.is_tested(a.session, $seed) ORDER BY bundle, a.id, b.id"
	fi
	# a training begins with the model that the catalog has: one of another split knows this one's tests
	ask -c "CALL tuned.serve('minilm')"
	job=$(ask -v query="$query" -v parameters="${PARAMETERS:-{\"validation\": 0\}}" <<-SQL
		SELECT bundle_rec.train('shop', '$objective', query => :'query', model_name => 'tuned $seed', parameters => :'parameters')
	SQL
	)
	until [ "$(ask -c "SELECT state NOT IN ('queued', 'running') FROM bundle_rec.job WHERE job = $job")" = t ]; do sleep 2; done
	ask -F ' ' -c "SELECT 'seed $seed:', j.state, j.message, j.done || ' steps', round((m.seconds)::numeric) || ' s', 'loss ' || round(m.loss::numeric, 3)
		FROM bundle_rec.job j LEFT JOIN LATERAL (SELECT * FROM bundle_rec.job_metric m WHERE m.job = j.job ORDER BY step DESC LIMIT 1) m ON true WHERE j.job = $job" >&2
	[ "$(ask -c "SELECT parent FROM bundle_rec.lineage WHERE model = 'tuned $seed'")" = minilm ] || { echo "tune_quality: seed $seed is not trained from minilm" >&2; exit 1; }
	ask -c "CALL tuned.ask('tuned $seed', $seed)"
	if [ "${EVALUATE:-1}" != 0 ]; then
		ask -c "CALL tuned.evaluate('minilm', $seed)" -c "CALL tuned.evaluate('tuned $seed', $seed)"
	fi
	echo "   $((SECONDS - start)) s in all" >&2
done
psql -Xq -d postgres -P footer=off -f test/bench/tune_quality_report.sql

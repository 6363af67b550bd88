#!/bin/bash
# encoder.sh: refresh of real product titles beside sentence-transformers.
#
# Both embed the 3,499 Electronic titles with all-MiniLM-L6-v2 in f32 with one
# thread, in turns, RUNS times; medians. Ours is a whole refresh(): reading,
# tokenizing, embedding, storing vectors and neighbours. One line per system.
#
#   RUNS=3          turns
#   BENCH_VENV=dir  a Python environment that has the peer, instead of build/bench-venv
#   DATA=dir        the folder that holds bundlerec_electronic
set -euo pipefail
cd "$(dirname "$0")/../.."
runs=${RUNS:-3}
venv=${BENCH_VENV:-${BUILD:-build}/bench-venv}
pins="sentence-transformers==5.7.0 transformers==4.57.6 torch==2.15.0"

skip() { echo "encoder: skipped: $*"; exit 0; }

titles=${DATA:-../shared/data}/bundlerec_electronic/item_titles.csv
[ -f "$titles" ] || skip "there is no $titles; give DATA=dir"
model=$(tools/model path 2>/dev/null) || skip "all-MiniLM-L6-v2 is not there; run make setup, or give MODEL=dir"
if [ ! -x "$venv/bin/python" ]; then
	[ -z "${BENCH_VENV:-}" ] || skip "there is no Python environment in $venv"
	python3 -m venv "$venv" && "$venv/bin/pip" install --quiet $pins ||
		{ rm -rf "$venv"; skip "could not install $pins"; }
fi
versions=$("$venv/bin/python" -c 'import sentence_transformers, transformers, torch
print("sentence-transformers", sentence_transformers.__version__, "transformers", transformers.__version__, "torch", torch.__version__)') ||
	skip "$venv has no sentence-transformers; it needs $pins"

trap 'tools/cluster remove bench' EXIT
tools/cluster files bench
tools/cluster start bench fsync=off bundle_rec.backend=openblas
eval "$(tools/cluster env bench)"
work=$BR_HOME/work
mkdir -p "$work"
python3 -c 'import csv, sys
for row in csv.DictReader(open(sys.argv[1], encoding="utf-8-sig", newline="")):
    print(" ".join(row["titles"].split()))' "$titles" >"$work/titles"
texts=$(wc -l <"$work/titles")

psql -Xq -d postgres -v ON_ERROR_STOP=1 <<-END
	SET client_min_messages = warning;
	CREATE EXTENSION bundle_rec;
	SET search_path = public, bundle_rec;
	SELECT load_model('minilm', '$BR_MODEL_DIR') \g /dev/null
	CREATE TABLE title (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, title text);
	\copy title (title) FROM '$work/titles' (DELIMITER E'\x01', QUOTE E'\x02', FORMAT csv)
	CREATE TABLE ware (LIKE title INCLUDING INDEXES);
	SELECT create_catalog('ware', 'ware', item_id => 'id', text => '{title}', model => 'minilm') \g /dev/null
	SELECT count(embed(title)) FROM (SELECT title FROM title LIMIT 64) t \g /dev/null
END

# Seconds of refresh() over all titles as new items, in a connection that has the model mapped.
refresh_once() {
	psql -XAtq -d postgres -v ON_ERROR_STOP=1 <<-END
		SET client_min_messages = warning;
		SET search_path = public, bundle_rec;
		TRUNCATE ware;
		SELECT drop_catalog('ware') \g /dev/null
		INSERT INTO ware SELECT * FROM title;
		SELECT create_catalog('ware', 'ware', item_id => 'id', text => '{title}', model => 'minilm') \g /dev/null
		SELECT embed('warm') \g /dev/null
		SELECT extract(epoch FROM clock_timestamp()) AS start \gset
		SELECT refresh('ware') \g /dev/null
		SELECT round(extract(epoch FROM clock_timestamp()) - :start, 3);
		SELECT 1 / (embedded = $texts)::int FROM catalog_coverage \g /dev/null
	END
}

for run in $(seq "$runs"); do
	refresh_once >>"$work/ours"
	"$venv/bin/python" test/bench/sentence_transformers_texts.py "$model" "$work/titles" 2>"$work/peer.log" >>"$work/peer" ||
		{ cat "$work/peer.log" >&2; exit 1; }
done
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
ours=$(median <"$work/ours")
peer=$(median <"$work/peer")
backend=$(psql -XAtq -d postgres -c "SELECT name || ' ' || instruction_set FROM bundle_rec.backends() WHERE in_use")
echo "$texts titles, all-MiniLM-L6-v2, f32, 1 thread, medians of $runs"
awk -v n="$texts" -v s="$peer" -v who="$versions" 'BEGIN { printf "%7.1f titles/s  %6.2f s  1.00  %s\n", n / s, s, who }'
awk -v n="$texts" -v s="$ours" -v p="$peer" -v who="bundle_rec refresh, $backend" \
	'BEGIN { printf "%7.1f titles/s  %6.2f s  %.2f  %s\n", n / s, s, p / s, who }'

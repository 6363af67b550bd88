#!/bin/bash
# encoder.sh: embedding product titles beside sentence-transformers, ONNX Runtime and OpenVINO.
#
# All embed the same 500 titles with all-MiniLM-L6-v2, from text to vectors of
# length 1, each with the batch size and settings that are fastest here, on one
# core and on all. Every measurement is a process of its own; systems take
# turns, RUNS times, and figures are medians. Ours appears twice: the C library
# (bench_encoder.c) and embed(text[]) as psql sees it. README.md says more.
#
#   RUNS=3           turns
#   SYSTEMS="..."    only these, such as bundle_rec-C-f32 (default: all; their names stand below)
#   BACKEND=name     ours (onednn where it is built, else openblas)
#   CLOCK=cpu        on one core time on the processor, but for SQL: for a look on a busy machine
#   MARKDOWN=1       the table as Markdown
#   BENCH_VENV=dir   a Python environment that has the peers, instead of build/bench-venv
#   DATA=dir         the folder that holds bundlerec_electronic
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${BUILD:-build}
runs=${RUNS:-3}
venv=${BENCH_VENV:-$build/bench-venv}
pins="sentence-transformers==5.7.0 transformers==4.57.6 tokenizers==0.22.2 torch==2.15.0 numpy==2.4.6
	onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1 nncf==3.4.0"

skip() { echo "encoder: skipped: $*"; exit 0; }
say() { echo "encoder: $*" >&2; }

titles=${DATA:-../shared/data}/bundlerec_electronic/item_titles.csv
[ -f "$titles" ] || skip "there is no $titles; give DATA=dir"
model=$(tools/model path 2>/dev/null) || skip "all-MiniLM-L6-v2 is not there; run make setup, or give MODEL=dir"
if [ ! -x "$venv/bin/python" ]; then
	[ -z "${BENCH_VENV:-}" ] || skip "there is no Python environment in $venv"
	say "installing the peers into $venv: some gigabytes, some minutes"
	{ python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --disable-pip-version-check $pins; } ||
		{ rm -rf "$venv"; skip "could not install" $pins; }
fi

work=$build/bench-encoder
rm -rf "$work"
mkdir -p "$work"
peers=("$venv/bin/python" -W ignore test/bench/encoder_peers.py)
"${peers[@]}" versions >"$work/versions" 2>"$work/log" || skip "$venv lacks one of" $pins
make --no-print-directory -f src/core.mk BUILD="$build" bench >"$work/log" 2>&1 ||
	{ cat "$work/log" >&2; exit 1; }
if [ -z "${BACKEND:-}" ]; then
	[ -f "$build/br_backend_onednn.so" ] && BACKEND=onednn || BACKEND=openblas
fi
export BR_BACKEND_DIR=$build

# One core: the last that we may use, as the first often serves interrupts.
read -r last_core cores < <(python3 -c 'import os; c = os.sched_getaffinity(0); print(max(c), len(c))')
[ "$cores" -gt 1 ] && counts="one all" || counts="one"
threads_of() { [ "$1" = one ] && echo 1 || echo "$cores"; }
# pinned one|all COMMAND...
pinned() { if [ "$1" = one ]; then taskset -c "$last_core" "${@:2}"; else "${@:2}"; fi; }

# ---- set-up: texts, the peers' models, a server ----

python3 test/bench/encoder_texts.py "$titles" ../shared/golden/all-MiniLM-L6-v2.json "$work"
say "exporting the model for the peers"
"${peers[@]}" export "$model" "$work" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }

trap 'tools/cluster remove bench' EXIT
tools/cluster files bench
tools/cluster start bench fsync=off
eval "$(tools/cluster env bench)"
psql -Xq -d postgres -v ON_ERROR_STOP=1 <<-END
	SET client_min_messages = warning;
	CREATE EXTENSION bundle_rec;
	SELECT bundle_rec.load_model('minilm', '$BR_MODEL_DIR') \g /dev/null
	CREATE TABLE title (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, text text);
	CREATE TABLE hostile (LIKE title INCLUDING ALL);
	\copy title (text) FROM '$work/titles.copy'
	\copy hostile (text) FROM '$work/hostile.copy'
	VACUUM ANALYZE title;
END

median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

# ---- one measurement: a line of JSON ----

# Before the module is loaded any name and value would do.
sql_settings() {
	printf '%s\n' "LOAD 'bundle_rec';" "SET search_path = bundle_rec, public;" "SET bundle_rec.backend = '$BACKEND';" \
		"SET bundle_rec.precision = '$1';" "SET bundle_rec.threads = $(threads_of "$2");"
}

# The statement's time as psql sees it, its result included, and the median of single texts.
sql_script() {
	local precision=$1 count=$2 i
	local all='SELECT embed(array_agg(text ORDER BY id)) FROM title'
	sql_settings "$precision" "$count"
	if [ "$count" = one ]; then
		printf '%s\n' 'SELECT pg_backend_pid() AS pid \gset' "\\setenv PIN 'taskset -cp $last_core ':pid" '\! $PIN >/dev/null'
	fi
	printf '%s \\g /dev/null\n' "$all"
	echo '\timing on'
	printf '%s \\g /dev/null\n' "$all"
	for i in {1..100}; do
		echo "SELECT embed(text) FROM title WHERE id = $i \\g /dev/null"
	done
}

# Embeddings through SQL of titles and hostile texts, one a line.
sql_vectors() {
	local table
	for table in title hostile; do
		{
			sql_settings "$1" one
			echo "SELECT unnest(embed(array_agg(text ORDER BY id), parse_special => true)) FROM $table;"
		} | psql -XAtq -d postgres -v ON_ERROR_STOP=1 >"$work/bundle_rec-SQL-$1.${table/title/titles}.lines" || return
	done
}

measure_sql() {
	local precision=$1 count=$2
	[ "$count$run" != one1 ] || sql_vectors "$precision" || return
	sql_script "$precision" "$count" >"$work/sql"
	psql -Xq -d postgres -v ON_ERROR_STOP=1 -f "$work/sql" >"$work/sql.out" || return
	sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p' "$work/sql.out" >"$work/sql.ms"
	printf '{"texts_per_second": %s, "single_ms": %s, "detail": "%s"}\n' \
		"$(awk -v n="$texts" 'NR == 1 { print 1000 * n / $1 }' "$work/sql.ms")" "$(tail -n +2 "$work/sql.ms" | median)" "$BACKEND"
}

# measure SYSTEM COUNT: COUNT is one or all
measure() {
	local system=$1 count=$2 outputs=()
	if [ "$count$run" = one1 ]; then
		outputs=("$work/titles" "$work/$system.titles" "$work/hostile" "$work/$system.hostile")
	fi
	case $system in
		bundle_rec-C-*)
			pinned "$count" "$build/test/bench/bench_encoder" --backend "$BACKEND" --precision "${system##*-}" \
				--threads "$(threads_of "$count")" ${outputs:+--embed "${outputs[@]:0:2}" --embed "${outputs[@]:2:2}"} \
				"$model" "$work/titles" ;;
		bundle_rec-SQL-*) measure_sql "${system##*-}" "$count" ;;
		*) pinned "$count" "${peers[@]}" run "$system" \
			"$(threads_of "$count")" "$model" "$work" ${outputs:+"${outputs[@]}"} ;;
	esac
}

# ---- tuning, then the turns ----

systems="sentence-transformers-f32 onnxruntime-f32 openvino-f32"
precisions="f32 int8"
if grep -qE 'avx512_bf16|amx_bf16' /proc/cpuinfo; then
	systems+=" openvino-bf16"
	precisions="f32 bf16 int8"
fi
systems+=" onnxruntime-int8 openvino-int8"

for precision in $precisions; do systems+=" bundle_rec-C-$precision bundle_rec-SQL-$precision"; done

systems=${SYSTEMS:-$systems}

left_out=" "
leave_out() {
	left_out+="$1 "
	say "without $1: $({ grep -m 1 ERROR: "$work/log" || grep -v '^ *$' "$work/log" | tail -n 1; } || true)"
}

say "finding each peer's fastest setting"
for system in $systems; do
	[[ $system != bundle_rec-* ]] || continue
	for count in $counts; do
		pinned "$count" "${peers[@]}" tune "$system" \
			"$(threads_of "$count")" "$model" "$work" >"$work/log" 2>&1 || { leave_out "$system"; break; }
	done
done

texts=$(wc -l <"$work/titles.copy")
for run in $(seq "$runs"); do
	say "turn $run of $runs"
	for count in $counts; do
		for system in $systems; do
			[[ $left_out != *" $system "* ]] || continue
			if result=$(measure "$system" "$count" 2>"$work/log"); then
				echo "$system $count $result" >>"$work/results"
			else
				leave_out "$system"
			fi
		done
	done
done

# ---- figures ----

# Median of a figure of a system and a count of cores; nothing where it was left out.
figure() { { grep "^$1 " "$work/results" || true; } | sed "s/.*\"$2\": \([0-9.]*\).*/\1/" | median; }
tokens=$(figure "bundle_rec-C-f32 one" tokens)
echo "$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1), $cores cores; $texts titles of $(awk -v t="$tokens" -v n="$texts" 'BEGIN { printf "%.1f", t / n }') tokens; medians of $runs"
echo "in brackets: times the fastest peer of the precision"
echo
python3 test/bench/encoder_table.py "$work" "$work/versions"
echo
echo "tokenizing alone, one core: $(figure "bundle_rec-C-f32 one" tokenizing_ms) ms for all titles"
for count in $counts; do
	for precision in $precisions; do
		c=$(figure "bundle_rec-C-$precision $count" texts_per_second)
		sql=$(figure "bundle_rec-SQL-$precision $count" texts_per_second)
		[ -z "$c$sql" ] || awk -v c="$c" -v s="$sql" -v p="$precision" -v n="$count" \
			'BEGIN { if (c && s) printf "through SQL, %s, cores: %s: %.0f %% of the C library\n", p, n, 100 * s / c }'
	done
done

# A file that only one process maps is private to it, written to by whoever made it: another
# session must have the model open.
if [ -n "$(figure "bundle_rec-SQL-f32 one" single_ms)" ]; then
	coproc OTHER { psql -XAtq -d postgres -v ON_ERROR_STOP=1; }
	{ sql_settings f32 one; printf '%s\n' "SELECT embed('one')"' \g /dev/null' '\echo ready'; } >&"${OTHER[1]}"
	read -r _ <&"${OTHER[0]}"
	{
		printf '%s\n' 'SELECT pg_backend_pid() AS pid \gset' "\\setenv LOOK 'bash test/bench/private_dirty.sh ':pid" '\! $LOOK'
		sql_settings f32 one
		printf '%s\n' 'SELECT embed(array_agg(text)) FROM title \g /dev/null' '\! $LOOK'
	} | psql -Xq -d postgres -v ON_ERROR_STOP=1 | awk '/Private_Dirty/ { kb[++n] = $2 }
		END { printf "a further connection: %.2f MB private, after embedding all titles\n", (kb[2] - kb[1]) / 1024 }'
	exec {OTHER[1]}>&-
	wait "$OTHER_PID" || true
fi

echo
OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 taskset -c "$last_core" "$build/test/bench/bench_products"

#!/bin/bash
# ann.sh: nearest-item search by bundle_ann beside pgvector's HNSW.
#
# Both index the same embeddings of real texts in one cluster and take turns:
# build, size, recall and speed of searches, alone and under filters, inserts.
# Recall is judged by exact search. Figures are medians of RUNS; see README.md.
#
#   PGVECTOR=dir           pgvector's source; it is built from a copy, into the private prefix
#   SCALE=16               indexes that many times the rows: perturbed copies (1)
#   RUNS=3 SECONDS_EACH=5  turns, and how long each lasts
#   BUILDS=3               builds of each index (1 where SCALE is more than 1)
#   INSERTS=20000          rows of one turn of inserts by bundle_ann, a tenth of them by pgvector
#   QUERIES=1000 FILTER_QUERIES=200  queries that recall is judged by (200, 50 where SCALE is more than 1)
#   EF="10 20 ..." RECALLS=".9 .95 ..."  settings searched with
#   PEER_TYPE=vector       or halfvec, which halves pgvector's vectors as ours are
#   MEMORY=512             MB of maintenance_work_mem (times SCALE)
#   SYSTEMS="..."          only these of pgvector, bundle_ann and exact, a sequential scan
#   ANN_DATA=dir           where the embeddings are kept (build/bench/ann-data)
#   TEXTS=file             texts, one a line, instead of Debian's package descriptions
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${BUILD:-build}
scale=${SCALE:-1} runs=${RUNS:-3} seconds=${SECONDS_EACH:-5} inserts=${INSERTS:-20000}
large=$((scale > 1))
builds=${BUILDS:-$((large ? 1 : 3))}
queries=${QUERIES:-$((large ? 200 : 1000))} filter_queries=${FILTER_QUERIES:-$((large ? 50 : 200))}
efs=${EF:-10 20 40 80 120 200 400} recalls=${RECALLS:-.9 .95 .98 .99 .995}
memory=$((${MEMORY:-512} * scale)) peer_type=${PEER_TYPE:-vector}
data=${ANN_DATA:-$build/bench/ann-data}
work=$build/bench/ann
filters="100 10 1"		# of 1000: keep 10 %, 1 %, 0.1 %
noise_seed=1

skip() { echo "ann: skipped: $*"; exit 0; }
say() { echo "ann: $*" >&2; }

if [ -z "${SYSTEMS:-}" ]; then
	SYSTEMS="pgvector bundle_ann"
	[ -n "${PGVECTOR:-}" ] || { say "without pgvector: PGVECTOR=dir names its source"; SYSTEMS="bundle_ann exact"; }
fi
has() { [[ " $SYSTEMS " == *" $1 "* ]]; }
! has pgvector || [ -f "${PGVECTOR:-}/vector.control" ] || skip "PGVECTOR=${PGVECTOR:-} holds no vector.control"

rm -rf "$work"
mkdir -p "$work" "$data"
results=$work/results
: >"$results"

# ---- a server with both ----

# dynamic shared memory holds pgvector's graph while it is built
shm_mb=$(df -m --output=avail /dev/shm 2>/dev/null | tail -n 1)
trap 'tools/cluster remove bench' EXIT
tools/cluster files bench
tools/cluster start bench shared_buffers=$((large ? 8 : 1))GB max_wal_size=16GB checkpoint_timeout=1h fsync=off \
	autovacuum=off jit=off synchronous_commit=off max_parallel_workers_per_gather=0 \
	dynamic_shared_memory_type="$([ "${shm_mb:-0}" -gt "$memory" ] && echo posix || echo mmap)"
eval "$(tools/cluster env bench)"
export PGOPTIONS="-c search_path=bundle_rec,public -c client_min_messages=warning"
run() { psql -Xq -d postgres -v ON_ERROR_STOP=1 "$@"; }
value() { run -At -c "$1"; }

# Without LLVM: the prefix's folder of bitcode is the system's.
install_pgvector() {
	local pg_config=${PG_CONFIG:-/usr/lib/postgresql/15/bin/pg_config} copy=$work/pgvector
	local make=(make --no-print-directory -C "$copy" PG_CONFIG="$pg_config" with_llvm=no)
	cp -R "$PGVECTOR" "$copy"
	{ "${make[@]}" clean && "${make[@]}" -j2 all && "${make[@]}" install DESTDIR="${BR_BIN%"$("$pg_config" --bindir)"}"; } \
		>"$work/pgvector.log" 2>&1 || { tail -n 20 "$work/pgvector.log" >&2; exit 1; }
}

if has pgvector; then
	say "building pgvector"
	install_pgvector
	run -c 'CREATE EXTENSION vector'
fi
run -c 'CREATE EXTENSION bundle_rec' -c 'CREATE EXTENSION pg_prewarm'

# ---- vectors: embedded once, then read from files ----

write_texts() {
	if [ -n "${TEXTS:-}" ]; then
		cat "$TEXTS"
	else
		apt-cache dumpavail | awk '/^Package: / { name = substr($0, 10) } /^Description(-en)?: / { sub(/^[^ ]* /, ""); print name ": " $0 }'
	fi | LC_ALL=C sort -u
}
if [ ! -f "$data/base.copy" ] || [ ! -f "$data/queries.copy" ]; then
	[ -n "$BR_MODEL_DIR" ] || skip "all-MiniLM-L6-v2 is not there; run make setup, or give MODEL=dir"
	write_texts >"$data/texts.txt"
	[ "$(wc -l <"$data/texts.txt")" -ge 2000 ] || skip "fewer than 2,000 texts: run apt-get update, or give TEXTS=file"
	say "embedding $(wc -l <"$data/texts.txt") texts"
	run -v model_dir="$BR_MODEL_DIR" -v threads="$(nproc)" -f test/bench/ann_embed.sql <"$data/texts.txt"
	run -c "\\copy (SELECT id, v FROM embedded WHERE place > 1000 ORDER BY id) TO '$data/base.new' WITH (FORMAT binary)" \
		-c "\\copy (SELECT place, v FROM embedded WHERE place <= 1000 ORDER BY place) TO '$data/queries.copy' WITH (FORMAT binary)" \
		-c 'DROP TABLE described, embedded'
	rm -f "$data"/truth-*
	mv "$data/base.new" "$data/base.copy"
fi

# Ids of perturbed copies begin at a million, those of rows to be inserted at ten million.
run -f test/bench/ann.sql
run -c "\\copy item_bundle_ann (id, v) FROM '$data/base.copy' WITH (FORMAT binary)" \
	-c "\\copy query_bundle_ann FROM '$data/queries.copy' WITH (FORMAT binary)"
base=$(value 'SELECT count(*) FROM item_bundle_ann')
turns=$((2 * runs))
copies() { python3 test/bench/ann_copies.py "$data/base.copy" "$@"; }
[ "$large" -eq 0 ] || copies 1000000 $((base * (scale - 1))) "$noise_seed" |
	run -c '\copy item_bundle_ann (id, v) FROM pstdin WITH (FORMAT binary)'
copies 1 $((inserts * turns)) $((noise_seed + 1)) | run -c '\copy pool_bundle_ann FROM pstdin WITH (FORMAT binary)'
if has pgvector; then
	run -v type="$peer_type" -f test/bench/ann_peer.sql
fi
run -c 'VACUUM (ANALYZE, FREEZE)'
rows=$(value 'SELECT count(*) FROM item_bundle_ann')
echo "rows $rows" >>"$results"

# ---- exact neighbours ----

# How far away the tenth row of each query is, without a filter and with each.
truth=$data/truth-$rows-$queries-$filter_queries.copy
if [ ! -f "$truth" ]; then
	say "searching exactly"
	for filter in 1000 $filters; do
		run -c "INSERT INTO truth
			SELECT $filter, q.id, max(n.distance), count(*) FROM query_bundle_ann q,
				LATERAL (SELECT i.v <=> q.v AS distance FROM item_bundle_ann i WHERE filter < $filter ORDER BY (i.v <=> q.v) + 0 LIMIT 10) n
			WHERE q.id <= $([ "$filter" = 1000 ] && echo "$queries" || echo "$filter_queries") GROUP BY q.id"
	done
	run -c "\\copy truth TO '$truth.new'"
	mv "$truth.new" "$truth"
	run -c 'TRUNCATE truth'
fi
run -c "\\copy truth FROM '$truth'"

# ---- build ----

definition() {
	case $1 in
		pgvector) echo "USING hnsw (v ${peer_type}_cosine_ops) WITH (m = 16, ef_construction = 64)" ;;
		bundle_ann) echo "USING bundle_ann (v)" ;;
	esac
}

# measure_build SYSTEM MEGABYTES: seconds with two processes; the index stays
measure_build() {
	local ms
	run -c "DROP INDEX IF EXISTS index_$1" -c CHECKPOINT
	ms=$(run -c "SET maintenance_work_mem = '$2MB'" -c 'SET max_parallel_maintenance_workers = 1' -c 'SET client_min_messages = notice' \
		-c '\timing on' -c "CREATE INDEX index_$1 ON item_$1 $(definition "$1")" 2>>"$work/notices" | awk '/^Time/ { print $2 }') || { tail -n 5 "$work/notices" >&2; exit 1; }
	printf 'build %s %s %s\n' "$1" "$2" "$(awk -v ms="$ms" 'BEGIN { print ms / 1000 }')" >>"$results"
}
for turn in $(seq "$builds"); do
	say "building, $turn of $builds"
	! has pgvector || measure_build pgvector "$memory"
	! has bundle_ann || { measure_build bundle_ann 64; measure_build bundle_ann "$memory"; }
done
grep -i 'no longer fits' "$work/notices" >&2 || true
for system in pgvector bundle_ann; do
	has "$system" || continue
	value "SELECT 'size $system ' || pg_relation_size('index_$system') / $rows FROM pg_prewarm('index_$system') i, pg_prewarm('item_$system') t" >>"$results"
done

# ---- searches ----

# A configuration is a word: system/filter/setting=value,...; without a filter the filter is 1000.
configs=()
both() {
	local i
	local -n theirs=$1 ours=$2
	for ((i = 0; i < (${#theirs[@]} > ${#ours[@]} ? ${#theirs[@]} : ${#ours[@]}); i++)); do
		configs+=(${theirs[i]:+"${theirs[i]}"} ${ours[i]:+"${ours[i]}"})
	done
}
peer=() mine=()
for ef in $efs; do peer+=("pgvector/1000/hnsw.ef_search=$ef"); done
for recall in $recalls; do mine+=("bundle_ann/1000/bundle_rec.recall=$recall"); done
both peer mine
for filter in $filters; do
	strict="pgvector/$filter/hnsw.iterative_scan=strict_order"
	most=hnsw.max_scan_tuples=$((rows * 2)),hnsw.scan_mem_multiplier=100
	peer=("$strict,hnsw.ef_search=40" "$strict,hnsw.ef_search=40,$most" "$strict,hnsw.ef_search=200,$most")
	mine=("bundle_ann/$filter/bundle_rec.scan_order=strict" "bundle_ann/$filter/bundle_rec.scan_order=relaxed")
	both peer mine
done
! has exact || configs+=(exact/1000/exact)

# From a configuration: system, filter, and the settings of its connections.
parse() {
	IFS=/ read -r system filter settings <<<"$1"
	options=$PGOPTIONS
	[ "$settings" = exact ] || options+=" -c ${settings//,/ -c }"
	if [ "$system" = exact ]; then table=bundle_ann order=' + 0'; else table=$system order=; fi
	condition=
	[ "$filter" = 1000 ] || condition=" WHERE filter < $filter"
}
# Nearest to what the argument names.
search() { echo "SELECT id FROM item_$table$condition ORDER BY (v <=> $1)$order LIMIT 10"; }
force="-c enable_seqscan=off"

measure_recall() {
	local plan ids
	parse "$1"
	ids=$(search q.v)
	plan=$(PGOPTIONS=$options value "EXPLAIN $(search "(SELECT v FROM query_$table WHERE id = 1)")")
	echo "plan $1 $([[ $plan == *"using index_"* ]] && echo index || echo sort)" >>"$results"
	PGOPTIONS="$options $force" run -c "CREATE TEMPORARY TABLE found AS
		SELECT q.id, ARRAY($ids) AS ids FROM query_$table q JOIN truth t ON t.query = q.id AND t.filter = $filter" \
		-At -c "SELECT concat_ws(' ', 'recall', '$1', round(avg(hits::numeric / t.rows), 4), round(avg((cardinality(ids) < t.rows)::int), 4))
			FROM found f JOIN truth t ON t.query = f.id AND t.filter = $filter,
			LATERAL (SELECT count(*) AS hits FROM item_bundle_ann i, query_bundle_ann q
				WHERE i.id = ANY (f.ids) AND q.id = f.id AND (i.v <=> q.v) <= t.distance + 1e-6) h" >>"$results"
}

# Queries a second, and milliseconds at quantiles .5 and .99.
measure_speed() {
	parse "$1"
	printf '%s\n' "\\set q random(1, $queries)" "$(search "(SELECT v FROM query_$table WHERE id = :q)");" >"$work/search.sql"
	rm -f "$work"/latency*
	PGOPTIONS="$options $force" pgbench -n -c 1 -T "$seconds" -M prepared --random-seed="$2" -f "$work/search.sql" \
		-l --log-prefix="$work/latency" postgres >"$work/pgbench.out" 2>&1 || { cat "$work/pgbench.out" >&2; exit 1; }
	sort -n -k3,3 "$work"/latency* | awk -v config="$1" -v tps="$(awk '/^tps/ { print $3 }' "$work/pgbench.out")" '{ t[NR] = $3 / 1000 }
		END { print "speed", config, tps, t[int((NR + 1) * .5)], t[int(NR * .99 + .5)] }' >>"$results"
}

say "measuring recall"
chosen=()
for config in "${configs[@]}"; do
	has "${config%%/*}" || continue
	measure_recall "$config"
	chosen+=("$config")
done
for turn in $(seq "$runs"); do
	say "searching, turn $turn of $runs"
	for config in "${chosen[@]}"; do measure_speed "$config" "$turn"; done
done

# ---- inserts ----

# measure_insert SYSTEM ROWS_OF_A_TRANSACTION: rows a second of four connections
first=1
measure_insert() {
	local rows=$inserts tps
	[ "$1" = bundle_ann ] || rows=$((inserts / 10))
	printf '%s\n' '\set k :first + :client_id * :each + :i' "\\set i :i + $2" \
		"INSERT INTO item_$1 (id, v) SELECT 10000000 + id, v FROM pool_$1 WHERE id BETWEEN :k AND :k + $(($2 - 1));" >"$work/insert.sql"
	pgbench -n -c 4 -j 2 -t $((rows / 4 / $2)) -M prepared -f "$work/insert.sql" -D first="$first" -D each=$((rows / 4)) -D i=0 \
		postgres >"$work/pgbench.out" 2>&1 || { cat "$work/pgbench.out" >&2; exit 1; }
	tps=$(awk '/^tps/ { print $3 }' "$work/pgbench.out")
	echo "insert $1 $2 $(awk -v tps="$tps" -v n="$2" 'BEGIN { print tps * n }')" >>"$results"
}
for turn in $(seq "$runs"); do
	say "inserting, turn $turn of $runs"
	for each in 1 10; do
		for system in pgvector bundle_ann; do
			! has "$system" || measure_insert "$system" "$each"
		done
		first=$((first + inserts))
	done
done

# ---- figures ----

{
	echo "$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1), $(nproc) cores; $rows embeddings of 384 dimensions; medians of $runs"
	! has pgvector || echo "pgvector $(value "SELECT extversion FROM pg_extension WHERE extname = 'vector'"), $peer_type, HNSW with m 16, ef_construction 64"
	echo "builds by 2 processes with maintenance_work_mem = $memory MB; searches by one connection, inserts by four"
	echo
	python3 test/bench/ann_table.py "$results" "$work/recall.svg"
} | tee "$work/table.txt"

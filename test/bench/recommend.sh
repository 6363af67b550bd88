#!/bin/bash
# recommend.sh: latency of decisions on 100,000 items, and what a connection costs.
#
# One connection, warm, with synchronous_commit = off: what is measured is our
# work and the log's insertion, not how long the disk takes to flush a commit.
# Each figure is the median over RUNS runs of CALLS calls, timed by pgbench from
# sending a statement to its result. One line per figure; see README.md.
#
#   ITEMS=100000 BASKETS=300000 CALLS=2000 RUNS=3    sizes
#   PROFILE=1                                        adds where recommend spends its time
set -euo pipefail
cd "$(dirname "$0")/../.."
items=${ITEMS:-100000} baskets=${BASKETS:-300000} calls=${CALLS:-2000} runs=${RUNS:-3}

trap 'tools/cluster remove bench' EXIT
tools/cluster files bench
# pg_stat_statements would cost every statement inside a function its share
tools/cluster start bench shared_buffers=1GB maintenance_work_mem=256MB max_wal_size=4GB fsync=off \
	${PROFILE:+shared_preload_libraries=pg_stat_statements pg_stat_statements.track=all}
eval "$(tools/cluster env bench)"
work=$BR_HOME/work
mkdir -p "$work"

started=$SECONDS
psql -Xq -d postgres -v items="$items" -v baskets="$baskets" -v golden_dir="$BR_GOLDEN_DIR" -f test/bench/recommend.sql
echo "set-up: $((SECONDS - started)) s"

# ---- latency ----

settings="-c synchronous_commit=off -c client_min_messages=error -c search_path=bundle_rec,public"
write() { printf '%s\n' "${@:2}" >"$work/$1.sql"; }
write recommend_basket '\set a random(1, :items)' '\set b random(1, :items)' \
	"SELECT * FROM recommend('shop', basket => ARRAY[:a::text, :b::text]);"
# as likely as they are bought: such items have many partners
write recommend_bought '\set a random(1, :sales)' '\set b random(1, :sales)' \
	"SELECT * FROM recommend('shop', basket => ARRAY(SELECT id::text FROM sale WHERE n IN (:a, :b)));"
write recommend_user '\set u random(0, 29999)' "SELECT * FROM recommend('shop', user_id => 'u' || :u);"
write recommend_items '\set a random(1, :items)' '\set b random(1, :items)' \
	"SELECT * FROM recommend_items('shop', basket => ARRAY[:a::text, :b::text]);"
write feedback '\set d random(1, :decisions)' '\set i :i + 1' \
	"SELECT feedback((SELECT decision_id FROM made WHERE n = :d), 1, 'click', 1, :tag || '.' || :i);"

# Milliseconds at quantiles .5 and .99 of one run.
measure() {
	rm -f "$work"/latency*
	PGOPTIONS=$settings pgbench -n -c 1 -t "$calls" -f "$work/$1.sql" -D items="$items" -D sales="$sales" \
		-D decisions="$decisions" -D i=0 -D tag="'$1$2'" -l --log-prefix="$work/latency" postgres >"$work/pgbench.out" 2>&1 ||
		{ cat "$work/pgbench.out" >&2; exit 1; }
	sort -n -k3,3 "$work"/latency* | awk '{ t[NR] = $3 / 1000 }
		END { printf "%.2f %.2f\n", t[int((NR + 1) * .5)], t[int((NR + 1) * .99)] }'
}
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

psql -Xq -d postgres -c "CREATE TABLE sale AS SELECT row_number() OVER (ORDER BY receipt, id) AS n, id FROM purchase" \
	-c "CREATE UNIQUE INDEX ON sale (n)" -c "ANALYZE sale"
sales=$(psql -XAtq -d postgres -c "SELECT count(*) FROM sale")
decisions=0
measure recommend_basket 0 >/dev/null		# warms the caches, and makes decisions to give feedback on
psql -Xq -d postgres -c "CREATE TABLE made AS SELECT row_number() OVER (ORDER BY decision_id) AS n, decision_id FROM bundle_rec.decision_1" \
	-c "CREATE UNIQUE INDEX ON made (n)" -c "ANALYZE made"
decisions=$(psql -XAtq -d postgres -c "SELECT count(*) FROM made")

names="recommend_basket recommend_bought recommend_user recommend_items feedback"
# latencies SUFFIX: medians over the runs, each name with that suffix
latencies() {
	for run in $(seq "$runs"); do
		for name in $names; do measure "$name" "$1$run" >>"$work/$name$1.result"; done
	done
	for name in $names; do
		printf '%-26s p50 %6.2f ms   p99 %6.2f ms\n' "$name$1" "$(cut -d' ' -f1 "$work/$name$1.result" | median)" \
			"$(cut -d' ' -f2 "$work/$name$1.result" | median)"
	done
}
latencies ""

# ---- with everything learned ----

psql -XAtq -d postgres -c "SET client_min_messages = error" -c "SET bundle_rec.threads = 0" \
	-c "SELECT format('fit %s: %s s', kind, round(seconds::numeric, 1)) FROM bundle_rec.fit('shop')"
psql -Xq -d postgres -c "VACUUM ANALYZE"
latencies " (fitted)"

# Decisions per second of 1 and of 16 connections.
rate() {
	PGOPTIONS=$settings pgbench -n -c "$1" -j 2 -T 10 -f "$work/recommend_bought.sql" -D items="$items" -D sales="$sales" \
		postgres 2>/dev/null | sed -n 's/^tps = \([0-9.]*\).*/\1/p'
}
one=$(rate 1)
many=$(rate 16)
echo "decisions a second: $one over one connection, $many over 16, $(awk "BEGIN { printf \"%.2f\", $many / $one }") times as many on $(nproc) cores"

# ---- refresh ----

for run in $(seq "$runs"); do
	psql -XAtq -d postgres -c "SET client_min_messages = error" -c "SET search_path = public, bundle_rec" -c '\timing on' -c '\timing off' \
		-c "INSERT INTO purchase SELECT 10000000 + $run * 1000 + i / 4, 'u' || i % 30000, 1 + (i * 7919 + $run) % $items, now() FROM generate_series(1, 1000) i" \
		-c '\timing on' -c "SELECT refresh('shop')" | sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p' | tail -1 >>"$work/refresh.result"
done
echo "refresh after 1,000 new events: $(median <"$work/refresh.result") ms"

# ---- memory ----

# Growth from before a connection's first call; the packed model file exists by then.
printf '%s\n' 'SELECT pg_backend_pid() AS pid \gset' "\setenv LOOK 'bash test/bench/private_dirty.sh ':pid" '\! $LOOK' \
	"SELECT count(embed(title, 'tiny')) FROM (SELECT title FROM product LIMIT 100) p \\g /dev/null" \
	"SELECT count(*) FROM generate_series(1, 20) i, recommend('shop', basket => ARRAY[i::text, (i * 3)::text]) \\g /dev/null" \
	"SELECT count(*) FROM similar_items('shop', '17') \\g /dev/null" '\! $LOOK' >"$work/memory.sql"
for run in $(seq "$runs"); do
	# a process may look at another's memory as its user or as root
	PGOPTIONS=$settings psql -Xq -d postgres -f "$work/memory.sql" |
		awk '/Private_Dirty/ { kb[++n] = $2 } END { printf "%.2f\n", (kb[2] - kb[1]) / 1024 }'
done >"$work/memory.result"
echo "a further connection: $(median <"$work/memory.result") MB private, after embed, recommend and similar_items"

# ---- profile ----

if [ -n "${PROFILE:-}" ]; then
	echo; echo "where recommend spends its time (pg_stat_statements):"
	psql -Xq -d postgres -c 'SELECT pg_stat_statements_reset()' >/dev/null
	measure recommend_bought profile >/dev/null
	psql -X -d postgres -c "SELECT round(total_exec_time::numeric / $calls, 3) AS ms_per_decision, calls / $calls.0 AS calls, rows / $calls AS rows,
		left(regexp_replace(query, '\s+', ' ', 'g'), 150) AS statement FROM pg_stat_statements WHERE calls >= $calls / 10 ORDER BY total_exec_time DESC LIMIT 20"
fi

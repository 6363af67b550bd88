#!/bin/bash
# sync.sh: what it costs to follow a shop: triggers and sync beside plain SQL.
#
# Three comparisons, in one run on one server. A statement that writes to a
# source is timed beside the same statement on a table alike without triggers,
# in turn, RUNS times each; one row at a time by pgbench, ROWS rows at a time by
# psql. Loading a source by sync, and comparing it again, is timed beside
# INSERT ... SELECT of the same rows into a table with the source's key. One
# line per figure; see README.md.
#
#   ITEMS=1000000 EVENTS=10000000 ROWS=10000 RUNS=11 CALLS=3000    sizes
set -euo pipefail
cd "$(dirname "$0")/../.."
items=${ITEMS:-1000000} events=${EVENTS:-10000000} rows=${ROWS:-10000} runs=${RUNS:-11} calls=${CALLS:-3000}

trap 'tools/cluster remove bench' EXIT
tools/cluster files bench
tools/cluster start bench shared_buffers=1GB maintenance_work_mem=256MB max_wal_size=16GB fsync=off \
	autovacuum=off checkpoint_timeout=1h
eval "$(tools/cluster env bench)"
work=$BR_HOME/work
mkdir -p "$work"
run() { psql -Xq -d postgres -v ON_ERROR_STOP=1 "$@"; }
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

run -v golden_dir="$BR_GOLDEN_DIR" -f test/bench/sync.sql

# ---- one row at a time ----

# Milliseconds of an average call.
one() {
	pgbench -n -c 1 -t "$calls" -M prepared -f "$work/$1.sql" postgres 2>&1 | awk '/latency average/ { print $4 }'
}
echo "INSERT INTO sale_plain (basket, sku, usr, at) VALUES (1, 1, 1, now());" >"$work/sale_plain.sql"
echo "INSERT INTO sale (basket, sku, usr, at) VALUES (1, 1, 1, now());" >"$work/sale.sql"
for table in product_plain product; do
	echo "INSERT INTO $table VALUES (nextval('one'), 'a product of some name', 9.99, 5, 'c1');" >"$work/$table.sql"
	echo "UPDATE $table SET stock = stock - 1 WHERE sku = 17;" >"$work/${table}_stock.sql"
done
names="sale product"
for round in $(seq "$runs"); do
	for name in sale_plain sale product_plain product product_plain_stock product_stock; do
		one "$name" >>"$work/one.$name"
	done
done
figure() {
	local plain with
	plain=$(median <"$work/one.$2")
	with=$(median <"$work/one.$3")
	awk -v what="$1" -v a="$plain" -v b="$with" 'BEGIN {
		printf "%-44s plain %7.1f us   followed %7.1f us   overhead %6.1f us\n", what, a * 1000, b * 1000, (b - a) * 1000 }'
}
figure "an event, one INSERT" sale_plain sale
figure "an item, one INSERT" product_plain product
figure "the stock of an item, one UPDATE" product_plain_stock product_stock

# ---- many rows in a statement ----

statement() { run -c '\timing on' -c "$1" | awk '/^Time/ { print $2 }'; }
for round in $(seq "$runs"); do
	for table in product_plain product; do
		run -c "DELETE FROM $table WHERE sku > 10000000"
		statement "INSERT INTO $table SELECT 10000000 + i, 'product number ' || i, i % 100 + .99, i % 50, 'c' || i % 20 FROM generate_series(1, $rows) i" >>"$work/many.insert.$table"
		statement "UPDATE $table SET price = price + 1 WHERE sku > 10000000" >>"$work/many.update.$table"
		statement "DELETE FROM $table WHERE sku > 10000000" >>"$work/many.delete.$table"
	done
	for table in sale_plain sale parted_plain parted; do
		statement "INSERT INTO $table (basket, sku, usr, at) SELECT i / 3, i % 9999 + 1, i % 977, timestamptz '2024-01-01' + i * interval '1 minute' FROM generate_series(1, $rows) i" >>"$work/many.insert.$table"
	done
done
many() {
	local plain with
	plain=$(median <"$work/many.$2")
	with=$(median <"$work/many.$3")
	awk -v what="$1" -v a="$plain" -v b="$with" 'BEGIN {
		printf "%-44s plain %7.1f ms   followed %7.1f ms   overhead %5.2f x the statement\n", what, a, b, (b - a) / a }'
}
many "$rows events, INSERT" insert.sale_plain insert.sale
many "$rows events, INSERT, partitioned" insert.parted_plain insert.parted
many "$rows items, INSERT" insert.product_plain insert.product
many "$rows items, UPDATE of the price" update.product_plain update.product
many "$rows items, DELETE" delete.product_plain delete.product

# ---- sync ----

run -v items="$items" -v events="$events" -f test/bench/sync_load.sql

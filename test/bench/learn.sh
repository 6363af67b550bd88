#!/bin/bash
# learn.sh: factorisation of implicit feedback beside the library implicit.
#
# Both learn 64 factors of the same matrix by the same number of iterations, with
# conjugate gradients and exactly, on one thread and on two, in turns; the time is
# that of the fitting call, the figure a median. Objectives show that both did the
# same. Then BPR and the lists of nearest items, ours alone.
#
#   RUNS=5                turns
#   USERS=100000 ITEMS=20000 EVENTS=1000000    drawn by Zipf's law; doubles are added up
#   FACTORS=64 ITERATIONS=15 EPOCHS=15 LIST_ITEMS=100000
#   SOLVERS="cg cholesky" THREADS="1 2"
#   BENCH_VENV=dir        a Python environment that has implicit, instead of build/learn-venv
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${BUILD:-build}
runs=${RUNS:-5}
venv=${BENCH_VENV:-$build/learn-venv}
pins="implicit==0.7.3 numpy==2.4.6 scipy==1.17.1"
factors=${FACTORS:-64} iterations=${ITERATIONS:-15}
export OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1

say() { echo "learn: $*" >&2; }

peer=yes
if [ ! -x "$venv/bin/python" ] && [ -z "${BENCH_VENV:-}" ]; then
	say "installing implicit into $venv"
	{ python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --disable-pip-version-check $pins; } ||
		{ rm -rf "$venv"; say "left out: implicit, which could not be installed"; peer=; }
fi
python() { "$venv/bin/python" -W ignore test/bench/learn_peer.py "$@"; }
[ -z "$peer" ] || version=$(python version 2>/dev/null) || { say "left out: implicit is not in $venv"; peer=; }

ours() { "$build/test/bench/bench_learn" "$@"; }
work=$build/bench-learn
rm -rf "$work"
mkdir -p "$work"
make --no-print-directory -f src/core.mk BUILD="$build" "$build/test/bench/bench_learn" >"$work/log" 2>&1 ||
	{ cat "$work/log" >&2; exit 1; }
ours matrix "${USERS:-100000}" "${ITEMS:-20000}" "${EVENTS:-1000000}" "$work/matrix"

# median FILE COLUMN; spread FILE: the longest of the runs as a multiple of the shortest
median() { sort -n -k "$2,$2" "$1" | awk -v c="$2" '{ v[NR] = $c } END { print v[int((NR + 1) / 2)] }'; }
spread() { sort -n "$1" | awk 'NR == 1 { low = $1 } END { printf "%.2f", $1 / low }'; }

# line FILE NAME [OTHER]: seconds, what the turns lie apart, objective, times the other's
line()
{
	printf '  %-16s %8.2f s (turns lie within %s), objective %s' \
		"$2" "$(median "$1" 1)" "$(spread "$1")" "$(median "$1" 2)"
	[ -z "${3:-}" ] || awk -v a="$(median "$1" 1)" -v b="$(median "$3" 1)" 'BEGIN { printf ", ratio %.2f", a / b }'
	echo
}

for solver in ${SOLVERS:-cg cholesky}; do
	for threads in ${THREADS:-1 2}; do
		mine=$work/ours-$solver-$threads theirs=$work/implicit-$solver-$threads
		for _ in $(seq "$runs"); do
			ours als "$work/matrix" "$factors" "$iterations" "$threads" "$solver" >>"$mine"
			[ -z "$peer" ] || python als "$work/matrix" "$factors" "$iterations" "$threads" "$solver" >>"$theirs"
		done
		echo "ALS, $solver, $factors factors, $iterations iterations, threads: $threads"
		if [ -n "$peer" ]; then
			line "$theirs" "implicit $version"
			line "$mine" bundle_rec "$theirs"
		else
			line "$mine" bundle_rec
		fi
	done
done

epochs=${EPOCHS:-15}
for _ in $(seq "$runs"); do ours bpr "$work/matrix" "$factors" "$epochs" >>"$work/bpr"; done
echo "BPR, $factors factors, $epochs epochs, one thread:" \
	"$(median "$work/bpr" 1) s, entries above random items: $(median "$work/bpr" 2)"

items=${LIST_ITEMS:-100000}
ours matrix "${USERS:-100000}" "$items" "${EVENTS:-1000000}" "$work/wide" >/dev/null
ours lists "$work/wide" "$factors" 50 >"$work/lists"
echo "50 nearest of $items items, $factors factors, one thread: $(median "$work/lists" 1) s"

#!/bin/bash
# train.sh: tokens per second of a contrastive training step beside PyTorch.
#
# Both take steps on 64 pairs of real titles, cut to 64 tokens, with
# all-MiniLM-L6-v2 in f32: forward, backward, clipping, AdamW. Systems take turns;
# figures are medians. README.md says more.
#
#   RUNS=3  STEPS=3  DROPOUT=0.1    turns, steps of each, share of what is dropped
#   THREADS="1 2"
#   BACKENDS="openblas onednn"
#   CLOCK=cpu        time on the processor, with one thread: for a look on a busy machine
#   BENCH_VENV=dir   a Python environment that has torch, instead of build/train-venv
#   DATA=dir         the folder that holds bundlerec_electronic
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${BUILD:-build}
runs=${RUNS:-3} steps=${STEPS:-3} dropout=${DROPOUT:-0.1}
venv=${BENCH_VENV:-$build/train-venv}
pins="torch==2.15.0 numpy==2.4.6"
export BR_BACKEND_DIR=$build
[ "${CLOCK:-}" != cpu ] || THREADS=1

skip() { echo "train: skipped: $*"; exit 0; }
say() { echo "train: $*" >&2; }

titles=${DATA:-../shared/data}/bundlerec_electronic/item_titles.csv
[ -f "$titles" ] || skip "there is no $titles; give DATA=dir"
model=$(tools/model path 2>/dev/null) || skip "all-MiniLM-L6-v2 is not there; run make setup, or give MODEL=dir"
peer=yes
if [ ! -x "$venv/bin/python" ] && [ -z "${BENCH_VENV:-}" ]; then
	say "installing PyTorch into $venv: some gigabytes, some minutes"
	{ python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --disable-pip-version-check $pins; } ||
		{ rm -rf "$venv"; say "left out: PyTorch, which could not be installed"; peer=; }
fi
[ -z "$peer" ] || "$venv/bin/python" -W ignore -c 'import torch' 2>/dev/null ||
	{ say "left out: torch is not in $venv"; peer=; }

work=$build/bench-train
rm -rf "$work"
mkdir -p "$work"
make --no-print-directory -f src/core.mk BUILD="$build" backends "$build/test/bench/bench_train" >"$work/log" 2>&1 ||
	{ cat "$work/log" >&2; exit 1; }
python3 test/bench/encoder_texts.py "$titles" none "$work"
"$build/test/bench/bench_train" --write "$work/tokens" "$model" "$work/titles"

ours() { "$build/test/bench/bench_train" --backend "$1" --threads "$2" --dropout "$dropout" --steps "$steps" "$model" "$work/titles"; }
torch() { "$venv/bin/python" -W ignore test/bench/train_peer.py "$1" "$dropout" "$steps" "$model" "$work/tokens"; }
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
spread() { sort -n "$1" | awk 'NR == 1 { low = $1 } END { printf "%.2f", $1 / low }'; }

for threads in ${THREADS:-1 2}; do
	for _ in $(seq "$runs"); do
		for backend in ${BACKENDS:-openblas onednn}; do
			ours "$backend" "$threads" >>"$work/$backend-$threads"
		done
		[ -z "$peer" ] || torch "$threads" >>"$work/torch-$threads"
	done
	for system in ${BACKENDS:-openblas onednn} ${peer:+torch}; do
		file=$work/$system-$threads
		printf '  %-9s %d threads %6.0f tokens/s (turns lie within %s)' \
			"$system" "$threads" "$(median "$file")" "$(spread "$file")"
		[ -z "$peer" ] || [ "$system" = torch ] ||
			awk -v a="$(median "$file")" -v b="$(median "$work/torch-$threads")" 'BEGIN { printf ", ratio %.2f", a / b }'
		echo
	done
done

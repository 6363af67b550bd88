#!/bin/bash
# bench.sh: the CUDA backend beside sentence-transformers, on the same device in one run.
#
#   test/cuda/bench.sh PROGRAM    the bench_cuda that was built; make -f src/core.mk cuda-bench runs this
#
# Prints a line for each figure; where Python has torch and sentence-transformers,
# theirs follow, and the ratios.
set -euo pipefail
cd "$(dirname "$0")/../.."
titles=${BR_TEST_DIR:-test/golden}/all-MiniLM-L6-v2.json
figures=$(mktemp)
trap 'rm -f "$figures"' EXIT

"$1" "$titles" | tee "$figures"
if grep -q '^skipped: There is no' "$figures"; then
	exit 0
fi
if ! python3 -c 'import sentence_transformers, torch; assert torch.cuda.is_available()' 2>/dev/null; then
	echo 'skipped: sentence-transformers with torch on a device is not installed'
	exit 0
fi
python3 test/cuda/bench_peer.py "$titles" "$figures"

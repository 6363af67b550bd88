#!/bin/bash
# bandit_replay.sh: a log of uniform choices replayed through LinUCB, beside peers.
#
# Part of bandit.sh. All replay the same rows: choose, and where the choice is the
# logged one, learn. Our time is that of the whole statement, reading the table
# included; the peers' that of choosing and learning alone.
#
#   REPLAY_ROWS=1000000       of the log
#   MABWISER_ROWS=20000       its first rows for MABWiser, whose time is scaled up
#   PEER_PYTHON=python3       one that has numpy, and of sb-obp, mabwiser and
#                             vowpalwabbit what is to be compared; others are left out
#   RUNS=3                    of ours; the median counts
set -euo pipefail
rows=${REPLAY_ROWS:-1000000} some=${MABWISER_ROWS:-20000} runs=${RUNS:-3}
python=${PEER_PYTHON:-python3}
tool=test/bench/bandit_replay.py

"$python" -c 'import numpy' 2>/dev/null || { echo "replay: skipped: $python has no numpy"; exit 0; }
"$python" "$tool" log "$rows" "$work/replay_log"
head -n "$some" "$work/replay_log" >"$work/replay_first"

export PGOPTIONS="-c search_path=bundle_rec,public -c client_min_messages=warning -c jit=off"
run() { psql -Xqtd postgres -v ON_ERROR_STOP=1 "$@"; }
run -f test/bench/bandit_replay.sql >/dev/null
run -c '\copy replay_log FROM STDIN' <"$work/replay_log"
run -c 'VACUUM ANALYZE replay_log'

for i in $(seq "$runs"); do
	run -c '\timing on' -c "SELECT n, value FROM evaluate_policy('replayed',
		'SELECT arm, reward, propensity, context FROM replay_log', learning => true)" >"$work/replay_ours"
	awk '/Time/ { print $2 / 1000 }' "$work/replay_ours"
done | sort -n >"$work/replay_seconds"
ours=$(sed -n "$(((runs + 1) / 2))p" "$work/replay_seconds")
awk -F'|' -v s="$ours" 'NF == 2 { printf "bundle_rec LinUCB: %.2f s, agreed %d, mean reward %.6f\n", s, $1, $2 }' \
	"$work/replay_ours"

# peer NAME LABEL FILE SCALE: one line, with how many times as long as ours it took
peer()
{
	local line
	if ! line=$("$python" "$tool" "$1" "$3" 2>"$work/replay_error"); then
		echo "$2: left out: $(tail -n 1 "$work/replay_error")"
		return
	fi
	echo "$line" | awk -v ours="$ours" -v name="$2" -v scale="$4" '{ s = $2 * scale
		printf "%s: %.2f s, %.1f times ours", name, s, s / ours
		if (scale > 1) printf " (scaled from %.2f s)", $2
		if ($3 >= 0) printf ", agreed %d, mean reward %s", $3, $4
		printf "\n" }'
}
peer vw "Vowpal Wabbit SquareCB (explore_eval)" "$work/replay_log" 1
peer obp "sb-obp LinUCB" "$work/replay_log" 1
peer mabwiser "MABWiser LinUCB" "$work/replay_first" "$((rows / some))"

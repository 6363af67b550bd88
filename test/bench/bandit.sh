#!/bin/bash
# bandit.sh: bandits and their evaluation.
#
# Starts a private server and runs every part test/bench/bandit_NAME.sh on it, or
# those of PARTS; see README.md. A part finds the server by PGHOST and PGPORT, the
# extension installed in the database postgres, and a folder of its own in $work.
#
#   PARTS="ope ..."    only these
set -euo pipefail
cd "$(dirname "$0")/../.."

trap 'tools/cluster remove bench' EXIT
tools/cluster files bench
tools/cluster start bench shared_buffers=2GB work_mem=64MB max_wal_size=16GB fsync=off autovacuum=off \
	checkpoint_timeout=1h max_connections=250 log_lock_waits=on deadlock_timeout=50ms
eval "$(tools/cluster env bench)"
export work=$BR_HOME/work
mkdir -p "$work"
psql -Xq -d postgres -v ON_ERROR_STOP=1 -c 'CREATE EXTENSION bundle_rec'

for part in test/bench/bandit_*.sh; do
	name=${part#test/bench/bandit_}
	name=${name%.sh}
	[[ " ${PARTS-$name} " == *" $name "* ]] || continue
	echo "== $name"
	"$part"
done

#!/usr/bin/env bash
# Evaluate with several processes on one or more machines.
# Environment: NNODES (1), NODE_RANK (0), MASTER_ADDR (127.0.0.1), PORT (29500).
set -euo pipefail
usage() {
    echo "usage: $0 CONFIG CHECKPOINT PROCESSES_PER_NODE [options of tools/test.py]" >&2
    exit 1
}
if [ $# -lt 3 ]; then
    usage
fi
config=$1
checkpoint=$2
processes=$3
shift 3
# an option in this place means that the number was forgotten
[[ $processes =~ ^([1-9][0-9]*|auto|cpu|gpu)$ ]] || usage
tools=$(dirname "${BASH_SOURCE[0]}")
exec python "$tools/torchrun.py" \
    --nnodes "${NNODES:-1}" --node-rank "${NODE_RANK:-0}" \
    --master-addr "${MASTER_ADDR:-127.0.0.1}" --master-port "${PORT:-29500}" \
    --nproc-per-node "$processes" \
    "$tools/test.py" "$config" "$checkpoint" --launcher pytorch "$@"

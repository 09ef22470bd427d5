#!/usr/bin/env bash
# Train with several processes on one or more machines.
# Environment: NNODES (1), NODE_RANK (0), MASTER_ADDR (127.0.0.1), PORT (29500), MAX_RESTARTS (0).
set -euo pipefail
usage() {
    echo "usage: $0 CONFIG PROCESSES_PER_NODE [options of tools/train.py]" >&2
    exit 1
}
if [ $# -lt 2 ]; then
    usage
fi
config=$1
processes=$2
shift 2
# an option in this place means that the number was forgotten
[[ $processes =~ ^([1-9][0-9]*|auto|cpu|gpu)$ ]] || usage
tools=$(dirname "${BASH_SOURCE[0]}")
exec python "$tools/torchrun.py" \
    --nnodes "${NNODES:-1}" --node-rank "${NODE_RANK:-0}" \
    --master-addr "${MASTER_ADDR:-127.0.0.1}" --master-port "${PORT:-29500}" \
    --nproc-per-node "$processes" --max-restarts "${MAX_RESTARTS:-0}" \
    "$tools/train.py" "$config" --launcher pytorch "$@"

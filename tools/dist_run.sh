#!/usr/bin/env bash
# Run a tool with several processes on one or more machines.
# Called by dist_train.sh and dist_test.sh as: dist_run.sh TOOL PROCESSES_PER_NODE ARGUMENTS.
# Environment: NNODES (1), NODE_RANK (0), MASTER_ADDR (127.0.0.1), PORT (29500), MAX_RESTARTS (0).
set -euo pipefail
tool=$1
processes=$2
shift 2
tools=$(dirname "${BASH_SOURCE[0]}")
exec python "$tools/torchrun.py" \
    --nnodes "${NNODES:-1}" --node-rank "${NODE_RANK:-0}" \
    --master-addr "${MASTER_ADDR:-127.0.0.1}" --master-port "${PORT:-29500}" \
    --nproc-per-node "$processes" --max-restarts "${MAX_RESTARTS:-0}" \
    "$tools/$tool" "$@"

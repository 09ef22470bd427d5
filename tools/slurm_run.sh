#!/usr/bin/env bash
# Run a tool on a Slurm cluster: torchrun on each node, Slurm starts one task a node.
# Called by slurm_train.sh and slurm_test.sh as: slurm_run.sh TOOL PARTITION JOB_NAME ARGUMENTS.
# Environment: GPUS (8), GPUS_PER_NODE (8, or GPUS if that is less), CPUS_PER_GPU (5),
# PORT (29500), SRUN_ARGS (""), MAX_RESTARTS (0).
set -euo pipefail
tool=$1
partition=$2
job_name=$3
shift 3
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-8}
if [ "$gpus" -lt "$per_node" ]; then
    per_node=$gpus
fi
if [ $((gpus % per_node)) -ne 0 ]; then
    echo "error: GPUS=$gpus is not a multiple of GPUS_PER_NODE=$per_node" >&2
    exit 1
fi
nodes=$((gpus / per_node))
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# The first node of the allocation is known only inside of it, hence the inner shell.
# shellcheck disable=SC2016,SC2086
exec srun -p "$partition" --job-name="$job_name" --nodes="$nodes" --ntasks-per-node=1 \
    --gres="gpu:$per_node" --cpus-per-task="$((per_node * ${CPUS_PER_GPU:-5}))" --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    bash -c 'exec python "$3/torchrun.py" --nnodes "$0" --node-rank "$SLURM_NODEID" \
        --master-addr "$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)" \
        --master-port "$1" --nproc-per-node "$2" --max-restarts "$4" \
        "$3/$5" "${@:6}" --launcher pytorch' \
    "$nodes" "${PORT:-29500}" "$per_node" "$tools" "${MAX_RESTARTS:-0}" "$tool" "$@"

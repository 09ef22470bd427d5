#!/usr/bin/env bash
# Train on a Slurm cluster; slurm_run.sh lists the environment variables.
if [ $# -lt 3 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG [options of tools/train.py]" >&2
    exit 1
fi
exec bash "$(dirname "${BASH_SOURCE[0]}")/slurm_run.sh" train.py "$@"

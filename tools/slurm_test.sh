#!/usr/bin/env bash
# Evaluate on a Slurm cluster; slurm_run.sh lists the environment variables.
if [ $# -lt 4 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG CHECKPOINT [options of tools/test.py]" >&2
    exit 1
fi
export MAX_RESTARTS=0 # a test has no state to go on from
exec bash "$(dirname "${BASH_SOURCE[0]}")/slurm_run.sh" test.py "$@"

#!/usr/bin/env bash
# Evaluate with several processes; dist_run.sh lists the environment variables.
# an option in the place of the number means that the number was forgotten
if [[ ! ${3:-} =~ ^([1-9][0-9]*|auto|cpu|gpu)$ ]]; then
    echo "usage: $0 CONFIG CHECKPOINT PROCESSES_PER_NODE [options of tools/test.py]" >&2
    exit 1
fi
export MAX_RESTARTS=0 # a test has no state to go on from
exec bash "$(dirname "${BASH_SOURCE[0]}")/dist_run.sh" test.py "$3" \
    "$1" "$2" --launcher pytorch "${@:4}"

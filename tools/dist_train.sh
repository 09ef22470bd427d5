#!/usr/bin/env bash
# Train with several processes; dist_run.sh lists the environment variables.
# an option in the place of the number means that the number was forgotten
if [[ ! ${2:-} =~ ^([1-9][0-9]*|auto|cpu|gpu)$ ]]; then
    echo "usage: $0 CONFIG PROCESSES_PER_NODE [options of tools/train.py]" >&2
    exit 1
fi
exec bash "$(dirname "${BASH_SOURCE[0]}")/dist_run.sh" train.py "$2" \
    "$1" --launcher pytorch "${@:3}"

"""torchrun, which prints one line instead of its traceback on a failure or a signal."""

from __future__ import annotations

import signal
import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main


def describe(error: ChildFailedError) -> str:
    """Say which process failed first, and how."""
    rank, failure = error.get_first_failure()
    status = failure.exitcode
    end = signal.Signals(-status).name if status < 0 else f"status {status}"
    return f"error: the process of rank {rank} ended first, with {end}; see its messages above."


if __name__ == "__main__":
    try:
        main()
    except ChildFailedError as error:
        print(describe(error), file=sys.stderr)
        sys.exit(max(1, error.get_first_failure()[1].exitcode))
    except SignalException as error:
        print(f"error: stopped by {error.sigval.name}.", file=sys.stderr)
        sys.exit(75)  # as tools/train.py, which has saved its state

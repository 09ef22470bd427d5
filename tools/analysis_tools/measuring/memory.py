"""Peak memory of a candidate, and the largest batch within a budget: a fresh process for each."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import pickle
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path

import torch

from measuring.candidates import Candidate, count_macs
from wavemix_mm.engine.messages import error_message
from wavemix_mm.errors import UserInputError

MIB = 2**20
_MAX_BATCH = 4096
_OVER_BUDGET = 77  # exit status
_STEPS = 2  # the optimizer's state is there from the second on
_POLL_SECONDS = 0.02


def check_memory(device: str, budget: int | None = None) -> None:
    """Check, before anything runs, that memory can be measured and the budget exists.

    Raises:
        UserInputError: If not.
    """
    if device == "cuda":
        total = torch.cuda.get_device_properties(0).total_memory
    elif not Path("/proc/meminfo").exists():
        raise UserInputError("peak memory on a CPU needs Linux's /proc: add --no-memory.")
    else:
        total = _read_bytes("/proc/meminfo", "MemAvailable")
    if budget is not None and budget > total:
        raise UserInputError(
            f"--memory-budget {budget / 2**30:g}: only {total / 2**30:.1f} GiB are available."
        )


@cache
def peak_memory(
    candidate: Candidate, batch: int, is_training: bool, budget: int | None = None
) -> int | None:
    """Run two steps of a candidate in a fresh process and return the peak of its memory.

    On a CPU the peak is that of the resident set, less what was resident before the model was
    built. On a GPU it is the peak of what torch allocated. Both are in bytes.

    Returns:
        The peak; None if it is beyond the budget.

    Raises:
        RuntimeError: If the process fails.
    """
    job = pickle.dumps((candidate, batch, is_training, budget, torch.get_num_threads()))
    command = [sys.executable, "-W", "ignore", __file__]
    environment = os.environ | dict(PYTHONPATH=os.pathsep.join(sys.path))
    done = subprocess.run(command, input=job, capture_output=True, env=environment)
    if done.returncode == _OVER_BUDGET:
        return None
    if done.returncode < 0:
        raise RuntimeError(f"exit status {done.returncode}; was there enough memory?")
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace").strip().rpartition("\n")[2])
    return int(done.stdout.split()[-1])


def largest_batch(
    candidate: Candidate, budget: int, start: int = 1, limit: int = _MAX_BATCH
) -> int:
    """Find the largest training batch up to a limit whose peak is within a budget of bytes.

    The batch is doubled until it does not fit, then the interval is halved. As soon as two peaks
    are known, the next guess is where a straight line through them reaches the budget.

    Returns:
        The largest batch, 0 if not even one image fits.
    """
    good, bad, guess = 0, limit + 1, start
    peaks: list[tuple[int, int]] = []
    while bad - good > 1:
        guess = min(max(guess, good + 1), bad - 1)
        found = peak_memory(candidate, guess, is_training=True, budget=budget)
        if found is None:
            bad = guess
        else:
            good = guess
            peaks.append((good, found))
        guess = 2 * good if bad > limit else (good + bad) // 2
        if len(peaks) > 1 and peaks[-1][1] > peaks[0][1]:
            slope = (peaks[-1][1] - peaks[0][1]) / (peaks[-1][0] - peaks[0][0])
            on_line = good + int((budget - peaks[-1][1]) / slope)
            guess = on_line if on_line < bad else guess
    return good


def _measure_peak(candidate: Candidate, batch: int, is_training: bool, budget: int | None) -> int:
    """Return the peak in bytes. A peak beyond the budget ends the process."""
    # Whatever building and running imports is not the model's memory: import it before.
    logits = candidate.build()
    count_macs(logits, logits.in_channels, candidate.size)
    del logits
    on_gpu = candidate.device == "cuda"
    before = 0 if on_gpu else reset_peak()
    if budget is not None and on_gpu:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(budget / total, 1.0))
    elif budget is not None:
        threading.Thread(target=_guard, args=(before + budget,), daemon=True).start()
    step = candidate.prepare(candidate.build(), batch, is_training)
    for _ in range(_STEPS):
        step()
    if on_gpu:
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()
    return resident("VmHWM") - before


def _guard(limit: int) -> None:
    """End the process as soon as its resident set exceeds a limit, before it fills the machine."""
    while resident("VmHWM") <= limit:
        time.sleep(_POLL_SECONDS)
    os._exit(_OVER_BUDGET)


def reset_peak() -> int:
    """Start the peak of the resident set anew from what is resident now, and return that.

    Freed memory goes back to the system before: reused, it would not count.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library has no such function
        ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")


def resident(field: str) -> int:
    """Return the bytes of the resident set: 'VmRSS', now, or 'VmHWM', at its peak.

    The peak of `resource.getrusage` does not serve: a process inherits it from its parent.
    """
    return _read_bytes("/proc/self/status", field)


def _read_bytes(path: str, field: str) -> int:
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024


def _main() -> None:
    """Read a job from stdin, and print its peak or exit with the error's message."""
    candidate, batch, is_training, budget, threads = pickle.load(sys.stdin.buffer)
    torch.set_num_threads(threads)
    try:
        peak = _measure_peak(candidate, batch, is_training, budget)
    except Exception as error:  # the model may be anybody's code
        is_over = budget is not None and isinstance(error, torch.cuda.OutOfMemoryError)
        sys.exit(_OVER_BUDGET if is_over else error_message(error))
    print(peak)
    sys.exit(_OVER_BUDGET if budget is not None and peak > budget else 0)


if __name__ == "__main__":
    _main()

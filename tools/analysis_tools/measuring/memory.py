"""Peak memory of a candidate, and the largest batch within a budget: a fresh process for each."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import math
import multiprocessing
import os
import threading
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from pathlib import Path

import torch

from measuring.candidates import Candidate, count_macs
from wavemix_mm.errors import UserInputError

MIB = 2**20
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
        total = read_size("meminfo", "MemAvailable")
    if budget is not None and budget > total:
        raise UserInputError(
            f"--memory-budget {budget / 2**30:g}: only {total / 2**30:.1f} GiB are available."
        )


@cache
def peak_memory(
    candidate: Candidate, batch: int, is_training: bool, budget: int | None = None
) -> float:
    """Run two steps of a candidate in a fresh process and return the peak of its memory.

    On a CPU the peak is that of the resident set, less what was resident before the model was
    built. On a GPU it is the peak of what torch allocated. Both are in bytes, and infinite if the
    process was ended because they are beyond the budget.

    Raises:
        RuntimeError: If the process is killed without a budget. Errors of the model are raised too.
    """
    job = (candidate, batch, is_training, budget, torch.get_num_threads())
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_measure_peak, *job).result()
        except (BrokenProcessPool, torch.OutOfMemoryError) as error:
            if budget is not None:
                return math.inf
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise RuntimeError("the process was killed; was there enough memory?") from error


def largest_batch(candidate: Candidate, budget: int, start: int = 1, limit: int = 4096) -> int:
    """Find the largest training batch up to a limit whose peak is within a budget of bytes.

    The batch is doubled until it does not fit, then the interval is halved.

    Returns:
        The largest batch, 0 if not even one image fits.
    """
    good, bad = 0, limit + 1
    while bad - good > 1:
        if peak_memory(candidate, start, True, budget) <= budget:
            good = start
        else:
            bad = start
        start = min(2 * good, limit) if bad > limit else (good + bad) // 2
    return good


def _measure_peak(
    candidate: Candidate, batch: int, is_training: bool, budget: int | None, threads: int
) -> int:
    """Return the peak in bytes, in a process of its own. A CPU's budget may end the process."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
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
    return read_size("self/status", "VmHWM") - before


def _guard(limit: int) -> None:
    """End the process as soon as its resident set exceeds a limit, before it fills the machine."""
    while read_size("self/status", "VmHWM") <= limit:
        time.sleep(_POLL_SECONDS)
    os._exit(1)


def reset_peak() -> int:
    """Start the peak of the resident set anew from what is resident now, and return that.

    Freed memory goes back to the system before: reused, it would not count.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library has no such function
        ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return read_size("self/status", "VmRSS")


def read_size(file: str, field: str) -> int:
    """Return the bytes that a file in /proc states, e.g. VmHWM, the peak of the resident set.

    The peak of `resource.getrusage` does not serve: a process inherits it from its parent.
    """
    lines = Path("/proc", file).read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024

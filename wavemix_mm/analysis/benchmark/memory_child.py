"""The fresh process that memory.py starts: prints the peak of its memory, in bytes.

python -m wavemix_mm.analysis.benchmark.memory_child JOB
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch

from wavemix_mm.analysis.benchmark import candidates
from wavemix_mm.analysis.benchmark.cost import count_macs
from wavemix_mm.analysis.benchmark.memory import OVER_BUDGET, Job
from wavemix_mm.analysis.benchmark.models import build_model
from wavemix_mm.analysis.benchmark.specs import parse_spec

_STEPS = 2  # the optimizer's state is there from the second on
_POLL_SECONDS = 0.02


def main(argv: list[str]) -> None:
    """Run a job and print its peak; exit with OVER_BUDGET where it needs more than its budget."""
    job = Job.from_json(argv[0])
    torch.set_num_threads(job.threads)
    classes, is_dense = _rehearse(job)
    if job.candidate.device == "cuda":
        print(_peak_on_gpu(job, classes, is_dense))
    else:
        print(_peak_on_cpu(job, classes, is_dense))


def run_job(job: Job, classes: int, is_dense: bool) -> None:
    """Build the model and run its steps."""
    logits = build_model(parse_spec(job.candidate.spec))
    images = candidates.make_images(logits, job.batch, job.size)
    step: Callable[[], object]
    if job.is_training:
        step = candidates.make_training(job.candidate, logits, images, classes, is_dense)
    else:
        step = candidates.make_inference(job.candidate, logits, images)
    for _ in range(_STEPS):
        step()


def _rehearse(job: Job) -> tuple[int, bool]:
    """Do once what imports modules, whose memory is not the model's; return what it gives."""
    logits = build_model(parse_spec(job.candidate.spec))
    _, (_, classes, *sides) = count_macs(logits, logits.in_channels, job.size)
    return classes, bool(sides)


def resident(field: str) -> int:
    """Bytes of the resident set: 'VmRSS', now, or 'VmHWM', at its peak.

    Not getrusage's peak, in which a process also inherits that of the one that started it.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def reset_peak() -> int:
    """Let the peak of the resident set start anew from what is resident now; return that.

    Freed memory goes back to the system before: reused, it would not count.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library has no such function
        ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")


def _peak_on_cpu(job: Job, classes: int, is_dense: bool) -> int:
    before = reset_peak()
    if job.budget is not None:
        limit = before + job.budget
        threading.Thread(target=_guard, args=(limit,), daemon=True).start()
    run_job(job, classes, is_dense)
    peak = resident("VmHWM") - before
    if job.budget is not None and peak > job.budget:
        _leave()
    return peak


def _guard(limit: int) -> None:
    """Leave as soon as the resident set exceeds the limit, before it fills the machine."""
    while resident("VmHWM") <= limit:
        time.sleep(_POLL_SECONDS)
    _leave()


def _peak_on_gpu(job: Job, classes: int, is_dense: bool) -> int:
    torch.cuda.init()
    if job.budget is not None:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(job.budget / total, 1.0))
    torch.cuda.reset_peak_memory_stats()
    try:
        run_job(job, classes, is_dense)
        torch.cuda.synchronize()
    except torch.cuda.OutOfMemoryError:
        if job.budget is None:
            raise
        _leave()
    return torch.cuda.max_memory_allocated()


def _leave() -> None:
    sys.stdout.flush()
    os._exit(OVER_BUDGET)


if __name__ == "__main__":
    main(sys.argv[1:])

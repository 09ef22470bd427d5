"""Peak memory of a model, and the largest batch within a budget, in a fresh process for each."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from wavemix_mm.analysis.benchmark.candidates import Candidate
from wavemix_mm.errors import UserInputError

MIB = 2**20
# Exit status of a child that went beyond its budget.
OVER_BUDGET = 77
_MAX_BATCH = 4096
_MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True)
class Job:
    """What a fresh process is to run.

    Attributes:
        candidate: The model and how it is run.
        batch: Number of images.
        size: (H, W) of the images.
        is_training: Training steps, or inference.
        budget: Bytes that it may take; None for no limit.
        threads: Threads that torch computes with.
    """

    candidate: Candidate
    batch: int
    size: tuple[int, int]
    is_training: bool
    budget: int | None = None
    threads: int = 1

    def to_json(self) -> str:
        """Return it as a command line argument."""
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def from_json(text: str) -> Job:
        """Read what `to_json` wrote."""
        fields = json.loads(text)
        fields["candidate"] = Candidate(**fields["candidate"])
        fields["size"] = tuple(fields["size"])
        return Job(**fields)


def check_memory(device: str, budget: int | None) -> None:
    """Check, before anything runs, that memory can be measured and a budget is there.

    Raises:
        UserInputError: If not.
    """
    if device == "cuda":
        total = torch.cuda.get_device_properties(0).total_memory
    elif not _MEMINFO.exists():
        raise UserInputError("peak memory on a CPU needs Linux's /proc: add --no-memory.")
    else:
        lines = _MEMINFO.read_text().splitlines()
        total = next(int(line.split()[1]) for line in lines if "MemAvailable" in line) * 1024
    if budget is not None and budget > total:
        raise UserInputError(
            f"--memory-budget {budget / 2**30:g}: only {total / 2**30:.1f} GiB are available."
        )


@cache
def peak_memory(job: Job) -> int | None:
    """Run two steps of a job in a fresh process and return the peak of its memory.

    On a CPU this is how far the peak of the resident set exceeds what the process held before the
    model was built; on a GPU, the peak of what torch allocated there.

    Args:
        job: What to run.

    Returns:
        Bytes; None if the job needs more than its budget.

    Raises:
        RuntimeError: If the process fails otherwise, with the last line that it wrote.
    """
    package = Path(__file__).resolve().parents[3]
    path = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
    result = subprocess.run(
        [sys.executable, "-m", "wavemix_mm.analysis.benchmark.memory_child", job.to_json()],
        capture_output=True,
        text=True,
        env=os.environ | dict(PYTHONPATH=path),
    )
    if result.returncode == OVER_BUDGET:
        return None
    lines = (result.stdout if result.returncode == 0 else result.stderr).split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "no message")
    if result.returncode != 0:
        killed = "; was there enough memory?" if result.returncode < 0 else ""
        raise RuntimeError(f"exit status {result.returncode}{killed}: {last}")
    return int(last)


def largest_batch(
    peak: Callable[[int], int | None], budget: int, start: int = 1, limit: int = _MAX_BATCH
) -> int:
    """Find the largest batch whose peak is within a budget.

    The first guesses are `start` and its double, then what a straight line through the peaks so
    far promises, or the middle of what is left where it was wrong.

    Args:
        peak: Batch -> bytes, None if they are more than the budget.
        budget: Bytes.
        start: The first guess.
        limit: No larger batch is tried.

    Returns:
        The largest, 0 if not even one image fits.
    """
    good, bad = 0, limit + 1
    peaks: list[tuple[int, int]] = []
    guess = min(start, limit)
    while bad - good > 1:
        found = peak(guess)
        if found is None:
            bad = guess
        else:
            good = guess
            peaks.append((guess, found))
        guess = _next_guess(good, bad, peaks, budget, is_bounded=bad <= limit)
    return good


def _next_guess(
    good: int, bad: int, peaks: list[tuple[int, int]], budget: int, is_bounded: bool
) -> int:
    """A batch between the largest that fits and the smallest that does not."""
    guess = (good + bad) // 2 if is_bounded else 2 * good
    if len(peaks) > 1:
        (low, low_peak), (high, high_peak) = peaks[0], peaks[-1]
        if high_peak > low_peak:
            promised = high + (budget - high_peak) * (high - low) // (high_peak - low_peak)
            guess = promised if promised < bad else guess
    return min(max(guess, good + 1), bad - 1)

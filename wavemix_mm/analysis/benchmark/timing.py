"""Timing of several functions side by side, so that a change of the machine's speed hits all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch

from wavemix_mm.engine.messages import error_message

_MAX_CALLS = 1000

_Key = TypeVar("_Key")


@dataclass
class Timing:
    """What was measured of one function.

    Attributes:
        calls: Seconds of each call.
        rounds: Seconds a call, the mean of each round.
    """

    calls: list[float] = field(default_factory=list)
    rounds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Median over the calls, in seconds."""
        return float(np.median(self.calls))

    @property
    def p95(self) -> float:
        """95th percentile over the calls, in seconds."""
        return float(np.percentile(self.calls, 95))


@dataclass(frozen=True)
class Ratio:
    """How many times faster than a reference: median and quartiles over the rounds."""

    median: float
    low: float
    high: float


def speedup(reference: Timing, other: Timing) -> Ratio:
    """Compare two timings of the same `interleave`, round by round."""
    ratios = np.divide(reference.rounds, other.rounds)
    low, median, high = np.percentile(ratios, [25, 50, 75])
    return Ratio(float(median), float(low), float(high))


def interleave(
    functions: Mapping[_Key, Callable[[], object]],
    device: str,
    rounds: int,
    round_seconds: float,
    warmup: int = 2,
    on_round: Callable[[int, int], None] | None = None,
) -> tuple[dict[_Key, Timing], dict[_Key, str]]:
    """Time functions in turns: A B C, B C A, C A B, ...

    In each round each function is called as often as fits into `round_seconds`, at least once. On
    a GPU calls are queued and timed by events; their first one may also fill a cache.

    Args:
        functions: By name, functions without arguments.
        device: 'cpu' or 'cuda'.
        rounds: Number of rounds.
        round_seconds: What one function's part of a round should take.
        warmup: Calls of each function before, which are not counted.
        on_round: Called after each round with its number, and that of all.

    Returns:
        The timings; and of those that failed in the warm-up, an error in one sentence.
    """
    counts: dict[_Key, int] = {}
    failures: dict[_Key, str] = {}
    for name, function in functions.items():
        # What is measured is anybody's code: anything may be raised.
        try:
            _time_calls(function, device, max(warmup, 1))
            seconds = min(_time_calls(function, device, 1))
        except Exception as error:
            failures[name] = error_message(error)
            if device == "cuda":
                torch.cuda.empty_cache()
        else:
            counts[name] = min(max(int(round_seconds / max(seconds, 1e-9)), 1), _MAX_CALLS)
    timings = {name: Timing() for name in counts}
    names = list(counts)
    for i in range(rounds if names else 0):
        for name in _rotated(names, i):
            calls = _time_calls(functions[name], device, counts[name])
            timings[name].calls += calls
            timings[name].rounds.append(sum(calls) / len(calls))
        if on_round is not None:
            on_round(i + 1, rounds)
    return timings, failures


def _rotated(names: Sequence[_Key], by: int) -> list[_Key]:
    by %= len(names)
    return [*names[by:], *names[:by]]


def _time_calls(function: Callable[[], object], device: str, number: int) -> list[float]:
    """Seconds of each of some calls in a row."""
    if device == "cuda":
        events = [torch.cuda.Event(enable_timing=True) for _ in range(number + 1)]
        torch.cuda.synchronize()
        events[0].record()
        for event in events[1:]:
            function()
            event.record()
        torch.cuda.synchronize()
        return [a.elapsed_time(b) / 1e3 for a, b in zip(events[:-1], events[1:], strict=True)]
    seconds = []
    for _ in range(number):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return seconds

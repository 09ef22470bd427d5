"""Time functions in turns, so that a change of the machine's speed affects all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch

from wavemix_mm.engine.messages import error_message

_MAX_CALLS = 1000
_Key = TypeVar("_Key")


@dataclass
class Timing:
    """Times of one function."""

    calls: list[float] = field(default_factory=list)  # seconds of each call
    rounds: list[float] = field(default_factory=list)  # mean seconds of a call in each round
    error: str = ""  # why the function was not timed

    @property
    def median(self) -> float:
        """Median over the calls, in seconds."""
        return float(np.median(self.calls))

    def speedup(self, reference: Timing, name: str = "speedup") -> dict[str, float]:
        """Compare with a reference of the same `interleave`, round by round.

        Returns:
            Median, NAME_low and NAME_high (quartiles) of how many times faster this one is.
        """
        values = np.percentile(np.divide(reference.rounds, self.rounds), [50, 25, 75]).tolist()
        return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))


def interleave(
    functions: Mapping[_Key, Callable[[], object]],
    device: str = "cpu",
    rounds: int = 20,
    round_seconds: float = 0.2,
    warmup: int = 2,
    on_round: Callable[[], object] = lambda: None,
) -> dict[_Key, Timing]:
    """Time functions in turns: A B C, B C A, C A B, ...

    In each round each function is called as often as fits into `round_seconds`, at least once. On
    a GPU the calls are queued and timed by events. `on_round` is called after each round.

    Returns:
        The timing of each function. The `warmup` calls before the first round do not count. If a
        function fails in them, its timing has an error and no times.
    """
    timings: dict[_Key, Timing] = {name: Timing() for name in functions}
    counts: dict[_Key, int] = {}
    for name, function in functions.items():
        try:
            seconds = _time_calls(function, device, warmup + 1)[-1]
            counts[name] = min(max(int(round_seconds / max(seconds, 1e-9)), 1), _MAX_CALLS)
        except Exception as error:  # the function may be anybody's code
            timings[name].error = error_message(error)
            torch.cuda.empty_cache()
    names = list(counts)
    for i in range(rounds if names else 0):
        start = i % len(names)
        for name in names[start:] + names[:start]:
            calls = _time_calls(functions[name], device, counts[name])
            timings[name].calls += calls
            timings[name].rounds.append(sum(calls) / len(calls))
        on_round()
    return timings


def _time_calls(function: Callable[[], object], device: str, number: int) -> list[float]:
    """Return the seconds of each of some calls in a row."""
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

"""How far a long run is, and when it will be done."""

from __future__ import annotations

import datetime
import sys
import time


class Progress:
    """Prints what is being done and the time left, at most once in `interval` seconds.

    Args:
        total: Number of groups to be measured.
        interval: Defaults to half a second on a terminal, else ten.
    """

    def __init__(self, total: int, interval: float | None = None) -> None:
        self.total, self.done, self.name = total, 0, ""
        self.is_terminal = sys.stderr.isatty()
        self.interval = (0.5 if self.is_terminal else 10) if interval is None else interval
        self.start = time.monotonic()
        self.last = float("-inf")

    def begin(self, done: int, name: str) -> None:
        """Go on to the next group, after `done` of them."""
        self.done, self.name = done, name
        self.last = float("-inf")

    def __call__(self, phase: str, fraction: float) -> None:
        """Say what is being done, and how much of the group is."""
        now = time.monotonic()
        if now - self.last < self.interval:
            return
        self.last = now
        done = (self.done + fraction) / self.total
        eta = "unknown"
        if done > 0:
            seconds = round((now - self.start) * (1 - done) / done)
            eta = str(datetime.timedelta(seconds=seconds))
        line = f"[{self.done + 1}/{self.total}] {self.name}: {phase}, {done:.0%}, ETA {eta}"
        if self.is_terminal:
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the line, so that results stand below it."""
        if self.is_terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

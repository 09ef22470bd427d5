"""Show a progress bar with the time left below the log, in a terminal."""

from __future__ import annotations

import atexit
import logging
import sys
import time
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from wavemix_mm.registry import HOOKS

_SECONDS = 0.5  # between two drawings
_NAMES = dict(train="training", val="validation", test="test")


class _Bars(Progress):
    """The bars, and the stream that takes the log and prints it above them."""

    def write(self, text: str) -> None:
        self.console.print(Text.from_ansi(text.rstrip("\n")), soft_wrap=True)


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """Show the progress of training, validation and test if the output is a terminal.

    The log goes on above the bar. Otherwise, and in all processes but the first, the hook does
    nothing. It draws in the process's own thread, because workers are forked at any time.

    Example:
        >>> default_hooks = dict(progress_bar=dict(type='wavemix_mm.ProgressBarHook'))
    """

    priority = "VERY_LOW"  # after LoggerHook

    def __init__(self) -> None:
        self._bars: _Bars | None = None
        self._tasks: dict[str, TaskID] = {}
        self._handlers: list[logging.StreamHandler] = []
        self._drawn = 0.0

    def before_run(self, runner: Runner) -> None:
        """Take over the terminal."""
        console = Console(file=sys.stdout)
        if not console.is_interactive or not is_main_process():
            return
        self._bars = _Bars(
            "{task.description}",
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            "left",
            TimeRemainingColumn(),
            console=console,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._bars.start()
        atexit.register(self.after_run, runner)  # after an error, the cursor is shown again
        for handler in runner.logger.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
                self._handlers.append(handler)
                handler.setStream(self._bars)

    def after_run(self, runner: Runner) -> None:
        """Leave the bars as they are, and write the log below them from now on."""
        if self._bars is None:
            return
        self._bars.refresh()
        self._bars.stop()
        self._bars = None
        self._tasks.clear()
        while self._handlers:
            self._handlers.pop().setStream(sys.stdout)
        atexit.unregister(self.after_run)

    def _before_epoch(self, runner: Runner, mode: str = "train") -> None:
        if self._bars is None or mode in self._tasks:
            return
        if mode == "train":  # max_iters would make a test build the training data
            done, total = runner.iter, runner.max_iters
        else:
            done, total = 0, len(getattr(runner, f"{mode}_dataloader"))
        self._tasks[mode] = self._bars.add_task(_NAMES[mode], total=total, completed=done)

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
        mode: str = "train",
    ) -> None:
        if self._bars is None:
            return
        done = runner.iter if mode == "train" else batch_idx
        self._bars.update(self._tasks[mode], completed=done + 1)
        if time.monotonic() - self._drawn > _SECONDS:
            self._bars.refresh()
            self._drawn = time.monotonic()

    def after_val_epoch(self, runner: Runner, metrics: Any = None) -> None:
        """Remove the bar of the validation."""
        if self._bars is not None:
            self._bars.remove_task(self._tasks.pop("val"))

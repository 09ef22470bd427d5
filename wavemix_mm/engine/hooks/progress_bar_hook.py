"""Show a progress bar with the time left below the log, in a terminal."""

from __future__ import annotations

import atexit
import io
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
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from wavemix_mm.registry import HOOKS

_SECONDS = 0.5  # between two drawings


class _AboveTheBars(io.TextIOBase):
    def __init__(self, console: Console) -> None:
        self.console = console

    def write(self, text: str) -> int:
        self.console.print(Text.from_ansi(text.rstrip("\n")), soft_wrap=True)
        return len(text)


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
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._streams: list[tuple[logging.StreamHandler, Any]] = []
        self._drawn = 0.0

    def before_train(self, runner: Runner) -> None:
        """Begin with the iterations that a resumed run has behind it."""
        self._start(runner, "training", runner.max_iters, runner.iter)

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Count the iteration."""
        self._show("training", runner.iter + 1)

    def before_val_epoch(self, runner: Runner) -> None:
        """Add a bar for the validation."""
        self._add("validation", len(runner.val_dataloader))

    def after_val_iter(self, runner: Runner, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        """Count the iteration."""
        self._show("validation", batch_idx + 1)

    def after_val_epoch(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Remove the bar of the validation."""
        if self._progress is not None:
            self._progress.remove_task(self._tasks.pop("validation"))

    def before_test(self, runner: Runner) -> None:
        """Begin."""
        self._start(runner, "test", len(runner.test_dataloader), 0)

    def after_test_iter(self, runner: Runner, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        """Count the iteration."""
        self._show("test", batch_idx + 1)

    def after_train(self, runner: Runner) -> None:
        """Leave the bar as it is, and write below it from now on."""
        self._stop()

    after_test = after_train

    def _start(self, runner: Runner, what: str, total: int, completed: int) -> None:
        console = Console(file=sys.stdout)
        if not console.is_interactive or not is_main_process():
            return
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._add(what, total, completed)
        self._progress.start()
        atexit.register(self._stop)  # after an error, the terminal gets its cursor back
        for handler in runner.logger.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
                self._streams.append((handler, handler.stream))
                handler.setStream(_AboveTheBars(console))

    def _add(self, what: str, total: int, completed: int = 0) -> None:
        if self._progress is not None:
            self._tasks[what] = self._progress.add_task(what, total=total, completed=completed)

    def _show(self, what: str, completed: int) -> None:
        if self._progress is None or what not in self._tasks:
            return
        self._progress.update(self._tasks[what], completed=completed)
        if time.monotonic() - self._drawn > _SECONDS:
            self._progress.refresh()
            self._drawn = time.monotonic()

    def _stop(self) -> None:
        if self._progress is None:
            return
        self._progress.refresh()
        self._progress.stop()
        self._progress = None
        self._tasks.clear()
        for handler, stream in self._streams:
            handler.setStream(stream)
        self._streams.clear()
        atexit.unregister(self._stop)

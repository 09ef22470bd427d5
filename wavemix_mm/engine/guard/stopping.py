"""Note SIGTERM or SIGINT, so that the iteration ends and the state is saved."""

from __future__ import annotations

import datetime
import functools
import multiprocessing
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from multiprocessing import resource_tracker
from types import FrameType
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.runner import Runner
from torch import distributed as torch_dist
from torch.utils.data import DataLoader

EXIT_STOPPED = 75  # EX_TEMPFAIL of sysexits.h: to be started again


class StopRequest:
    """Note signals that ask the process to end, and agree with the other processes to stop.

    A second SIGINT stops the process at once, unless it follows within a second, because torchrun
    repeats signals. After an error has ended the training, every signal stops the process at once.
    A process waits for the others for `timeout` seconds; None means PyTorch's default.
    """

    def __init__(self, runner: Runner, names: Sequence[str], timeout: float | None = None) -> None:
        self._runner = weakref.ref(runner)
        self.signal: signal.Signals | None = None
        self._time = 0.0
        self._group: Any = None
        self._pending: tuple[torch.Tensor, Any] | None = None
        if get_world_size() > 1:
            # on the CPU, beside the gradients: nothing waits for an accelerator
            limit = None if timeout is None else datetime.timedelta(seconds=timeout)
            self._group = torch_dist.new_group(backend="gloo", timeout=limit)
        self._before: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():  # Python allows it nowhere else
            for number in (signal.Signals[name] for name in names):
                self._before[number] = signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self._is_training(frame):
            self.end()
            os.kill(os.getpid(), number)
            return
        if self.signal == number == signal.SIGINT and time.monotonic() - self._time > 1:
            raise KeyboardInterrupt
        if self.signal is None:
            self.signal, self._time = signal.Signals(number), time.monotonic()

    def _is_training(self, frame: FrameType | None) -> bool:
        runner = self._runner()
        while frame is not None and runner is not None:
            if frame.f_code.co_name == "train" and frame.f_locals.get("self") is runner:
                return True
            frame = frame.f_back
        return False

    def end(self) -> None:
        """Restore the earlier handlers of the signals."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def is_agreed(self, wait: bool = False) -> bool:
        """Return whether to stop here; all processes must call this and get the same answer.

        Args:
            wait: Block until all processes have answered. Without it, several processes return the
                answer to the previous call.
        """
        if self._group is None:
            return self.signal is not None
        before, answer = self._pending, torch.tensor([float(self.signal is not None)])
        work = torch_dist.all_reduce(
            answer, torch_dist.ReduceOp.MAX, group=self._group, async_op=True
        )
        self._pending = answer, work
        known = [question for question in (before, self._pending if wait else None) if question]
        for _, work in known:
            work.wait()
        return any(answer.item() for answer, _ in known)


def protect_workers(loader: DataLoader) -> None:
    """Make the workers that a loader will start leave SIGTERM and SIGINT to the main process.

    Slurm, and a terminal on Ctrl-C, send a signal to every process. A worker would end, and its end
    would stop the training with an error before the iteration is complete.
    """
    if loader.num_workers and not isinstance(loader.worker_init_fn, _ProtectedWorker):
        loader.worker_init_fn = _ProtectedWorker(loader.worker_init_fn)
        start = functools.partial(_start_workers, weakref.ref(loader))
        loader._get_iterator = start  # type: ignore[method-assign]


def protect_all_workers(runner: Runner) -> None:
    """Call `protect_workers` for the loaders of a runner that is about to train."""
    protect_workers(runner.train_dataloader)
    if runner.val_loop is not None:
        protect_workers(runner.val_dataloader)
    # mmengine 0.10.7 has started the workers of an iteration-based run already
    iterator: Any = getattr(runner.train_loop, "dataloader_iterator", None)
    if getattr(iterator, "_iterator", None) is not None:
        loader: Any = runner.train_dataloader
        loader._iterator = None  # where torch keeps persistent workers
        runner.train_loop.dataloader_iterator = type(iterator)(loader)


def _start_workers(reference: weakref.ref[DataLoader]) -> Any:
    """Start workers that block the signals from the beginning, before their own function runs.

    A signal to this process waits until the workers have started.
    """
    loader: Any = reference()
    context = loader.multiprocessing_context or multiprocessing
    if context.get_start_method() != "fork":
        resource_tracker.ensure_running()  # its start, due now, would unblock the signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        return DataLoader._get_iterator(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _ProtectedWorker:
    def __init__(self, then: Callable | None) -> None:
        self.then = then

    def __call__(self, worker_id: int) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_obey_parent, daemon=True).start()
        if self.then is not None:
            self.then(worker_id)


def _obey_parent() -> None:
    """End on a SIGTERM from the main process, which ends its workers in this way."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)

"""The project's tools as processes, one at a time; signals are passed on to them."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import IO, Any

from wavemix_mm.engine.guard.stopping import EXIT_STOPPED
from wavemix_mm.errors import UserInputError


class ChildError(RuntimeError):
    """A tool ended with an error; the message is the last one that it wrote."""


class Tools:
    """Runs tools, and on SIGTERM or SIGINT lets the running one end before KeyboardInterrupt.

    A folder is locked meanwhile: two comparisons would write into each other's runs. The tools hold
    the lock too, so that one that outlived a killed comparison is not joined by another.

    Args:
        tools: Folder with train.py and test.py.
        folder: Folder of the comparison.
        threads: Threads of each tool; None for its own choice.

    Raises:
        UserInputError: If another comparison runs in the folder, or it cannot be written.
    """

    def __init__(self, tools: Path, folder: Path, threads: int | None = None) -> None:
        self._tools = tools
        self._environment = dict(os.environ)
        if threads:
            self._environment |= dict(OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
        self._lock = _lock(folder)
        self._child: subprocess.Popen | None = None
        self._signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Tools:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._lock.close()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._child is None:
            raise KeyboardInterrupt
        self._signal = number
        self._pass_on()

    def _pass_on(self) -> None:
        if self._signal and self._child and self._child.poll() is None:
            self._child.send_signal(self._signal)

    def run(self, tool: str, *arguments: object) -> None:
        """Run a tool; what it writes goes to stdout.

        Args:
            tool: 'train' or 'test'.
            *arguments: Of its command line.

        Raises:
            ChildError: If it fails.
            KeyboardInterrupt: If it, or this process, was asked to stop.
        """
        command = [sys.executable, self._tools / f"{tool}.py", *arguments]
        last = complaint = ""
        with subprocess.Popen(
            [str(word) for word in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=self._environment,
            pass_fds=[self._lock.fileno()],
        ) as child:
            self._child = child
            self._pass_on()  # what came before the line above
            for line in child.stdout or ():
                print(line, end="", flush=True)
                last = line.strip() or last
                complaint = line.strip() if line.startswith("error: ") else complaint
        self._child = None
        if self._signal or child.returncode == EXIT_STOPPED:
            raise KeyboardInterrupt
        if child.returncode:
            raise ChildError(_reason(child.returncode, complaint or last))


def _reason(status: int, message: str) -> str:
    ended = f"ended by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    return ": ".join(filter(None, [ended, message.removeprefix("error: ")]))


def _lock(folder: Path) -> IO:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "w")  # noqa: SIM115  (as long as the comparison runs)
    except OSError as error:
        raise UserInputError(f"--out {folder}: {error.strerror}.") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserInputError(f"--out {folder}: another comparison is running there.") from error
    except OSError:  # a file system without locks
        pass
    return file

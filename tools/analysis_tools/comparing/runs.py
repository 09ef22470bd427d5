"""Train with tools/train.py in a process of its own, and read mmengine's scalars."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from measuring.report import make_folder
from output import write_file

from comparing.configs import Entry, make_run
from wavemix_mm.engine.guard.stopping import EXIT_STOPPED
from wavemix_mm.errors import UserInputError

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
_SLOW = 5  # iterations at the start that do not count: workers and caches start


class ChildError(RuntimeError):
    """A training ended with an error; the message is the last one that it wrote."""


@dataclass(frozen=True)
class Run:
    """One training of a comparison, or the epoch that is timed before."""

    entry: Entry
    epochs: int
    seed: int | None  # None: the epoch that is timed
    root: Path  # folder of the comparison

    @property
    def folder(self) -> Path:
        """Folder for the run's config, its work dir and, after its end, its scalars."""
        kind = "probe" if self.seed is None else f"seed_{self.seed}"
        return self.root / self.entry.name / kind

    def scalars(self) -> list[dict[str, Any]] | None:
        """Read the lines of mmengine's scalars.json; None if the run has not ended."""
        file = self.folder / "scalars.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None

    def result(self) -> dict[str, Any]:
        """Read the result of a run that has ended.

        Returns:
            model, seed, epochs, iterations, minutes (of all iterations, with data loading, without
            validation) and the metrics. A metric that is not defined is absent.

        Raises:
            ChildError: If the run was not validated.
        """
        scalars = self.scalars() or []
        validated = [line for line in scalars if self.entry.metric in line]
        if not validated:
            raise ChildError(f"the training wrote no {self.entry.metric}")
        end = [line for line in scalars if "iter" in line][-1]
        found = dict(model=self.entry.name, seed=self.seed, epochs=end["epoch"])
        found |= dict(iterations=end["step"], minutes=end["mean_time"] * end["step"] / 60)
        return found | {k: v for k, v in validated[-1].items() if k not in end and v == v}


def write_configs(runs: Sequence[Run]) -> None:
    """Write the config of each run into its folder.

    Raises:
        UserInputError: If a folder holds a run of another config; then nothing is written.
    """
    texts = {run.folder: make_run(run.entry.cfg, run.epochs, run.seed).pretty_text for run in runs}
    for folder, text in texts.items():
        file = folder / "config.py"
        if file.exists() and file.read_text(encoding="utf-8") != text:
            raise UserInputError(
                f"{folder} holds a run of another configuration or length: name another --out, or "
                "remove that folder."
            )
    for folder, text in texts.items():
        write_file(folder / "config.py", text)


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[IO]:
    """Lock the folder of a comparison: two would write into each other's runs.

    Raises:
        UserInputError: If another comparison runs in the folder, or it cannot be written.
    """
    make_folder(folder)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserInputError(f"--out {folder}: another comparison is running there.") from None
        except OSError:  # a file system without locks
            pass
        yield lock


def train(run: Run, lock: IO, threads: int | None = None) -> None:
    """Train a run or resume it, print what the training prints, and keep its scalars.

    The config must have been written. The training holds the lock too: if it outlives a killed
    comparison, no other comparison starts.

    Raises:
        ChildError: If the training fails.
        KeyboardInterrupt: If the training or this process was asked to stop. The training has then
            saved its state and ended.
    """
    work_dir = run.folder / "train"
    _start([TRAIN, run.folder / "config.py", "--work-dir", work_dir, "--resume"], lock, threads)
    files = sorted(work_dir.glob("*/vis_data/scalars.json"))  # one of each start
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    write_file(run.folder / "scalars.json", json.dumps(lines, indent=0))


def _start(arguments: Sequence[Any], lock: IO, threads: int | None) -> None:
    counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads)) if threads else {}
    last = complaint = ""
    with subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=os.environ | counts,
        pass_fds=[lock.fileno()],
    ) as child:
        try:
            for line in child.stdout or ():
                print(line, end="", flush=True)
                last = line.strip() or last
                complaint = line.strip() if line.startswith("error: ") else complaint
        except (KeyboardInterrupt, OSError):  # OSError: the output is full or closed
            child.terminate()
            for line in child.stdout or ():  # else the training could not go on to its end
                with contextlib.suppress(OSError):
                    print(line, end="", flush=True)
            raise
    status, message = child.returncode, (complaint or last).removeprefix("error: ")
    if status == EXIT_STOPPED:
        raise KeyboardInterrupt
    if status:
        how = f"ended by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        raise ChildError(": ".join(filter(None, [how, message])))


def find_epochs(probe: Run, minutes: float, start: Callable[[Run], None]) -> int:
    """Return how many epochs of a network fit into the minutes, but at least 1.

    `start` trains the probe, a run of one epoch, if that has not been done.

    Raises:
        ChildError: If the training fails.
    """
    if probe.scalars() is None:
        print(f"{probe.entry.name}: timing an epoch", flush=True)
        start(probe)
    scalars = probe.scalars() or []
    times = [line["time"] for line in scalars]
    seconds = statistics.median(times[min(_SLOW, len(times) // 2) :]) * scalars[-1]["step"]
    number = int(60 * minutes / seconds)
    few = "" if number else "; it is trained for one, which takes longer"
    print(f"{probe.entry.name}: {number} epochs of {seconds:.3g} s in {minutes:g} min{few}")
    return max(1, number)


def train_all(runs: Sequence[Run], start: Callable[[Run], None]) -> Iterator[list[dict[str, Any]]]:
    """Train the runs that have not ended, and yield all results so far after each run.

    A run that fails has a note instead of metrics, and the next run starts.
    """
    results: list[dict[str, Any]] = []
    for i, run in enumerate(runs):
        head = f"[{i + 1}/{len(runs)}] {run.entry.name}, seed {run.seed}:"
        try:
            if run.scalars() is None:
                remaining = [other for other in runs[i:] if other.scalars() is None]
                eta, place = _time_left(remaining, results), shlex.quote(str(run.folder))
                print(f"{head} training {run.epochs} epochs in {place}, ETA {eta}", flush=True)
                start(run)
            else:
                print(f"{head} done before", flush=True)
            result = run.result()
        except ChildError as error:
            result = dict(model=run.entry.name, seed=run.seed, epochs=run.epochs, note=str(error))
        results = [*results, result]
        yield results


def _time_left(runs: Sequence[Run], results: Sequence[Mapping[str, Any]]) -> str:
    """Time of the iterations of runs, judged by the results of the same network or of all."""
    known = [(r["model"], 60 * r["minutes"] / r["epochs"]) for r in results if "minutes" in r]
    if not known:
        return "unknown"
    seconds = 0.0
    for run in runs:
        same = [epoch for name, epoch in known if name == run.entry.name]
        seconds += run.epochs * statistics.fmean(same or [epoch for _, epoch in known])
    return str(datetime.timedelta(seconds=round(seconds)))

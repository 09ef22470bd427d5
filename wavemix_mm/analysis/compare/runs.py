"""One training of a comparison, and what came of it."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wavemix_mm.analysis.compare.plan import Run
from wavemix_mm.analysis.compare.processes import ChildError, Tools
from wavemix_mm.engine.checkpoints.files import find_newest_good
from wavemix_mm.engine.checkpoints.loading import read_checkpoint

_PREFIX = "IoU."
_SLOW = 5  # iterations at the start that do not count: workers and caches start


@dataclass(frozen=True)
class Result:
    """What came of a run.

    Attributes:
        name: Name of the config.
        seed: Seed.
        epochs: Epochs trained; of a run that has failed, those it should have trained.
        iterations: Iterations trained.
        seconds: Time of all iterations, data loading included, validation not.
        metrics: mIoU, aAcc and mAcc on the validation set, in percent.
        iou: IoU of each class; None where it is not defined.
        note: Why it failed, if it did.
    """

    name: str
    seed: int
    epochs: int
    iterations: int | None = None
    seconds: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    iou: Mapping[str, float | None] = field(default_factory=dict)
    note: str = ""


def read_result(run: Run) -> Result | None:
    """Read the result of a run; None if it is not finished."""
    record = run.read_record()
    if record is None:
        return None
    record.pop("digest")
    return Result(**record)


def train_and_test(run: Run, tools: Tools) -> Result:
    """Train, or go on from where it was interrupted, test the last checkpoint, keep the result.

    Raises:
        ChildError: If the training or the test fails.
        KeyboardInterrupt: If it was asked to stop; the next call goes on.
    """
    checkpoint = _train(run, tools)
    content = read_checkpoint(str(checkpoint))
    times = _iteration_times(content)
    folder = run.folder / "test"
    tools.run("test", run.config, checkpoint, "--work-dir", folder)
    metrics = _read_metrics(folder)
    iou = {
        name.removeprefix(_PREFIX): None if math.isnan(value) else value
        for name, value in metrics.items()
        if name.startswith(_PREFIX)
    }
    overall = {name: metrics[name] for name in ("mIoU", "aAcc", "mAcc") if name in metrics}
    meta = content["meta"]
    result = Result(
        run.name, run.seed or 0, meta["epoch"], meta["iter"], math.fsum(times), overall, iou
    )
    run.write_record(dataclasses.asdict(result))
    return result


def seconds_per_epoch(probe: Run, tools: Tools) -> float:
    """Time the iterations of one epoch, unless that has been done, and return what one takes.

    The median of the iterations without the first ones, times their number.

    Raises:
        ChildError: If the training fails.
        KeyboardInterrupt: If it was asked to stop.
    """
    record = probe.read_record()
    if record is None:
        times = _iteration_times(read_checkpoint(str(_train(probe, tools))))
        steady = times[min(_SLOW, len(times) // 2) :]
        record = dict(seconds_per_iteration=statistics.median(steady), iterations=len(times))
        probe.write_record(record)
        shutil.rmtree(probe.folder / "train")
    return record["seconds_per_iteration"] * record["iterations"]


def _train(run: Run, tools: Tools) -> Path:
    """Train and return the last checkpoint."""
    folder = run.folder / "train"
    tools.run("train", run.config, "--work-dir", folder, "--resume")
    checkpoint, _ = find_newest_good(folder)
    if checkpoint is None:
        raise ChildError(f"there is no checkpoint in {folder}")
    return checkpoint


def _iteration_times(checkpoint: Mapping[str, Any]) -> list[float]:
    """Seconds of each iteration: mmengine's log, which a resumed run goes on with."""
    times, _ = checkpoint["message_hub"]["log_scalars"]["train/time"].data
    return times.tolist()


def _read_metrics(folder: Path) -> dict[str, float]:
    """What the last test in a folder found."""
    file = sorted(folder.glob("*/*.json"))[-1]
    return json.loads(file.read_text(encoding="utf-8"))

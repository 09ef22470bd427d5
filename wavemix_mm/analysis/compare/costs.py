"""What the models of a comparison cost: parameters, multiply-adds, time and memory."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from wavemix_mm.analysis.benchmark import groups, session
from wavemix_mm.analysis.benchmark.candidates import Candidate
from wavemix_mm.analysis.benchmark.groups import Group, Settings, Subject
from wavemix_mm.analysis.benchmark.results import Row
from wavemix_mm.analysis.compare.plan import Entry, write_file


@dataclass(frozen=True)
class Conditions:
    """Under which costs are measured.

    Attributes:
        size: (H, W) of the image for latency; None for the data preprocessor's.
        dtype: 'float32'; or 'bfloat16' or 'float16', by autocast.
        device: 'cpu' or 'cuda'.
        rounds: Rounds in which the models take turns.
        round_seconds: What a model's part of a round should take.
        with_memory: Measure the peak of memory.
    """

    size: tuple[int, int] | None = None
    dtype: str = "float32"
    device: str = "cpu"
    rounds: int = 20
    round_seconds: float = 0.2
    with_memory: bool = True


@dataclass(frozen=True)
class Cost:
    """What one model costs; None is what was not measured.

    Attributes:
        parameters: Number of them.
        macs: Multiply-adds of the image for latency.
        latency_ms: Of one image of `size`.
        size: 'HxW' of that image.
        images_per_s: Inference, with the batch and size of the training.
        train_images_per_s: Training steps.
        memory_mib: Peak of inference, with the batch and size of the training.
        train_memory_mib: Peak of training.
        note: Why something was not measured.
    """

    parameters: int
    macs: int | None = None
    latency_ms: float | None = None
    size: str = ""
    images_per_s: float | None = None
    train_images_per_s: float | None = None
    memory_mib: float | None = None
    train_memory_mib: float | None = None
    note: str = ""


def inspect(entries: Sequence[Entry]) -> list[Subject]:
    """Build each model once, to know before anything trains that it can be.

    Raises:
        UserInputError: If one cannot.
    """
    return [groups.inspect(entry.spec, None) for entry in entries]


def measure(
    entries: Sequence[Entry],
    subjects: Sequence[Subject],
    conditions: Conditions,
    file: Path,
    on_progress: Callable[[str, float], None] = lambda phase, fraction: None,
) -> dict[str, Cost]:
    """Measure the models, all in turns, unless the file holds what was measured of the same.

    Args:
        entries: The configs.
        subjects: What `inspect` said of them.
        conditions: How to measure.
        file: JSON file that keeps the costs.
        on_progress: Called with what is being done and the fraction that is done.

    Returns:
        The cost of each, by its name.
    """
    key = _key(entries, conditions)
    if file.exists():
        record = json.loads(file.read_text(encoding="utf-8"))
        if record["key"] == key:
            return {name: Cost(**cost) for name, cost in record["costs"].items()}
    costs = _measure(entries, subjects, conditions, on_progress)
    record = {name: dataclasses.asdict(cost) for name, cost in costs.items()}
    write_file(file, json.dumps(dict(key=key, costs=record), indent=1) + "\n")
    return costs


def _key(entries: Sequence[Entry], conditions: Conditions) -> dict[str, Any]:
    """Tells what was measured, and how."""
    models = {
        entry.name: hashlib.sha256(repr(entry.cfg.model.to_dict()).encode()).hexdigest()
        for entry in entries
    }
    how = dict(batch=entries[0].batch_size, threads=torch.get_num_threads())
    conditions_as_read = json.loads(json.dumps(dataclasses.asdict(conditions)))  # size as a list
    return dict(models=models) | how | conditions_as_read


def _measure(
    entries: Sequence[Entry],
    subjects: Sequence[Subject],
    conditions: Conditions,
    on_progress: Callable[[str, float], None],
) -> dict[str, Cost]:
    batch = entries[0].batch_size
    common = Settings(
        rounds=conditions.rounds,
        round_seconds=conditions.round_seconds,
        threads=torch.get_num_threads(),
    )
    single = replace(common, batch=1, train_batch=0, with_memory=False)
    whole = replace(common, batch=batch, train_batch=batch, with_memory=conditions.with_memory)
    shown = [replace(item, size=conditions.size or item.size) for item in subjects]
    one = session.measure(
        _group(shown, conditions),
        single,
        lambda phase, fraction: on_progress(f"one image, {phase}", fraction / 2),
    )
    many = session.measure(
        _group(subjects, conditions),
        whole,
        lambda phase, fraction: on_progress(f"batch of {batch}, {phase}", (1 + fraction) / 2),
    )
    return {entry.name: _cost(*rows) for entry, *rows in zip(entries, one, many, strict=True)}


def _group(subjects: Sequence[Subject], conditions: Conditions) -> Group:
    """All models in one group, so that in each round all of them meet the same machine."""
    ways = groups.Ways([conditions.dtype], ["eager"], None, Candidate("", device=conditions.device))
    return Group([member for item in subjects for member in ways.of(item, ways.dtypes, ways.modes)])


def _cost(one: Row, many: Row) -> Cost:
    return Cost(
        one.parameters,
        one.macs,
        one.latency_ms,
        f"{one.height}x{one.width}",
        many.images_per_s,
        many.train_images_per_s,
        many.memory_mib,
        many.train_memory_mib,
        "; ".join(dict.fromkeys(filter(None, [one.note, many.note]))),
    )

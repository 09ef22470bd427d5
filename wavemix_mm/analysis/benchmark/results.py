"""One row of results for each way that a model was run, and the CSV file that holds them."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Row:
    """What was measured; None is what was not.

    Times are of a batch. `speedup` is over the row named in `reference`, round by round: median,
    lower and upper quartile. `share` is multiply-adds a second over those of a large matrix product
    in the same type; a training step counts as three forward passes. `largest_batch` is that of a
    training step within `memory_budget_gib`.
    """

    model: str
    device: str
    dtype: str
    mode: str
    channels_last: bool
    cast_weights: bool
    height: int
    width: int
    depth: int | None
    parameters: int
    macs: int | None = None
    batch: int | None = None
    latency_ms: float | None = None
    latency_p95_ms: float | None = None
    images_per_s: float | None = None
    share: float | None = None
    speedup: float | None = None
    speedup_low: float | None = None
    speedup_high: float | None = None
    memory_mib: float | None = None
    train_batch: int | None = None
    train_ms: float | None = None
    train_p95_ms: float | None = None
    train_images_per_s: float | None = None
    train_share: float | None = None
    train_speedup: float | None = None
    train_speedup_low: float | None = None
    train_speedup_high: float | None = None
    train_memory_mib: float | None = None
    memory_budget_gib: float | None = None
    largest_batch: int | None = None
    difference: float | None = None
    reference: str = ""
    note: str = ""

    @property
    def runs_as(self) -> str:
        """Type, mode and memory format in words."""
        weights = " weights" if self.cast_weights else ""
        layout = "" if self.channels_last else ", NCHW"
        return f"{self.dtype}{weights}, {self.mode}{layout}"

    @property
    def label(self) -> str:
        """Model, and how it is run."""
        return f"{self.model}, {self.runs_as}"

    def add_note(self, what: str, error: str) -> None:
        """Note why something was not measured."""
        self.note = "; ".join(filter(None, [self.note, f"{what}: {error}"]))


def write_csv(rows: Sequence[Any], path: Path) -> None:
    """Write rows, of one dataclass, under the names of its fields; the file is always whole."""
    partial = path.with_suffix(".partial")
    with open(partial, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in dataclasses.fields(rows[0])])
        for row in rows:
            writer.writerow([_cell(value) for value in dataclasses.astuple(row)])
    partial.replace(path)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)

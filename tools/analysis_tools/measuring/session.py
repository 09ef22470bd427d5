"""Measure candidates: all that are compared with each other run in turns."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from measuring import memory
from measuring.candidates import Candidate, count_macs
from measuring.timing import interleave
from wavemix_mm.engine.messages import error_message
from wavemix_mm.errors import UserInputError
from wavemix_mm.official import networks

# Largest difference to the authors' float32 output, over the largest value of that output.
TOLERANCES = {"float32": 1e-5, "bfloat16": 2e-2, "float16": 5e-3}


@dataclass(frozen=True)
class Settings:
    """How much is measured."""

    batch: int = 1  # images of a call in inference
    train_batch: int = 0  # images of a training step; 0 leaves training out
    rounds: int = 20
    round_seconds: float = 0.2  # of each candidate in each round
    with_memory: bool = True
    budget: int | None = None  # bytes for which the largest training batch is found
    ceilings: Mapping[str, float] = field(default_factory=dict)  # dtype -> multiply-adds a second

    def count_steps(self, candidates: int) -> int:
        """Return how often `measure` reports progress, if nothing fails."""
        return (1 + bool(self.train_batch)) * (2 * candidates + self.rounds)


def measure(
    candidates: Sequence[Candidate],
    settings: Settings,
    on_step: Callable[[str], None] = lambda phase: None,
    is_pair: bool = False,
) -> list[dict[str, Any]]:
    """Measure candidates side by side; the first is the reference of all speedups.

    `on_step` is called at each step with what is being done. With `is_pair` the first candidate is
    the authors' network in float32: all others get its weights and must have equal outputs.

    Returns:
        A row for each candidate. A key is absent if it was not measured; if an error was the
        reason, `note` has its message. Times are in ms and of a whole batch. `speedup` and its
        quartiles are against `reference`. `share` is multiply-adds a second over the ceiling; a
        training step counts as three forward passes. Other keys of training start with `train_`.

    Raises:
        UserInputError: If outputs that must be equal are not.
    """
    rows = [candidate.describe() for candidate in candidates]
    weights = None
    if is_pair:
        authors = candidates[0].build().network
        networks.randomize_norms(authors)
        weights = authors.state_dict()
    for phase, batch in (("inference", settings.batch), ("training", settings.train_batch)):
        is_training = phase == "training"
        prefix, time, passes = ("train_", "train", 3) if is_training else ("", "latency", 1)
        functions: dict[int, Callable[[], Any]] = {}
        for i, candidate in enumerate(candidates if batch else ()):
            on_step(f"{phase}, preparing")
            if is_training and candidate.is_deploy:
                continue
            with _noted(rows[i], phase):
                logits = candidate.build(weights)
                if not is_training:
                    rows[i]["macs"] = count_macs(logits, logits.in_channels, candidate.size)
                functions[i] = candidate.prepare(logits, batch, is_training)
        if is_pair and not is_training:
            _check_equal(functions, rows, candidates)
        how_long = (settings.rounds, settings.round_seconds)
        tell = partial(on_step, phase)
        timings = interleave(functions, candidates[0].device, *how_long, on_round=tell)
        functions.clear()
        gc.collect()
        torch.compiler.reset()  # releases compiled code too
        torch.cuda.empty_cache()
        for i, timing in timings.items():
            row, candidate = rows[i], candidates[i]
            if timing.error:
                _add_note(row, phase, timing.error)
                continue
            row[f"{prefix}batch"], rate = batch, batch / timing.median
            row[f"{time}_ms"] = timing.median * 1e3
            row[f"{time}_p95_ms"] = float(np.percentile(timing.calls, 95)) * 1e3
            row[f"{prefix}images_per_s"] = rate
            if candidate.dtype in settings.ceilings and "macs" in row:
                ceiling = settings.ceilings[candidate.dtype]
                row[f"{prefix}share"] = passes * row["macs"] * rate / ceiling
            if len(candidates) > 1 and 0 in timings and not timings[0].error:
                row["reference"] = candidates[0].label
                row |= timing.speedup(timings[0], f"{prefix}speedup")
            on_step(f"{phase}, memory")
            if settings.with_memory:
                with _noted(row, f"{phase} memory"):
                    peak = memory.peak_memory(candidate, batch, is_training)
                    row[f"{prefix}memory_mib"] = peak / memory.MIB
            if settings.budget is not None and is_training:
                with _noted(row, "largest batch"):
                    row["largest_batch"] = memory.largest_batch(candidate, settings.budget, batch)
                    row["memory_budget_gib"] = settings.budget / 2**30
    return rows


def _check_equal(
    functions: Mapping[int, Callable[[], Tensor]],
    rows: Sequence[dict[str, Any]],
    candidates: Sequence[Candidate],
) -> None:
    """Compare each output with the first, which is the authors' in float32."""
    if 0 not in functions:
        raise UserInputError(f"{candidates[0].label}: {rows[0]['note']}")
    allowed, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    expected = functions[0]().double()
    for i, function in functions.items():
        with _noted(rows[i], "comparison"):
            difference = (function().double() - expected).abs().max() / expected.abs().max()
            rows[i]["difference"] = float(difference)
    torch.backends.cudnn.allow_tf32 = allowed
    for row, candidate in zip(rows, candidates, strict=True):
        tolerance, difference = TOLERANCES[candidate.dtype], row.get("difference", 0.0)
        if not difference <= tolerance:  # not "greater than": a NaN is no equality either
            raise UserInputError(
                f"{candidate.label}: the output differs from the authors' by {difference:.1e} of "
                f"its largest value, more than {tolerance:g}, so that no times are compared."
            )


@contextlib.contextmanager
def _noted(row: dict[str, Any], what: str) -> Iterator[None]:
    """Note an error and go on, so that one model does not end a long run."""
    try:
        yield
    except Exception as error:  # the model may be anybody's code
        _add_note(row, what, error_message(error))


def _add_note(row: dict[str, Any], what: str, error: str) -> None:
    row["note"] = "; ".join(filter(None, [row.get("note"), f"{what}: {error}"]))

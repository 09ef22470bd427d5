"""Measure candidates: all that are compared with each other run in turns."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
    warmup: int = 2  # calls of each candidate that are not counted
    with_memory: bool = True
    budget: int | None = None  # bytes for which the largest training batch is found
    ceilings: Mapping[str, float] = field(default_factory=dict)  # dtype -> multiply-adds a second


def measure(
    candidates: Sequence[Candidate],
    settings: Settings,
    on_progress: Callable[[str, float], None] = lambda phase, fraction: None,
    is_pair: bool = False,
) -> list[dict[str, Any]]:
    """Measure candidates side by side; the first is the reference of all speedups.

    Args:
        candidates: What is compared.
        settings: How much is measured.
        on_progress: Called with what is being done and the fraction of the whole that is done.
        is_pair: The first candidate is the authors' network in float32. All others get its weights,
            and their outputs must be equal to its output.

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
    batches = dict(inference=settings.batch, training=settings.train_batch)
    phases = [(name, batch) for name, batch in batches.items() if batch]
    for number, (phase, batch) in enumerate(phases):
        is_training, prefix = phase == "training", "train_" if phase == "training" else ""

        def tell(what: str, done: float, number: int = number, phase: str = phase) -> None:
            on_progress(f"{phase}, {what}", (number + done) / len(phases))

        functions: dict[int, Callable[[], Any]] = {}
        for i, candidate in enumerate(candidates):
            if is_training and candidate.is_deploy:
                continue
            tell("preparing", 0)
            with _noted(rows[i], phase):
                logits = candidate.build(weights)
                if not is_training:
                    rows[i]["macs"] = count_macs(logits, logits.in_channels, candidate.model.size)
                prepare = candidate.training if is_training else candidate.inference
                functions[i] = prepare(logits, batch)
        if is_pair and not is_training:
            _check_equal(functions, rows, candidates)
        timings = interleave(
            functions,
            candidates[0].device,
            settings.rounds,
            settings.round_seconds,
            settings.warmup,
            lambda done: tell("timing", done / 2),
        )
        functions.clear()
        _free()
        for i, timing in timings.items():
            row, candidate = rows[i], candidates[i]
            if timing.error:
                _add_note(row, phase, timing.error)
                continue
            time = "train" if is_training else "latency"
            row[f"{prefix}batch"], rate = batch, batch / timing.median
            row[f"{time}_ms"], row[f"{time}_p95_ms"] = timing.median * 1e3, timing.p95 * 1e3
            row[f"{prefix}images_per_s"] = rate
            if candidate.dtype in settings.ceilings and "macs" in row:
                macs = row["macs"] * (3 if is_training else 1)
                row[f"{prefix}share"] = macs * rate / settings.ceilings[candidate.dtype]
            if len(candidates) > 1 and 0 in timings and not timings[0].error:
                row["reference"] = candidates[0].label
                row |= timing.speedup(timings[0], f"{prefix}speedup")
            tell("memory", (1 + i / len(rows)) / 2)
            if settings.with_memory:
                with _noted(row, f"{phase} memory"):
                    peak = memory.peak_memory(candidate, batch, is_training)
                    row[f"{prefix}memory_mib"] = peak / memory.MIB
            if settings.budget is not None and is_training:
                tell("largest batch", (1 + i / len(rows)) / 2)
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


def _free() -> None:
    """Release what the last phase held, compiled code included."""
    gc.collect()
    torch.compiler.reset()
    torch.cuda.empty_cache()

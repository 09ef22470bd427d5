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
from measuring.candidates import Candidate, Model, count_macs
from measuring.models import build_model
from measuring.timing import Timing, interleave
from wavemix_mm.engine.messages import error_message
from wavemix_mm.errors import UserInputError
from wavemix_mm.official import networks

# Largest difference to the authors' float32 output, over the largest value of that output.
TOLERANCES = {"float32": 1e-5, "bfloat16": 2e-2, "float16": 5e-3}


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        batch: Images of a call in inference.
        train_batch: Images of a training step; 0 leaves training out.
        rounds: Rounds of each comparison.
        round_seconds: Seconds that each candidate should take in a round.
        warmup: Calls of each candidate that are not counted.
        with_memory: Measure the peak of memory.
        budget: Bytes for which the largest training batch is found; None leaves it out.
        ceilings: Multiply-adds a second of a large matrix product, for each dtype.
    """

    batch: int = 1
    train_batch: int = 0
    rounds: int = 20
    round_seconds: float = 0.2
    warmup: int = 2
    with_memory: bool = True
    budget: int | None = None
    ceilings: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Phase:
    """Inference or training: names of its keys, and the forward passes that a call counts as."""

    name: str
    prefix: str
    time: str
    batch: int
    passes: int


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
        A row for each candidate. A key is absent if it was not measured; if that was due to an
        error, `note` says which. Times are in ms and for a whole batch. `speedup`, `speedup_low`
        and `speedup_high` are median and quartiles over the rounds, against `reference`. `share` is
        multiply-adds a second over the ceiling; a training step counts as three forward passes. The
        keys of training start with `train_`.

    Raises:
        UserInputError: If outputs that must be equal are not.
    """
    rows = [_new_row(candidate) for candidate in candidates]
    weights = _weights(candidates[0].model) if is_pair else None
    phases = [_Phase("inference", "", "latency", settings.batch, 1)]
    if settings.train_batch:
        phases.append(_Phase("training", "train_", "train", settings.train_batch, 3))
    for number, phase in enumerate(phases):
        is_training = phase.name == "training"

        def tell(what: str, done: float, number: int = number, phase: _Phase = phase) -> None:
            on_progress(f"{phase.name}, {what}", (number + done) / len(phases))

        functions: dict[int, Callable[[], Any]] = {}
        for i, candidate in enumerate(candidates):
            if is_training and candidate.is_deploy:
                continue
            tell("preparing", 0)
            with _noted(rows[i], phase.name):
                logits = candidate.build(weights)
                if not is_training:
                    size = candidate.model.size
                    rows[i]["macs"] = count_macs(logits.eval(), logits.in_channels, size)
                prepare = candidate.training if is_training else candidate.inference
                functions[i] = prepare(logits, phase.batch)
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
            if timing.error:
                _add_note(rows[i], phase.name, timing.error)
                continue
            _fill(rows[i], phase, timing, settings.ceilings.get(candidates[i].dtype))
            if len(candidates) > 1 and not timings.get(0, Timing(error="none")).error:
                rows[i]["reference"] = candidates[0].label
                values = timing.speedup(timings[0])
                for suffix, value in zip(("", "_low", "_high"), values, strict=True):
                    rows[i][f"{phase.prefix}speedup{suffix}"] = value
            tell("memory", (1 + i / len(rows)) / 2)
            if settings.with_memory:
                with _noted(rows[i], f"{phase.name} memory"):
                    peak = memory.peak_memory(candidates[i], phase.batch, is_training)
                    rows[i][f"{phase.prefix}memory_mib"] = peak / memory.MIB
            if settings.budget is not None and is_training:
                with _noted(rows[i], "largest batch"):
                    tell("largest batch", (1 + i / len(rows)) / 2)
                    rows[i] |= _largest_batch(candidates[i], phase.batch, settings.budget)
    return rows


def _new_row(candidate: Candidate) -> dict[str, Any]:
    model = candidate.model
    row = dict(
        model=model.name,
        device=candidate.device,
        dtype=candidate.dtype,
        mode=candidate.mode,
        channels_last=candidate.channels_last,
        cast_weights=candidate.casts,
        runs_as=candidate.runs_as,
        height=model.size[0],
        width=model.size[1],
        parameters=model.parameters,
    )
    return row if model.depth is None else row | dict(depth=model.depth)


def _weights(model: Model) -> dict[str, Tensor]:
    """Return weights of the authors' network, with batch norms as after some training."""
    torch.manual_seed(0)
    logits = build_model(model.words)
    networks.randomize_norms(logits)
    return logits.network.state_dict()


def _fill(row: dict[str, Any], phase: _Phase, timing: Timing, ceiling: float | None) -> None:
    rate = phase.batch / timing.median
    row[f"{phase.prefix}batch"] = phase.batch
    row[f"{phase.time}_ms"], row[f"{phase.time}_p95_ms"] = timing.median * 1e3, timing.p95 * 1e3
    row[f"{phase.prefix}images_per_s"] = rate
    if ceiling is not None and "macs" in row:
        row[f"{phase.prefix}share"] = row["macs"] * phase.passes * rate / ceiling


def _largest_batch(candidate: Candidate, start: int, budget: int) -> dict[str, float]:
    def peak(batch: int) -> int | None:
        return memory.peak_memory(candidate, batch, is_training=True, budget=budget)

    largest = memory.largest_batch(peak, budget, start)
    return dict(memory_budget_gib=budget / 2**30, largest_batch=largest)


def _check_equal(
    functions: Mapping[int, Callable[[], Tensor]],
    rows: Sequence[dict[str, Any]],
    candidates: Sequence[Candidate],
) -> None:
    """Compare each output with the first, which is the authors' in float32."""
    if 0 not in functions:
        raise UserInputError(f"{candidates[0].label}: {rows[0]['note']}")
    allowed, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        expected = functions[0]().double()
        for i, function in functions.items():
            with _noted(rows[i], "comparison"):
                difference = (function().double() - expected).abs().max() / expected.abs().max()
                rows[i]["difference"] = float(difference)
    finally:
        torch.backends.cudnn.allow_tf32 = allowed
    for row, candidate in zip(rows, candidates, strict=True):
        tolerance = TOLERANCES[candidate.dtype]
        # not "greater than": a NaN is no equality either
        if not row.get("difference", 0.0) <= tolerance:
            raise UserInputError(
                f"{candidate.label}: the output differs from the authors' by "
                f"{row['difference']:.1e} of its largest value, more than {tolerance:g}, so that "
                "no times are compared."
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
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

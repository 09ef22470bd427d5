"""Measure groups of candidates: all that is compared with each other runs in turns."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from wavemix_mm.analysis.benchmark import candidates, cost, memory, timing
from wavemix_mm.analysis.benchmark.candidates import Candidate
from wavemix_mm.analysis.benchmark.groups import Group, Settings, Subject
from wavemix_mm.analysis.benchmark.models import Logits, build_model
from wavemix_mm.analysis.benchmark.results import Row
from wavemix_mm.engine.messages import error_message
from wavemix_mm.engine.run.start import switch_to_deploy
from wavemix_mm.errors import UserInputError
from wavemix_mm.official import convert_official, networks

# Largest difference to the authors' float32 output over its largest value.
TOLERANCES = {"float32": 1e-5, "bfloat16": 2e-2, "float16": 5e-3}
_TRAINING_FACTOR = 3  # a forward pass, and a backward pass of twice as many multiply-adds


def measure(
    group: Group,
    settings: Settings,
    on_progress: Callable[[str, float], None] = lambda phase, fraction: None,
) -> list[Row]:
    """Measure a group.

    Args:
        group: What is compared.
        settings: How.
        on_progress: Called with what is being done and the fraction that is done of the group.

    Returns:
        A row for each member. What could not be measured is None and has a note.

    Raises:
        UserInputError: If outputs that must be equal are not.
    """
    return _Measurement(group, settings, on_progress).run()


class _Measurement:
    def __init__(
        self, group: Group, settings: Settings, on_progress: Callable[[str, float], None]
    ) -> None:
        self.group, self.settings, self.on_progress = group, settings, on_progress
        self.rows = [_new_row(subject, candidate) for subject, candidate in group.members]
        self.weights: dict[str, Tensor] | None = None
        self.outputs: dict[int, tuple[int, ...]] = {}  # shape for one image, of each row

    def run(self) -> list[Row]:
        steps: list[tuple[str, Callable[[str, float, float], None]]] = [
            ("multiply-adds", self._count),
            ("inference", self._inference),
        ]
        if self.settings.train_batch:
            steps.append(("training", self._training))
        if self.settings.with_memory:
            steps.append(("memory", self._memory))
        if self.settings.budget is not None:
            steps.append(("largest batch", self._largest_batch))
        for i, (name, step) in enumerate(steps):
            step(name, i / len(steps), 1 / len(steps))
            _free()
        return self.rows

    def _build(self, index: int) -> Logits:
        """The network of a member, with the weights that all have if they are to be equal."""
        subject = self.group.members[index][0]
        torch.manual_seed(0)
        logits = build_model(subject.spec)
        if not self.group.has_equal_weights:
            return logits
        if index == 0:
            networks.randomize_norms(logits)
            self.weights = logits.network.state_dict()
        elif subject.is_authors:
            logits.network.load_state_dict(self.weights)
        else:
            logits.network.load_state_dict(convert_official(self.weights), strict=True)
        return logits

    def _images(self, index: int, logits: Logits, batch: int) -> Tensor:
        return candidates.make_images(logits, batch, self.group.members[index][0].size)

    def _count(self, phase: str, start: float, length: float) -> None:
        self.on_progress(phase, start)
        for i, (subject, candidate) in enumerate(self.group.members):
            with _noted(self.rows[i], phase):
                logits = build_model(subject.spec)
                if candidate.is_deploy:
                    switch_to_deploy(logits)
                count, shape = cost.count_macs(logits, logits.in_channels, subject.size)
                self.rows[i].macs, self.outputs[i] = count, shape

    def _inference(self, phase: str, start: float, length: float) -> None:
        functions: dict[int, Callable[[], Tensor]] = {}
        for i, (_, candidate) in enumerate(self.group.members):
            self.on_progress(f"{phase}, preparing", start)
            with _noted(self.rows[i], phase):
                logits = self._build(i)
                images = self._images(i, logits, self.settings.batch)
                functions[i] = candidates.make_inference(candidate, logits, images)
        if self.group.has_equal_weights:
            self.on_progress(f"{phase}, comparing outputs", start)
            self._check_equal(functions)
        timings = self._time(functions, phase, start, length)
        for i, row in enumerate(self.rows):
            if (measured := timings.get(i)) is not None:
                row.batch, row.latency_ms = self.settings.batch, measured.median * 1e3
                row.latency_p95_ms = measured.p95 * 1e3
                row.images_per_s = self.settings.batch / measured.median
                row.share = self._share(row, row.images_per_s)
                if (ratio := self._ratio(timings, i)) is not None:
                    row.speedup, row.speedup_low = ratio.median, ratio.low
                    row.speedup_high = ratio.high

    def _training(self, phase: str, start: float, length: float) -> None:
        steps: dict[int, Callable[[], None]] = {}
        for i, (_, candidate) in enumerate(self.group.members):
            self.on_progress(f"{phase}, preparing", start)
            if candidate.is_deploy or i not in self.outputs:
                continue
            with _noted(self.rows[i], phase):
                logits = self._build(i)
                images = self._images(i, logits, self.settings.train_batch)
                _, classes, *sides = self.outputs[i]
                steps[i] = candidates.make_training(candidate, logits, images, classes, bool(sides))
        timings = self._time(steps, phase, start, length)
        for i, row in enumerate(self.rows):
            if (measured := timings.get(i)) is not None:
                row.train_batch, row.train_ms = self.settings.train_batch, measured.median * 1e3
                row.train_p95_ms = measured.p95 * 1e3
                row.train_images_per_s = self.settings.train_batch / measured.median
                row.train_share = self._share(row, row.train_images_per_s * _TRAINING_FACTOR)
                if (ratio := self._ratio(timings, i)) is not None:
                    row.train_speedup, row.train_speedup_low = ratio.median, ratio.low
                    row.train_speedup_high = ratio.high

    def _time(
        self,
        functions: Mapping[int, Callable[[], object]],
        phase: str,
        start: float,
        length: float,
    ) -> dict[int, timing.Timing]:
        self.on_progress(f"{phase}, warming up", start)
        timings, failures = timing.interleave(
            functions,
            self.group.members[0][1].device,
            self.settings.rounds,
            self.settings.round_seconds,
            self.settings.warmup,
            lambda done, total: self.on_progress(phase, start + length * done / total),
        )
        for i, error in failures.items():
            self.rows[i].add_note(phase, error)
        return timings

    def _check_equal(self, functions: Mapping[int, Callable[[], Tensor]]) -> None:
        """Compare each output with the first, which is the authors' in float32."""
        if 0 not in functions:
            raise UserInputError(f"{self.group.name}: {self.rows[0].note}")
        with _without_tf32():
            expected = functions[0]().double()
            for i, function in functions.items():
                row = self.rows[i]
                with _noted(row, "comparison"):
                    difference = (function().double() - expected).abs().max()
                    row.difference = float(difference / expected.abs().max())
        for row in self.rows:
            tolerance = TOLERANCES[row.dtype]
            # not "greater than": a NaN is no equality either
            if row.difference is not None and not row.difference <= tolerance:
                raise UserInputError(
                    f"{row.label}: the output differs from the authors' by {row.difference:.1e} of "
                    f"its largest value, more than {tolerance:g}, so that no times are compared."
                )

    def _ratio(self, timings: Mapping[int, timing.Timing], index: int) -> timing.Ratio | None:
        if len(self.rows) == 1 or 0 not in timings:
            return None
        self.rows[index].reference = self.rows[0].label
        return timing.speedup(timings[0], timings[index])

    def _share(self, row: Row, passes_per_s: float) -> float | None:
        ceiling = self.settings.ceilings.get(row.dtype)
        return None if ceiling is None or row.macs is None else row.macs * passes_per_s / ceiling

    def _memory(self, phase: str, start: float, length: float) -> None:
        for i, row in enumerate(self.rows):
            self.on_progress(f"{phase} of {row.label}", start + length * i / len(self.rows))
            if row.batch:
                with _noted(row, phase):
                    row.memory_mib = _mib(self._peak(i, self.settings.batch, False))
            if row.train_batch:
                with _noted(row, f"training {phase}"):
                    row.train_memory_mib = _mib(self._peak(i, self.settings.train_batch, True))

    def _largest_batch(self, phase: str, start: float, length: float) -> None:
        budget = self.settings.budget or 0
        for i, row in enumerate(self.rows):
            if not row.train_batch:
                continue
            done = start + length * i / len(self.rows)

            def peak(batch: int, index: int = i, label: str = row.label, at: float = done) -> Any:
                self.on_progress(f"{phase} of {label}: {batch}?", at)
                return self._peak(index, batch, True, budget)

            with _noted(row, phase):
                start_batch = self.settings.train_batch
                row.largest_batch = memory.largest_batch(peak, budget, start_batch)
                row.memory_budget_gib = budget / 2**30

    def _peak(
        self, index: int, batch: int, is_training: bool, budget: int | None = None
    ) -> int | None:
        subject, candidate = self.group.members[index]
        threads = self.settings.threads
        job = memory.Job(candidate, batch, subject.size, is_training, budget, threads)
        return memory.peak_memory(job)


def _mib(peak: int | None) -> float | None:
    return None if peak is None else peak / memory.MIB


def _new_row(subject: Subject, candidate: Candidate) -> Row:
    casts = candidate.cast_weights and candidate.dtype != "float32" and not subject.is_authors
    return Row(
        subject.spec.name,
        candidate.device,
        candidate.dtype,
        candidate.mode,
        candidate.channels_last,
        casts,
        *subject.size,
        subject.depth,
        subject.parameters,
    )


@contextlib.contextmanager
def _noted(row: Row, what: str) -> Iterator[None]:
    """Note an error and go on: a long run is not lost for one model."""
    try:
        yield
    except Exception as error:  # of anybody's model: anything may be raised
        row.add_note(what, error_message(error))


@contextlib.contextmanager
def _without_tf32() -> Iterator[None]:
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = allowed


def _free() -> None:
    """Let go of what the last step held, compiled code included."""
    gc.collect()
    torch.compiler.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

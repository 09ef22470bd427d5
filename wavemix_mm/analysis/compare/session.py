"""The whole of a comparison: probes, runs, costs, reports."""

from __future__ import annotations

import datetime
import math
import shlex
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wavemix_mm.analysis.benchmark import candidates, machine, memory
from wavemix_mm.analysis.benchmark.progress import Progress
from wavemix_mm.analysis.compare import costs, plan, runs
from wavemix_mm.analysis.compare.costs import Conditions
from wavemix_mm.analysis.compare.plan import Entry, Run
from wavemix_mm.analysis.compare.processes import ChildError, Tools
from wavemix_mm.analysis.compare.report import Comparison
from wavemix_mm.analysis.compare.runs import Result


@dataclass(frozen=True)
class Budget:
    """How long each model is trained, and how often.

    Attributes:
        seeds: One training each.
        epochs: Of each training; None for what `minutes` allow or each config says.
        minutes: Of the iterations of each training; None for no such limit.
    """

    seeds: Sequence[int] = (0,)
    epochs: int | None = None
    minutes: float | None = None


def compare(
    entries: Sequence[Entry],
    folder: Path,
    budget: Budget,
    conditions: Conditions,
    tools_folder: Path,
    command: str,
    threads: int | None = None,
) -> list[str]:
    """Train and measure all models; what is finished in the folder is not done again.

    Args:
        entries: The models.
        folder: Where everything is written.
        budget: How long to train.
        conditions: How to measure the costs.
        tools_folder: Folder with train.py and test.py.
        command: The command line, for the report.
        threads: Of the trainings; None for PyTorch's choice.

    Returns:
        A sentence for each thing that failed.

    Raises:
        UserInputError: Before anything trains, if a model cannot be built or the folder holds
            another comparison's runs.
        KeyboardInterrupt: If the process was asked to stop.
    """
    candidates.check_dtype(conditions.dtype, conditions.device)
    if conditions.with_memory:
        memory.check_memory(conditions.device, None)
    subjects = costs.inspect(entries)
    facts = machine.describe(conditions.device) | dict(command=command, budget=_describe(budget))
    found = Comparison([e.name for e in entries], entries[0].batch_size, subjects[0].size, facts)
    for entry, subject in zip(entries, subjects, strict=True):
        found.costs[entry.name] = costs.Cost(subject.parameters)
    with Tools(tools_folder, folder, threads) as tools:
        epochs, failed = _epochs(entries, folder, budget, tools)
        timed = [entry for entry in entries if entry.name in epochs]
        planned = plan.plan_runs(timed, epochs, budget.seeds, folder)
        failed += _train_all(planned, budget, found, folder, tools)
        progress = Progress(1)
        progress.begin(0, "costs")
        found.costs = costs.measure(entries, subjects, conditions, folder / "costs.json", progress)
        progress.end()
        found.write(folder)
    return failed + [f"{name}: {cost.note}" for name, cost in found.costs.items() if cost.note]


def _describe(budget: Budget) -> str:
    if budget.minutes is not None:
        return f"{budget.minutes:g} minutes of training iterations each"
    return "the epochs of each config" if budget.epochs is None else f"{budget.epochs} epochs each"


def _epochs(
    entries: Sequence[Entry], folder: Path, budget: Budget, tools: Tools
) -> tuple[dict[str, int], list[str]]:
    """The epochs of each model, and a sentence for each that could not be timed."""
    if budget.minutes is None:
        return {entry.name: budget.epochs or entry.epochs for entry in entries}, []
    epochs, failed = {}, []
    for i, probe in enumerate(plan.plan_probes(entries, folder)):
        if probe.read_record() is None:
            print(f"[{i + 1}/{len(entries)}] {probe.name}: timing an epoch", flush=True)
        try:
            seconds = runs.seconds_per_epoch(probe, tools)
        except ChildError as error:
            failed.append(f"{probe.name}: {error}")
            continue
        number = epochs_within(budget.minutes, seconds)
        few = "" if number else "; it is trained for one, which takes longer"
        print(f"{probe.name}: {number} epochs of {seconds:.3g} s in {budget.minutes:g} min{few}")
        epochs[probe.name] = max(1, number)
    return epochs, failed


def epochs_within(minutes: float, seconds: float) -> int:
    """Number of whole epochs of so many seconds within a budget; 0 if not even one fits."""
    return math.floor(60 * minutes / seconds)


def _train_all(
    planned: Sequence[Run], budget: Budget, found: Comparison, folder: Path, tools: Tools
) -> list[str]:
    """Do the runs that are not finished, and write the report after each."""
    results = {run: runs.read_result(run) for run in planned}
    failed = []
    for i, run in enumerate(planned):
        head = f"[{i + 1}/{len(planned)}] {run.name}, seed {run.seed}: "
        if results[run] is not None:
            print(f"{head}done before", flush=True)
            continue
        remaining = [other for other in planned[i:] if results[other] is None]
        eta = time_left(remaining, [*filter(None, results.values())], budget.minutes)
        place = shlex.quote(str(run.folder))
        print(f"{head}training {run.epochs} epochs in {place}, ETA {eta}", flush=True)
        try:
            results[run] = runs.train_and_test(run, tools)
        except ChildError as error:
            results[run] = Result(run.name, run.seed or 0, run.epochs, note=str(error))
            failed.append(f"{run.name}, seed {run.seed}: {error}")
        found.results = [*filter(None, results.values())]
        found.write(folder)
    found.results = [*filter(None, results.values())]
    return failed


def time_left(remaining: Sequence[Run], done: Sequence[Result], minutes: float | None) -> str:
    """How long the iterations of runs will take, judged by those that are done."""
    times = [(r.name, r.seconds / r.epochs) for r in done if r.seconds is not None]
    if not times and minutes is None:
        return "unknown"
    total = 0.0
    for run in remaining:
        if minutes is not None:
            total += 60 * minutes
            continue
        same = [seconds for name, seconds in times if name == run.name]
        total += run.epochs * statistics.fmean(same or [seconds for _, seconds in times])
    return str(datetime.timedelta(seconds=round(total)))
